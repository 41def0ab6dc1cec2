use super::options::Options;
use super::*;

fn parse(text: &str) -> Result<Target, String> {
    Target::parse(text, Options::default(), &mut Secrets::default())
}

fn redacted(text: &str) -> String {
    parse(text).unwrap().redacted
}

#[test]
fn every_kind_of_target_is_parsed_and_shown_without_secrets() {
    let table = [
        ("agent:translator", "agent:translator"),
        ("agent:a.b-c_1#min=2", "agent:a.b-c_1#min=2"),
        ("redis://redis:6379", "redis://redis:6379"),
        ("redis://:pw@redis/3", "redis://***@redis/3"),
        (
            "redis://u:pw@redis#key=k&value=v",
            "redis://***@redis#key=k&value=***",
        ),
        (
            "rediss://u:pw@redis?ssl_cert_reqs=none",
            "rediss://***@redis?***",
        ),
        ("redis+unix:///run/r.sock", "redis+unix:///run/r.sock"),
        (
            "nats://token@nats:4222#jetstream",
            "nats://***@nats:4222#jetstream",
        ),
        (
            "nats://u:p@a:1,nats://x:y@b:2",
            "nats://***@a:1,nats://***@b:2",
        ),
        ("redis://a:1,:pw@b:2", "redis://a:1,***@b:2"),
        ("nats://u:p@a:1,b:2", "nats://***@a:1,b:2"),
        (
            "tls://nats#bucket=ready&ca=/ca.pem",
            "tls://nats#bucket=ready&ca=/ca.pem",
        ),
        ("http://h/p?token=t#header=A:b", "http://h/p?***#header=***"),
        ("https://u:p@h/a@b", "https://***@h/a@b"),
        ("http://user:8/Secret@h/", "http://user:8/***"),
        (
            "http+unix://%2Frun%2Fa.sock/health",
            "http+unix://%2Frun%2Fa.sock/health",
        ),
        ("tcp://h:80", "tcp://h:80"),
        ("tcp://[::1]:80#not", "tcp://[::1]:80#not"),
        ("unix:///run/a.sock", "unix:///run/a.sock"),
        ("process:python agent.py", "process:python agent.py"),
        ("pid:/run/a.pid", "pid:/run/a.pid"),
        ("exec:curl -H 'Authorization: Bearer x'", "exec:curl …"),
        ("exec:true", "exec:true"),
        ("file:/a#max_age=5s&grace=3s", "file:/a#max_age=5s"),
        ("supervisor:web:web_00", "supervisor:web:web_00"),
        (
            "supervisor:web#inet=h:9001&user=u&password=p",
            "supervisor:web#inet=h:9001&user=u&password=***",
        ),
        (
            "container:web.1#socket=/run/podman.sock",
            "container:web.1#socket=/run/podman.sock",
        ),
        ("disk:/a#free=5%&inodes=10", "disk:/a#free=5%&inodes=10"),
        ("disk:/a#free=1GiB&optional=false", "disk:/a#free=1GiB"),
        ("fds:nginx: worker#used=90%", "fds:nginx: worker#used=90%"),
        ("fds:system", "fds:system"),
        ("pids:#used=90%25", "pids:#used=90%"),
        ("zombies:#max=50&not", "zombies:#max=50&not"),
    ];
    for (text, want) in table {
        assert_eq!(redacted(text), want, "{text}");
    }
}

