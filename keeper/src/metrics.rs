//! What is known of services, as metrics. Pure: it does no I/O and reads no clock.

use std::time::Duration;

use ready_probe::exposition::Exposition;

use crate::account::Account;
use crate::alert::AlertCounts;
use crate::machine::State;
use crate::voice::word;

/// Every word for where a service may stand.
const STATES: [&str; 11] = [
    "starting",
    "healthy",
    "probation",
    "suspect",
    "waiting",
    "held",
    "backoff",
    "restarting",
    "verifying",
    "failed",
    "paused",
];

/// What is told of the keeper itself.
#[derive(Debug, Clone, Copy)]
pub struct Itself {
    /// When it began, by the time of day.
    pub began_ms: u64,
    /// Its rounds so far, and how long they took together.
    pub rounds: (u64, Duration),
    /// Messages to people.
    pub alerts: AlertCounts,
    /// It can remember restarts. While it can't, it begins none.
    pub remembers: bool,
    /// Nothing is done, it is only told.
    pub dry_run: bool,
    /// The file of services could be read when it was read last.
    pub is_read: bool,
}

/// What is told of a service.
#[derive(Debug)]
pub struct Measured<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it stands.
    pub state: &'a State,
    /// What it has been through, as it was remembered last: a keeper that starts again goes on from there, so nothing
    /// that is counted ever falls.
    pub account: &'a Account,
    /// When it was asked last, by the time of day.
    pub asked_ms: Option<u64>,
    /// How long that took, if somebody else was asked.
    pub took: Option<Duration>,
}

