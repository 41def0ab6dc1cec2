use super::*;
use crate::target::options::Options;
use crate::target::{Kind, Target};

fn target(text: &str) -> HttpTarget {
    let mut secrets = Secrets::default();
    match Target::parse(text, Options::default(), &mut secrets)
        .unwrap()
        .kind
    {
        Kind::Http(http) => http,
        _ => panic!("not http"),
    }
}

#[test]
fn truth_table_of_connections() {
    let refused = || NoConnection::Refused("connection refused".into());
    let other = || NoConnection::Other("connection reset".into());
    assert_eq!(judge_connection(refused(), Scope::Own).word(), "fail");
    assert_eq!(
        judge_connection(refused(), Scope::Dependency).word(),
        "unknown"
    );
    assert_eq!(judge_connection(other(), Scope::Own).word(), "unknown");
    assert_eq!(
        judge_connection(other(), Scope::Dependency).word(),
        "unknown"
    );
}

#[test]
fn truth_table_of_status_codes() {
    let judge = |text: &str, scope, code: u16| {
        let status = StatusCode::from_u16(code).unwrap();
        judge_status(&target(text), scope, status).word()
    };
    for code in [200, 204, 299] {
        assert_eq!(judge("http://h", Scope::Dependency, code), "pass");
    }
    for code in [301, 400, 404, 500] {
        assert_eq!(judge("http://h", Scope::Dependency, code), "fail");
        assert_eq!(judge("http://h", Scope::Own, code), "fail");
    }
    for code in [429, 502, 503, 504] {
        assert_eq!(judge("http://h", Scope::Dependency, code), "unknown");
        assert_eq!(judge("http://h", Scope::Own, code), "fail");
        assert_eq!(
            judge("http://h#status=400-599", Scope::Dependency, code),
            "pass"
        );
    }
    assert_eq!(judge("http://h#status=401,404", Scope::Own, 404), "pass");
    assert_eq!(judge("http://h#status=401,404", Scope::Own, 200), "fail");
}