#[test]
fn a_target_that_cannot_be_parsed_is_quoted_up_to_its_scheme_only() {
    let bad = [
        "redis://:sec/ret@h",
        "redis://u:secret@",
        "redis://u:secret@h/x",
        "redis://u:secret@h:99999",
        "redis://u:secret@h#value=secret",
        "redis://u:secret@h#role=secret",
        "redis://u:secret@h#timeout=secret",
        "redis://u:secret@h#key=a&key=secret",
        "redis+unix://secret",
        "nats://secret@",
        "nats://u:secret@h#creds=/a&nkey=/b",
        "nats://u:secret@h#creds=/a",
        "nats://h#bucket=sec.ret",
        "nats://user:12/secret@h",
        "redis://h#ca=/secret",
        "redis://h#insecure",
        "tls://secret@h:0",
        "http://u:secret@h:0/",
        "http://u:secret@h#ca=/x",
        "http://h#header=secret",
        "http://h#header=a b: secret",
        "http://h#status=secret",
        "http://h#status=99",
        "http://h#status=300-200",
        "http://h#json=secret",
        "http://h#method=sec%20ret",
        "https://h#cert=/x",
        "https://",
        "http+unix://secret/x",
        "tcp://secret",
        "tcp://u:secret@h:1",
        "tcp://h:1/secret",
        "tcp://h:1,secret:2",
        "tcp://h:1#secret=1",
        "unix://secret",
        "unix:secret",
        "process:",
        "process: #min=0",
        "pid:secret",
        "file:secret",
        "file:/x#max_age=secret",
        "exec:",
        "exec:'secret",
        "agent:",
        "supervisor:",
        "supervisor: #user=a",
        "supervisor:a#password=secret",
        "supervisor:a#user=b&password=c&secret",
        "supervisor:a#socket=secret",
        "supervisor:a#inet=secret",
        "supervisor:a#socket=/a&inet=a:1",
        "container:",
        "container:sec/ret",
        "container:../secret",
        "container:a#inet=secret:0",
        "disk:secret",
        "disk:/a#free=secret",
        "disk:/a#free=5",
        "disk:/a#free=1GB",
        "disk:/a#inodes=1GiB",
        "disk:/a#secret=5%",
        "disk:/a#not",
        "fds:",
        "fds:a#used=101%",
        "pids:secret",
        "pids:#used=90",
        "pids:#not",
        "zombies:secret#max=1",
        "zombies:#max=5%",
        "agent:a#min=secret",
        "agent:a#grace=secret",
        "agent:a#scope=secret",
        "agent:a#not=secret",
        "agent:a#name=",
        "agent:a#timeout=0s",
        "agent:a#timeout=5",
        "ftp://u:secret@h",
        "secret-that-is-longer-than-a-command",
        "sec ret",
        "",
    ];
    for text in bad {
        let error = parse(text).expect_err(text);
        // Options are named, their values are not; durations may be quoted, they are no secrets.
        let quotes =
            error.contains("secret") || error.contains("sec ret") || error.contains("sec/ret");
        let harmless = text.contains("timeout=")
            || text.contains("grace=")
            || text.contains("max_age=")
            || text.contains("#secret=");
        assert!(!quotes || harmless, "{text}: {error}");
        assert!(
            !error.contains('\n') && error.len() < 300,
            "{text}: {error}"
        );
    }
}

#[test]
fn a_body_may_hold_what_looks_like_options() {
    let Kind::Process { pattern, min } = parse("process:a#b").unwrap().kind else {
        panic!()
    };
    assert_eq!((pattern.as_str(), min), ("a#b", 1));
    let Kind::Process { pattern, min } = parse("process:a#b#min=2").unwrap().kind else {
        panic!()
    };
    assert_eq!((pattern.as_str(), min), ("a#b", 2));
    let Kind::Exec(argv) = parse("exec:sh -c 'echo \"#1\"; exit 1' x#timeout=1s")
        .unwrap()
        .kind
    else {
        panic!()
    };
    assert_eq!(argv, ["sh", "-c", "echo \"#1\"; exit 1", "x"]);
    let Kind::File(file) = parse("file:/tmp/a#b%20c").unwrap().kind else {
        panic!()
    };
    assert_eq!(file.path.to_str(), Some("/tmp/a#b%20c"));
}

#[test]
fn option_values_are_percent_decoded() {
    let Kind::Http(http) = parse("http://h#contains=a%26b%20c").unwrap().kind else {
        panic!()
    };
    assert_eq!(http.contains, ["a&b c"]);
    let Kind::Redis(redis) = parse("redis://h#key=a%23b&value=").unwrap().kind else {
        panic!()
    };
    assert_eq!(redis.key.as_deref(), Some("a#b"));
    assert_eq!(redis.value.as_deref(), Some(""));
}

#[test]
fn scope_follows_the_address_unless_it_is_given() {
    let table = [
        ("agent:a", Scope::Own),
        ("redis://localhost", Scope::Dependency),
        ("nats://localhost", Scope::Dependency),
        ("http://localhost/", Scope::Own),
        ("http://LOCALHOST:1/", Scope::Own),
        ("http://127.0.0.2/", Scope::Own),
        ("http://[::1]/", Scope::Own),
        ("http://[::ffff:127.0.0.1]/", Scope::Own),
        ("http://example.com/", Scope::Dependency),
        ("http+unix://%2Fa/", Scope::Own),
        ("tcp://127.0.0.1:1", Scope::Own),
        ("tcp://10.0.0.1:1", Scope::Dependency),
        ("tcp://10.0.0.1:1#scope=own", Scope::Own),
        ("exec:true#scope=dependency", Scope::Dependency),
    ];
    for (text, want) in table {
        assert_eq!(parse(text).unwrap().scope, want, "{text}");
    }
}

