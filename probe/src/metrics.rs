//! A probe's report as metrics: what was asked, and how the agents stand that were asked about.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use ready_probe::exposition::Exposition;
use ready_probe::hung_mount;
use ready_probe::report::{Report, Row};
use ready_probe::settings::Settings;
use ready_probe::verdict::Verdict;
use ready_probe_sdk::clock;
use ready_probe_sdk::host;
use ready_probe_sdk::signal::Name;

use crate::instances::{self, ListRow, ListStanding};
use crate::start::Start;

const OUTCOMES: [&str; 3] = ["pass", "fail", "unknown"];

/// The instances of each agent that was asked about.
type Standings = BTreeMap<Name, Vec<ListRow>>;

/// All metrics of a probe.
pub fn of(report: &Report, settings: &Settings, took: Duration, start: &Start) -> String {
    now(report, &agents(report, settings, start), took)
}

/// The same where nobody knows what the settings are.
pub fn of_checks(report: &Report, took: Duration) -> String {
    now(report, &Standings::new(), took)
}

fn now(report: &Report, agents: &Standings, took: Duration) -> String {
    let now = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    write(report, agents, &host::name(), now, took)
}

/// Looks once more how the agents stand. Where that may hang, the checks alone tell.
fn agents(report: &Report, settings: &Settings, start: &Start) -> Standings {
    let folder = &settings.folder.value;
    let is_far = |mounts| hung_mount::paths::of_folder(mounts, folder).is_some();
    if start.far_mounts().is_some_and(is_far) {
        return Standings::new();
    }
    let names = report.rows.iter().filter_map(|row| {
        let name = row.target.strip_prefix("agent:")?;
        Name::new(name.split('#').next()?).ok()
    });
    let of_each = names.filter_map(|name| {
        let rows = instances::of_folder(folder, std::slice::from_ref(&name)).ok()?;
        Some((name, rows))
    });
    of_each.collect()
}

fn write(report: &Report, agents: &Standings, host: &str, now: Duration, took: Duration) -> String {
    let mut metrics = Exposition::new("ready_probe_", &[("host", host)]);
    metrics.gauge("info", "The version of ready-probe.");
    metrics.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    metrics.gauge(
        "timestamp_seconds",
        "When it answered, in seconds since 1970.",
    );
    metrics.sample(&[], seconds(now));
    metrics.gauge("duration_seconds", "How long it took to answer.");
    metrics.sample(&[], took.as_secs_f64());
    metrics.gauge("verdict", "The probe's verdict: 1 for the one that holds.");
    metrics.states(&[], &Verdict::ALL.map(Verdict::word), report.verdict.word());
    let checks = labelled(report);
    if !checks.is_empty() {
        metrics.gauge(
            "check_outcome",
            "What a check answered: 1 for the state that holds.",
        );
        for check in &checks {
            metrics.states(&check.labels(), &OUTCOMES, check.row.outcome.word());
        }
        metrics.gauge("check_duration_seconds", "How long a check took.");
        for check in &checks {
            metrics.sample(&check.labels(), check.row.elapsed.as_secs_f64());
        }
    }
    if !agents.is_empty() {
        metrics.gauge(
            "agent_instances",
            "Processes that have published as an agent, by their state.",
        );
    }
    for (agent, rows) in agents {
        for standing in ListStanding::ALL {
            let count = rows.iter().filter(|row| row.standing == standing).count();
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            let labels = [("agent", agent.as_str()), ("state", standing.word())];
            metrics.sample(&labels, f64::from(count));
        }
    }
    let beat = |rows: &[ListRow]| rows.iter().filter_map(|row| row.beat_age_ms).min();
    let beats = agents
        .iter()
        .filter_map(|(agent, rows)| Some((agent, beat(rows)?)));
    for (number, (agent, age_ms)) in beats.enumerate() {
        if number == 0 {
            metrics.gauge(
                "agent_beat_timestamp_seconds",
                "When the last beat of an agent came, in seconds since 1970.",
            );
        }
        let beat = now.saturating_sub(Duration::from_millis(age_ms));
        metrics.sample(&[("agent", agent.as_str())], seconds(beat));
    }
    metrics.text()
}

/// A check under a name of its own.
struct Labelled<'a> {
    name: String,
    row: &'a Row,
}

impl Labelled<'_> {
    fn labels(&self) -> [(&str, &str); 4] {
        let optional = if self.row.required { "false" } else { "true" };
        [
            ("check", &self.name),
            ("target", &self.row.target),
            ("scope", self.row.scope.word()),
            ("optional", optional),
        ]
    }
}

