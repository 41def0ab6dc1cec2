//! HUP over settings in TOML: what has changed counts from then on, and what can't be read changes nothing.

use std::net::TcpListener;
use std::time::Duration;

use ready_probe_test_support::http::{HttpServer, Response};
use ready_probe_test_support::process::{Guard, Signal, free_port, wait_until};

use crate::host::Host;

const FILE: &str = "services.toml";
const LOG: &str = "log";
const SOON: Duration = Duration::from_secs(40);

/// A service at that port.
fn service(name: &str, port: u16, keys: &str) -> String {
    format!(
        "[[service]]\nname = \"{name}\"\ncheck = [\"tcp://127.0.0.1:{port}\"]\nstartup = \"0s\"\nstartup_delay = \"0s\"\n{keys}\n"
    )
}

fn restarted(host: &Host, name: &str, port: u16) -> String {
    let keys = format!("restart = '''{}'''", host.server(port));
    service(name, port, &keys)
}

fn reload(host: &Host, keeper: &mut Guard, text: &str, says: &str) {
    host.write(FILE, text);
    keeper.signal(Signal::HUP);
    host.wait_for(LOG, says);
}

#[test]
fn a_changed_file_counts_and_a_wrong_one_changes_nothing() {
    let (host, a, b, c) = (Host::new(), free_port(), free_port(), free_port());
    let every_second = "[keeper]\ninterval = \"1s\"\n";
    let text = format!("{every_second}{}", restarted(&host, "a", a));
    host.write(FILE, &text);
    let mut keeper = host.logged(LOG, host.keep_file("run", FILE));
    host.wait_for(LOG, "Successfully recovered a");
    let said = "ERROR the services stay as they are, since they can't be read: ";
    reload(&host, &mut keeper, &format!("{text}restat = 1\n"), said);
    let log = host.read(LOG);
    assert!(
        log.contains("line 9: service a: there is no key \"restat\": is restart meant?"),
        "{log}"
    );
    host.signal(a, Signal::KILL);
    wait_until(SOON, "the second restart of a", || {
        (host.starts(a) == 2).then_some(())
    });
    // Another service in its place.
    let text = format!("{every_second}{}", restarted(&host, "b", b));
    reload(
        &host,
        &mut keeper,
        &text,
        "INFO the services are read again",
    );
    host.wait_for(LOG, "Successfully recovered b");
    host.signal(a, Signal::KILL);
    // From then on nothing is done.
    let text = format!("{every_second}dry_run = true\n{}", restarted(&host, "c", c));
    let said = "This is a dry run, in which c is not restarted";
    reload(&host, &mut keeper, &text, said);
    assert_eq!((host.starts(a), host.starts(b), host.starts(c)), (2, 1, 0));
    keeper.signal(Signal::TERM);
    assert_eq!(keeper.wait_within(SOON).code(), Some(0));
}

#[test]
fn who_is_told_is_read_again_too() {
    let (first, second) = (
        HttpServer::start(|_| Response::new(204)),
        HttpServer::start(|_| Response::new(204)),
    );
    let (host, port) = (Host::new(), free_port());
    let text = |server: &HttpServer| {
        format!(
            "[keeper]\ninterval = \"1s\"\n[alert.ops]\nkind = \"webhook\"\nurl = \"{}\"\n{}",
            server.url("/hook"),
            service("svc", port, "alert = [\"ops\"]")
        )
    };
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    host.write(FILE, &text(&first));
    let mut keeper = host.logged(LOG, host.keep_file("run", FILE));
    host.wait_for(LOG, "Health check passed for svc");
    reload(
        &host,
        &mut keeper,
        &text(&second),
        "INFO the services are read again",
    );
    drop(listener);
    // The loop waits for what else comes within ten seconds.
    host.wait_for(LOG, "INFO alert sent to ops: svc is down and not restarted");
    assert_eq!((first.requests().len(), second.requests().len()), (0, 1));
    keeper.signal(Signal::TERM);
    assert_eq!(keeper.wait_within(SOON).code(), Some(0));
}
