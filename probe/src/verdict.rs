//! The verdict: a pure fold of all outcomes, in any order. Knows nothing of time or I/O.

use crate::outcome::Outcome;

/// Whose fault a check finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// This container's.
    Own,
    /// Somebody else's.
    Dependency,
}

impl Scope {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Dependency => "dependency",
        }
    }
}

/// What the probe says about the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything passes.
    Healthy,
    /// It works, but somebody should have a look.
    Degraded,
    /// It has not come up yet.
    Starting,
    /// It does not work.
    Unhealthy,
}

impl Verdict {
    /// Each of them.
    pub const ALL: [Self; 4] = [
        Self::Healthy,
        Self::Degraded,
        Self::Starting,
        Self::Unhealthy,
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Starting => "starting",
            Self::Unhealthy => "unhealthy",
        }
    }

    /// Whether the container counts as healthy: the probe's exit code says so.
    pub fn is_healthy(self) -> bool {
        match self {
            Self::Healthy | Self::Degraded => true,
            Self::Starting | Self::Unhealthy => false,
        }
    }
}

/// Whether an `Unknown` is within the check's grace, or a "no" not yet confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tolerance {
    /// The check has passed, it did not fail since, and its grace is not over. While an answer is held,
    /// also: it has passed, and has not failed for long enough to be believed.
    Tolerated {
        /// Until when, by `CLOCK_MONOTONIC` in milliseconds; `None` for ever. For whoever asks
        /// again: the fold knows no time.
        until_ms: Option<u64>,
    },
    /// It never passed in this epoch, failed last, or its grace is over.
    Exhausted,
}

/// One outcome, with what the fold has to know about its check.
#[derive(Debug, Clone, Copy)]
pub struct Ballot<'a> {
    /// The check's answer.
    pub outcome: &'a Outcome,
    /// Whether the check decides; an optional one is only reported.
    pub required: bool,
    /// Whose fault it finds.
    pub scope: Scope,
    /// Whether it has passed before in this epoch.
    pub passed_before: bool,
    /// Whether there is no agent to say that the container is still starting: then each of its own
    /// checks says so, until it has passed.
    pub without_agents: bool,
    /// If it does not pass: whether that is tolerated.
    pub tolerance: Tolerance,
}

/// What one ballot contributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    Pass,
    Blemish,
    NotYet,
    No,
}

impl Ballot<'_> {
    fn weight(&self) -> Weight {
        if !self.required {
            return match self.outcome {
                Outcome::Pass(_) => Weight::Pass,
                Outcome::Blemished(_) | Outcome::Fail(_) | Outcome::Unknown(_) => Weight::Blemish,
            };
        }
        match (self.outcome, self.tolerance) {
            (Outcome::Pass(_), _) => Weight::Pass,
            (Outcome::Blemished(_), _) => Weight::Blemish,
            (Outcome::Fail(_) | Outcome::Unknown(_), Tolerance::Tolerated { .. }) => {
                Weight::Blemish
            }
            (Outcome::Unknown(_), Tolerance::Exhausted) if self.without_agents && self.is_new() => {
                Weight::NotYet
            }
            (Outcome::Unknown(_), Tolerance::Exhausted) => Weight::No,
            (Outcome::Fail(failure), _)
                if (failure.starting || self.without_agents) && self.is_new() =>
            {
                Weight::NotYet
            }
            (Outcome::Fail(_), _) => Weight::No,
        }
    }

    /// It is about this container and has not passed yet.
    fn is_new(&self) -> bool {
        self.scope == Scope::Own && !self.passed_before
    }

    /// How much this ballot weighs in the report: the first line is about the heaviest.
    pub fn rank(&self) -> u8 {
        match (self.weight(), self.outcome) {
            (Weight::No, Outcome::Fail(_)) => 4,
            (Weight::NotYet, _) => 3,
            (Weight::No, _) => 2,
            (Weight::Blemish, _) => 1,
            (Weight::Pass, _) => 0,
        }
    }
}

