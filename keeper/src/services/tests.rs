use super::json::parse;
use crate::question::What;

/// As it stands in the field report.
const MINIO: &str = r#"{
  "minio": {
    "enabled": true,
    "type": "daemon",
    "container": "services",

    "health_check": {
      "type": "http",
      "endpoint": "http://localhost:9000/minio/health/live",
      "interval_seconds": 60,
      "timeout_seconds": 5
    },

    "restart_cmd": "/usr/local/bin/minio server /data --console-address :9001 >> /workspace/vai/logs/minio.log 2>&1 &",

    "log_path": "/workspace/vai/logs/minio.log",
    "notify_on_fail": "alerts",
    "dependencies": []
  }
}"#;

fn service(name: &str, needs: &str) -> String {
    format!(
        r#""{name}": {{"enabled": true, "health_check": {{"type": "process", "process_name": "x"}}, "dependencies": {needs}}}"#
    )
}

#[test]
fn the_json_of_the_field_is_read_as_it_is() {
    for text in [MINIO.to_owned(), format!("{{\"services\": {MINIO}}}")] {
        let services = parse(&text, Some("services")).unwrap();
        assert!(services.notes.is_empty(), "{:?}", services.notes);
        let [minio] = &services.all[..] else {
            panic!("{services:?}")
        };
        assert_eq!(
            (minio.name.as_str(), minio.question.timeout_ms),
            ("minio", 5_000)
        );
        assert_eq!(minio.rules.delay_ms, 5_000);
        let restart = minio.restart.as_ref().unwrap();
        assert!(restart.script().unwrap().command.ends_with("2>&1 &"));
        assert_eq!(minio.alert, ["alerts"]);
    }
}

