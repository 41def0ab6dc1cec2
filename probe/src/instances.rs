//! Who publishes: one row an instance, the worst first, and the sum of all. Pure, but for reading this container's
//! folder.

use std::collections::{BTreeMap, BTreeSet};

use ready_probe_sdk::clock;
use ready_probe_sdk::folder::Folder;
use ready_probe_sdk::freshness::{self, Observed};
use ready_probe_sdk::host::Epoch;
use ready_probe_sdk::signal::{DecodeError, Name, Signal, State};
use ready_probe_sdk::store::{Expiry, Seen};

/// One instance of an agent.
#[derive(Debug)]
pub struct ListRow {
    /// The agent.
    pub agent: Name,
    /// Which process of that name.
    pub instance: String,
    /// Its standing.
    pub standing: ListStanding,
    /// Why.
    pub reason: Option<String>,
    /// What it has published.
    pub signal: Option<Signal>,
    /// How long ago its last beat came, in milliseconds.
    pub beat_age_ms: Option<u64>,
}

/// The standing of an instance, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListStanding {
    /// Its record does not count, whatever it says: the process is dead, or does not beat.
    Stale,
    /// Its place holds no record.
    Malformed,
    /// It lives, but its work hangs.
    Stalled,
    /// It says so.
    NotReady,
    /// It says so.
    Stopping,
    /// It says so.
    Starting,
    /// It says so.
    Ready,
}

impl ListStanding {
    /// Each of them, the worst first.
    pub const ALL: [Self; 7] = [
        Self::Stale,
        Self::Malformed,
        Self::Stalled,
        Self::NotReady,
        Self::Stopping,
        Self::Starting,
        Self::Ready,
    ];

    /// The word for it, for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Malformed => "malformed",
            Self::Stalled => "stalled",
            Self::NotReady => "not_ready",
            Self::Stopping => "stopping",
            Self::Starting => "starting",
            Self::Ready => "ready",
        }
    }

    /// Whether the record itself says so, since a time that it names.
    pub fn is_said(self) -> bool {
        match self {
            Self::Stale | Self::Malformed | Self::Stalled => false,
            Self::NotReady | Self::Stopping | Self::Starting | Self::Ready => true,
        }
    }

    fn of(signal: &Signal) -> Self {
        match signal.state {
            State::Ready => Self::Ready,
            State::Starting => Self::Starting,
            State::Stopping => Self::Stopping,
            State::NotReady if freshness::is_stall(signal.state, signal.reason.as_deref()) => {
                Self::Stalled
            }
            State::NotReady => Self::NotReady,
        }
    }
}

impl ListRow {
    /// A row of a store.
    pub fn seen(seen: &Seen) -> Self {
        let dead = match seen.expiry {
            Expiry::Timely => None,
            expiry @ (Expiry::Never | Expiry::Late { .. } | Expiry::Overdue { .. }) => {
                Some(expiry.to_string())
            }
        };
        Self::new(
            seen.agent.clone(),
            seen.instance.clone(),
            seen.signal.clone(),
            dead,
            seen.age_ms,
        )
    }

    /// A row of this container's folder.
    fn local(
        agent: Name,
        pid: u32,
        signal: Result<Signal, DecodeError>,
        observed: &Observed<'_>,
    ) -> Self {
        let Ok(known) = &signal else {
            return Self::new(agent, format!("process {pid}"), signal, None, None);
        };
        let dead = match freshness::judge(known, observed) {
            Ok(_) | Err(freshness::NotReady::Says { .. }) => None,
            Err(why) => Some(why.to_string()),
        };
        let beat_age_ms = known
            .mono_ms
            .filter(|_| shares_clock(known, observed.epoch))
            .and_then(|beat_ms| observed.now_ms.checked_sub(beat_ms));
        let instance = known.instance.as_str().to_owned();
        Self::new(agent, instance, signal, dead, beat_age_ms)
    }

    fn new(
        agent: Name,
        instance: String,
        signal: Result<Signal, DecodeError>,
        dead: Option<String>,
        beat_age_ms: Option<u64>,
    ) -> Self {
        let (standing, reason, signal) = match (signal, dead) {
            (Ok(signal), Some(why)) => (ListStanding::Stale, Some(why), Some(signal)),
            (Ok(signal), None) => {
                let standing = ListStanding::of(&signal);
                let reason = signal.reason.clone().filter(|r| !r.trim().is_empty());
                // The standing already says so.
                let reason = reason.map(|reason| {
                    if standing == ListStanding::Stalled {
                        freshness::without_stall(&reason).to_owned()
                    } else {
                        reason
                    }
                });
                (standing, reason, Some(signal))
            }
            (Err(e), _) => (ListStanding::Malformed, Some(e.to_string()), None),
        };
        Self {
            agent,
            instance,
            standing,
            reason,
            signal,
            beat_age_ms,
        }
    }

    fn place(&self) -> (ListStanding, &Name, &str) {
        (self.standing, &self.agent, &self.instance)
    }
}