/// All metrics.
pub fn text(itself: Itself, services: &[Measured<'_>]) -> String {
    let mut metrics = Exposition::new("ready_keeper_", &[]);
    of_itself(&mut metrics, itself);
    if !services.is_empty() {
        of_services(&mut metrics, services);
    }
    metrics.text()
}

fn of_itself(metrics: &mut Exposition, itself: Itself) {
    let (rounds, took) = itself.rounds;
    let AlertCounts {
        sent,
        failed,
        dropped,
    } = itself.alerts;
    metrics.gauge("info", "The version of ready-keeper.");
    metrics.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let gauges = [
        (
            "start_timestamp_seconds",
            "When ready-keeper started, in seconds since 1970.",
            seconds(itself.began_ms),
        ),
        (
            "memory_writable",
            "Whether restarts can be remembered: while they can't, none begins.",
            switch(itself.remembers),
        ),
        (
            "dry_run",
            "Whether nothing is done, and only told.",
            switch(itself.dry_run),
        ),
        (
            "services_file_readable",
            "Whether the file of services could be read when it was read last.",
            switch(itself.is_read),
        ),
    ];
    for (name, help, value) in gauges {
        metrics.gauge(name, help);
        metrics.sample(&[], value);
    }
    let counters = [
        (
            "rounds_total",
            "Rounds: what was heard, what became of it, what was done.",
            number(rounds),
        ),
        (
            "round_seconds_total",
            "How long all rounds took together.",
            took.as_secs_f64(),
        ),
        (
            "alerts_sent_total",
            "Messages that a channel took.",
            number(sent),
        ),
        (
            "alert_failures_total",
            "Tries to send a message that failed.",
            number(failed),
        ),
        (
            "alerts_dropped_total",
            "Messages and news that nobody is told.",
            number(dropped),
        ),
    ];
    for (name, help, value) in counters {
        metrics.counter(name, help);
        metrics.sample(&[], value);
    }
}

fn of_services(metrics: &mut Exposition, services: &[Measured<'_>]) {
    metrics.gauge(
        "service_state",
        "Where a service stands: 1 for the state that holds.",
    );
    for service in services {
        let holds = word(service.state.phase);
        metrics.states(&[("service", service.name)], &STATES, holds);
    }
    gauge(
        metrics,
        services,
        (
            "service_state_timestamp_seconds",
            "When the service entered this state, in seconds since 1970.",
        ),
        |service| Some(seconds(service.account.since_ms)),
    );
    gauge(
        metrics,
        services,
        ("service_attempts", "Restarts in a row that did not help."),
        |service| Some(f64::from(service.state.attempts)),
    );
    gauge(
        metrics,
        services,
        (
            "service_check_timestamp_seconds",
            "When it was asked last, in seconds since 1970.",
        ),
        |service| service.asked_ms.map(seconds),
    );
    gauge(
        metrics,
        services,
        (
            "service_check_duration_seconds",
            "How long its last check took.",
        ),
        |service| service.took.map(|took| took.as_secs_f64()),
    );
    metrics.counter("service_checks_total", "Answers: pass, fail, or unknown.");
    for Measured { name, account, .. } in services {
        let outcomes = [
            ("pass", account.passed),
            ("fail", account.failed),
            ("unknown", account.unasked),
        ];
        for (outcome, count) in outcomes {
            metrics.sample(&[("service", name), ("outcome", outcome)], number(count));
        }
    }
    metrics.counter("service_restarts_total", "Restarts that were begun.");
    for Measured { name, account, .. } in services {
        metrics.sample(&[("service", name)], number(account.restarts));
    }
    metrics.counter(
        "service_recoveries_total",
        "Restarts whose end is known: helped, or failed.",
    );
    for Measured { name, account, .. } in services {
        for (result, count) in [("helped", account.helped), ("failed", account.helped_not)] {
            metrics.sample(&[("service", name), ("result", result)], number(count));
        }
    }
}

fn gauge(
    metrics: &mut Exposition,
    services: &[Measured<'_>],
    (name, help): (&'static str, &str),
    value: fn(&Measured<'_>) -> Option<f64>,
) {
    let known = services
        .iter()
        .filter_map(|one| Some((one.name, value(one)?)));
    for (at, (service, value)) in known.enumerate() {
        if at == 0 {
            metrics.gauge(name, help);
        }
        metrics.sample(&[("service", service)], value);
    }
}

fn seconds(ms: u64) -> f64 {
    number(ms) / 1_000.0
}

fn switch(on: bool) -> f64 {
    f64::from(u8::from(on))
}

#[allow(
    clippy::cast_precision_loss,
    reason = "nobody counts beyond 2^53, nor are there so many milliseconds"
)]
fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Hold, Now, Phase, Wait};

    const ITSELF: Itself = Itself {
        began_ms: 1_500,
        rounds: (4, Duration::from_millis(2)),
        alerts: AlertCounts {
            sent: 1,
            failed: 2,
            dropped: 3,
        },
        remembers: true,
        dry_run: false,
        is_read: true,
    };

    fn state(phase: Phase) -> State {
        let now = Now {
            mono_ms: 1,
            wall_ms: 2,
            dice: 0,
        };
        State {
            phase,
            ..State::new(now)
        }
    }

    #[test]
    fn one_state_holds_wherever_a_service_stands() {
        for phase in [
            Phase::Starting,
            Phase::Healthy,
            Phase::Probation,
            Phase::Suspect,
            Phase::Waiting(Wait::Needs),
            Phase::Held(Hold::Storm),
            Phase::Backoff,
            Phase::Restarting,
            Phase::Verifying,
            Phase::Failed,
            Phase::Paused,
        ] {
            let (state, account) = (state(phase), Account::new(9));
            let service = Measured {
                name: "a",
                state: &state,
                account: &account,
                asked_ms: None,
                took: None,
            };
            let text = text(ITSELF, &[service]);
            let states = text
                .lines()
                .filter(|l| l.starts_with("ready_keeper_service_state{"));
            let holds: Vec<&str> = states.filter(|line| line.ends_with(" 1")).collect();
            let word = word(phase);
            assert_eq!(
                holds,
                [format!(
                    "ready_keeper_service_state{{service=\"a\",state=\"{word}\"}} 1"
                )]
            );
            // Never asked.
            assert!(!text.contains("service_check_"), "{text}");
        }
    }

    #[test]
    fn everything_is_told_in_seconds_and_no_reason_is_a_label() {
        let mut state = state(Phase::Backoff);
        state.attempts = 2;
        let account = Account {
            since_ms: 7_250,
            passed: 10,
            failed: 11,
            unasked: 12,
            restarts: 13,
            helped: 14,
            helped_not: 15,
            reason: "why".to_owned(),
            ..Account::default()
        };
        let service = Measured {
            name: "a",
            state: &state,
            account: &account,
            asked_ms: Some(8_500),
            took: Some(Duration::from_millis(20)),
        };
        let text = text(ITSELF, &[service]);
        for sample in [
            "start_timestamp_seconds{} 1.5",
            "rounds_total{} 4",
            "round_seconds_total{} 0.002",
            "alerts_sent_total{} 1",
            "alert_failures_total{} 2",
            "alerts_dropped_total{} 3",
            "memory_writable{} 1",
            "dry_run{} 0",
            "services_file_readable{} 1",
            r#"service_state_timestamp_seconds{service="a"} 7.25"#,
            r#"service_attempts{service="a"} 2"#,
            r#"service_check_timestamp_seconds{service="a"} 8.5"#,
            r#"service_check_duration_seconds{service="a"} 0.02"#,
            r#"service_checks_total{service="a",outcome="pass"} 10"#,
            r#"service_checks_total{service="a",outcome="fail"} 11"#,
            r#"service_checks_total{service="a",outcome="unknown"} 12"#,
            r#"service_restarts_total{service="a"} 13"#,
            r#"service_recoveries_total{service="a",result="helped"} 14"#,
            r#"service_recoveries_total{service="a",result="failed"} 15"#,
        ] {
            let line = format!("ready_keeper_{sample}");
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert!(!text.contains("why"), "{text}");
    }
}