#[test]
fn every_secret_is_remembered_for_redaction() {
    let mut secrets = Secrets::default();
    for text in [
        "redis://:redispw@h#key=k&value=keyvalue",
        "nats://natstoken@h",
        "nats://u:natspw@h",
        "http://u:httppw@h/?q=queryvalue#header=Authorization:Bearer%20bearertoken",
    ] {
        Target::parse(text, Options::default(), &mut secrets).unwrap();
    }
    let said = "redispw keyvalue natstoken natspw httppw queryvalue bearertoken dTpodHRwcHc=";
    assert_eq!(secrets.quote(said, 200), "*** *** *** *** *** *** *** ***");
}

#[test]
fn the_host_header_leaves_out_the_schemes_own_port() {
    let host = |text: &str| match parse(text).unwrap().kind {
        Kind::Http(http) => (http.host, http.path),
        _ => panic!("not http"),
    };
    assert_eq!(host("http://h/a?b=c"), ("h".into(), "/a?b=c".into()));
    assert_eq!(host("http://h:8080"), ("h:8080".into(), "/".into()));
    assert_eq!(host("https://[::1]:443/").0, "[::1]");
    assert_eq!(host("http://[::1]:81/").0, "[::1]:81");
    assert_eq!(host("http+unix://%2Fa.sock").1, "/");
}

#[test]
fn one_of_several_is_own_only_if_all_are() {
    let any = |targets: &[&str]| {
        let targets = targets.iter().map(|t| parse(t).unwrap()).collect();
        Target::any(targets, Options::default())
    };
    assert_eq!(any(&["agent:a", "file:/b"]).unwrap().scope, Scope::Own);
    let mixed = any(&["agent:a", "redis://:p@h"]).unwrap();
    assert_eq!(mixed.scope, Scope::Dependency);
    assert_eq!(mixed.redacted, "any(agent:a, redis://***@h)");
    assert!(any(&[]).is_err());
}

proptest::proptest! {
    #[test]
    fn no_text_panics_or_leaks(text in "(agent|redis|rediss|redis\\+unix|nats|tls|http|https|http\\+unix|tcp|unix|process|pid|exec|file|x):(//)?[ -~]{0,60}") {
        let secret = "Zq9zSecretZq9z";
        let with_secret = text.replacen("//", &format!("//u:{secret}@"), 1);
        let shown = match parse(&with_secret) {
            Ok(target) => target.redacted,
            Err(error) => error,
        };
        let is_address = !["process:", "pid:", "file:", "exec:", "x:"].iter().any(|s| text.starts_with(s));
        proptest::prop_assert!(!is_address || !shown.contains(secret), "{}", shown);
    }
}

#[test]
fn what_a_target_holds_of_credentials_is_a_secret_in_every_place() {
    for text in [
        "http://zQ9secret@h/",
        "http://zQ9secret:x-oauth-basic@h/",
        "http://u:zQ9secret@h/",
        "http://h/?zQ9secret",
        "http://h/?zQ9secret=",
        "http://h/?token=zQ9secret",
        "http://h/#header=Authorization:Basic dTp6UTlzZWNyZXQ=",
        "http://h/#header=Authorization:Bearer zQ9secret",
        "redis://zQ9secret@h",
        "redis://:zQ9secret@h",
        "nats://zQ9secret@h",
    ] {
        let mut secrets = Secrets::default();
        Target::parse(text, Options::default(), &mut secrets).unwrap();
        assert_eq!(secrets.quote("no zQ9secret", 99), "no ***", "{text}");
    }
}

/// A restart mends none of it.
#[test]
fn what_runs_out_decides_only_if_it_is_told_to() {
    for text in [
        "disk:/#free=5%",
        "fds:x",
        "pids:#used=9%",
        "zombies:#max=1&optional",
    ] {
        assert!(parse(text).unwrap().optional, "{text}");
    }
    for text in [
        "disk:/#free=5%&optional=false",
        "supervisor:x",
        "container:x",
    ] {
        assert!(!parse(text).unwrap().optional, "{text}");
    }
}
