//! TLS as the application next to the probe has it: what it accepts, the probe accepts, and what is
//! refused is said in words. `redis_tls`, `nats_auth` and `https` have what is one protocol's own.

use ready_probe_test_support::hostile::{Behaviour, Hostile};
use ready_probe_test_support::http::{HttpServer, Response};
use ready_probe_test_support::process::{Run, run};
use ready_probe_test_support::servers::{Nats, NatsVersion, OpensslServer, Redis};
use ready_probe_test_support::tls::{Ca, SelfSigned, ServerIdentity};

use crate::container::{Container, assert_mentions, assert_said};

const HEALTHY: &str = "healthy: 1 check passes";

/// A server of each protocol that shows this certificate.
struct Servers {
    redis: Redis,
    nats: Nats,
    http: HttpServer,
}

impl Servers {
    fn start(identity: &ServerIdentity) -> Self {
        Self {
            redis: Redis::builder().tls(identity).start(),
            nats: Nats::builder(NatsVersion::V2_9).tls(identity).start(),
            http: HttpServer::tls(identity, |_| Response::new(200)),
        }
    }

    /// Their addresses, at this host.
    fn at(&self, host: &str) -> [String; 3] {
        [
            format!("rediss://{host}:{}", self.redis.tls_port()),
            format!("tls://{host}:{}", self.nats.port()),
            format!("https://{host}:{}/", self.http.port()),
        ]
    }
}

#[track_caller]
fn assert_refused(target: &str, said: &[&str]) -> Run {
    let run = Container::new().ask(target);
    let mut all = vec!["unhealthy: ", "TLS: ", "; it has never passed"];
    all.extend(said);
    assert_mentions(&run, 1, &all);
    // What rustls calls its values in Rust is no word.
    for debug in ["Other(", "Error(", "UnknownIssuer", "AlertReceived"] {
        assert!(!run.stdout.contains(debug), "{target}: {run:?}");
    }
    run
}

#[track_caller]
fn assert_passes_with(target: &str, note: &str) {
    let run = Container::new().ask(target);
    assert_said(&run, 0, HEALTHY);
    assert!(
        run.stdout.contains(&format!(" {note}\n")),
        "{target}: {run:?}"
    );
}

#[test]
fn a_certificate_that_signs_itself_is_trusted_where_it_is_named() {
    let identity = ServerIdentity::self_signed(&["localhost"]);
    let servers = Servers::start(&identity);
    let other = ServerIdentity::self_signed(&["localhost"]);
    for url in servers.at("localhost") {
        let container = Container::new();
        let trusting = format!("{url}#ca={}", identity.ca.display());
        assert_said(&container.ask(&trusting), 0, HEALTHY);
        let mut probe = container.probe([&url]);
        assert_said(&run(probe.env("SSL_CERT_FILE", &identity.ca)), 0, HEALTHY);
        assert_refused(&url, &[]);
        // The same names, and the same subject; another key.
        assert_refused(&format!("{url}#ca={}", other.ca.display()), &[]);
    }
    // By itself, not for any name.
    for url in servers.at("127.0.0.1") {
        assert_refused(
            &format!("{url}#ca={}", identity.ca.display()),
            &["not valid for name", "127.0.0.1", "localhost"],
        );
    }
}

#[test]
fn a_certificate_that_signs_itself_is_not_trusted_for_ever() {
    let identity = ServerIdentity::expired_self_signed(&["localhost"]);
    for url in Servers::start(&identity).at("localhost") {
        assert_refused(
            &format!("{url}#ca={}", identity.ca.display()),
            &["certificate expired on 2001-01-01"],
        );
    }
}

#[test]
fn a_certificate_may_be_named_without_who_signed_it() {
    // curl and Python take it, too: X509_V_FLAG_PARTIAL_CHAIN.
    let identity = Ca::new().server(&["localhost"]);
    for url in Servers::start(&identity).at("localhost") {
        let target = format!("{url}#ca={}", identity.cert.display());
        assert_said(&Container::new().ask(target), 0, HEALTHY);
    }
}

#[test]
fn a_named_certificate_may_have_its_name_in_its_subject_only() {
    let identity = ServerIdentity::by_openssl(SelfSigned::CommonNameOnly);
    let server = OpensslServer::start(&identity, &[]);
    let ca = identity.ca.display();
    let target = format!("{}#ca={ca}", server.url());
    assert_said(&Container::new().ask(target), 0, HEALTHY);
    let elsewhere = format!("{}#ca={ca}&server_name=cache", server.url());
    assert_refused(&elsewhere, &["not valid for name", "cache"]);
}

#[test]
fn an_authority_for_some_names_is_not_trusted_by_itself() {
    let identity = ServerIdentity::by_openssl(SelfSigned::Constrained);
    let server = OpensslServer::start(&identity, &[]);
    let target = format!("{}#ca={}", server.url(), identity.ca.display());
    assert_refused(&target, &["an authority's own"]);
}

