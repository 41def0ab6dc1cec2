use ready_probe_sdk::connect::Secret;
use ready_probe_test_support::http::{HttpServer, Response as Answer};
use ready_probe_test_support::ntfy::NtfyServer;
use ready_probe_test_support::tls::Ca;

use super::super::message::tests::letter;
use super::super::settings::ChannelFields;
use super::*;

fn fields(kind: &str, url: &str) -> ChannelFields {
    ChannelFields {
        kind: kind.to_owned(),
        url: Some(url.to_owned()),
        ..ChannelFields::default()
    }
}

/// Sends to all of them, as the child does.
fn deliver_to(channels: Vec<ChannelFields>) -> Vec<Fate> {
    let letter = letter("connection refused");
    let channels = channels.into_iter().map(|one| one.channel("ops").unwrap());
    let parcels: Vec<Parcel> = channels.map(|one| parcel(&one, &letter)).collect();
    let mut said = Vec::new();
    answer(&serde_json::to_vec(&parcels).unwrap()[..], &mut said).unwrap();
    serde_json::from_slice(&said).unwrap()
}

fn why(fate: &Fate) -> &str {
    match fate {
        Fate::Later { why, .. } | Fate::Refused(why) => why,
        Fate::Delivered => "",
    }
}

#[test]
fn a_webhook_takes_what_its_field_says() {
    let server = HttpServer::start(|_| Answer::new(204));
    let slack = ChannelFields {
        field: Some("text".to_owned()),
        ..fields("webhook", &server.url("/services/T0/B0/x?y=1"))
    };
    assert_eq!(deliver_to(vec![slack]), [Fate::Delivered]);
    let all = fields("webhook", &server.url("/hook"));
    assert_eq!(deliver_to(vec![all]), [Fate::Delivered]);
    let asked = server.requests();
    let body = |n: usize| serde_json::from_slice::<Value>(&asked[n].body).unwrap();
    assert_eq!(
        (asked[0].method.as_str(), asked[0].path.as_str()),
        ("POST", "/services/T0/B0/x?y=1")
    );
    assert_eq!(asked[0].header("content-type"), Some("application/json"));
    assert_eq!(body(0)["text"], "minio is down\n\nconnection refused");
    assert_eq!(body(1)["events"][0]["event"], "failed");
}

#[test]
fn a_topic_and_a_token_prove_that_we_may_and_others_are_refused() {
    let server = NtfyServer::protected("Bearer tk_Sesam01", &["alerts"]);
    let url = format!("{}/alerts", server.url());
    let with = |token: &str| ChannelFields {
        token: Some(token.to_owned()),
        ..fields("ntfy", &url)
    };
    // Each is a channel of its own, and none waits for another.
    let fates = deliver_to(vec![
        with("tk_Sesam01"),
        with("tk_wrong"),
        fields("ntfy", &url),
    ]);
    assert_eq!(fates[0], Fate::Delivered);
    for fate in &fates[1..] {
        assert!(
            matches!(fate, Fate::Refused(_)) && why(fate).contains("401"),
            "{fate:?}"
        );
    }
    assert_eq!(server.messages().len(), 1);
    assert_eq!(server.messages()[0]["topic"], "alerts");
}

#[test]
fn a_server_of_ones_own_authority_is_trusted_when_it_is_named() {
    let identity = Ca::new().server(&["localhost"]);
    let server = HttpServer::tls(&identity, |_| Answer::new(200));
    let trusted = format!("{}#ca={}", server.url("/x"), identity.ca.display());
    let fates = deliver_to(vec![
        fields("webhook", &trusted),
        fields("webhook", &server.url("/x")),
    ]);
    assert_eq!(fates[0], Fate::Delivered);
    assert!(
        matches!(fates[1], Fate::Later { .. }) && why(&fates[1]).contains("TLS"),
        "{fates:?}"
    );
}

#[test]
fn what_stands_in_files_is_read_when_it_is_needed() {
    let server = NtfyServer::protected("Bearer tk_Sesam01", &["alerts"]);
    let dir = tempfile::tempdir().unwrap();
    let channel = || ChannelFields {
        url_file: Some(dir.path().join("url")),
        token_file: Some(dir.path().join("token")),
        url: None,
        ..fields("ntfy", "")
    };
    let fates = deliver_to(vec![channel()]);
    assert!(
        matches!(fates[0], Fate::Later { .. }) && why(&fates[0]).contains("No such file"),
        "{fates:?}"
    );
    std::fs::write(dir.path().join("url"), format!("{}/alerts\n", server.url())).unwrap();
    std::fs::write(dir.path().join("token"), "tk_Sesam01\r\n").unwrap();
    assert_eq!(deliver_to(vec![channel()]), [Fate::Delivered]);
    std::fs::write(dir.path().join("url"), "tk_Sesam01").unwrap();
    let fates = deliver_to(vec![channel()]);
    assert_eq!(
        fates,
        [Fate::Refused(
            "its address: it is written https://HOST/…".to_owned()
        )]
    );
}

#[test]
fn an_answer_gives_away_no_secret_and_no_page() {
    let server = HttpServer::start(|request| match request.path.as_str() {
        "/page" => Answer::new(502).body("<html>Bad Gateway"),
        _ => Answer::new(500).body("no such hook: B0secretsecret"),
    });
    let fates = deliver_to(vec![
        fields("webhook", &server.url("/page")),
        fields("webhook", &server.url("/B0secretsecret")),
    ]);
    assert_eq!(why(&fates[0]), "status 502");
    assert_eq!(why(&fates[1]), "status 500: no such hook: ***");
    let channel = Channel {
        name: "x".to_owned(),
        receiver: Receiver::Webhook { field: None },
        url: Hidden::Text(Secret::new("http://127.0.0.1:1/B0secretsecret")),
        token: None,
    };
    assert!(!format!("{channel:?}").contains("B0secret"), "{channel:?}");
}
