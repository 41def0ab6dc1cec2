//! What an answer means for recovery. Pure: no I/O, no clock.

use ready_probe::outcome::Outcome;
use ready_probe_sdk::State;
use ready_probe_sdk::freshness::{NotReady, is_stall};
use serde::{Deserialize, Serialize};

/// Proof that a service is not as it should be, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It accepted us, or should have, and did not answer.
    Hung,
    /// It answers: no.
    SaysNo,
    /// Its process is gone, or nobody listens.
    Gone,
}

/// An answer, as far as recovery cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// It works.
    Pass,
    /// It does not.
    Bad(Cause),
    /// It says itself that it is not ready yet, or any longer.
    NotNow,
    /// Nobody knows. This proves nothing.
    CouldNotAsk,
}

/// What kind of question was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A server over a connection.
    Server,
    /// Whether somebody accepts connections.
    Door,
    /// A process by its command line, or by its file.
    Process,
    /// A command.
    Command,
    /// An agent, with what its signals mean where it is not ready.
    Agent(Seen),
    /// Something whose "no" is a plain no.
    Other,
}

/// An answer with what else is needed to judge it.
#[derive(Debug, Clone)]
pub struct Heard {
    /// What was asked.
    pub asked: Asked,
    /// The engine's answer.
    pub outcome: Outcome,
    /// It took all of its time.
    pub timed_out: bool,
    /// Meanwhile this program itself stood still: that time was nobody's.
    pub stood_still: bool,
    /// It is in this container: that nobody accepts there is the service's doing, not a network's.
    pub is_here: bool,
    /// It closed a connection that it had accepted, without an answer.
    pub broke_off: bool,
    /// Whether somebody accepted connections right after it, for a server that did not pass.
    pub door: Option<Outcome>,
}

/// What a shell exits with where the command can't be run, or is not there: POSIX, 2.8.2.
/// Whoever is killed has said nothing: there was no memory, or another service was ended by name.
const NOT_RUN: [&str; 3] = ["exit status 126", "exit status 127", "killed by signal 9"];

/// What it means.
pub fn judge(heard: &Heard) -> Seen {
    match judge_answer(heard) {
        Seen::Bad(Cause::Hung) if heard.stood_still => Seen::CouldNotAsk,
        seen @ (Seen::Pass | Seen::Bad(_) | Seen::NotNow | Seen::CouldNotAsk) => seen,
    }
}

fn judge_answer(heard: &Heard) -> Seen {
    match (&heard.outcome, heard.asked) {
        (Outcome::Pass(_) | Outcome::Blemished(_), _) => Seen::Pass,
        (Outcome::Fail(_), Asked::Agent(seen)) => seen,
        (Outcome::Fail(fault), _) if fault.starting || fault.by_hand => Seen::NotNow,
        // There is nothing to restart.
        (Outcome::Fail(fault), Asked::Other) if fault.absent => Seen::NotNow,
        (Outcome::Fail(_), Asked::Door | Asked::Process) => Seen::Bad(Cause::Gone),
        (Outcome::Fail(_), Asked::Server) => match &heard.door {
            Some(Outcome::Fail(_)) => Seen::Bad(Cause::Gone),
            Some(Outcome::Pass(_) | Outcome::Blemished(_) | Outcome::Unknown(_)) | None => {
                Seen::Bad(Cause::SaysNo)
            }
        },
        (Outcome::Fail(fault), Asked::Command) if is_not_run(&fault.reason) => Seen::CouldNotAsk,
        (Outcome::Fail(_), Asked::Command | Asked::Other) => Seen::Bad(Cause::SaysNo),
        (Outcome::Unknown(_), Asked::Server) => match &heard.door {
            Some(Outcome::Pass(_) | Outcome::Blemished(_))
                if heard.timed_out || heard.broke_off =>
            {
                Seen::Bad(Cause::Hung)
            }
            Some(Outcome::Pass(_) | Outcome::Blemished(_)) => Seen::CouldNotAsk,
            Some(Outcome::Fail(_)) => Seen::Bad(Cause::Gone),
            Some(Outcome::Unknown(_)) | None
                if heard.broke_off || heard.timed_out && heard.is_here =>
            {
                Seen::Bad(Cause::Hung)
            }
            Some(Outcome::Unknown(_)) | None => Seen::CouldNotAsk,
        },
        (Outcome::Unknown(_), Asked::Door) if heard.timed_out && heard.is_here => {
            Seen::Bad(Cause::Hung)
        }
        (Outcome::Unknown(_), Asked::Command) if heard.timed_out => Seen::Bad(Cause::Hung),
        (
            Outcome::Unknown(_),
            Asked::Door | Asked::Process | Asked::Command | Asked::Agent(_) | Asked::Other,
        ) => Seen::CouldNotAsk,
    }
}

fn is_not_run(reason: &str) -> bool {
    NOT_RUN
        .iter()
        .any(|status| match reason.strip_prefix(status) {
            Some(rest) => rest.is_empty() || rest.starts_with(':'),
            None => false,
        })
}

