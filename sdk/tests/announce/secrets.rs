//! A server that repeats what it was told to log in: neither the signal, nor an error, nor the log does.

use std::time::Duration;

use ready_probe_test_support::hostile::{Behaviour, Hostile};

use crate::common::{TempFolder, until};
use crate::fixture::ready_agent;
use crate::log::{collect, lines};

const SECRET: &str = "hUnTeR2-token";
const INFO: &str = r#"INFO {"server_id":"x","version":"2.15.1","proto":1,"headers":true,"max_payload":1048576,"auth_required":true}"#;

/// Holds everything that an agent says against the secret.
#[track_caller]
fn assert_kept(name: &str, server: &Hostile, url: &str, why: &str) {
    collect();
    let folder = TempFolder::new();
    let agent = ready_agent(&folder, name, url);
    // A busy machine may be told in between that there was no answer in time.
    let says = |where_: &str, say: &dyn Fn() -> String| {
        until(&format!("{why:?} is said {where_}"), || {
            let said = say();
            assert!(!said.contains(SECRET), "{said}");
            said.contains(why).then_some(())
        });
    };
    says("in the record", &|| {
        format!("{:?}", folder.record(name).announced)
    });
    says("to the agent", &|| {
        agent
            .wait_announced(Duration::ZERO)
            .unwrap_err()
            .to_string()
    });
    // There the first cause of an outage stands for all.
    let logged = until("it is logged", || {
        let logged = lines(&server.port().to_string());
        (!logged.is_empty()).then_some(logged)
    });
    let said = format!("{logged:?}");
    assert!(!said.contains(SECRET), "{said}");
    assert!(
        said.contains(why) || said.contains("no answer within"),
        "{said}"
    );
}

#[test]
fn a_redis_that_repeats_the_password() {
    let echo = format!("-ERR unknown user {SECRET} here\r\n").repeat(11);
    let server = Hostile::tcp(Behaviour::Script(vec![b"+OK\r\n".to_vec(), echo.into()]));
    let url = format!("redis://:{SECRET}@127.0.0.1:{}", server.port());
    assert_kept("redis-echo", &server, &url, "unknown user *** here");
}

#[test]
fn a_nats_that_repeats_a_token() {
    let echo = format!("{INFO}\r\n-ERR 'no such token {SECRET} here'\r\n");
    let server = Hostile::tcp(Behaviour::Garbage(echo.into()));
    let url = format!("nats://{SECRET}@127.0.0.1:{}", server.port());
    assert_kept("nats-echo", &server, &url, "no such token *** here");
}

#[test]
fn a_nats_that_repeats_a_token_out_of_a_file() {
    let echo = format!("{INFO}\r\n-ERR 'no such token {SECRET} here'\r\n");
    let server = Hostile::tcp(Behaviour::Garbage(echo.into()));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let port = server.port();
    let url = format!("nats://127.0.0.1:{port}#token_file={}", file.display());
    assert_kept("nats-file-echo", &server, &url, "no such token *** here");
}