/// Folds all ballots into one verdict.
pub fn fold<'a>(ballots: impl Iterator<Item = Ballot<'a>>) -> Verdict {
    let mut starting = false;
    let mut failed = false;
    let mut exhausted = false;
    let mut blemish = false;
    for ballot in ballots {
        match (ballot.weight(), ballot.outcome) {
            (Weight::Pass, _) => {}
            (Weight::Blemish, _) => blemish = true,
            (Weight::NotYet, _) => starting = true,
            (Weight::No, Outcome::Unknown(_)) => exhausted = true,
            (Weight::No, Outcome::Pass(_) | Outcome::Blemished(_) | Outcome::Fail(_)) => {
                failed = true;
            }
        }
    }
    // An agent that is still coming up explains the container's state, whatever a dependency
    // that has not answered yet may add.
    match (failed, starting, exhausted, blemish) {
        (true, ..) => Verdict::Unhealthy,
        (false, true, ..) => Verdict::Starting,
        (false, false, true, _) => Verdict::Unhealthy,
        (false, false, false, true) => Verdict::Degraded,
        (false, false, false, false) => Verdict::Healthy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct Case(Outcome, bool, Scope, bool, Tolerance);

    fn verdict(cases: &[&Case]) -> &'static str {
        verdict_of(cases, false)
    }

    fn verdict_of(cases: &[&Case], without_agents: bool) -> &'static str {
        let ballots = cases.iter().map(|c| Ballot {
            without_agents,
            outcome: &c.0,
            required: c.1,
            scope: c.2,
            passed_before: c.3,
            tolerance: c.4,
        });
        fold(ballots).word()
    }

    use Scope::{Dependency, Own};
    use Tolerance::Exhausted;
    #[allow(non_upper_case_globals, reason = "it reads as the variant that it is")]
    const Tolerated: Tolerance = Tolerance::Tolerated { until_ms: None };

    #[test]
    fn truth_table() {
        let pass = &Case(Outcome::pass(), true, Own, true, Exhausted);
        let fail = &Case(Outcome::fail("n"), true, Own, true, Exhausted);
        let fail_dep = &Case(Outcome::fail("n"), true, Dependency, false, Exhausted);
        let not_yet = &Case(Outcome::starting("s"), true, Own, false, Exhausted);
        let again = &Case(Outcome::starting("s"), true, Own, true, Exhausted);
        let dep_not_yet = &Case(Outcome::starting("s"), true, Dependency, false, Exhausted);
        let tolerated = &Case(Outcome::unknown("?"), true, Dependency, true, Tolerated);
        let exhausted = &Case(Outcome::unknown("?"), true, Dependency, false, Exhausted);
        let unconfirmed = &Case(Outcome::fail("n"), true, Own, true, Tolerated);
        let opt_fail = &Case(Outcome::fail("n"), false, Own, true, Exhausted);
        let opt_unknown = &Case(Outcome::unknown("?"), false, Own, true, Exhausted);
        let blemished = &Case(Outcome::Blemished("b".into()), true, Own, true, Exhausted);
        let opt_blemished = &Case(Outcome::Blemished("b".into()), false, Own, true, Exhausted);
        let opt_pass = &Case(Outcome::pass(), false, Own, true, Exhausted);
        let table: &[(&[&Case], &str)] = &[
            (&[], "healthy"),
            (&[pass, opt_pass], "healthy"),
            (&[pass, fail], "unhealthy"),
            (&[fail_dep], "unhealthy"),
            (&[not_yet], "starting"),
            (&[not_yet, pass], "starting"),
            (&[not_yet, fail], "unhealthy"),
            (&[not_yet, fail_dep], "unhealthy"),
            (&[not_yet, tolerated], "starting"),
            (&[not_yet, exhausted], "starting"),
            (&[again], "unhealthy"),
            (&[dep_not_yet], "unhealthy"),
            (&[tolerated, pass], "degraded"),
            (&[unconfirmed, pass], "degraded"),
            (&[unconfirmed, fail], "unhealthy"),
            (&[exhausted, pass], "unhealthy"),
            (&[tolerated, exhausted], "unhealthy"),
            (&[opt_fail, pass], "degraded"),
            (&[opt_unknown, pass], "degraded"),
            (&[opt_fail, tolerated], "degraded"),
            (&[blemished, pass], "degraded"),
            (&[blemished, fail], "unhealthy"),
            (&[opt_blemished, pass], "degraded"),
            (&[opt_fail, exhausted], "unhealthy"),
        ];
        for (cases, want) in table {
            assert_eq!(verdict(cases), *want);
            let mut reversed = cases.to_vec();
            reversed.reverse();
            assert_eq!(verdict(&reversed), *want, "the order must not matter");
        }
    }

    #[test]
    fn without_agents_each_own_check_is_starting_until_it_has_passed() {
        let pass = &Case(Outcome::pass(), true, Own, true, Exhausted);
        let new_fail = &Case(Outcome::fail("n"), true, Own, false, Exhausted);
        let new_unknown = &Case(Outcome::unknown("?"), true, Own, false, Exhausted);
        let fail = &Case(Outcome::fail("n"), true, Own, true, Exhausted);
        let unknown = &Case(Outcome::unknown("?"), true, Own, true, Exhausted);
        let dependency = &Case(Outcome::fail("n"), true, Dependency, false, Exhausted);
        let optional = &Case(Outcome::fail("n"), false, Own, false, Exhausted);
        for (cases, with, without) in [
            (&[pass][..], "healthy", "healthy"),
            (&[new_fail], "unhealthy", "starting"),
            (&[new_unknown, pass], "unhealthy", "starting"),
            (&[fail], "unhealthy", "unhealthy"),
            (&[unknown], "unhealthy", "unhealthy"),
            (&[new_fail, fail], "unhealthy", "unhealthy"),
            (&[new_fail, dependency], "unhealthy", "unhealthy"),
            (&[optional, pass], "degraded", "degraded"),
        ] {
            assert_eq!(verdict_of(cases, false), with);
            assert_eq!(verdict_of(cases, true), without);
        }
    }
}