/// Checks that differ in a secret only have one name and one target, while no two series may have the same labels.
fn labelled(report: &Report) -> Vec<Labelled<'_>> {
    let mut taken = BTreeSet::new();
    let mut all = Vec::new();
    for row in &report.rows {
        let Row { label, target, .. } = row;
        let others = (2..).map(|n| format!("{label} ({n})"));
        let mut names = std::iter::once(label.clone()).chain(others);
        let name = names.find(|name| taken.insert((name.clone(), target)));
        all.extend(name.map(|name| Labelled { name, row }));
    }
    all
}

/// To the millisecond, with which clocks are read.
#[allow(
    clippy::cast_precision_loss,
    reason = "in milliseconds, 2^53 is beyond the year 200,000"
)]
fn seconds(since_1970: Duration) -> f64 {
    clock::millis(since_1970) as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use ready_probe::outcome::Outcome;
    use ready_probe::report::Subject;
    use ready_probe::verdict::{Scope, Tolerance};

    fn row(label: &str, target: &str, outcome: Outcome) -> Row {
        Row {
            subject: Subject::Other,
            label: label.to_owned(),
            target: target.to_owned(),
            scope: Scope::Dependency,
            required: false,
            passed_before: true,
            without_agents: false,
            tolerance: Tolerance::Exhausted,
            outcome,
            elapsed: Duration::from_micros(1_500),
        }
    }

    #[test]
    fn a_report_as_metrics() {
        let report = Report {
            verdict: Verdict::Degraded,
            rows: vec![
                row("cache", "redis://:***@h", Outcome::unknown("why \"it\"")),
                row("cache", "redis://:***@h", Outcome::Blemished("look".into())),
                row("cache", "redis://other", Outcome::fail("no")),
            ],
            notes: Vec::new(),
            epoch: "e".to_owned(),
        };
        let mut stalled = instances::tests::stalled("a");
        stalled.beat_age_ms = Some(9_000);
        let rows = vec![instances::tests::row("a", "x", "ready", None), stalled];
        let name = |name| Name::new(name).unwrap();
        let agents = Standings::from([(name("a"), rows), (name("b"), Vec::new())]);
        let now = Duration::from_millis(1_795_870_000_250);
        let text = write(&report, &agents, "box", now, Duration::from_millis(3));
        let of_check = |check: &str, target: &str| {
            format!(
                r#"host="box",check="{check}",target="{target}",scope="dependency",optional="true""#
            )
        };
        let first = of_check("cache", "redis://:***@h");
        let second = of_check("cache (2)", "redis://:***@h");
        let other = of_check("cache", "redis://other");
        let version = env!("CARGO_PKG_VERSION");
        for sample in [
            format!(r#"info{{host="box",version="{version}"}} 1"#),
            r#"timestamp_seconds{host="box"} 1795870000.25"#.to_owned(),
            r#"duration_seconds{host="box"} 0.003"#.to_owned(),
            r#"verdict{host="box",state="degraded"} 1"#.to_owned(),
            r#"verdict{host="box",state="healthy"} 0"#.to_owned(),
            format!(r#"check_outcome{{{first},state="unknown"}} 1"#),
            format!(r#"check_outcome{{{first},state="pass"}} 0"#),
            format!(r#"check_outcome{{{second},state="pass"}} 1"#),
            format!(r#"check_outcome{{{other},state="fail"}} 1"#),
            format!("check_duration_seconds{{{first}}} 0.0015"),
            r#"agent_instances{host="box",agent="a",state="ready"} 1"#.to_owned(),
            r#"agent_instances{host="box",agent="a",state="stalled"} 1"#.to_owned(),
            r#"agent_instances{host="box",agent="b",state="ready"} 0"#.to_owned(),
            r#"agent_beat_timestamp_seconds{host="box",agent="a"} 1795869998.25"#.to_owned(),
        ] {
            let sample = format!("ready_probe_{sample}");
            let times = text.lines().filter(|line| *line == sample).count();
            assert_eq!(times, 1, "{sample}\n{text}");
        }
        assert!(
            !text.contains("why") && !text.contains("look"),
            "no reason is a label: {text}"
        );
        let beats = text.matches("agent_beat_timestamp_seconds{").count();
        assert_eq!(beats, 1, "nobody has ever beaten as b: {text}");
    }
}
