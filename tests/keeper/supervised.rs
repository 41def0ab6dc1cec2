//! Programs of a real supervisord: what it has given up is restarted; what it looks after itself, what a person has stopped
//! and what can't be asked about is not.

use std::fmt::Write;
use std::time::Duration;

use ready_probe_test_support::process::{Guard, Signal, free_port, wait_until};
use ready_probe_test_support::servers::Supervisord;

use crate::host::Host;

const SOON: Duration = Duration::from_secs(60);
pub const LOG: &str = "log";

/// A keeper in a loop over services in TOML.
pub fn keep(host: &Host, services: &str) -> Guard {
    host.write("services.toml", services);
    let log = std::fs::File::create(host.path(LOG)).unwrap();
    let mut command = host.keeper(&["run"]);
    command
        .arg("--config")
        .arg(host.path("services.toml"))
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    Guard::spawn(&mut command)
}

/// Waits until a service has been asked so often more, whatever came of it.
fn wait_for_answers(host: &Host, service: &str, count: &str, more: u64) {
    let answers = || host.status(service)["services"][0]["checks"][count].as_u64();
    let before = answers().unwrap();
    wait_until(SOON, &format!("answers of {service}"), || {
        std::thread::sleep(Duration::from_millis(200));
        (answers() >= Some(before + more)).then_some(())
    });
}

/// Services that are asked every second, each with checks, whose restarts are counted.
fn services(host: &Host, supervisord: &Supervisord, checks: &[(&str, &str, &[String])]) -> String {
    let ctl = supervisord.command("supervisorctl");
    let tries = host.path("tries").display().to_string();
    let mut text = "[keeper]\ninterval = \"1s\"\n".to_owned();
    for (name, startup, checks) in checks {
        write!(
            text,
            "[[service]]\nname = \"{name}\"\ncheck = {checks:?}\nrestart = \"echo {name} >> {tries}; {ctl} restart {name}\"\n\
             startup = \"{startup}\"\nstartup_delay = \"0s\"\ntimeout = \"1s\"\n"
        )
        .unwrap();
    }
    text
}

#[test]
fn what_supervisord_has_given_up_is_restarted_and_what_it_restarts_or_a_person_has_stopped_is_not()
{
    let (host, crashes, exits, fatal) = (Host::new(), free_port(), free_port(), free_port());
    let mended = host.path("mended").display().to_string();
    let at_once = |port: u16| format!("command={}\nstartsecs=0", host.program(port));
    let broken = format!(
        "command=sh -c \"test -e {mended} && exec {}\"\nstartretries=0",
        host.program(fatal)
    );
    let again = host.path("again").display().to_string();
    let slow = format!(
        "command=sh -c \"test -e {again} && sleep 5; exec {}\"\nstartsecs=0",
        host.program(crashes)
    );
    let supervisord = Supervisord::start(
        "",
        &[
            ("crashes", &slow),
            ("exits", &format!("{}\nautorestart=false", at_once(exits))),
            ("fatal", &broken),
            ("stays", "command=sleep 1000\nstartsecs=0"),
            ("again", "command=/no/such/program\nstartretries=1000"),
            ("starts", "command=sleep 1000\nstartsecs=1000"),
        ],
    );
    supervisord.wait_for("fatal", "FATAL");
    host.write("mended", "");
    let program = |name: &str| {
        format!(
            "supervisor:{name}#socket={}",
            supervisord.socket().display()
        )
    };
    // supervisord says at once that it runs again, and for a while nobody listens.
    let answers = format!("tcp://127.0.0.1:{crashes}");
    let services = services(
        &host,
        &supervisord,
        &[
            ("crashes", "30s", &[program("crashes"), answers]),
            ("exits", "1s", &[program("exits")]),
            ("fatal", "1s", &[program("fatal")]),
            ("stays", "1s", &[program("stays")]),
            ("again", "1s", &[program("again")]),
            ("starts", "1s", &[program("starts")]),
        ],
    );
    let _keeper = keep(&host, &services);
    for service in ["crashes", "exits", "stays"] {
        host.wait_for(LOG, &format!("Health check passed for {service}"));
    }
    supervisord.ctl(&["stop", "stays"]);
    host.write("again", "");
    host.signal(crashes, Signal::KILL);
    host.signal(exits, Signal::KILL);
    for service in ["fatal", "exits"] {
        host.wait_for(LOG, &format!("Successfully recovered {service}"));
    }
    for service in ["stays", "again", "starts"] {
        wait_for_answers(&host, service, "failed", 5);
    }
    wait_for_answers(&host, "crashes", "passed", 1);
    let tries = host.read("tries");
    let mut tries: Vec<&str> = tries.lines().collect();
    tries.sort_unstable();
    assert_eq!(tries, ["exits", "fatal"], "{}", host.read(LOG));
    assert_eq!([crashes, exits].map(|port| host.starts(port)), [2, 2]);
    for (program, state) in [
        ("crashes", "RUNNING"),
        ("stays", "STOPPED"),
        ("starts", "STARTING"),
    ] {
        supervisord.wait_for(program, state);
    }
}

#[test]
fn a_supervisord_that_can_not_be_asked_restarts_nothing_and_counts_for_nothing() {
    let (host, port) = (Host::new(), free_port());
    let server = format!("[inet_http_server]\nport=127.0.0.1:{port}\nusername=u\npassword=hUnTeR2");
    let mut supervisord = Supervisord::start(&server, &[("x", "command=sleep 1000\nstartsecs=0")]);
    supervisord.wait_for("x", "RUNNING");
    let by_socket = format!("supervisor:x#socket={}", supervisord.socket().display());
    let forbidden = format!("supervisor:x#inet=127.0.0.1:{port}&user=u&password=wrong");
    let missing = "supervisor:x#socket=/no/such.sock".to_owned();
    let services = services(
        &host,
        &supervisord,
        &[
            ("x", "1s", &[by_socket]),
            ("forbidden", "1s", &[forbidden]),
            ("missing", "1s", &[missing]),
        ],
    );
    let _keeper = keep(&host, &services);
    host.wait_for(LOG, "Health check passed for x");
    for service in ["forbidden", "missing"] {
        wait_for_answers(&host, service, "could_not_ask", 5);
    }
    supervisord.pause();
    wait_for_answers(&host, "x", "could_not_ask", 4);
    supervisord.resume();
    wait_for_answers(&host, "x", "passed", 1);
    supervisord.kill();
    wait_for_answers(&host, "x", "could_not_ask", 5);
    assert_eq!(host.read("tries"), "", "{}", host.read(LOG));
    for (service, state) in [
        ("x", "healthy"),
        ("forbidden", "starting"),
        ("missing", "starting"),
    ] {
        let told = &host.status(service)["services"][0];
        let stands = (told["state"].as_str(), told["attempts"].as_u64());
        assert_eq!(stands, (Some(state), Some(0)), "{told}");
    }
    let state = host.read("state/state.json");
    assert!(
        !state.contains("hUnTeR2") && !host.read(LOG).contains("wrong"),
        "{state}"
    );
    let counted = |text: &str| {
        text.split("\"times\":")
            .skip(1)
            .any(|rest| !rest.starts_with('0'))
    };
    assert!(!counted(&state), "{state}");
}
