//! Does a signal count as ready, here and now? Pure: signal + now + this host → an answer.

use std::fmt;

use crate::host::{Epoch, Process};
use crate::signal::{Signal, State};

/// What the reader knows besides the signal.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// The reader's epoch.
    pub epoch: &'a Epoch,
    /// The publisher as the reader's `/proc` shows it.
    pub process: Process,
    /// `CLOCK_MONOTONIC`, read after the record.
    pub now_ms: u64,
}

/// A signal that counts as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// Until when that holds by itself, by `CLOCK_MONOTONIC` in milliseconds: then its TTL is over,
    /// unless a beat comes. `None` if it is bound to its process alone.
    pub until_ms: Option<u64>,
}

/// Why a signal does not count as ready.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotReady {
    /// It was published in another life of this container, or in another container.
    OtherEpoch,
    /// It was published in another time namespace: neither its beat nor its process's start can be
    /// compared with what this reader sees, so nothing is known.
    OtherTimeNamespace {
        /// The publisher's.
        theirs: u64,
        /// The reader's.
        ours: u64,
    },
    /// A field is missing that this reader could have compared.
    Incomplete(&'static str),
    /// Its process has ended.
    ProcessGone {
        /// The publisher.
        pid: u32,
        /// Age of the last beat.
        last_beat_ms: Option<u64>,
        /// Why, if its last word was `stopping`.
        reason: Option<String>,
    },
    /// Its process has ended and was not reaped.
    Zombie {
        /// The publisher.
        pid: u32,
    },
    /// Its process id belongs to a younger process now.
    PidReused {
        /// The publisher.
        pid: u32,
    },
    /// Its beat lies in the future of the clock they share.
    FutureBeat,
    /// No beat came within the TTL.
    Expired {
        /// Age of the last beat.
        last_beat_ms: u64,
        /// The TTL it exceeds.
        ttl_ms: u64,
    },
    /// The agent itself says so.
    Says {
        /// What it says; never [`State::Ready`].
        state: State,
        /// Why.
        reason: Option<String>,
    },
}

/// How the reason of an agent begins whose watchdog has had no tick for too long.
const STALLED: &str = "stalled:";

/// Whether an agent says that it makes no progress.
#[must_use]
pub fn is_stall(state: State, reason: Option<&str>) -> bool {
    state == State::NotReady && reason.is_some_and(|reason| reason.starts_with(STALLED))
}

/// The rest of the reason of such an agent.
#[must_use]
pub fn without_stall(reason: &str) -> &str {
    reason.strip_prefix(STALLED).unwrap_or(reason).trim_start()
}

impl NotReady {
    /// Whether this instance is of no use until somebody looks after it: it is dead, or hangs.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        match self {
            Self::ProcessGone { .. }
            | Self::Zombie { .. }
            | Self::PidReused { .. }
            | Self::Expired { .. } => true,
            Self::Says { state, reason } => is_stall(*state, reason.as_deref()),
            Self::OtherEpoch
            | Self::OtherTimeNamespace { .. }
            | Self::Incomplete(_)
            | Self::FutureBeat => false,
        }
    }

    /// Whether this agent may still come up by itself: it says `starting`, or what is there was
    /// published in an earlier life.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        match self {
            Self::Says { state, .. } => *state == State::Starting,
            Self::OtherEpoch => true,
            Self::OtherTimeNamespace { .. }
            | Self::Incomplete(_)
            | Self::ProcessGone { .. }
            | Self::Zombie { .. }
            | Self::PidReused { .. }
            | Self::FutureBeat
            | Self::Expired { .. } => false,
        }
    }
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherEpoch => {
                f.write_str("no signal in this life of the container, only an earlier one's")
            }
            Self::OtherTimeNamespace { theirs, ours } => write!(
                f,
                "its clocks can't be compared: it runs in time namespace {theirs}, this reader in {ours}"
            ),
            Self::Incomplete(field) => write!(f, "malformed record: {field} is missing"),
            Self::ProcessGone {
                pid,
                last_beat_ms,
                reason,
            } => {
                write!(f, "process {pid} is gone")?;
                match (reason, last_beat_ms) {
                    (Some(reason), _) => write!(f, ": {reason}"),
                    (None, Some(age)) => write!(f, ", last beat {} ago", Span(*age)),
                    (None, None) => Ok(()),
                }
            }
            Self::Zombie { pid } => write!(f, "process {pid} has died and is a zombie"),
            Self::PidReused { pid } => {
                write!(f, "process {pid} is gone, another one has its id")
            }
            Self::FutureBeat => f.write_str("malformed record: its beat lies in the future"),
            Self::Expired {
                last_beat_ms,
                ttl_ms,
            } => write!(
                f,
                "expired: last beat {} ago (TTL {})",
                Span(*last_beat_ms),
                Span(*ttl_ms)
            ),
            Self::Says { state, reason } => match reason {
                Some(reason) if !reason.trim().is_empty() => write!(f, "{state}: {reason}"),
                Some(_) | None => write!(f, "{state}"),
            },
        }
    }
}

