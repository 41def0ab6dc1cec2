//! Who we are to NATS: every way that its servers know, and TLS.

use std::path::PathBuf;

use nkeys::KeyPair;
use ready_probe_test_support::operator::Operator;
use ready_probe_test_support::servers::{Nats, NatsVersion};
use ready_probe_test_support::tls::Ca;

use crate::container::{Container, assert_mentions, assert_said};

const HEALTHY: &str = "healthy: 1 check passes";
const VERSIONS: [NatsVersion; 2] = [NatsVersion::V2_9, NatsVersion::V2_15];

#[track_caller]
fn assert_passes(target: &str) {
    assert_said(&Container::new().ask(target), 0, HEALTHY);
}

/// Unknown, with this in its cause and none of these secrets.
#[track_caller]
fn assert_refused(target: &str, cause: &str, secrets: &[&str]) {
    let run = Container::new().run(["--verbose", target]);
    assert_mentions(&run, 1, &["unhealthy: ", cause, "; it has never passed"]);
    for secret in secrets {
        assert!(!format!("{run:?}").contains(secret), "{secret}: {run:?}");
    }
}

#[test]
fn a_user_and_a_password() {
    for version in VERSIONS {
        let nats = Nats::builder(version)
            .config("authorization { user: app, password: \"p@ss/word\" }")
            .start();
        let port = nats.port();
        assert_passes(&format!("nats://app:p%40ss%2Fword@127.0.0.1:{port}"));
        let violation = "Authorization Violation";
        assert_refused(&nats.url(), violation, &[]);
        let wrong = format!("nats://app:hUnTeR2@127.0.0.1:{port}");
        assert_refused(&wrong, violation, &["hUnTeR2"]);
    }
}

#[test]
fn a_token_in_the_address_or_in_a_file() {
    for version in VERSIONS {
        let nats = Nats::builder(version)
            .config("authorization { token: s3cr3tToken }")
            .start();
        let container = Container::new();
        assert_passes(&format!("nats://s3cr3tToken@127.0.0.1:{}", nats.port()));
        let file = container.file("token", "s3cr3tToken\n");
        assert_passes(&format!("{}#token_file={}", nats.url(), file.display()));
        let wrong = container.file("wrong", "hUnTeR2");
        let target = format!("{}#token_file={}", nats.url(), wrong.display());
        assert_refused(&target, "Authorization Violation", &["hUnTeR2"]);
        let missing = format!("{}#token_file=/no/such", nats.url());
        assert_refused(&missing, "token_file: /no/such: No such file", &[]);
    }
}

#[test]
fn an_nkey() {
    let (user, stranger) = (KeyPair::new_user(), KeyPair::new_user());
    for version in VERSIONS {
        let public = user.public_key();
        let config = format!("authorization {{ users: [{{ nkey: {public} }}] }}");
        let nats = Nats::builder(version).config(&config).start();
        let container = Container::new();
        let with = |name: &str, text: &str| {
            let file = container.file(name, format!("{text}\n"));
            format!("{}#nkey={}", nats.url(), file.display())
        };
        assert_passes(&with("seed", &user.seed().unwrap()));
        // What `nk -gen user -pubout` writes.
        let both = format!("{}\n{public}", user.seed().unwrap());
        assert_passes(&with("both", &both));
        let both = format!("{public}\n\n{}", user.seed().unwrap());
        assert_passes(&with("both", &both));
        let seed = stranger.seed().unwrap();
        assert_refused(
            &with("stranger", &seed),
            "Authorization Violation",
            &[&seed],
        );
        let broken = seed.replace('A', "B");
        assert_refused(
            &with("broken", &broken),
            "it holds no valid seed",
            &[&broken],
        );
        // A server that knows no nkeys sends nothing to sign.
        let plain = Nats::start(version);
        let file = container.file("seed", user.seed().unwrap());
        let target = format!("{}#nkey={}", plain.url(), file.display());
        assert_refused(&target, "the server asks for no signature", &[]);
    }
}

/// A server that trusts an operator, and the credentials of a user of its only account.
fn with_operator(version: NatsVersion, container: &Container) -> (Nats, PathBuf, String) {
    let Operator {
        config,
        creds,
        seed,
    } = Operator::new();
    let nats = Nats::builder(version).config(&config).start();
    (nats, container.file("user.creds", creds), seed)
}