#[test]
fn insecure_also_takes_what_can_not_be_verified() {
    for kind in [SelfSigned::Version1, SelfSigned::Rsa1024, SelfSigned::P521] {
        let identity = ServerIdentity::by_openssl(kind);
        for version in ["-tls1_2", "-tls1_3"] {
            let server = OpensslServer::start(&identity, &[version]);
            let target = format!("{}#insecure", server.url());
            assert_passes_with(&target, "certificate not verified");
            let named = format!("{}#ca={}", server.url(), identity.ca.display());
            assert_refused(&named, &[]);
        }
    }
}

#[test]
fn a_certificate_of_another_name_is_asked_for_by_that_name() {
    let ca = Ca::new();
    let servers = Servers::start(&ca.server(&["cache.internal", "10.1.2.3"]));
    let ca = ca.path().display();
    for url in servers.at("127.0.0.1") {
        for name in ["cache.internal", "CACHE.internal", "10.1.2.3"] {
            let target = format!("{url}#ca={ca}&server_name={name}");
            assert_said(&Container::new().ask(target), 0, HEALTHY);
        }
        let wrong = format!("{url}#ca={ca}&server_name=db.internal");
        assert_refused(
            &wrong,
            &["not valid for name", "db.internal", "cache.internal"],
        );
        let container = Container::new();
        let toml = format!(
            "agent = []\n[[check]]\ntarget = \"{url}\"\nca = \"{ca}\"\nserver_name = \"cache.internal\"\n"
        );
        let file = container.file("probe.toml", toml);
        let run = run(container.probe([""; 0]).env("READY_CONFIG", file));
        assert_said(&run, 0, HEALTHY);
    }
    let run = Container::new().ask("https://h#server_name=no%20name");
    assert_eq!(run.code(), 64, "{run:?}");
    assert!(run.stderr.contains("server_name"), "{run:?}");
}

#[test]
fn the_server_hears_the_name_that_is_asked_for() {
    let ca = Ca::new();
    let (first, second) = (ca.server(&["other"]), ca.server(&["cache.internal"]));
    let server = OpensslServer::start(
        &first,
        &[
            "-servername",
            "cache.internal",
            "-servername_fatal",
            "-cert2",
            second.cert.to_str().unwrap(),
            "-key2",
            second.key.to_str().unwrap(),
        ],
    );
    let url = format!("{}#ca={}", server.url(), ca.path().display());
    let named = format!("{url}&server_name=cache.internal");
    assert_said(&Container::new().ask(named), 0, HEALTHY);
    assert_refused(&url, &["server_name="]);
}

#[test]
fn a_store_may_have_a_certificate_of_another_name() {
    let ca = Ca::new();
    let identity = ca.server(&["store.internal"]);
    let redis = Redis::builder().tls(&identity).start();
    let nats = Nats::builder(NatsVersion::V2_15)
        .jetstream()
        .tls(&identity)
        .start();
    for url in [
        format!("rediss://127.0.0.1:{}", redis.tls_port()),
        format!("tls://127.0.0.1:{}", nats.port()),
    ] {
        let container = Container::new();
        let ask = |options: &str| {
            let store = format!("{url}#ca={}{options}", ca.path().display());
            run(container.probe(["peer:nobody"]).env("READY_STORE", store))
        };
        assert_mentions(&ask("&server_name=store.internal"), 1, &["no signal"]);
        assert_mentions(&ask(""), 1, &["TLS: ", "not valid for name"]);
    }
}

#[test]
fn an_application_that_does_not_check_the_name_is_taken_at_its_word() {
    let (ca, other) = (Ca::new(), Ca::new());
    let redis = Redis::builder().tls(&ca.server(&["elsewhere"])).start();
    let url = |query: &str, ca: &Ca| {
        format!(
            "{}?ssl_ca_certs={}&{query}",
            redis.tls_url(),
            ca.path().display()
        )
    };
    // What redis-py takes for no (redis/connection.py, FALSE_STRINGS).
    for no in ["false", "False", "no", "N", "f", "0"] {
        let target = url(&format!("ssl_check_hostname={no}"), &ca);
        assert_passes_with(&target, "host name not verified");
    }
    for yes in ["true", "1", "", "nonsense"] {
        let target = url(&format!("ssl_check_hostname={yes}"), &ca);
        assert_refused(&target, &["not valid for name"]);
    }
    // The name alone is not checked.
    assert_refused(&url("ssl_check_hostname=false", &other), &[]);
    // Both off, and the option of the check's own.
    let both = url("ssl_check_hostname=false&ssl_cert_reqs=none", &other);
    assert_passes_with(&both, "certificate not verified");
    let named = url("ssl_check_hostname=false", &ca) + "#server_name=nobody";
    assert_refused(&named, &["not valid for name", "nobody"]);
}