/// Whether the beat was read from this reader's clock.
fn shares_clock(signal: &Signal, epoch: &Epoch) -> bool {
    let same_time = signal.time_ns.is_none() || signal.time_ns == epoch.time_ns;
    signal.boot_id == epoch.boot_id && same_time
}

/// The instances of these agents, or of all, in this container's folder.
pub fn of_folder(folder: &Folder, names: &[Name]) -> Result<Vec<ListRow>, String> {
    let unreadable = |e| format!("the folder of signals can't be read: {e}");
    let all = match names {
        [] => folder.agents().map_err(unreadable)?,
        names => names.to_vec(),
    };
    let epoch = Epoch::current();
    let mut rows = Vec::new();
    for agent in all {
        let found = folder.read(&agent).map_err(unreadable)?;
        let now_ms = clock::mono_ms();
        rows.extend(found.believed.into_iter().map(|record| {
            let observed = Observed {
                epoch: &epoch,
                process: record.process,
                now_ms,
            };
            ListRow::local(agent.clone(), record.pid, record.signal, &observed)
        }));
    }
    Ok(rows)
}

/// Sorts the worst to the front.
pub fn sort(rows: &mut [ListRow]) {
    rows.sort_by(|a, b| a.place().cmp(&b.place()));
}

/// The sum of all rows.
#[derive(Debug)]
pub struct Summary {
    /// How many agents there are.
    pub agents: usize,
    /// How many instances they have.
    pub instances: usize,
    /// How many have each standing.
    pub standings: BTreeMap<ListStanding, usize>,
}

impl Summary {
    /// Counts.
    pub fn of(rows: &[ListRow]) -> Self {
        let mut standings = BTreeMap::from([(ListStanding::Ready, 0)]);
        for row in rows {
            *standings.entry(row.standing).or_default() += 1;
        }
        let agents: BTreeSet<&Name> = rows.iter().map(|row| &row.agent).collect();
        Self {
            agents: agents.len(),
            instances: rows.len(),
            standings,
        }
    }

    /// `24 agents: 23 ready, 1 stalled`.
    pub fn text(&self) -> String {
        let count = |n: usize, one: &str| match n {
            1 => format!("1 {one}"),
            n => format!("{n} {one}s"),
        };
        let mut whole = count(self.agents, "agent");
        if self.instances != self.agents {
            whole = format!("{whole}, {}", count(self.instances, "instance"));
        }
        let (ready, others): (Vec<_>, Vec<_>) = self
            .standings
            .iter()
            .partition(|(standing, _)| **standing == ListStanding::Ready);
        let counts = ready.iter().chain(&others);
        let counts: Vec<String> = counts
            .map(|(standing, n)| format!("{n} {}", standing.word()))
            .collect();
        format!("{whole}: {}", counts.join(", "))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn row(agent: &str, instance: &str, state: &str, reason: Option<&str>) -> ListRow {
        let record = serde_json::json!({
            "v": 1, "agent": agent, "instance": instance, "state": state, "reason": reason,
            "ttl_ms": 60_000,
        });
        ListRow::seen(&Seen {
            agent: Name::new(agent).unwrap(),
            instance: instance.to_owned(),
            signal: Signal::decode(record.to_string().as_bytes()),
            expiry: Expiry::Timely,
            age_ms: Some(2_000),
        })
    }

    pub fn stalled(agent: &str) -> ListRow {
        let reason = "stalled: no progress for 12s (limit 10s)";
        row(agent, "x", "not_ready", Some(reason))
    }

    #[test]
    fn the_worst_stand_first_and_those_alike_by_their_names() {
        let mut rows = vec![
            row("b", "x", "ready", None),
            row("a", "y", "ready", None),
            row("a", "x", "ready", None),
            row("z", "x", "starting", None),
            row("y", "x", "not_ready", Some("reloading")),
            stalled("x"),
        ];
        sort(&mut rows);
        let places: Vec<(&str, &str)> = rows
            .iter()
            .map(|row| (row.agent.as_str(), row.standing.word()))
            .collect();
        assert_eq!(
            places,
            [
                ("x", "stalled"),
                ("y", "not_ready"),
                ("z", "starting"),
                ("a", "ready"),
                ("a", "ready"),
                ("b", "ready"),
            ]
        );
        assert_eq!(
            rows[0].reason.as_deref(),
            Some("no progress for 12s (limit 10s)")
        );
    }

    #[test]
    fn the_summary_counts_agents_and_how_their_instances_stand() {
        let text = |rows: &[ListRow]| Summary::of(rows).text();
        assert_eq!(text(&[row("a", "x", "ready", None)]), "1 agent: 1 ready");
        assert_eq!(text(&[stalled("a")]), "1 agent: 0 ready, 1 stalled");
        let rows = [
            row("a", "x", "ready", None),
            row("a", "y", "starting", None),
            stalled("b"),
        ];
        assert_eq!(
            text(&rows),
            "2 agents, 3 instances: 1 ready, 1 stalled, 1 starting"
        );
    }
}
