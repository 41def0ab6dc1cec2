//! What an answer means for recovery. Pure: no I/O, no clock.

use ready_probe::outcome::Outcome;
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
    /// A process by its command line.
    Process,
    /// A command.
    Command,
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
    /// It is in this container: that nobody accepts there is the service's doing, not a network's.
    pub is_here: bool,
    /// Whether somebody accepted connections right after it, for a server that did not pass.
    pub door: Option<Outcome>,
}

/// What a shell exits with where the command can't be run, or is not there: POSIX, 2.8.2.
const NOT_RUN: [&str; 2] = ["exit status 126", "exit status 127"];

/// What it means.
pub fn judge(heard: &Heard) -> Seen {
    match (&heard.outcome, heard.asked) {
        (Outcome::Pass(_) | Outcome::Blemished(_), _) => Seen::Pass,
        (Outcome::Fail(fault), _) if fault.starting || fault.by_hand => Seen::NotNow,
        (Outcome::Fail(_), Asked::Door | Asked::Process) => Seen::Bad(Cause::Gone),
        (Outcome::Fail(_), Asked::Server) => match &heard.door {
            Some(Outcome::Fail(_)) => Seen::Bad(Cause::Gone),
            Some(Outcome::Pass(_) | Outcome::Blemished(_) | Outcome::Unknown(_)) | None => {
                Seen::Bad(Cause::SaysNo)
            }
        },
        (Outcome::Fail(fault), Asked::Command) => {
            let is_not_run = NOT_RUN
                .iter()
                .any(|status| match fault.reason.strip_prefix(status) {
                    Some(rest) => rest.is_empty() || rest.starts_with(':'),
                    None => false,
                });
            if is_not_run {
                Seen::CouldNotAsk
            } else {
                Seen::Bad(Cause::SaysNo)
            }
        }
        (Outcome::Unknown(_), Asked::Server) => match &heard.door {
            Some(Outcome::Pass(_) | Outcome::Blemished(_)) => Seen::Bad(Cause::Hung),
            Some(Outcome::Fail(_)) => Seen::Bad(Cause::Gone),
            Some(Outcome::Unknown(_)) | None if heard.timed_out && heard.is_here => {
                Seen::Bad(Cause::Hung)
            }
            Some(Outcome::Unknown(_)) | None => Seen::CouldNotAsk,
        },
        (Outcome::Unknown(_), Asked::Door) if heard.timed_out && heard.is_here => {
            Seen::Bad(Cause::Hung)
        }
        (Outcome::Unknown(_), Asked::Command) if heard.timed_out => Seen::Bad(Cause::Hung),
        (Outcome::Unknown(_), Asked::Door | Asked::Process | Asked::Command) => Seen::CouldNotAsk,
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
                is_here,
                door,
            };
            assert_eq!(judge(&heard), want, "{heard:?}");
        }
    }
}
