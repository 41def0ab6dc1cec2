use std::ffi::OsString;

use super::*;

fn fields(kind: &str, url: &str) -> ChannelFields {
    ChannelFields {
        kind: kind.to_owned(),
        url: Some(url.to_owned()),
        ..ChannelFields::default()
    }
}

fn server_of(url: &str, receiver: &Receiver) -> Result<(String, String, String), String> {
    server(url, receiver, &mut Secrets::default())
        .map(|server| (server.target.host, server.target.path, server.topic))
}

#[test]
fn the_topic_of_ntfy_is_its_own_setting_or_the_end_of_its_address() {
    let ntfy = |topic: Option<&str>| Receiver::Ntfy {
        topic: topic.map(str::to_owned),
    };
    for (url, topic, want) in [
        ("https://ntfy.sh/alerts", None, ("ntfy.sh", "/", "alerts")),
        ("https://ntfy.sh/alerts/", None, ("ntfy.sh", "/", "alerts")),
        (
            "https://ntfy.sh",
            Some("alerts"),
            ("ntfy.sh", "/", "alerts"),
        ),
        (
            "http://10.0.0.1:8080/push/a_b-1",
            None,
            ("10.0.0.1:8080", "/push/", "a_b-1"),
        ),
        (
            "http://10.0.0.1/push/",
            Some("x"),
            ("10.0.0.1", "/push/", "x"),
        ),
        (
            "https://ntfy.sh/x?auth=abc",
            None,
            ("ntfy.sh", "/?auth=abc", "x"),
        ),
    ] {
        let (host, path, topic_of) = server_of(url, &ntfy(topic)).unwrap();
        assert_eq!(
            (host.as_str(), path.as_str(), topic_of.as_str()),
            want,
            "{url}"
        );
    }
    for (url, topic) in [
        ("https://ntfy.sh", None),
        ("https://ntfy.sh/", None),
        ("https://ntfy.sh/a.b", None),
        ("ntfy.sh/alerts", None),
        ("ftp://ntfy.sh/alerts", None),
        ("https://ntfy.sh/x#status=200", None),
    ] {
        assert!(server_of(url, &ntfy(topic)).is_err(), "{url}");
    }
}

#[test]
fn a_channel_is_what_its_fields_say_and_nothing_else() {
    let ops = fields("webhook", "https://hooks.slack.com/services/T0/B0/xxxx").channel("ops");
    assert_eq!(ops.unwrap().receiver, Receiver::Webhook { field: None });
    let wrong = |fields: ChannelFields, says: &str| {
        let why = fields.channel("ops").unwrap_err();
        assert!(why.contains(says), "{why}");
    };
    wrong(fields("mail", "https://x/y"), "none of ntfy, webhook");
    wrong(
        ChannelFields {
            kind: "ntfy".into(),
            ..ChannelFields::default()
        },
        "url: it is missing, and so is url_file",
    );
    wrong(
        ChannelFields {
            field: Some("text".into()),
            ..fields("ntfy", "https://x/y")
        },
        "only a webhook",
    );
    wrong(
        ChannelFields {
            topic: Some("t".into()),
            ..fields("webhook", "https://x/y")
        },
        "only ntfy",
    );
    wrong(
        ChannelFields {
            topic: Some("a b".into()),
            ..fields("ntfy", "https://x")
        },
        "1 to 64",
    );
    wrong(
        ChannelFields {
            url_file: Some("/x".into()),
            ..fields("ntfy", "https://x/y")
        },
        "url_file: url is set as well",
    );
    wrong(
        ChannelFields {
            token_file: Some("x".into()),
            ..fields("ntfy", "https://x/y")
        },
        "absolute",
    );
    wrong(
        ChannelFields {
            field: Some(String::new()),
            ..fields("webhook", "https://x/y")
        },
        "field of JSON",
    );
}

#[test]
fn no_error_and_no_debugging_text_holds_the_address() {
    const SECRET: &str = "tk-Sesam01";
    for url in [
        format!("https://user:{SECRET}@ntfy.sh"),
        format!("https://ntfy.sh/{SECRET}.{SECRET}"),
        format!("https://ntfy.sh:x/{SECRET}"),
        format!("ntfy.sh/{SECRET}"),
        format!("https://user:x#{SECRET}@ntfy.sh/x"),
    ] {
        let why = fields("ntfy", &url).channel("ops").unwrap_err();
        assert!(!why.contains(SECRET), "{why}");
    }
    let channel = fields("ntfy", &format!("https://x/{SECRET}"))
        .channel("ops")
        .unwrap();
    assert!(!format!("{channel:?}").contains(SECRET), "{channel:?}");
}

#[test]
fn the_environment_says_where_ntfy_is() {
    let of = |pairs: &[(&str, &str)]| {
        let lookup = |name: &str| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        };
        ntfy_of_environment(&lookup)
    };
    assert_eq!(of(&[]), Ok(None));
    let url = Hidden::Text(Secret::new("https://ntfy.sh"));
    assert_eq!(
        of(&[(NTFY_URL, "https://ntfy.sh\n")]),
        Ok(Some(url.clone()))
    );
    assert_eq!(
        of(&[(NTFY_URL_FILE, "/run/url")]),
        Ok(Some(Hidden::File("/run/url".into())))
    );
    let both = of(&[(NTFY_URL_FILE, "/run/url"), (NTFY_URL, "https://ntfy.sh")]).unwrap_err();
    assert!(both.contains("READY_KEEPER_NTFY_URL_FILE"), "{both}");
    let alerts = Channel::of_topic("alerts", &url).unwrap();
    assert_eq!(
        (alerts.name.as_str(), alerts.shown().as_str()),
        ("ntfy:alerts", "ntfy's topic al…")
    );
    assert!(Channel::of_topic("no topic", &url).is_err());
}
