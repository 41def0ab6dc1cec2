//! What is logged of an outage: its beginning, its end, and nothing between.

use std::sync::{Mutex, Once, PoisonError};

use ready_probe_test_support::process::free_port;
use ready_probe_test_support::servers::Redis;

use crate::common::{TempFolder, until};
use crate::fixture::{announced_agent, assert_heals, ready_agent, until_told};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
static ONCE: Once = Once::new();

pub fn collect() {
    ONCE.call_once(|| {
        crate::common::log::on_event(|line| {
            let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
            lines.push(line.to_owned());
        });
    });
}

/// Lines about one store; other tests have theirs. Leaves out what is for debugging.
pub fn lines(store: &str) -> Vec<String> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let said = |line: &&String| line.contains(store) && !line.starts_with("DEBUG");
    lines.iter().filter(said).cloned().collect()
}

#[test]
fn an_outage_is_logged_when_it_begins_and_when_it_ends() {
    collect();
    let folder = TempFolder::new();
    let port = free_port();
    let url = format!("redis://:hUnTeR2@127.0.0.1:{port}");
    let store = format!("redis://***@127.0.0.1:{port}");
    let _agents = ["log-a", "log-b"].map(|name| ready_agent(&folder, name, &url));
    until_told(&folder, "log-a", "connection refused");
    until_told(&folder, "log-b", "connection refused");
    // Its cause changes; it is the same outage.
    let redis = Redis::builder()
        .port(port)
        .args(&["--requirepass", "right"])
        .start();
    until_told(&folder, "log-a", "refuses the user or the password");
    redis.command(&["CONFIG", "SET", "requirepass", "hUnTeR2"]);
    assert_heals(&folder, "log-a");
    assert_heals(&folder, "log-b");
    let [begin, end] = until("its end is logged", || {
        <[String; 2]>::try_from(lines(&store)).ok()
    });
    assert!(begin.starts_with("WARN"), "{begin}");
    assert!(
        begin.contains("agents can't be announced: connection refused; they go on"),
        "{begin}"
    );
    assert!(end.starts_with("INFO"), "{end}");
    assert!(end.contains("agents are announced again after "), "{end}");
    assert!(!format!("{begin}{end}").contains("hUnTeR2"));
}

#[test]
fn a_refusal_is_logged_as_an_outage_is() {
    collect();
    let (redis, folder) = (Redis::start(), TempFolder::new());
    redis.command(&["ACL", "SETUSER", "app", "on", ">pw", "allkeys", "+@all"]);
    let url = format!("redis://app:pw@127.0.0.1:{}", redis.port());
    let store = format!("redis://***@127.0.0.1:{}", redis.port());
    let _agents = ["refused-a", "refused-b"].map(|name| announced_agent(&folder, name, &url));
    let only = "~ready:default:{refused-b}*";
    redis.command(&["ACL", "SETUSER", "app", "resetkeys", "~ready:default", only]);
    until_told(&folder, "refused-a", "NOPERM");
    redis.command(&["ACL", "SETUSER", "app", "allkeys"]);
    assert_heals(&folder, "refused-a");
    let [begin, end] = until("its end is logged", || {
        <[String; 2]>::try_from(lines(&store)).ok()
    });
    assert!(
        begin.starts_with("WARN") && begin.contains("NOPERM"),
        "{begin}"
    );
    assert!(end.contains("agents are announced again after "), "{end}");
}
