//! HTTPS: who is trusted.

use ready_probe_test_support::http::{HttpServer, Response};
use ready_probe_test_support::process::run;
use ready_probe_test_support::tls::Ca;

use crate::container::{Container, assert_mentions, assert_said};

const HEALTHY: &str = "healthy: 1 check passes";

#[test]
fn a_server_is_verified_by_the_authority_that_is_named() {
    let (ca, other) = (Ca::new(), Ca::new());
    let server = HttpServer::tls(&ca.server(&["localhost"]), |_| {
        Response::new(200).body("ok")
    });
    let (url, path) = (server.url("/"), ca.path().display());
    let container = Container::new();
    assert_said(
        &container.ask(format!("{url}#ca={path}&contains=ok")),
        0,
        HEALTHY,
    );
    assert_said(
        &run(container.probe([&url]).env("SSL_CERT_FILE", ca.path())),
        0,
        HEALTHY,
    );

    let expired = HttpServer::tls(&ca.expired_server(&["localhost"]), |_| Response::new(200));
    let table = [
        (url.clone(), "unknown issuer"),
        (
            format!("{url}#ca={}", other.path().display()),
            "TLS: the certificate's signature is wrong",
        ),
        (
            format!("https://127.0.0.1:{}/#ca={path}", server.port()),
            "not valid for name",
        ),
        (
            expired.url("/") + &format!("#ca={path}"),
            "certificate expired",
        ),
        (format!("{url}#ca=/no/such.pem"), "/no/such.pem"),
    ];
    for (target, cause) in table {
        // Also where the server is our own: who can't be verified has not answered.
        let run = Container::new().ask(&target);
        assert_mentions(
            &run,
            1,
            &["unhealthy: ", "TLS: ", cause, "; it has never passed"],
        );
    }
    assert_eq!(
        server.requests().len(),
        2,
        "nothing is asked of who is not verified"
    );
}

#[test]
fn insecure_passes_and_is_said() {
    let server = HttpServer::tls(&Ca::new().expired_server(&["other"]), |_| {
        Response::new(200).body("{\"a\":1}")
    });
    for options in ["#insecure", "#insecure&contains=a", "#insecure&json=/a=1"] {
        let run = Container::new().ask(server.url("/") + options);
        assert_said(&run, 0, HEALTHY);
        assert!(
            run.stdout.contains(" certificate not verified\n"),
            "{options}: {run:?}"
        );
    }
}

#[test]
fn a_client_shows_its_certificate_where_it_is_demanded() {
    let ca = Ca::new();
    let server = HttpServer::mutual_tls(&ca.server(&["localhost"]), |_| Response::new(200));
    let (client, url) = (ca.client("probe"), server.url("/"));
    let container = Container::new();
    let target = format!(
        "{url}#ca={}&cert={}&key_file={}",
        ca.path().display(),
        client.cert.display(),
        client.key.display()
    );
    assert_said(&container.ask(target), 0, HEALTHY);
    let run = container.ask(format!("{url}#ca={}&name=anonymous", ca.path().display()));
    assert_mentions(&run, 1, &["unhealthy: anonymous: "]);
}

#[test]
fn plain_http_to_a_tls_port_and_the_reverse_are_told() {
    let ca = Ca::new();
    let tls = HttpServer::tls(&ca.server(&["localhost"]), |_| Response::new(200));
    let plain = HttpServer::start(|_| Response::new(200));
    let container = Container::new();
    let run = container.ask(format!("http://localhost:{}/", tls.port()));
    assert_mentions(&run, 1, &["unhealthy: ", "it has never passed"]);
    let run = container.ask(format!("https://localhost:{}/#insecure", plain.port()));
    assert_mentions(&run, 1, &["unhealthy: ", "it has never passed"]);
}