/// What the signals of an agent mean that is not ready: why each of its instances does not count. With `no_counts` an
/// agent that says `not_ready` is taken at its word, as any other service is.
pub fn judge_agent(instances: &[NotReady], no_counts: bool) -> Seen {
    let seen = |instance: &NotReady| match instance {
        NotReady::Says { state, reason } if is_stall(*state, reason.as_deref()) => {
            Seen::Bad(Cause::SaysNo)
        }
        NotReady::Says { state, .. } if no_counts && *state == State::NotReady => {
            Seen::Bad(Cause::SaysNo)
        }
        NotReady::Says { .. } => Seen::NotNow,
        NotReady::ProcessGone { .. } | NotReady::Zombie { .. } | NotReady::PidReused { .. } => {
            Seen::Bad(Cause::Gone)
        }
        NotReady::Expired { .. } => Seen::Bad(Cause::Hung),
        // No reader knows, and later versions may tell more.
        _ => Seen::CouldNotAsk,
    };
    let counted: Vec<Seen> = instances
        .iter()
        // An earlier life says nothing of this one.
        .filter(|instance| **instance != NotReady::OtherEpoch)
        .map(seen)
        .collect();
    // One that may still come up counts for all, and the weakest proof: the dead leave their signals behind.
    let causes = counted.iter().filter_map(|seen| match seen {
        Seen::Bad(cause) => Some(*cause),
        Seen::Pass | Seen::NotNow | Seen::CouldNotAsk => None,
    });
    let weakest = causes.min().map_or(Seen::CouldNotAsk, Seen::Bad);
    let doubts = [Seen::NotNow, Seen::CouldNotAsk];
    let doubt = doubts.into_iter().find(|doubt| counted.contains(doubt));
    doubt.unwrap_or(weakest)
}

