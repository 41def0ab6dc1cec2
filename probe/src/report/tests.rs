use super::limit::{MAX_BYTES, MAX_FIRST_LINE_BYTES};
use super::*;

fn row(label: &str, outcome: Outcome) -> Row {
    Row {
        subject: match label.split_once(':') {
            None if label == "agents" => Subject::Agents,
            Some(("agent", _)) => Subject::Agent,
            None | Some(_) => Subject::Other,
        },
        label: label.to_owned(),
        target: label.to_owned(),
        scope: Scope::Own,
        required: true,
        without_agents: false,
        passed_before: true,
        tolerance: match outcome {
            Outcome::Unknown(_) => Tolerance::Tolerated { until_ms: None },
            Outcome::Pass(_) | Outcome::Blemished(_) | Outcome::Fail(_) => Tolerance::Exhausted,
        },
        outcome,
        elapsed: Duration::from_micros(612),
    }
}

fn report(verdict: Verdict, rows: Vec<Row>) -> Report {
    Report {
        verdict,
        rows,
        notes: Vec::new(),
        epoch: "b-1-2".to_owned(),
    }
}

#[test]
fn the_first_line_is_about_the_first_of_the_heaviest() {
    let rows = vec![
        row(
            "redis://redis:6379",
            Outcome::unknown("connection refused for 12s of 3m grace"),
        ),
        row(
            "agent:translator",
            Outcome::fail("process 17 is gone, last beat 4s ago"),
        ),
        row("agent:other", Outcome::fail("stopping")),
        row("nats://nats:4222", Outcome::pass()),
    ];
    assert_eq!(
        report(Verdict::Unhealthy, rows).text(),
        "unhealthy: agent translator: process 17 is gone, last beat 4s ago\n \
         unknown  redis://redis:6379         connection refused for 12s of 3m grace\n \
         fail     agent:translator           process 17 is gone, last beat 4s ago\n \
         fail     agent:other                stopping\n \
         pass     nats://nats:4222           0.6ms\n"
    );
}

#[test]
fn a_healthy_report_says_what_was_not_asked() {
    let discovered = Outcome::Pass("1 agent discovered; READY_AGENT not set".into());
    let rows = vec![row("agents", discovered), row("agent:a", Outcome::pass())];
    assert_eq!(
        report(Verdict::Healthy, rows).first_line(),
        "healthy: 1 check passes; 1 agent discovered; READY_AGENT not set"
    );
}

#[test]
fn everything_is_bounded_and_what_fails_is_kept() {
    let long = "é".repeat(2_000);
    let mut rows: Vec<Row> = (0..300)
        .map(|i| row(&format!("tcp://host-{i}:1"), Outcome::Pass(long.clone())))
        .collect();
    rows.push(row("tcp://the-one-that-fails:1", Outcome::fail(long)));
    let report = report(Verdict::Unhealthy, rows);
    assert!(report.first_line().len() <= MAX_FIRST_LINE_BYTES);
    let text = report.text();
    assert!(text.len() <= MAX_BYTES, "{}", text.len());
    assert!(text.contains("\n fail     tcp://the-one-that-fails:1"));
    assert!(text.contains("more checks left out"));

    let json = report.json(Duration::from_millis(5));
    assert!(
        json.len() <= MAX_BYTES && json.ends_with("}\n"),
        "{}",
        json.len()
    );
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let checks = json["checks"].as_array().unwrap();
    assert!(checks.iter().any(|c| c["outcome"] == "fail"));
    let omitted = json["omitted"].as_u64().unwrap();
    assert_eq!(checks.len() as u64 + omitted, 301);
}

#[test]
fn many_short_checks_fit_as_far_as_they_fit() {
    for n in 1..200 {
        let rows = (0..n)
            .map(|i| row(&format!("tcp://h:{i}"), Outcome::pass()))
            .collect();
        let report = report(Verdict::Healthy, rows);
        assert!(report.text().len() <= MAX_BYTES);
        let json = report.json(Duration::ZERO);
        assert!(json.len() <= MAX_BYTES);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let shown = json["checks"].as_array().unwrap().len() as u64;
        assert_eq!(shown + json["omitted"].as_u64().unwrap_or(0), n);
    }
}

#[test]
fn checks_that_look_the_same_are_counted_one_by_one() {
    let rows = (0..100).map(|_| row("file:/nonexistent", Outcome::fail("no such file")));
    let report = report(Verdict::Unhealthy, rows.collect());
    let json = report.json(Duration::ZERO);
    assert!(json.len() <= MAX_BYTES, "{}", json.len());
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let shown = json["checks"].as_array().unwrap().len() as u64;
    assert_eq!(shown + json["omitted"].as_u64().unwrap(), 100);
}

#[test]
fn verdict_and_reason_come_first_in_json() {
    let json = report(
        Verdict::Degraded,
        vec![row("agent:a", Outcome::unknown("x"))],
    )
    .json(Duration::from_micros(1_234));
    assert_eq!(
        json,
        "{\"verdict\":\"degraded\",\"reason\":\"agent a: x\",\"schema\":1,\"epoch\":\"b-1-2\",\
         \"elapsed_ms\":1.2,\"checks\":[{\"target\":\"agent:a\",\"scope\":\"own\",\
         \"outcome\":\"unknown\",\"reason\":\"x\",\"elapsed_ms\":0.6}]}\n"
    );
}
