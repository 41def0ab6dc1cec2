//! End-to-end tests of the `ready-probe` binary: the real program against real servers.
//!
//! `make probe` builds it. A topic a file. What many of them use is in `container`, `records`,
//! `hostile_targets`, `hung_mount`, `problems` and `starved`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and measures time"
)]

mod agent;
mod agent_folder;
mod agent_records;
mod blanks;
mod container;
mod deadline;
mod docs;
mod engine;
mod exec;
mod flood;
mod grace;
mod hostile_targets;
mod http;
mod http_body;
mod http_rest;
mod https;
mod hung_files;
mod hung_mount;
mod hung_settings;
mod install;
mod invalid_arguments;
mod invalid_file;
mod invalid_variables;
mod itself;
mod limits;
mod list;
mod local;
mod long_poll;
mod long_poll_agents;
mod long_poll_beside;
mod long_poll_confirm;
mod long_poll_cost;
mod long_poll_cut;
mod long_poll_heard;
mod long_poll_options;
mod long_poll_oracle;
mod long_poll_recheck;
mod long_poll_stopped;
mod long_poll_table;
mod long_poll_untold;
mod long_poll_wakes;
mod mark;
mod memory;
mod metrics;
mod names;
mod nats;
mod nats_auth;
mod odd_processes;
mod output;
mod page_blocks;
mod pages;
mod peer;
mod peer_clock;
mod peer_quorum;
mod peer_servers;
mod peer_wiped;
mod problems;
mod process_limit;
mod readme;
mod recipes;
mod records;
mod redis;
mod redis_address;
mod redis_tls;
mod resources;
mod run_notify;
mod run_output;
mod run_process;
mod run_programs;
mod run_store;
mod run_when;
mod secrets;
mod secrets_misplaced;
mod settings;
mod speaker;
mod stages;
mod starved;
mod stuck_folders;
mod supervisor;
mod target_options;
mod tls;
mod unwritable_memory;
mod variables;
mod wait;
mod wait_news;
mod without_agents;
