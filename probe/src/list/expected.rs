//! Which agents are expected, and which of them are not met.

use std::collections::BTreeSet;

use ready_probe_sdk::signal::Name;

use crate::instances::{ListRow, ListStanding};

/// The expected agents without a ready instance.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unmet {
    /// These have no instance.
    pub missing: Vec<Name>,
    /// These have instances, but none that is ready.
    pub not_ready: Vec<Name>,
}

impl Unmet {
    /// The unmet ones of `expected`.
    pub fn of(expected: &[Name], rows: &[ListRow]) -> Self {
        let mut unmet = Self::default();
        for name in expected.iter().collect::<BTreeSet<_>>() {
            let mut standings = rows
                .iter()
                .filter(|row| row.agent == *name)
                .map(|row| row.standing)
                .peekable();
            if standings.peek().is_none() {
                unmet.missing.push(name.clone());
            } else if !standings.any(|standing| standing == ListStanding::Ready) {
                unmet.not_ready.push(name.clone());
            }
        }
        unmet
    }

    /// Whether all expectations are met.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.not_ready.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instances::tests::{row, stalled};

    #[test]
    fn expected_is_an_agent_with_an_instance_that_is_ready() {
        let name = |text: &str| Name::new(text).unwrap();
        let rows = [
            row("a", "x", "ready", None),
            row("a", "y", "starting", None),
            stalled("b"),
        ];
        let unmet = Unmet::of(&["c", "b", "a", "c"].map(name), &rows);
        assert_eq!(unmet.missing, [name("c")]);
        assert_eq!(unmet.not_ready, [name("b")]);
        assert!(Unmet::of(&[name("a")], &rows).is_empty());
    }
}