#[test]
fn truth_table_of_bodies() {
    let judge = |text: &str, body: &str| {
        let outcome = judge_body(&target(text), body.as_bytes(), &Secrets::default());
        format!("{} {}", outcome.word(), outcome.text())
    };
    assert_eq!(judge("http://h#contains=ok", "it is ok"), "pass ");
    assert_eq!(
        judge("http://h#contains=ok", "it is not"),
        "fail the body does not contain \"ok\""
    );
    let json = "http://h#json=/a/0/b=x";
    assert_eq!(judge(json, r#"{"a":[{"b":"x"}]}"#), "pass ");
    assert_eq!(
        judge(json, r#"{"a":[{"b":"y"}]}"#),
        "fail /a/0/b is \"y\", not \"x\""
    );
    assert_eq!(
        judge(json, r#"{"a":[]}"#),
        "fail the body has nothing at /a/0/b"
    );
    assert_eq!(judge(json, "<html>"), "fail the body is not JSON");
    assert_eq!(judge("http://h#json=/n=3", r#"{"n":3}"#), "pass ");
    assert_eq!(judge("http://h#json=/n=true", r#"{"n":true}"#), "pass ");
    assert_eq!(judge("http://h#json=/n=null", r#"{"n":null}"#), "pass ");
}

#[test]
fn truth_table_of_not() {
    let status = |text: &str, scope, code: u16| {
        let status = StatusCode::from_u16(code).unwrap();
        judge_status(&target(text), scope, status).word()
    };
    let (own, dependency) = (Scope::Own, Scope::Dependency);
    for (text, scope, code, want) in [
        ("http://h#status=500&not", own, 200, "pass"),
        ("http://h#status=500&not", own, 500, "fail"),
        ("http://h#status=500&not", own, 503, "pass"),
        ("http://h#status=500&not", dependency, 503, "unknown"),
        ("http://h#status=503&not", dependency, 503, "fail"),
        // Only what is written is turned round.
        ("http://h#contains=x&not", own, 200, "pass"),
        ("http://h#contains=x&not", own, 500, "fail"),
        ("http://h#json=/a=x&not", dependency, 503, "unknown"),
    ] {
        assert_eq!(status(text, scope, code), want, "{text} {code}");
    }
    let body = |text: &str, body: &str| {
        let outcome = judge_body(&target(text), body.as_bytes(), &Secrets::default());
        format!("{} {}", outcome.word(), outcome.text())
    };
    let two = "http://h#json=/s=red&json=/s=blue&not";
    for (text, said, want) in [
        (
            "http://h#json=/s=red&not",
            r#"{"s":"green"}"#,
            r#"pass /s is "green", not "red""#,
        ),
        (
            "http://h#json=/s=red&not",
            r#"{"s":"red"}"#,
            r#"fail /s is "red", and must not be"#,
        ),
        (
            "http://h#json=/s=red&not",
            "{}",
            "pass the body has nothing at /s",
        ),
        (
            "http://h#json=/s=red&not",
            "<html>",
            "fail the body is not JSON",
        ),
        ("http://h#json=/s=red&not", "", "fail the body is not JSON"),
        (
            two,
            r#"{"s":"blue"}"#,
            r#"fail /s is "blue", and must not be"#,
        ),
        (two, r#"{"s":"green"}"#, r#"pass /s is "green", not "red""#),
        (
            "http://h#contains=a&contains=b&not",
            "xbx",
            r#"fail the body contains "b", and must not"#,
        ),
        (
            "http://h#contains=a&not",
            "",
            r#"pass the body does not contain "a""#,
        ),
    ] {
        assert_eq!(body(text, said), want, "{text} {said}");
    }
}

#[test]
fn every_expectation_of_several_must_be_met() {
    let judge = |text: &str, body: &str| {
        let outcome = judge_body(&target(text), body.as_bytes(), &Secrets::default());
        format!("{} {}", outcome.word(), outcome.text())
    };
    let two = "http://h#json=/a=1&json=/b=2";
    assert_eq!(judge(two, r#"{"a":1,"b":2}"#), "pass ");
    assert_eq!(judge(two, r#"{"a":1,"b":3}"#), r#"fail /b is "3", not "2""#);
    let two = "http://h#contains=a&contains=b";
    assert_eq!(judge(two, "ba"), "pass ");
    assert_eq!(judge(two, "aa"), r#"fail the body does not contain "b""#);
}

#[test]
fn what_keeps_a_body_from_being_json_is_told() {
    let judge = |body: &[u8]| {
        let outcome = judge_body(&target("http://h#json=/a=1"), body, &Secrets::default());
        outcome.text().to_owned()
    };
    assert!(
        judge(b"\xef\xbb\xbf{\"a\":1}").ends_with("not JSON: it begins with a byte order mark")
    );
    for start in [&b"\x1f\x8b\x08"[..], b"\x78\x9c", b"\x28\xb5\x2f\xfd"] {
        assert!(
            judge(start).contains("header=Accept-Encoding:identity"),
            "{start:?}"
        );
    }
    assert!(judge(b"<html>").ends_with("not JSON"));
}

#[test]
fn what_the_user_sends_replaces_what_we_send() {
    let question = HttpQuestion {
        target: &target("http://h#header=host:other&header=x-a:1&header=x-a:2"),
        scope: Scope::Dependency,
        body: Bytes::new(),
        secrets: &Secrets::default(),
        kept: None,
    };
    let request = request(&question).unwrap();
    assert_eq!(request.headers()["host"], "other");
    assert_eq!(request.headers().get_all("x-a").iter().count(), 2);
    assert_eq!(request.headers()["connection"], "close");
}

#[test]
fn truth_table_of_bodies_with_an_end() {
    let judge = |kind: Option<&str>, length| {
        let mut headers = HeaderMap::new();
        headers.extend(kind.map(|kind| (CONTENT_TYPE, HeaderValue::try_from(kind).unwrap())));
        has_end(&headers, length)
    };
    let most = MAX_ANSWER_BYTES as u64;
    assert!(judge(None, None));
    assert!(judge(None, Some(most)));
    assert!(!judge(None, Some(most + 1)));
    assert!(judge(Some("text/plain"), None));
    assert!(judge(Some("text/event"), None));
    assert!(!judge(Some("text/event-stream"), None));
    assert!(!judge(Some("Text/Event-Stream;charset=utf-8"), Some(5)));
}
