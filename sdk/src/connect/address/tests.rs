//! Addresses and lists of them, good and bad.

use super::*;

fn endpoints(text: &str) -> Vec<String> {
    parse(text, 4222)
        .unwrap()
        .endpoints
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn lists_take_scheme_and_credentials_from_the_first() {
    let list = parse("nats://u:p@a:1,b,nats://c:3", 4222).unwrap();
    assert_eq!(
        endpoints("nats://u:p@a:1,b,nats://c:3"),
        ["a:1", "b:4222", "c:3"]
    );
    assert_eq!(list.user.as_deref(), Some("u"));
    assert_eq!(list.password.unwrap().reveal(), "p");
}

#[test]
fn a_comma_in_a_password_does_not_split() {
    let one = parse("redis://:a,b@h", 6379).unwrap();
    assert_eq!(one.password.unwrap().reveal(), "a,b");
    assert_eq!(one.endpoints.len(), 1);
    let one = parse("redis://u:a,b@h", 6379).unwrap();
    assert_eq!(one.password.unwrap().reveal(), "a,b");
}

#[test]
fn a_comma_in_a_query_does_not_split() {
    assert_eq!(endpoints("redis://h/0?x=a,b"), ["h:4222"]);
}

#[test]
fn each_element_of_a_list_may_bear_credentials() {
    assert_eq!(endpoints("nats://a:1,user:p@b:2"), ["a:1", "b:2"]);
}

#[test]
fn every_host_of_a_list_is_shown_and_no_credentials() {
    for (text, want) in [
        ("redis://a:1,:pw@b:2", "redis://a:1,***@b:2"),
        ("redis://u:p@a:1,b", "redis://***@a:1,b"),
        ("redis://u:p@a/1,v:q@b/1", "redis://***@a/1,***@b/1"),
        (
            "nats://u:p@a:1,nats://x:y@b:2",
            "nats://***@a:1,nats://***@b:2",
        ),
        ("nats://a:1, t@b:2", "nats://a:1,***@b:2"),
        (
            "redis://a:1,u:p@w@b:2?password=pw",
            "redis://a:1,***@b:2?***",
        ),
        ("redis://:a,b@h", "redis://***@h"),
        ("redis://u:a,b@h:1", "redis://***@h:1"),
        ("redis://[::1]:5,:pw@[::2]", "redis://[::1]:5,***@[::2]"),
        (
            "redis+unix:///run/r.sock?password=x",
            "redis+unix:///run/r.sock?***",
        ),
    ] {
        parse(text, 1).unwrap();
        assert_eq!(redacted(text), want);
    }
}

#[test]
fn a_comma_separates_nothing_in_one_url() {
    assert_eq!(redacted_url("http://u:p,w@h/a,b@c"), "http://***@h/a,b@c");
    assert_eq!(redacted_url("http://h/a,b"), "http://h/a,b");
}

#[test]
fn what_may_be_a_password_in_the_wrong_place_is_refused() {
    for bad in [
        "redis://a/1,b/2",
        "redis://u:8/secret@h",
        "redis://a/1,u:8/secret@b",
        "redis://u:se/cret@h",
        "redis://a:1,password=secret",
        "redis://a:1,password=s@secret",
        "redis://u:12?secret@h",
        "redis://u:12?secret",
        "redis://u:12?a=secret@h",
        "redis://se%20cret",
        "redis://secret=1",
        "redis://a\nsecret",
    ] {
        let error = parse(bad, 1).expect_err(bad).to_string();
        assert!(!error.contains("cret"), "{bad}: {error}");
    }
}

#[test]
fn a_password_in_a_query_may_hold_an_at() {
    let query = parse("redis://h:1?password=p@ss&db=1", 1).unwrap().query;
    assert_eq!(query[0], ("password".to_owned(), "p@ss".to_owned()));
}

#[test]
fn the_path_of_a_socket_may_be_encoded_as_a_whole() {
    for text in ["unix:///run/r.sock", "unix://%2Frun%2Fr.sock"] {
        assert_eq!(
            parse(text, 1).unwrap().endpoints,
            [Endpoint::Unix("/run/r.sock".into())]
        );
    }
    for bad in ["unix://run%2Fr.sock", "unix://%2Frun/r.sock", "unix://"] {
        assert!(parse(bad, 1).is_err(), "{bad}");
    }
}

#[test]
fn ipv6_stands_in_brackets() {
    assert_eq!(endpoints("nats://[::1]:5"), ["[::1]:5"]);
    assert_eq!(
        parse("nats://[::1]", 4222).unwrap().endpoints,
        [Endpoint::Tcp {
            host: "::1".into(),
            port: 4222
        }]
    );
}

#[test]
fn errors_never_quote_the_address() {
    for bad in [
        "redis://:sec/ret@host:1",
        "redis://:sec#ret@",
        "nats://user:secret@",
        "nats://u:secret@h:99999",
        "nats://u:secret@h:0",
        "redis+unix://secret",
        "secret",
        "",
    ] {
        let error = parse(bad, 1).unwrap_err().to_string();
        assert!(!error.contains("sec"), "{bad}: {error}");
    }
}

#[test]
fn credentials_are_percent_decoded() {
    let address = parse("redis://us%40er:p%23ss%2F@h", 6379).unwrap();
    assert_eq!(address.user.as_deref(), Some("us@er"));
    assert_eq!(address.password.unwrap().reveal(), "p#ss/");
}
