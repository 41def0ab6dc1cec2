//! Who an agent is to NATS: every way that its servers know, and TLS.

use std::sync::atomic::{AtomicU32, Ordering};

use nkeys::KeyPair;
use ready_probe_test_support::operator::Operator;
use ready_probe_test_support::servers::{Nats, NatsVersion};
use ready_probe_test_support::tls::Ca;

use crate::bucket::VERSIONS;
use crate::common::TempFolder;
use crate::fixture::{announced_agent, assert_heals, ready_agent, until_told};

fn start(version: NatsVersion, config: &str) -> Nats {
    Nats::builder(version).jetstream().config(config).start()
}

fn with_user(nats: &Nats, user: &str) -> String {
    format!("nats://{user}@127.0.0.1:{}", nats.port())
}

/// It is announced there; by somebody without credentials it is not.
#[track_caller]
fn assert_lets_in(nats: &Nats, address: &str) {
    // The tests run side by side in one process, where a name can be had once.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let (known, stranger) = (format!("known-{number}"), format!("stranger-{number}"));
    let folder = TempFolder::new();
    let agent = announced_agent(&folder, &known, address);
    let shown = agent.announced().unwrap().store;
    assert!(!shown.contains("s3cret"), "{shown}");
    let _stranger = ready_agent(&folder, &stranger, &nats.url());
    until_told(&folder, &stranger, "Authorization Violation");
}

#[test]
fn a_user_and_a_password() {
    for version in VERSIONS {
        let nats = start(
            version,
            "authorization { user: app, password: \"p@ss/s3cret\" }",
        );
        assert_lets_in(&nats, &with_user(&nats, "app:p%40ss%2Fs3cret"));
    }
}

#[test]
fn a_token_in_the_address_or_in_a_file() {
    for version in VERSIONS {
        let nats = start(version, "authorization { token: s3cretToken }");
        assert_lets_in(&nats, &with_user(&nats, "s3cretToken"));
        let folder = TempFolder::new();
        let file = folder.put("files", "token", "s3cretToken\n");
        assert_lets_in(
            &nats,
            &format!("{}#token_file={}", nats.url(), file.display()),
        );
    }
}

#[test]
fn an_nkey() {
    let user = KeyPair::new_user();
    for version in VERSIONS {
        let public = user.public_key();
        let nats = start(
            version,
            &format!("authorization {{ users: [{{ nkey: {public} }}] }}"),
        );
        let folder = TempFolder::new();
        let file = folder.put("files", "seed", user.seed().unwrap());
        assert_lets_in(&nats, &format!("{}#nkey={}", nats.url(), file.display()));
        let both = format!("{}\n{public}\n", user.seed().unwrap());
        let file = folder.put("files", "both", both);
        assert_lets_in(&nats, &format!("{}#nkey={}", nats.url(), file.display()));
        let broken = folder.put("files", "broken", "SUhUnTeR2");
        let url = format!("{}#nkey={}", nats.url(), broken.display());
        let _agent = ready_agent(&folder, "broken", &url);
        until_told(&folder, "broken", "");
        let told = folder.record("broken").announced.unwrap();
        assert!(!told.reason.unwrap().contains("hUnTeR2"));
    }
}

#[test]
fn credentials_of_an_operators_user() {
    for version in VERSIONS {
        let operator = Operator::new();
        let nats = start(version, &operator.config);
        let folder = TempFolder::new();
        let file = folder.put("files", "user.creds", &operator.creds);
        assert_lets_in(&nats, &format!("{}#creds={}", nats.url(), file.display()));
        let url = format!("{}#creds=/no/such.creds", nats.url());
        let _agent = ready_agent(&folder, "no-creds", &url);
        until_told(&folder, "no-creds", "creds: /no/such.creds: No such file");
    }
}

#[test]
fn tls_with_a_private_authority() {
    for version in VERSIONS {
        let (ca, stranger) = (Ca::new(), Ca::new());
        let nats = Nats::builder(version)
            .jetstream()
            .tls(&ca.server(&["localhost"]))
            .start();
        let folder = TempFolder::new();
        let address = |ca: &Ca| format!("{}#ca={}", nats.url(), ca.path().display());
        let _agent = announced_agent(&folder, "trusts", &address(&ca));
        let _other = ready_agent(&folder, "mistrusts", &address(&stranger));
        until_told(&folder, "mistrusts", "certificate");
    }
}

#[test]
fn a_wrong_password_is_told_and_announcing_heals_when_it_is_mended() {
    for version in VERSIONS {
        let mut nats = start(version, "authorization { user: app, password: right }");
        let folder = TempFolder::new();
        let _agent = ready_agent(&folder, "mended", &with_user(&nats, "app:hUnTeR2"));
        until_told(&folder, "mended", "Authorization Violation");
        nats.reload("authorization { user: app, password: hUnTeR2 }");
        assert_heals(&folder, "mended");
    }
}