/// A span of time as people read it: `850ms`, `4s`, `3m10s`, `2h5m`.
#[derive(Debug, Clone, Copy)]
pub struct Span(pub u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000;
        match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
            (0, 0, 0) => write!(f, "{}ms", self.0),
            (0, 0, s) => write!(f, "{s}s"),
            (0, m, 0) => write!(f, "{m}m"),
            (0, m, s) => write!(f, "{m}m{s}s"),
            (h, 0, _) => write!(f, "{h}h"),
            (h, m, _) => write!(f, "{h}h{m}m"),
        }
    }
}

const INIT_START: &str = "init_start";

/// Judges a signal of the folder.
///
/// A field that is missing is accepted only where the reader itself can't determine it; then the
/// TTL alone decides. `init_start` may also be missing while the process that is named is alive: no
/// other process of this boot and namespace has its id and start time.
///
/// # Errors
/// [`NotReady`]: why the signal does not count as ready.
pub fn judge(signal: &Signal, observed: &Observed<'_>) -> Result<Ready, NotReady> {
    match same_epoch(signal, observed.epoch) {
        // Process 1 may be hidden from an agent (hidepid) but not from its reader. If the very
        // process that the record names is alive, this is its life.
        Err(NotReady::Incomplete(INIT_START)) if is_very_process(signal, observed.process) => {}
        judged => judged?,
    }
    alive(signal, observed)?;
    let until_ms = fresh(signal, observed.now_ms)?;
    if signal.state == State::Ready {
        return Ok(Ready { until_ms });
    }
    Err(NotReady::Says {
        state: signal.state,
        reason: signal.reason.clone(),
    })
}

/// Whether a signal was published in this life of this container.
///
/// # Errors
/// [`NotReady::OtherEpoch`] when any part that both sides have differs,
/// [`NotReady::OtherTimeNamespace`] when that can't be told, and [`NotReady::Incomplete`] when the
/// signal lacks a part that the reader has.
pub fn same_epoch(signal: &Signal, here: &Epoch) -> Result<(), NotReady> {
    part("boot_id", signal.boot_id.as_ref(), here.boot_id.as_ref())?;
    part("pid_ns", signal.pid_ns.as_ref(), here.pid_ns.as_ref())?;
    // Writers need not tell it: without it, they count as neighbours in time.
    if let (Some(theirs), Some(ours)) = (signal.time_ns, here.time_ns)
        && theirs != ours
    {
        return Err(NotReady::OtherTimeNamespace { theirs, ours });
    }
    part(
        INIT_START,
        signal.init_start.as_ref(),
        here.init_start.as_ref(),
    )
}

fn part<T: PartialEq>(
    field: &'static str,
    theirs: Option<&T>,
    ours: Option<&T>,
) -> Result<(), NotReady> {
    match (theirs, ours) {
        (_, None) => Ok(()),
        (None, Some(_)) => Err(NotReady::Incomplete(field)),
        (Some(theirs), Some(ours)) if theirs == ours => Ok(()),
        (Some(_), Some(_)) => Err(NotReady::OtherEpoch),
    }
}

fn is_very_process(signal: &Signal, process: Process) -> bool {
    matches!(process, Process::Alive { start, .. } if signal.pid_start == Some(start))
}

fn alive(signal: &Signal, observed: &Observed<'_>) -> Result<(), NotReady> {
    let Some(pid) = signal.pid else {
        return Err(NotReady::Incomplete("pid"));
    };
    match observed.process {
        // Without a TTL there is nothing else to decide by.
        Process::Unreadable if signal.ttl_ms.is_none() => Err(NotReady::Incomplete("ttl_ms")),
        Process::Unreadable => Ok(()),
        Process::Gone => Err(NotReady::ProcessGone {
            pid,
            last_beat_ms: age_ms(signal, observed.now_ms),
            reason: last_word(signal),
        }),
        Process::Zombie { start } | Process::Alive { start, .. }
            if signal.pid_start.is_some_and(|theirs| theirs != start) =>
        {
            Err(NotReady::PidReused { pid })
        }
        Process::Zombie { .. } => Err(NotReady::Zombie { pid }),
        Process::Alive { .. } if signal.pid_start.is_none() => {
            Err(NotReady::Incomplete("pid_start"))
        }
        Process::Alive { .. } => Ok(()),
    }
}

/// Until when its beat counts.
fn fresh(signal: &Signal, now_ms: u64) -> Result<Option<u64>, NotReady> {
    let Some(mono_ms) = signal.mono_ms else {
        return Err(NotReady::Incomplete("mono_ms"));
    };
    let Some(last_beat_ms) = now_ms.checked_sub(mono_ms) else {
        return Err(NotReady::FutureBeat);
    };
    match signal.ttl_ms {
        Some(ttl_ms) if last_beat_ms > ttl_ms => Err(NotReady::Expired {
            last_beat_ms,
            ttl_ms,
        }),
        Some(ttl_ms) => Ok(Some(mono_ms.saturating_add(ttl_ms).saturating_add(1))),
        // Null: the record is bound to its process, which was judged before.
        None => Ok(None),
    }
}

/// Why a process said that it was about to end. Whoever started it may have said so of it, too.
fn last_word(signal: &Signal) -> Option<String> {
    let reason = signal.reason.as_deref().map(str::trim);
    let reason = reason.filter(|reason| signal.state == State::Stopping && !reason.is_empty());
    reason.map(str::to_owned)
}

fn age_ms(signal: &Signal, now_ms: u64) -> Option<u64> {
    now_ms.checked_sub(signal.mono_ms?)
}

#[cfg(test)]
mod tests;
