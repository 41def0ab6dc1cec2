//! Redis over TLS: who is trusted, and what is said when nobody is.

use ready_probe_test_support::process::run;
use ready_probe_test_support::servers::Redis;
use ready_probe_test_support::tls::Ca;

use crate::container::{Container, assert_mentions, assert_said, row};

const HEALTHY: &str = "healthy: 1 check passes";

#[test]
fn a_private_authority_is_trusted_where_it_is_named() {
    let ca = Ca::new();
    let redis = Redis::builder()
        .tls(&ca.server(&["localhost", "127.0.0.1"]))
        .start();
    let (url, path) = (redis.tls_url(), ca.path().display());
    let container = Container::new();
    assert_said(&container.ask(format!("{url}#ca={path}")), 0, HEALTHY);
    assert_said(
        &container.ask(format!("{url}?ssl_ca_certs={path}")),
        0,
        HEALTHY,
    );
    let mut probe = container.probe([&url]);
    assert_said(&run(probe.env("SSL_CERT_FILE", ca.path())), 0, HEALTHY);
    let address = format!("rediss://127.0.0.1:{}#ca={path}", redis.tls_port());
    assert_said(&container.ask(address), 0, HEALTHY);
}

#[test]
fn who_is_not_trusted_is_not_an_answer() {
    let (ca, other) = (Ca::new(), Ca::new());
    let redis = Redis::builder().tls(&ca.server(&["localhost"])).start();
    let expired = Redis::builder()
        .tls(&ca.expired_server(&["localhost"]))
        .start();
    let ca = ca.path().display();
    let missing = "/no/such.pem";
    let port = redis.tls_port();
    let table = [
        (redis.tls_url(), "unknown issuer"),
        (
            format!("{}#ca={}", redis.tls_url(), other.path().display()),
            "TLS: ",
        ),
        (
            format!("rediss://127.0.0.1:{port}#ca={ca}"),
            "certificate not valid for name",
        ),
        (
            format!("{}#ca={ca}", expired.tls_url()),
            "certificate expired",
        ),
        (format!("{}#ca={missing}", redis.tls_url()), missing),
        (
            format!("{}#ca=/proc/self/status", redis.tls_url()),
            "/proc/self/status",
        ),
    ];
    for (target, said) in table {
        let run = Container::new().ask(&target);
        assert_mentions(&run, 1, &["TLS: ", said, "; it has never passed"]);
    }
}

#[test]
fn insecure_passes_and_is_said() {
    let redis = Redis::builder()
        .tls(&Ca::new().expired_server(&["else"]))
        .start();
    for target in [
        format!("{}#insecure", redis.tls_url()),
        format!("{}?ssl_cert_reqs=none", redis.tls_url()),
    ] {
        let run = Container::new().ask(&target);
        assert_said(&run, 0, HEALTHY);
        assert!(
            run.stdout.contains(" certificate not verified\n"),
            "{target}: {run:?}"
        );
    }
}

#[test]
fn a_client_shows_its_certificate_where_it_is_demanded() {
    let (ca, other) = (Ca::new(), Ca::new());
    let redis = Redis::builder()
        .tls(&ca.server(&["localhost"]))
        .require_client_certificate()
        .start();
    let url = format!("{}#ca={}", redis.tls_url(), ca.path().display());
    let with = |cert: &std::path::Path, key: &std::path::Path| {
        format!("{url}&cert={}&key_file={}", cert.display(), key.display())
    };
    let container = Container::new();
    let (mine, strangers) = (ca.client("probe"), other.client("probe"));
    assert_said(&container.ask(with(&mine.cert, &mine.key)), 0, HEALTHY);
    let query = format!(
        "{}?ssl_ca_certs={}&ssl_certfile={}&ssl_keyfile={}",
        redis.tls_url(),
        ca.path().display(),
        mine.cert.display(),
        mine.key.display()
    );
    assert_said(&container.ask(query), 0, HEALTHY);
    for target in [
        url.clone(),
        with(&strangers.cert, &strangers.key),
        with(&mine.cert, &strangers.key),
        with(&mine.cert, &mine.cert),
        with(std::path::Path::new("/no/cert"), &mine.key),
    ] {
        assert_mentions(
            &Container::new().ask(&target),
            1,
            &["; it has never passed"],
        );
    }
}

#[test]
fn tls_and_plain_ports_do_not_understand_each_other() {
    let ca = Ca::new();
    let redis = Redis::builder().tls(&ca.server(&["localhost"])).start();
    let container = Container::new();
    // Redis waits for the end of a line, which the handshake holds by chance only.
    let target = format!("rediss://localhost:{}#insecure&timeout=300ms", redis.port());
    let run = container.ask(target);
    assert_mentions(&run, 1, &["rediss://", "it has never passed"]);
    let said = run.first_line();
    assert!(
        said.contains("TLS: ") || said.contains("no answer within 300ms"),
        "{run:?}"
    );
    let run = container.ask(format!("redis://localhost:{}", redis.tls_port()));
    assert_mentions(&run, 1, &["redis://", "it has never passed"]);
}

#[test]
fn options_of_tls_make_no_plain_address_secure() {
    // Whoever writes insecure or ca= means TLS; the scheme alone says so.
    let redis = Redis::start();
    let container = Container::new();
    let target = format!("{}#name=plain", redis.url());
    let run = container.ask(&target);
    assert_eq!(row(&run, "plain").0, "pass");
    assert!(!run.stdout.contains("certificate"), "{run:?}");
}
