//! When an agent's predecessors are looked for: first of all, and again while one of them may be about to
//! die, or something of theirs may still be under way to the store.
//!
//! Knows neither clock nor store.

/// How often to look again whether an agent's sibling has died: a look reads the whole fleet.
const LOOKS: u8 = 2;
/// And no sooner than this after the last look.
const LOOK_PAUSE_MS: u64 = 1_000;

/// What is still to be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looks(Left);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// The first turn from then on looks for it; later ones do, so many times, while a process
    /// lives that may be about to die: some supervisors start the next one first.
    First {
        from_ms: u64,
        more: u8,
    },
    /// It has been, while some of it could still be under way.
    Again,
    Nothing,
}

impl Default for Looks {
    /// Nobody has looked yet.
    fn default() -> Self {
        Self(Left::First {
            from_ms: 0,
            more: LOOKS,
        })
    }
}

impl Looks {
    /// Whether the turn that is taken now looks; `retells` says that it tells everything again.
    #[must_use]
    pub fn is_due(self, now_ms: u64, retells: bool) -> bool {
        match self.0 {
            Left::First { from_ms, .. } => from_ms <= now_ms,
            Left::Again => retells,
            Left::Nothing => false,
        }
    }

    /// What is left after a look, which has found a sibling or not; `retelling` says that everything
    /// will be told again.
    #[must_use]
    pub fn after(self, has_sibling: bool, retelling: bool, now_ms: u64) -> Self {
        Self(match self.0 {
            Left::First { more, .. } if more > 0 && has_sibling => Left::First {
                from_ms: now_ms.saturating_add(LOOK_PAUSE_MS),
                more: more - 1,
            },
            Left::First { .. } | Left::Again | Left::Nothing if retelling => Left::Again,
            Left::First { .. } | Left::Again | Left::Nothing => Left::Nothing,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_alone_looks_once() {
        let looks = Looks::default();
        assert!(looks.is_due(0, false));
        let looks = looks.after(false, false, 0);
        assert!(!looks.is_due(u64::MAX, true));
    }

    #[test]
    fn who_has_a_sibling_looks_twice_more_and_not_at_once() {
        let mut looks = Looks::default();
        for now_ms in [0, 1_000] {
            looks = looks.after(true, false, now_ms);
            assert!(!looks.is_due(now_ms + 999, true));
            assert!(looks.is_due(now_ms + 1_000, false));
        }
        assert_eq!(looks.after(true, false, 2_000), Looks(Left::Nothing));
    }

    #[test]
    fn while_everything_is_told_again_it_looks_with_each_of_these() {
        let looks = Looks::default().after(false, true, 0);
        assert!(!looks.is_due(u64::MAX, false));
        assert!(looks.is_due(0, true));
        assert!(looks.after(false, true, 1_000).is_due(1_000, true));
        assert_eq!(looks.after(false, false, 1_000), Looks(Left::Nothing));
    }
}
