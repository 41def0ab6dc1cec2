//! What all that was heard of one service means together.

use ready_probe::check::file;
use ready_probe::verdict::Scope;

use super::{Asking, Word};
use crate::container::Sight;
use crate::machine::{Barrier, Instance};
use crate::processes::{Match, Pattern, Running, instance, youngest};
use crate::question::{Question, Reply};
use crate::recovery::Whose;
use crate::seen::{self, Seen, judge};

/// One answer, as far as it counts here.
struct Said {
    is_own: bool,
    seen: Seen,
    label: String,
    text: String,
}

/// What the service's checks, and the engine of its container, say together.
pub(super) fn all(
    question: &Question,
    sight: Option<&Sight>,
    checks: &[(&Asking<'_>, &Word)],
    running: Option<&Running>,
) -> Reply {
    let contained = question.container.as_ref().zip(sight);
    let of_engine = contained.map(|(container, sight)| Said {
        is_own: true,
        seen: sight.seen,
        label: format!("container:{}", container.name),
        text: sight.text.clone(),
    });
    let of_checks = checks.iter().map(|(check, word)| said(check, word));
    let said: Vec<Said> = of_engine.into_iter().chain(of_checks).collect();
    let own = said.iter().filter(|one| one.is_own);
    let own: Vec<Seen> = own.map(|one| one.seen).collect();
    let seen = match sight.map(|sight| sight.seen) {
        // Whatever else is said: which container it is of, and whether that may be restarted, is not known.
        Some(Seen::CouldNotAsk) => Seen::CouldNotAsk,
        Some(Seen::Pass | Seen::Bad(_) | Seen::NotNow) | None => seen::all(&own),
    };
    let needs = said
        .iter()
        .find(|one| !one.is_own && one.seen != Seen::Pass);
    let decides = said.iter().find(|one| one.is_own && one.seen == seen);
    let told = match (seen, needs) {
        (Seen::Pass, Some(needs)) => Some(needs),
        (Seen::Pass | Seen::Bad(_) | Seen::NotNow | Seen::CouldNotAsk, _) => decides,
    };
    let text = told.map(|one| match said.len() {
        1 => one.text.clone(),
        _ => format!("{}: {}", one.label, one.text),
    });
    let process = checks.iter().find_map(|(_, word)| word.process);
    let process = match &question.of {
        Some(of) => whose(of, question.restart, running),
        None => process,
    };
    let of_process = process.map(|(pid, start)| -> Instance { instance(pid, start) });
    Reply {
        seen,
        text: text.unwrap_or_default(),
        process,
        instance: sight.map_or(of_process, |sight| sight.instance),
        life: sight.and_then(|sight| sight.life.clone()),
        barrier: match (needs, sight) {
            (Some(_), _) => Barrier::Needs,
            (None, Some(sight)) => sight.barrier,
            (None, None) => Barrier::Open,
        },
        took: checks.iter().filter_map(|(_, word)| word.took).max(),
    }
}

fn said(check: &Asking<'_>, word: &Word) -> Said {
    let seen = judge(&word.heard);
    let text = word.heard.outcome.text();
    Said {
        is_own: check.target.scope == Scope::Own,
        seen,
        label: check.target.label().to_owned(),
        text: match word.heard.stood_still && seen == Seen::CouldNotAsk {
            true => format!("{text}; meanwhile ready-keeper itself stood still"),
            false => text.to_owned(),
        },
    }
}

/// The process that a restart would end.
fn whose(of: &Whose, restart: Option<u32>, running: Option<&Running>) -> Option<(u32, u64)> {
    match of {
        Whose::Pidfile(path) => file::process_of(path).ok(),
        Whose::Pattern(part) => {
            let matching = running?.matching(&Pattern::Part(part.clone()), restart);
            youngest(&matching).map(|Match { pid, start, .. }| (pid, start))
        }
    }
}
