//! What every store is held to: the contract of [`Store`] as tests, one suite for all.
//!
//! A test of a store implements [`Backend`] and calls
//! [`store_contract!`](crate::store_contract), which makes one `#[test]` of each of the functions here.
//! They panic when the contract is broken.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "these are the bodies of tests"
)]

mod agents;
mod doubt;
mod expiry;
mod records;
mod removal;
mod support;

use super::{Published, Store};
use crate::signal::{Instance, Name, Signal};

pub use agents::*;
pub use doubt::*;
pub use expiry::*;
pub use records::*;
pub use removal::*;

/// A store to be tested, and what a stranger can do to it.
#[allow(async_fn_in_trait, reason = "for tests")]
pub trait Backend {
    /// The store under test.
    type Store: Store;
    /// A TTL that a test can wait for, in milliseconds.
    const SHORT_MS: u64 = 1_000;
    /// A TTL that no test waits for, where there can be one.
    const LONG_MS: u64 = 60_000;

    /// Whether it keeps each record for as long as whoever put it asked for.
    const KEEPS_EACH: bool = true;

    /// The store, through a connection of its own.
    async fn store(&mut self) -> Self::Store;

    /// The publication of the `nth` instance of an agent.
    fn published(&mut self, agent: &str, nth: u32) -> Published {
        Published {
            agent: Name::new(agent).unwrap(),
            instance: Instance::of_process("host", nth, Some(1)),
        }
    }

    /// What makes a signal that of a publication; a store may look into it.
    fn complete(&mut self, _: &mut Signal) {}

    /// Puts anything in an instance's place, with a TTL or for ever. Says whether it could: not
    /// every store can be written to so.
    async fn put_raw(&mut self, published: &Published, bytes: &[u8], ttl_ms: Option<u64>) -> bool;

    /// Makes the store too full for a record to replace a smaller one, or no longer so. Says whether
    /// it could: not every store can be full.
    async fn fill(&mut self, _is_full: bool) -> bool {
        false
    }

    /// Loses everything, as a server that is restarted without its data does.
    async fn wipe(&mut self);
}

/// Makes tests of every function of the contract.
#[macro_export]
macro_rules! store_contract {
    ($module:ident, $backend:expr) => {
        mod $module {
            use super::*;

            $crate::store_contract!(@each $backend,
                a_record_that_was_put_is_read,
                a_record_replaces_the_one_before,
                two_instances_of_an_agent_stand_beside_each_other,
                an_agent_is_read_without_its_neighbours,
                several_agents_are_read_at_once,
                enough_that_are_ready_are_found_or_all_there_are,
                agents_are_listed_once,
                names_with_every_letter_keep_apart,
                what_is_removed_is_gone_and_nobody_else,
                what_is_not_there_may_be_removed,
                a_no_that_there_is_no_room_for_leaves_no_yes,
                what_is_removed_from_a_full_store_is_gone,
                a_record_expires_by_itself,
                a_beat_renews_the_ttl,
                a_wiped_store_is_whole_after_the_next_put,
                corrupt_records_are_seen_with_the_reason,
                a_record_in_another_ones_place_is_not_believed,
                a_record_for_ever_is_not_believed,
                a_record_that_is_kept_for_too_long_is_seen_so,
                tidying_leaves_the_living,
                many_records_are_put_at_once,
            );
        }
    };
    (@each $backend:expr, $($name:ident,)+) => {
        $(
            #[test]
            fn $name() {
                let runtime = ::tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let mut backend = $backend;
                    $crate::store::contract::$name(&mut backend).await;
                });
            }
        )+
    };
}
