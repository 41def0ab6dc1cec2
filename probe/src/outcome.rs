//! What a check answers.

use serde::{Deserialize, Serialize};

/// A check's answer. `Fail` is the target's own "no"; `Unknown` is everything else: nobody
/// answered, or the answer does not answer the question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Yes; with a note for people, which may be empty.
    Pass(String),
    /// Yes, but somebody should have a look.
    Blemished(String),
    /// No, and why.
    Fail(Fault),
    /// Nobody answered, and what happened instead.
    Unknown(String),
}

/// Why a target says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// For people.
    pub reason: String,
    /// The agent says `starting`, or has not published yet.
    pub starting: bool,
    /// It is not there. After a pass, the store may be at fault: one that was restarted empty has
    /// lost the signals of agents that are well.
    pub absent: bool,
    /// A person has stopped it, or paused it: nobody else should start it.
    pub by_hand: bool,
}

impl Fault {
    fn plain(reason: String) -> Self {
        Self {
            reason,
            starting: false,
            absent: false,
            by_hand: false,
        }
    }
}

impl Outcome {
    /// A pass with nothing to add.
    pub fn pass() -> Self {
        Self::Pass(String::new())
    }

    /// A plain no.
    pub fn fail(reason: impl Into<String>) -> Self {
        Self::Fail(Fault::plain(reason.into()))
    }

    /// No, since it is not there.
    pub fn absent(reason: impl Into<String>) -> Self {
        Self::Fail(Fault {
            absent: true,
            ..Fault::plain(reason.into())
        })
    }

    /// No, since a person wants it so.
    pub fn by_hand(reason: impl Into<String>) -> Self {
        Self::Fail(Fault {
            by_hand: true,
            ..Fault::plain(reason.into())
        })
    }

    /// Not yet.
    pub fn starting(reason: impl Into<String>) -> Self {
        Self::Fail(Fault {
            starting: true,
            ..Fault::plain(reason.into())
        })
    }

    /// No answer.
    pub fn unknown(cause: impl Into<String>) -> Self {
        Self::Unknown(cause.into())
    }

    /// The word for it in reports.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pass(_) | Self::Blemished(_) => "pass",
            Self::Fail(_) => "fail",
            Self::Unknown(_) => "unknown",
        }
    }

    /// The note, reason or cause.
    pub fn text(&self) -> &str {
        match self {
            Self::Pass(text) | Self::Blemished(text) | Self::Unknown(text) => text,
            Self::Fail(failure) => &failure.reason,
        }
    }

    /// The same outcome with another text.
    pub fn with_text(self, change: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Pass(text) => Self::Pass(change(text)),
            Self::Blemished(text) => Self::Blemished(change(text)),
            Self::Unknown(text) => Self::Unknown(change(text)),
            Self::Fail(failure) => Self::Fail(Fault {
                reason: change(failure.reason),
                ..failure
            }),
        }
    }

    /// A pass says `note` before anything else.
    pub fn with_first_note(self, note: &str) -> Self {
        match self {
            Self::Pass(text) if note.is_empty() => Self::Pass(text),
            Self::Pass(text) if text.is_empty() => Self::Pass(note.to_owned()),
            Self::Pass(text) => Self::Pass(format!("{note}; {text}")),
            outcome @ (Self::Blemished(_) | Self::Fail(_) | Self::Unknown(_)) => outcome,
        }
    }

    /// Whether it is a yes.
    pub fn passes(&self) -> bool {
        match self {
            Self::Pass(_) | Self::Blemished(_) => true,
            Self::Fail(_) | Self::Unknown(_) => false,
        }
    }

    /// What the option `not` makes of it: Pass and Fail change places, Unknown stays.
    pub fn inverted(self) -> Self {
        match self {
            Self::Pass(note) if note.is_empty() => Self::fail("it passes, and must not"),
            Self::Pass(note) | Self::Blemished(note) => {
                Self::fail(format!("it passes, and must not: {note}"))
            }
            Self::Fail(failure) => Self::Pass(failure.reason),
            Self::Unknown(cause) => Self::Unknown(cause),
        }
    }
}

/// One of several: passes if one does, fails if all do, else nobody knows. It is absent if one of
/// them is: that one might have passed. It is starting, or stopped by hand, if all of them are. Apart from the order of the joined texts, the order does
/// not matter.
pub fn any(outcomes: Vec<(String, Outcome)>) -> Outcome {
    let mut unknown = false;
    let mut starting = true;
    let mut by_hand = true;
    let mut absent = false;
    let mut texts = Vec::new();
    for (label, outcome) in outcomes {
        match &outcome {
            Outcome::Pass(note) if note.is_empty() => return Outcome::Pass(format!("by {label}")),
            Outcome::Pass(note) => return Outcome::Pass(format!("by {label}: {note}")),
            Outcome::Blemished(note) => return Outcome::Blemished(format!("by {label}: {note}")),
            Outcome::Fail(failure) => {
                starting &= failure.starting;
                by_hand &= failure.by_hand;
                absent |= failure.absent;
            }
            Outcome::Unknown(_) => unknown = true,
        }
        texts.push(format!("{label}: {}", outcome.text()));
    }
    let text = texts.join("; ");
    if unknown {
        return Outcome::Unknown(text);
    }
    Outcome::Fail(Fault {
        reason: text,
        starting: starting && !absent,
        absent,
        by_hand,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(outcomes: &[Outcome]) -> Vec<(String, Outcome)> {
        outcomes
            .iter()
            .map(|o| ("x".to_owned(), o.clone()))
            .collect()
    }

    #[test]
    fn any_is_a_three_valued_or() {
        let pass = Outcome::pass();
        let fail = Outcome::fail("no");
        let unknown = Outcome::unknown("?");
        let word = |outcomes: &[Outcome]| any(labelled(outcomes)).word();
        assert_eq!(word(&[pass.clone(), fail.clone()]), "pass");
        assert_eq!(word(&[unknown.clone(), pass]), "pass");
        assert_eq!(word(&[fail.clone(), unknown.clone()]), "unknown");
        assert_eq!(word(&[unknown, fail.clone()]), "unknown");
        assert_eq!(word(&[fail.clone(), fail.clone()]), "fail");
        let start = Outcome::starting("s");
        assert_eq!(any(labelled(&[start.clone(), start.clone()])), {
            Outcome::starting("x: s; x: s")
        });
        assert_eq!(
            any(labelled(&[start, fail.clone()])),
            Outcome::fail("x: s; x: no")
        );
        let stopped = Outcome::by_hand("o");
        assert_eq!(
            any(labelled(&[stopped.clone(), stopped.clone()])),
            Outcome::by_hand("x: o; x: o")
        );
        assert_eq!(
            any(labelled(&[stopped, fail])),
            Outcome::fail("x: o; x: no")
        );
    }

    #[test]
    fn not_never_makes_an_answer_of_none() {
        assert_eq!(Outcome::unknown("?").inverted(), Outcome::unknown("?"));
        assert_eq!(Outcome::fail("no").inverted(), Outcome::Pass("no".into()));
        assert_eq!(Outcome::pass().inverted().word(), "fail");
    }
}
