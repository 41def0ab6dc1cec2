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
fn what_the_user_sends_replaces_what_we_send() {
    let request = request(&target(
        "http://h#header=host:other&header=x-a:1&header=x-a:2",
    ))
    .unwrap();
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
