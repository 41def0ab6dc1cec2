//! Is a signal to be taken as ready, here and now? Pure: signal + now + this host → an answer.

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

/// A signal that is taken as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// Before which instant of `CLOCK_MONOTONIC`, in milliseconds, that holds by itself: then its TTL
    /// is over, unless a beat comes. Nothing where it is bound to its process alone.
    pub until_ms: Option<u64>,
}

/// Why a signal is not taken as ready.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotReady {
    /// It was published in another life of this container, or in another container.
    OtherEpoch,
    /// It was published in another time namespace: neither its beat nor its process's start can be
    /// compared with what this reader sees, so that nothing is known.
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

impl NotReady {
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
            Self::ProcessGone { pid, last_beat_ms } => {
                write!(f, "process {pid} is gone")?;
                match last_beat_ms {
                    Some(age) => write!(f, ", last beat {} ago", Span(*age)),
                    None => Ok(()),
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
/// [`NotReady`]: why the signal is not taken as ready.
pub fn judge(signal: &Signal, observed: &Observed<'_>) -> Result<Ready, NotReady> {
    match same_epoch(signal, observed.epoch) {
        // An agent may be kept from seeing process 1 (hidepid), and its reader not. If the very
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
    // Writers need not tell it: who lacks it is taken for a neighbour in time.
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
        // Without a TTL nothing else is left to decide by.
        Process::Unreadable if signal.ttl_ms.is_none() => Err(NotReady::Incomplete("ttl_ms")),
        Process::Unreadable => Ok(()),
        Process::Gone => Err(NotReady::ProcessGone {
            pid,
            last_beat_ms: age_ms(signal, observed.now_ms),
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
        // Null: the record is bound to its process, whose life was judged before.
        None => Ok(None),
    }
}

fn age_ms(signal: &Signal, now_ms: u64) -> Option<u64> {
    now_ms.checked_sub(signal.mono_ms?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::{Instance, Name, VERSION};

    const NOW: u64 = 1_000_000;

    fn epoch() -> Epoch {
        Epoch {
            boot_id: Some("b".into()),
            pid_ns: Some(1),
            init_start: Some(2),
            time_ns: Some(3),
        }
    }

    fn signal() -> Signal {
        Signal {
            v: VERSION,
            agent: Name::new("translator").unwrap(),
            instance: Instance::of_process("h", 17, Some(5)),
            state: State::Ready,
            reason: None,
            details: serde_json::Map::new(),
            ttl_ms: Some(60_000),
            beat_ms: Some(10_000),
            seq: 1,
            host: None,
            pid: Some(17),
            pid_start: Some(5),
            boot_id: Some("b".into()),
            pid_ns: Some(1),
            init_start: Some(2),
            time_ns: Some(3),
            container: None,
            mono_ms: Some(NOW - 4_000),
            since: None,
            sdk: None,
            announced: None,
        }
    }

    const ALIVE: Process = Process::Alive {
        start: 5,
        euid: Some(0),
    };

    fn judged(change: impl Fn(&mut Signal), process: Process, epoch: &Epoch) -> String {
        let mut signal = signal();
        change(&mut signal);
        let observed = Observed {
            epoch,
            process,
            now_ms: NOW,
        };
        match judge(&signal, &observed) {
            Ok(Ready { .. }) => "ready".to_owned(),
            Err(why) => why.to_string(),
        }
    }

    #[test]
    fn a_fresh_ready_signal_of_a_living_process_is_ready() {
        assert_eq!(judged(|_| (), ALIVE, &epoch()), "ready");
    }

    #[test]
    fn an_agent_that_cannot_see_process_1_is_known_by_its_own_start() {
        assert_eq!(judged(|s| s.init_start = None, ALIVE, &epoch()), "ready");
    }

    #[test]
    fn every_single_defect_makes_it_not_ready() {
        type Change = fn(&mut Signal);
        let table: &[(Change, Process, &str)] = &[
            (
                |_| (),
                Process::Gone,
                "process 17 is gone, last beat 4s ago",
            ),
            (
                |_| (),
                Process::Zombie { start: 5 },
                "process 17 has died and is a zombie",
            ),
            (
                |s| s.pid_start = Some(4),
                ALIVE,
                "process 17 is gone, another one has its id",
            ),
            (
                |s| s.pid_start = None,
                ALIVE,
                "malformed record: pid_start is missing",
            ),
            (|s| s.pid = None, ALIVE, "malformed record: pid is missing"),
            (
                |s| s.boot_id = Some("c".into()),
                ALIVE,
                "no signal in this life of the container, only an earlier one's",
            ),
            (
                |s| s.pid_ns = Some(9),
                ALIVE,
                "no signal in this life of the container, only an earlier one's",
            ),
            (
                |s| s.init_start = Some(9),
                ALIVE,
                "no signal in this life of the container, only an earlier one's",
            ),
            (
                |s| s.init_start = None,
                Process::Unreadable,
                "malformed record: init_start is missing",
            ),
            (
                |s| s.time_ns = Some(9),
                ALIVE,
                "its clocks can't be compared: it runs in time namespace 9, this reader in 3",
            ),
            (
                |s| (s.pid_ns, s.time_ns) = (Some(9), Some(9)),
                ALIVE,
                "no signal in this life of the container, only an earlier one's",
            ),
            (
                |s| s.mono_ms = Some(NOW + 1),
                ALIVE,
                "malformed record: its beat lies in the future",
            ),
            (
                |s| s.mono_ms = None,
                ALIVE,
                "malformed record: mono_ms is missing",
            ),
            (
                |s| s.mono_ms = Some(NOW - 60_001),
                ALIVE,
                "expired: last beat 1m ago (TTL 1m)",
            ),
            (
                |s| {
                    s.state = State::NotReady;
                    s.reason = Some("reloading".into());
                },
                ALIVE,
                "not_ready: reloading",
            ),
            (|s| s.state = State::Starting, ALIVE, "starting"),
            (|s| s.state = State::Stopping, ALIVE, "stopping"),
        ];
        for (change, process, want) in table {
            assert_eq!(&judged(change, *process, &epoch()), want);
        }
    }

    #[test]
    fn a_time_namespace_is_compared_where_both_sides_tell_it() {
        assert_eq!(judged(|s| s.time_ns = None, ALIVE, &epoch()), "ready");
        let here = Epoch {
            time_ns: None,
            ..epoch()
        };
        assert_eq!(judged(|_| (), ALIVE, &here), "ready");
    }

    #[test]
    fn what_the_reader_cannot_determine_is_left_to_the_ttl() {
        let blind = Epoch::default();
        assert_eq!(judged(|s| s.boot_id = None, ALIVE, &blind), "ready");
        assert_eq!(
            judged(|s| s.pid_start = None, Process::Unreadable, &blind),
            "ready"
        );
        assert_eq!(
            judged(|s| s.mono_ms = Some(1), Process::Unreadable, &blind),
            "expired: last beat 16m39s ago (TTL 1m)"
        );
    }

    #[test]
    fn a_record_bound_to_its_process_does_not_expire() {
        let bound = |s: &mut Signal| {
            s.ttl_ms = None;
            s.mono_ms = Some(0);
        };
        assert_eq!(judged(bound, ALIVE, &epoch()), "ready");
        assert_eq!(
            judged(bound, Process::Unreadable, &epoch()),
            "malformed record: ttl_ms is missing"
        );
        assert_eq!(
            judged(bound, Process::Gone, &epoch()),
            "process 17 is gone, last beat 16m40s ago"
        );
    }

    #[test]
    fn the_last_millisecond_of_the_ttl_still_counts() {
        assert_eq!(
            judged(|s| s.mono_ms = Some(NOW - 60_000), ALIVE, &epoch()),
            "ready"
        );
    }

    #[test]
    fn it_is_told_until_when_a_signal_is_ready() {
        let until = |ttl_ms, now_ms| {
            let signal = Signal { ttl_ms, ..signal() };
            let here = epoch();
            let observed = Observed {
                epoch: &here,
                process: ALIVE,
                now_ms,
            };
            judge(&signal, &observed).map(|ready| ready.until_ms)
        };
        let over_ms = NOW - 4_000 + 60_000 + 1;
        assert_eq!(until(Some(60_000), NOW), Ok(Some(over_ms)));
        assert_eq!(until(Some(60_000), over_ms - 1), Ok(Some(over_ms)));
        assert!(until(Some(60_000), over_ms).is_err());
        assert_eq!(until(None, over_ms), Ok(None));
    }
}