#[test]
fn credentials_of_an_operators_user() {
    for version in VERSIONS {
        let container = Container::new();
        let (nats, creds, seed) = with_operator(version, &container);
        assert_passes(&format!("{}#creds={}", nats.url(), creds.display()));
        assert_refused(&nats.url(), "Authorization Violation", &[]);
        let text = std::fs::read_to_string(&creds).unwrap();
        let table = [
            (text.replace("NKEY SEED", "X"), "it holds no SEED"),
            (text.replace("USER JWT", "X"), "it holds no JWT"),
            (
                text.replace(&seed, &KeyPair::new_user().seed().unwrap()),
                "Authorization Violation",
            ),
            (text.replace(&seed, "SUhUnTeR2"), "it holds no valid seed"),
            (String::new(), "it holds no"),
        ];
        for (text, cause) in table {
            let file = container.file("other.creds", text);
            let target = format!("{}#creds={}", nats.url(), file.display());
            assert_refused(&target, cause, &[&seed, "hUnTeR2"]);
        }
        let missing = format!("{}#creds=/no/such.creds", nats.url());
        assert_refused(&missing, "creds: /no/such.creds: No such file", &[]);
    }
}

#[test]
fn tls_where_the_server_demands_it_or_we_do() {
    for version in VERSIONS {
        let (ca, other) = (Ca::new(), Ca::new());
        let nats = Nats::builder(version)
            .tls(&ca.server(&["localhost"]))
            .start();
        let (port, path) = (nats.port(), ca.path().display());
        assert_passes(&format!("{}#ca={path}", nats.url()));
        // The server's greeting says that it demands TLS.
        assert_passes(&format!("nats://localhost:{port}#ca={path}"));
        let run = Container::new().ask(format!("{}#insecure", nats.url()));
        assert_said(&run, 0, HEALTHY);
        assert!(
            run.stdout.contains(" certificate not verified\n"),
            "{run:?}"
        );

        assert_refused(&nats.url(), "TLS: unknown issuer", &[]);
        let stranger = format!("{}#ca={}", nats.url(), other.path().display());
        assert_refused(&stranger, "TLS: the certificate's signature is wrong", &[]);
        let misnamed = format!("tls://127.0.0.1:{port}#ca={path}");
        assert_refused(&misnamed, "certificate not valid for name", &[]);
        let expired = Nats::builder(version)
            .tls(&ca.expired_server(&["localhost"]))
            .start();
        assert_refused(
            &format!("{}#ca={path}", expired.url()),
            "certificate expired",
            &[],
        );
    }
}

#[test]
fn a_client_shows_its_certificate_where_it_is_demanded() {
    for version in VERSIONS {
        let (ca, other) = (Ca::new(), Ca::new());
        let nats = Nats::builder(version)
            .tls(&ca.server(&["localhost"]))
            .require_client_certificate()
            .start();
        let url = format!("{}#ca={}", nats.url(), ca.path().display());
        let with = |ca: &Ca| {
            let client = ca.client("probe");
            let (cert, key) = (client.cert.display(), client.key.display());
            format!("{url}&cert={cert}&key_file={key}")
        };
        assert_passes(&with(&ca));
        assert_refused(&with(&other), "", &[]);
        assert_refused(&url, "", &[]);
    }
}

#[test]
fn tls_to_a_server_without_is_told() {
    for version in VERSIONS {
        let nats = Nats::start(version);
        let target = format!("tls://127.0.0.1:{}", nats.port());
        assert_refused(&target, "TLS: the server does not offer it", &[]);
    }
}

#[test]
fn a_password_never_goes_over_a_connection_that_should_be_tls() {
    use ready_probe_test_support::hostile::{Behaviour, Hostile};
    let server = Hostile::tcp(Behaviour::Garbage(
        b"INFO {\"tls_required\":false}\r\n".to_vec(),
    ));
    let target = format!("tls://app:hUnTeR2@127.0.0.1:{}", server.port());
    assert_refused(&target, "TLS: the server does not offer it", &["hUnTeR2"]);
    assert_eq!(server.received(), b"", "nothing is sent in the clear");
}