/// What all own checks of one service mean together. Whoever says that it works on something is believed; then the
/// strongest proof counts.
pub fn all(seen: &[Seen]) -> Seen {
    let order = [
        Seen::NotNow,
        Seen::Bad(Cause::Gone),
        Seen::Bad(Cause::SaysNo),
        Seen::Bad(Cause::Hung),
        Seen::CouldNotAsk,
    ];
    let first = order.into_iter().find(|one| seen.contains(one));
    match (first, seen) {
        (Some(first), _) => first,
        (None, []) => Seen::CouldNotAsk,
        (None, [_, ..]) => Seen::Pass,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_table() {
        let (pass, fail) = (Outcome::pass, || Outcome::fail("no"));
        let unknown = || Outcome::unknown("no answer within 5s");
        let (gone, no, hung) = (
            Seen::Bad(Cause::Gone),
            Seen::Bad(Cause::SaysNo),
            Seen::Bad(Cause::Hung),
        );
        let table = [
            // asked, outcome, timed out, is here, door, seen
            (Asked::Server, pass(), false, true, None, Seen::Pass),
            (Asked::Server, fail(), false, true, Some(pass()), no),
            (Asked::Server, fail(), false, true, Some(fail()), gone),
            (Asked::Server, fail(), false, true, Some(unknown()), no),
            (Asked::Server, unknown(), true, true, Some(pass()), hung),
            (Asked::Server, unknown(), false, true, Some(pass()), hung),
            (Asked::Server, unknown(), false, true, Some(fail()), gone),
            // Its queue of connections is full: nobody accepts any more.
            (Asked::Server, unknown(), true, true, Some(unknown()), hung),
            (
                Asked::Server,
                unknown(),
                true,
                false,
                Some(unknown()),
                Seen::CouldNotAsk,
            ),
            (
                Asked::Server,
                unknown(),
                false,
                true,
                Some(unknown()),
                Seen::CouldNotAsk,
            ),
            (
                Asked::Server,
                Outcome::starting("s"),
                false,
                true,
                Some(pass()),
                Seen::NotNow,
            ),
            (
                Asked::Server,
                Outcome::by_hand("STOPPED"),
                false,
                true,
                Some(pass()),
                Seen::NotNow,
            ),
            (Asked::Door, pass(), false, true, None, Seen::Pass),
            (Asked::Door, fail(), false, true, None, gone),
            (Asked::Door, unknown(), true, true, None, hung),
            (Asked::Door, unknown(), true, false, None, Seen::CouldNotAsk),
            (Asked::Door, unknown(), false, true, None, Seen::CouldNotAsk),
            (Asked::Process, pass(), false, true, None, Seen::Pass),
            (Asked::Process, fail(), false, true, None, gone),
            (
                Asked::Process,
                unknown(),
                true,
                true,
                None,
                Seen::CouldNotAsk,
            ),
            (Asked::Command, fail(), false, true, None, no),
            (Asked::Command, unknown(), true, true, None, hung),
            (
                Asked::Command,
                unknown(),
                false,
                true,
                None,
                Seen::CouldNotAsk,
            ),
            (
                Asked::Command,
                Outcome::fail("exit status 127: x: not found"),
                false,
                true,
                None,
                Seen::CouldNotAsk,
            ),
            (
                Asked::Command,
                Outcome::fail("exit status 126"),
                false,
                true,
                None,
                Seen::CouldNotAsk,
            ),
            (
                Asked::Command,
                Outcome::fail("exit status 12"),
                false,
                true,
                None,
                no,
            ),
        ];
        for (asked, outcome, timed_out, is_here, door, want) in table {
            let heard = Heard {
                asked,
                outcome,
                timed_out,
                stood_still: false,
                is_here,
                broke_off: matches!(door, Some(Outcome::Pass(_))),
                door,
            };
            assert_eq!(judge(&heard), want, "{heard:?}");
        }
    }

    fn heard(asked: Asked, outcome: Outcome) -> Heard {
        Heard {
            asked,
            outcome,
            timed_out: true,
            stood_still: false,
            is_here: true,
            broke_off: false,
            door: Some(Outcome::pass()),
        }
    }

    #[test]
    fn a_server_hangs_that_stays_silent_or_breaks_off_and_no_other() {
        let hung = Seen::Bad(Cause::Hung);
        for (timed_out, broke_off, want) in [
            (true, false, hung),
            (false, true, hung),
            (false, false, Seen::CouldNotAsk),
        ] {
            let heard = Heard {
                timed_out,
                broke_off,
                ..heard(Asked::Server, Outcome::unknown("the certificate is wrong"))
            };
            assert_eq!(judge(&heard), want, "{heard:?}");
        }
    }

    #[test]
    fn nothing_hangs_while_the_asker_itself_stands_still() {
        for (asked, outcome, want) in [
            (Asked::Server, Outcome::unknown("?"), Seen::CouldNotAsk),
            (Asked::Command, Outcome::unknown("?"), Seen::CouldNotAsk),
            (
                Asked::Agent(Seen::Bad(Cause::Hung)),
                Outcome::fail("expired"),
                Seen::CouldNotAsk,
            ),
            (
                Asked::Server,
                Outcome::fail("status 500"),
                Seen::Bad(Cause::SaysNo),
            ),
            (
                Asked::Process,
                Outcome::fail("no process"),
                Seen::Bad(Cause::Gone),
            ),
            (Asked::Server, Outcome::pass(), Seen::Pass),
        ] {
            let heard = Heard {
                stood_still: true,
                ..heard(asked, outcome)
            };
            assert_eq!(judge(&heard), want, "{heard:?}");
        }
    }

    #[test]
    fn an_agent_proves_what_its_signals_prove() {
        let says = |state, reason: Option<&str>| NotReady::Says {
            state,
            reason: reason.map(str::to_owned),
        };
        let gone = NotReady::Zombie { pid: 7 };
        let expired = NotReady::Expired {
            last_beat_ms: 9,
            ttl_ms: 5,
        };
        let stalled = says(State::NotReady, Some("stalled: no progress for 30s"));
        let (no, is_gone, hung) = (
            Seen::Bad(Cause::SaysNo),
            Seen::Bad(Cause::Gone),
            Seen::Bad(Cause::Hung),
        );
        let table: [(&[NotReady], bool, Seen); 14] = [
            (&[], false, Seen::CouldNotAsk),
            (&[NotReady::OtherEpoch], false, Seen::CouldNotAsk),
            (&[NotReady::FutureBeat], false, Seen::CouldNotAsk),
            (&[NotReady::Incomplete("boot_id")], false, Seen::CouldNotAsk),
            (&[says(State::Starting, None)], true, Seen::NotNow),
            (&[says(State::Stopping, None)], true, Seen::NotNow),
            (
                &[says(State::NotReady, Some("reloads"))],
                false,
                Seen::NotNow,
            ),
            (&[says(State::NotReady, Some("reloads"))], true, no),
            (std::slice::from_ref(&stalled), false, no),
            (std::slice::from_ref(&expired), false, hung),
            (std::slice::from_ref(&gone), false, is_gone),
            (&[gone.clone(), NotReady::OtherEpoch], false, is_gone),
            (&[gone.clone(), expired.clone()], false, hung),
            (
                &[gone.clone(), stalled.clone(), says(State::Starting, None)],
                false,
                Seen::NotNow,
            ),
        ];
        for (instances, no_counts, want) in table {
            assert_eq!(judge_agent(instances, no_counts), want, "{instances:?}");
        }
    }

    #[test]
    fn several_checks_count_by_their_strongest_proof() {
        let order = [
            Seen::NotNow,
            Seen::Bad(Cause::Gone),
            Seen::Bad(Cause::SaysNo),
            Seen::Bad(Cause::Hung),
            Seen::CouldNotAsk,
            Seen::Pass,
        ];
        for (nth, &strong) in order.iter().enumerate() {
            for &weak in &order[nth..] {
                assert_eq!(all(&[strong, weak]), strong);
                assert_eq!(all(&[weak, strong]), strong);
            }
        }
        assert_eq!(all(&[]), Seen::CouldNotAsk);
    }
}