#[test]
fn a_missing_client_certificate_is_told_with_its_options() {
    let ca = Ca::new();
    let identity = ca.server(&["localhost"]);
    let redis = Redis::builder()
        .tls(&identity)
        .require_client_certificate()
        .start();
    let http = HttpServer::mutual_tls(&identity, |_| Response::new(200));
    let mut urls = vec![redis.tls_url(), http.url("/")];
    let nats = [NatsVersion::V2_9, NatsVersion::V2_15].map(|version| {
        let nats = Nats::builder(version).tls(&identity);
        nats.require_client_certificate().start()
    });
    urls.extend(nats.iter().map(Nats::url));
    for url in urls {
        let target = format!("{url}#ca={}", ca.path().display());
        assert_refused(
            &target,
            &["asks for a client certificate: set cert= and key_file="],
        );
        // A stranger's is another matter.
        let stranger = Ca::new().client("probe");
        let (cert, key) = (stranger.cert.display(), stranger.key.display());
        let shown = format!("{target}&cert={cert}&key_file={key}");
        assert_refused(&shown, &["refuses the certificate in cert="]);
    }
    let verify = ["-Verify", "1", "-tls1_2", "-verify_return_error"];
    let server = OpensslServer::start(&identity, &verify);
    let target = format!("{}#ca={}", server.url(), ca.path().display());
    assert_refused(&target, &["a client certificate", "cert= and key_file="]);
}

#[test]
fn what_is_wrong_with_tls_is_said_in_words() {
    let (ca, other) = (Ca::new(), Ca::new());
    let https = |identity: &ServerIdentity| HttpServer::tls(identity, |_| Response::new(200));
    let named = |url: String, ca: &Ca| format!("{url}#ca={}", ca.path().display());

    let sound = https(&ca.server(&["localhost"]));
    assert_refused(&sound.url("/"), &["unknown issuer", "ca="]);
    assert_refused(&named(sound.url("/"), &other), &["signature"]);
    let future = https(&ca.future_server(&["localhost"]));
    assert_refused(
        &named(future.url("/"), &ca),
        &["certificate not valid before 2100-01-01"],
    );
    let nameless = ServerIdentity::by_openssl(SelfSigned::Version1);
    let first = OpensslServer::start(&nameless, &[]);
    let target = format!("{}#ca={}", first.url(), nameless.ca.display());
    assert_refused(&target, &["X.509 version 1", "insecure"]);

    let authority = https(&ServerIdentity::self_signed(&["localhost"]));
    assert_refused(&authority.url("/"), &["an authority's", "ca="]);

    let old = OpensslServer::start(&ca.server(&["localhost"]), &["-tls1_1"]);
    assert_refused(&named(old.url(), &ca), &["TLS 1.2 nor 1.3"]);

    for answer in [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "-ERR unknown command\r\n",
    ] {
        let plain = Hostile::tcp(Behaviour::Garbage(answer.into()));
        let target = format!("https://localhost:{}/#insecure", plain.port());
        assert_refused(&target, &["does not speak TLS"]);
    }
}

#[test]
fn what_is_wrong_with_our_own_certificate_is_said_in_words() {
    let (ca, container) = (Ca::new(), Container::new());
    let (mine, other) = (ca.client("probe"), ca.client("other"));
    let nothing = container.file("nothing.pem", "");
    let old = ServerIdentity::by_openssl(SelfSigned::Version1);
    for (cert, key, said) in [
        (&mine.cert, &other.key, "does not belong to the key"),
        (&mine.cert, &mine.cert, "it holds no private key"),
        (&nothing, &mine.key, "it holds no certificate"),
        (&old.cert, &old.key, "not an X.509 certificate of version 3"),
    ] {
        let (cert, key) = (cert.display(), key.display());
        let target = format!("https://localhost:1/#cert={cert}&key_file={key}");
        assert_refused(&target, &[said]);
    }
}

#[test]
fn many_checks_with_tls_stay_small() {
    let identity = ServerIdentity::self_signed(&["localhost"]);
    let server = HttpServer::tls(&identity, |_| Response::new(200));
    // As many as a system trusts, and one more.
    let authorities = (0..200).map(|_| std::fs::read(Ca::new().path()).unwrap());
    let mut bundle: Vec<u8> = authorities.flatten().collect();
    bundle.extend(std::fs::read(&identity.cert).unwrap());
    let container = Container::new();
    let file = container.file("bundle.pem", bundle);
    let targets: Vec<String> = (0..24)
        .map(|n| format!("{}#ca={}&name=n{n}", server.url("/"), file.display()))
        .collect();
    let run = container.run(targets);
    assert_said(&run, 0, "healthy: 24 checks pass");
    assert!(run.peak_rss_kib < 8 * 1024, "{run:?}");
}
