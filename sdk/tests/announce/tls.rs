//! TLS as an agent's store has it. Redis goes over the SDK's own connection, NATS over async-nats'; both
//! accept the same, and say what is wrong in the same words.

use ready_probe_test_support::servers::{Nats, NatsVersion, Redis};
use ready_probe_test_support::tls::{Ca, SelfSigned, ServerIdentity};

use crate::common::TempFolder;
use crate::fixture::{announced_agent, ready_agent, until_told};

const VERSIONS: [NatsVersion; 2] = [NatsVersion::V2_9, NatsVersion::V2_15];

/// A store of each kind that shows this certificate.
struct Stores {
    redis: Redis,
    nats: [Nats; 2],
}

impl Stores {
    fn start(identity: &ServerIdentity) -> Self {
        Self {
            redis: Redis::builder().tls(identity).start(),
            nats: VERSIONS.map(|version| Nats::builder(version).jetstream().tls(identity).start()),
        }
    }

    fn wanting_certificates(identity: &ServerIdentity) -> Self {
        let redis = Redis::builder().tls(identity);
        let nats = VERSIONS.map(|version| {
            let nats = Nats::builder(version).jetstream().tls(identity);
            nats.require_client_certificate().start()
        });
        Self {
            redis: redis.require_client_certificate().start(),
            nats,
        }
    }

    fn at(&self, host: &str) -> Vec<String> {
        let nats = |nats: &Nats| format!("tls://{host}:{}", nats.port());
        let redis = format!("rediss://{host}:{}", self.redis.tls_port());
        [redis]
            .into_iter()
            .chain(self.nats.iter().map(nats))
            .collect()
    }
}

#[test]
fn a_certificate_that_signs_itself_is_trusted_where_it_is_named() {
    let identity = ServerIdentity::self_signed(&["localhost"]);
    let stores = Stores::start(&identity);
    for url in stores.at("localhost") {
        let folder = TempFolder::new();
        let trusting = format!("{url}#ca={}", identity.ca.display());
        let _agent = announced_agent(&folder, "names-it", &trusting);
        let other = ServerIdentity::self_signed(&["localhost"]);
        let stranger = format!("{url}#ca={}", other.ca.display());
        let _other = ready_agent(&folder, "names-another", &stranger);
        until_told(&folder, "names-another", "TLS: unknown issuer");
    }
    for url in stores.at("127.0.0.1") {
        let folder = TempFolder::new();
        let trusting = format!("{url}#ca={}", identity.ca.display());
        let _agent = ready_agent(&folder, "elsewhere", &trusting);
        until_told(&folder, "elsewhere", "TLS: certificate not valid for name");
    }
}

#[test]
fn a_certificate_that_signs_itself_is_not_trusted_for_ever() {
    let identity = ServerIdentity::expired_self_signed(&["localhost"]);
    for url in Stores::start(&identity).at("localhost") {
        let folder = TempFolder::new();
        let trusting = format!("{url}#ca={}", identity.ca.display());
        let _agent = ready_agent(&folder, "late", &trusting);
        until_told(&folder, "late", "TLS: certificate expired on 2001-01-01");
    }
}

#[test]
fn a_store_may_have_a_certificate_of_another_name() {
    let ca = Ca::new();
    let stores = Stores::start(&ca.server(&["store.internal"]));
    for url in stores.at("127.0.0.1") {
        let folder = TempFolder::new();
        let store = |name| format!("{url}#ca={}&server_name={name}", ca.path().display());
        let _agent = announced_agent(&folder, "knows", &store("store.internal"));
        let _other = ready_agent(&folder, "errs", &store("127.0.0.1"));
        until_told(
            &folder,
            "errs",
            "TLS: certificate not valid for name 127.0.0.1",
        );
    }
    let query = format!("{}?ssl_check_hostname=false", stores.at("localhost")[0]);
    let store = format!("{query}#ca={}", ca.path().display());
    let _agent = announced_agent(&TempFolder::new(), "cares-not", &store);
}

#[test]
fn insecure_takes_a_certificate_that_can_not_be_verified() {
    // OpenSSL, and so Redis, starts with it as it is; RSA-1024 it refuses by default.
    for kind in [SelfSigned::Version1, SelfSigned::P521] {
        let redis = Redis::builder()
            .tls(&ServerIdentity::by_openssl(kind))
            .start();
        let store = format!("{}#insecure", redis.tls_url());
        let _agent = announced_agent(&TempFolder::new(), "trusts-all", &store);
    }
}

#[test]
fn a_missing_client_certificate_is_told_with_its_options() {
    let ca = Ca::new();
    let stores = Stores::wanting_certificates(&ca.server(&["localhost"]));
    for url in stores.at("localhost") {
        let folder = TempFolder::new();
        let store = format!("{url}#ca={}", ca.path().display());
        let _agent = ready_agent(&folder, "nobody", &store);
        until_told(
            &folder,
            "nobody",
            "TLS: the server asks for a client certificate: set cert= and key_file=",
        );
        let stranger = Ca::new().client("agent");
        let (cert, key) = (stranger.cert.display(), stranger.key.display());
        let _other = ready_agent(
            &folder,
            "stranger",
            &format!("{store}&cert={cert}&key_file={key}"),
        );
        until_told(
            &folder,
            "stranger",
            "TLS: the server refuses the certificate",
        );
    }
}
