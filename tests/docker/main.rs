//! `ready-probe` under a real Docker engine: its health monitor, its restarts, its networks, its
//! limits. Needs `make probe example-agent wheel`.
//!
//! | module | asks |
//! |---|---|
//! | [`lifecycle`] | does health follow what an agent says, does, and dies of? |
//! | [`restart`] | is a signal of an earlier life ever believed? |
//! | [`grace`] | does a Redis that restarts take healthy agents down? |
//! | [`long_poll`] | does a check that waits tell what happens, and lose nothing, whoever cuts it? |
//! | [`confined`] | does it work without root, capabilities, shared memory, threads, `/proc`? |
//! | [`users`] | do the users of one container get in each other's way? |
//! | [`names`] | are host names found whatever `/etc/nsswitch.conf` says? |
//! | [`commands`] | `mark` by `docker exec`, `wait` as process 1, `process:` and `exec:` |
//! | [`operations`] | does Docker do what docs/operations.md says of it? |
//! | [`peers`] | do others see an agent, wait for it, and follow what it says? |
//! | [`images`] | do the ways in which readers build images end in what they are for? |
//! | [`run_command`] | is a program under `ready-probe run` healthy when it says so, and ended with its container? |
//! | [`keeper`] | are the services of `examples/keeper` brought back, and its container where they can't be? |
//! | [`recipes`] | do the other recipes of the documents do what they are for? |
//! | [`recipes_others_images`] | and those for images that are somebody else's? |
//! | [`recipes_keeper`] | and that for `ready-keeper` over an engine? |
//! | [`containers`] | does `container:` say what a real engine says, and ask it for no more than it may? |
//! | [`keeper_containers`] | does `ready-keeper` restart containers that are unhealthy by themselves, and no others? |
//! | [`readme`] | is what the README shows at its top true? |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and waits with a deadline"
)]

mod commands;
mod confined;
mod containers;
mod events;
mod fixture;
mod grace;
mod held;
mod images;
mod keeper;
mod keeper_containers;
mod lifecycle;
mod long_poll;
mod names;
mod operations;
mod peers;
mod probes;
mod readme;
mod recipe_fixture;
mod recipes;
mod recipes_keeper;
mod recipes_others_images;
mod restart;
mod run_command;
mod users;
