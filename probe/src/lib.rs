//! The engine of `ready-probe`: settings → targets → checks → outcomes → verdict → report.
//!
//! The program and its commands stand on it, and know how a run starts, is ended, and ends. It has no
//! promise of compatibility: use the SDK, `ready-probe-sdk`, to publish and to read signals.
//!
//! | module | owns |
//! |---|---|
//! | [`settings`] | what was typed, exported and configured |
//! | [`target`] | the grammar of what is asked |
//! | [`plan`], [`probe`] | one round: what is asked, and what becomes of the answers |
//! | [`check`], [`link`], [`hung_mount`] | asking: here, over connections, and by a child |
//! | [`outcome`], [`verdict`] | what an answer means, and all of them together |
//! | [`judge`] | what is made of the answers, in the light of those before |
//! | [`grace`], [`confirm`] | how long an Unknown is tolerated after a yes; and a "no", while an answer is held |
//! | [`hold`] | whether an answer may be held back |
//! | [`memory`] | what is remembered from one probe to the next |
//! | [`watch`] | what wakes whoever waits for agents |
//! | [`report`] | what is printed |
//! | [`exposition`] | the format of metrics |

pub mod answer;
pub mod check;
pub mod child;
pub mod confirm;
pub mod duration;
pub mod event_loop;
pub mod exposition;
pub mod fleet;
pub mod grace;
pub mod hold;
pub mod hung_mount;
pub mod judge;
pub mod link;
pub mod memory;
pub mod newest;
pub mod outcome;
pub mod plan;
pub mod probe;
pub mod redact;
pub mod report;
pub mod role;
pub mod settings;
pub mod signals;
pub mod stuck_child;
pub mod target;
pub mod time_limit;
pub mod verdict;
pub mod watch;