#[test]
fn the_services_of_the_document_are_read() {
    let page = include_str!("../../../docs/keeper.md");
    let block = page
        .split("```json\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let services = parse(block, Some("services")).unwrap();
    assert_eq!(
        (services.all.len(), services.order.as_slice()),
        (2, &[1, 0][..])
    );
    assert!(services.notes.is_empty(), "{:?}", services.notes);
}

#[test]
fn what_is_elsewhere_or_not_enabled_is_left_alone() {
    let elsewhere = parse(MINIO, Some("vai")).unwrap();
    assert!(elsewhere.all.is_empty());
    assert_eq!(
        elsewhere.notes,
        ["minio: not here, but in container \"services\""]
    );
    assert_eq!(parse(MINIO, Some("services")).unwrap().all.len(), 1);
    let disabled = parse(r#"{"x": {"health_check": 1}}"#, None).unwrap();
    assert!(disabled.all.is_empty() && disabled.notes.is_empty());
}

#[test]
fn what_is_needed_comes_first() {
    let text = format!(
        "{{{}, {}, {}}}",
        service("a", r#"["c"]"#),
        service("b", "[]"),
        service("c", r#"["b"]"#)
    );
    let services = parse(&text, None).unwrap();
    let names: Vec<&str> = services
        .order
        .iter()
        .map(|&n| services.all[n].name.as_str())
        .collect();
    assert_eq!(names, ["b", "c", "a"]);
}

#[test]
fn errors_say_where_and_what_is_expected() {
    let circle = format!(
        "{{{}, {}}}",
        service("a", r#"["b"]"#),
        service("b", r#"["a"]"#)
    );
    let with = |fields: &str| format!(r#"{{"x": {{"enabled": true, {fields}}}}}"#);
    let checked = |check: &str| with(&format!(r#""health_check": {{{check}}}"#));
    let table = [
        ("[", "not JSON: "),
        ("[]", "a JSON object is expected"),
        (r#"{"services": 1}"#, "services: an object is expected"),
        (r#"{"x": 1}"#, "x: an object is expected"),
        (
            r#"{"../x": {}}"#,
            "\"../x\": the name of a service is also that of a file",
        ),
        (&with(r#""restart_cmd": "x""#), "x: health_check is missing"),
        (
            &checked(r#""type": "smtp""#),
            "x: health_check: type: \"smtp\" is none of http, tcp, process, custom",
        ),
        (
            &checked(r#""type": "http""#),
            "x: health_check: endpoint is missing",
        ),
        (
            &checked(r#""type": "http", "endpoint": "ftp://localhost""#),
            "x: health_check: endpoint: ",
        ),
        (
            &checked(r#""type": "tcp", "port": 70000"#),
            "x: health_check: port: a number from 1 to 65535 is expected",
        ),
        (
            &checked(r#""type": "tcp", "host": "a b", "port": 7"#),
            "x: health_check: host, port: ",
        ),
        (
            &checked(r#""type": "process", "process_name": "(""#),
            "x: health_check: process_name: ",
        ),
        (
            &checked(r#""type": "process", "process_name": " ""#),
            "x: health_check: process_name: a text that is not empty",
        ),
        (
            &checked(r#""type": "custom", "command": "true", "timeout_seconds": -1"#),
            "x: health_check: timeout_seconds: a number of seconds, 0 to 86400, is expected",
        ),
        (
            &format!("{{{}}}", service("a", r#"["z"]"#)),
            "a: dependencies: there is no service \"z\"",
        ),
        (
            &format!("{{{}}}", service("a", "7")),
            "a: dependencies: a list of names is expected",
        ),
        (
            &circle,
            "dependencies: these wait for one another in a circle, or for one that does: a, b",
        ),
    ];
    for (text, want) in table {
        let said = parse(text, None).unwrap_err();
        assert!(said.starts_with(want), "{text}: {said}");
    }
}

#[test]
fn unknown_keys_are_said_and_do_no_harm() {
    let text = r#"{"x": {"enabled": true, "colour": 1, "health_check": {"type": "custom", "command": "true", "retries": 1}}}"#;
    let services = parse(text, None).unwrap();
    assert_eq!(services.all.len(), 1);
    assert_eq!(
        services.notes,
        [
            "x: the key \"colour\" means nothing here",
            "x: health_check: the key \"retries\" means nothing here"
        ]
    );
}

#[test]
fn what_is_a_text_to_a_shell_may_be_a_text_here() {
    let text = r#"{"x": {"enabled": "true", "startup_delay_seconds": "30", "health_check":
        {"type": "tcp", "port": "6379", "timeout_seconds": 2.5, "interval_seconds": 60}},
        "y": {"enabled": "yes"}, "z": {"enabled": true, "health_check":
        {"type": "http", "endpoint": "localhost:9000/health", "timeout_seconds": 0}}}"#;
    let services = parse(text, None).unwrap();
    let [x, z] = &services.all[..] else {
        panic!("{services:?}")
    };
    assert_eq!((x.rules.delay_ms, x.rules.interval_ms), (30_000, 60_000));
    assert_eq!(x.rules.command_ms, 90_000);
    // What has begun together with the loop comes up within that; a pass takes it for started long ago.
    assert_eq!((x.rules.unseen_ms, z.rules.unseen_ms), (30_000, 60_000));
    assert_eq!(z.rules.clone().in_passes().unseen_ms, 0);
    assert_eq!(x.question.timeout_ms, 2_500);
    assert_eq!(z.question.timeout_ms, 86_400_000);
    let http = What::Http("http://localhost:9000/health".to_owned());
    assert_eq!(z.question.checks, [http]);
}

#[test]
fn an_interval_that_the_cron_script_never_read_refuses_nothing() {
    for interval in ["0", "0.5", "\"often\""] {
        let text = format!(
            r#"{{"x": {{"enabled": true, "health_check":
            {{"type": "tcp", "port": 1, "interval_seconds": {interval}}}}}}}"#
        );
        let services = parse(&text, None).unwrap();
        assert_eq!(services.all[0].rules.interval_ms, 30_000);
        assert_eq!(
            services.notes,
            [
                "x: health_check: interval_seconds: a number of seconds, 1 to 86400, is expected; it is asked every 30 s"
            ]
        );
    }
}

#[test]
fn services_of_several_containers_are_not_all_here() {
    let text = |other: &str| {
        let service = |name: &str, container: &str| {
            format!(
                r#""{name}": {{"enabled": true, "container": "{container}", "health_check": {{"type": "process", "process_name": "x"}}}}"#
            )
        };
        format!("{{{}, {}}}", service("a", "one"), service("b", other))
    };
    let one = parse(&text("one"), None).unwrap();
    assert_eq!(one.all.len(), 2);
    assert!(
        one.notes[0].starts_with("taken for container \"one\""),
        "{:?}",
        one.notes
    );
    let said = parse(&text("two"), None).unwrap_err();
    assert!(
        said.ends_with("--container is one of \"one\", \"two\""),
        "{said}"
    );
    assert_eq!(parse(&text("two"), Some("two")).unwrap().all.len(), 1);
}
