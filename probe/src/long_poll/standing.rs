//! What the answer about an agent stands on, besides its records: processes that live, and a time until which its
//! beats count.

use std::collections::BTreeSet;

use ready_probe_sdk::clock;
use ready_probe_sdk::folder::Folder;
use ready_probe_sdk::host::Process;
use ready_probe_sdk::signal::Name;

use ready_probe::probe::Probe;
use ready_probe::target::{Kind, Target};

/// What may change an answer without a word in the folder.
#[derive(Debug, Default)]
pub struct Standing {
    /// The processes that the records name, and when they started.
    pub processes: Vec<(u32, u64)>,
    /// When the first beat is too old, by `CLOCK_MONOTONIC` in milliseconds.
    pub until_ms: Option<u64>,
}

impl Standing {
    /// Of one agent, as its records are now. What can't be read stands on nothing: the folder tells when that
    /// changes.
    pub fn of(folder: &Folder, agent: &Name) -> Self {
        let mut standing = Self::default();
        let Ok(found) = folder.read(agent) else {
            return standing;
        };
        let now_ms = clock::mono_ms();
        for record in &found.believed {
            if let Process::Alive { start, .. } = record.process {
                standing.processes.push((record.pid, start));
            }
            let Ok(signal) = &record.signal else { continue };
            let (Some(beat_ms), Some(ttl_ms)) = (signal.mono_ms, signal.ttl_ms) else {
                continue;
            };
            // A TTL is over when more than that has passed.
            let until_ms = beat_ms.saturating_add(ttl_ms).saturating_add(1);
            if until_ms > now_ms && standing.until_ms.is_none_or(|first_ms| until_ms < first_ms) {
                standing.until_ms = Some(until_ms);
            }
        }
        standing
    }
}

/// The agents of this container that a target asks about.
pub fn agents_in(target: &Target) -> BTreeSet<Name> {
    match &target.kind {
        Kind::Agent { name, .. } => BTreeSet::from([name.clone()]),
        Kind::Any(targets) => targets.iter().flat_map(agents_in).collect(),
        Kind::Agents
        | Kind::Peer { .. }
        | Kind::Redis(_)
        | Kind::Nats(_)
        | Kind::Http(_)
        | Kind::Connect(_)
        | Kind::Process { .. }
        | Kind::Pid(_)
        | Kind::Exec(_)
        | Kind::File(_)
        | Kind::Supervisor(_)
        | Kind::Container(_)
        | Kind::Resource(_) => BTreeSet::new(),
    }
}

/// What each agent within a target says of itself; nothing if there is none.
pub fn words(probe: &Probe<'_>, target: &Target) -> Vec<&'static str> {
    if let Kind::Any(targets) = &target.kind {
        return targets
            .iter()
            .flat_map(|target| words(probe, target))
            .collect();
    }
    let answer = probe.ask_agent(target);
    answer
        .into_iter()
        .map(|answer| answer.outcome.word())
        .collect()
}
