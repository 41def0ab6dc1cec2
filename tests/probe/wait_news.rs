//! `ready-probe wait` for agents of this container: it hears of them between its probes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ready_probe_test_support::process::{Guard, Run, Signal, wait_until};

use crate::container::{Container, assert_starts};
use crate::records::publish;
use crate::starved::in_time;

/// The pauses between probes are 100 ms, 200 ms, 400 ms and so on: behind so many probes, one second.
const PROBES: usize = 5;
/// Well below that.
const AT_ONCE: Duration = Duration::from_millis(500);
const LIMIT: Duration = Duration::from_secs(30);

/// A check that always passes, and the file in which it leaves a line each time.
fn counted(container: &Container) -> (String, PathBuf) {
    let count = container.path("count");
    let _ = fs::remove_file(&count);
    let script = container.file("count.sh", format!("echo x >>{}", count.display()));
    (format!("exec:sh {}", script.display()), count)
}

fn times(count: &Path) -> usize {
    fs::read_to_string(count).map_or(0, |text| text.lines().count())
}

/// Waits for an agent, named or not, and lets something happen in a long pause; how long it took to notice.
fn noticed(container: &Container, agent: Option<&str>, happen: impl FnOnce()) -> Run {
    let (command, count) = counted(container);
    let mut probe = container.probe(["wait", "--for=60s"]);
    match agent {
        Some(agent) => probe.args([agent, &command]),
        None => probe.env("READY_CHECKS", format!("'{command}'")),
    };
    let mut guard = Guard::spawn(probe.stdout(Stdio::piped()).stderr(Stdio::null()));
    wait_until(LIMIT, "the last of many probes", || {
        (times(&count) >= PROBES).then_some(())
    });
    let happened = Instant::now();
    happen();
    let status = guard.wait_within(LIMIT);
    let elapsed = happened.elapsed();
    let mut stdout = String::new();
    let mut pipe = guard.child().stdout.take().unwrap();
    std::io::Read::read_to_string(&mut pipe, &mut stdout).unwrap();
    Run {
        status,
        stdout,
        stderr: String::new(),
        elapsed,
        peak_rss_kib: 0,
    }
}

#[test]
fn an_agent_that_becomes_ready_is_noticed_at_once() {
    let myself = std::process::id();
    for agent in [Some("agent:x"), None] {
        let run = in_time(AT_ONCE, || {
            let container = Container::new();
            let say = |state: &str| publish(&container, "x", myself, |r| r["state"] = state.into());
            say("starting");
            noticed(&container, agent, || say("ready"))
        });
        assert_starts(&run, 0, "healthy: 2 checks pass");
    }
}

#[test]
fn an_agent_that_publishes_for_the_first_time_is_noticed_at_once() {
    for agent in [Some("agent:x"), None] {
        let run = in_time(AT_ONCE, || {
            let container = Container::new();
            assert!(!container.ready_dir().exists());
            noticed(&container, agent, || {
                publish(&container, "x", std::process::id(), |_| {});
            })
        });
        assert_starts(&run, 0, "healthy: 2 checks pass");
    }
}

#[test]
fn an_agent_whose_process_dies_is_noticed_at_once() {
    let run = in_time(AT_ONCE, || {
        let container = Container::new();
        let mut sleeper = Guard::spawn(Command::new("sleep").arg("1000"));
        publish(&container, "x", sleeper.pid(), |_| {});
        noticed(&container, Some("agent:x#not"), || {
            sleeper.signal(Signal::KILL);
        })
    });
    assert_starts(&run, 0, "healthy: 2 checks pass");
}

#[test]
fn beats_that_change_nothing_make_it_ask_nobody() {
    let container = Container::new();
    let beat = || {
        publish(&container, "x", std::process::id(), |r| {
            r["state"] = "starting".into();
        });
    };
    beat();
    let (command, count) = counted(&container);
    let mut probe = container.probe(["wait", "--for=60s", "agent:x", &command]);
    let mut guard = Guard::spawn(probe.stdout(Stdio::null()).stderr(Stdio::null()));
    let began = Instant::now();
    wait_until(LIMIT, "its second probe", || {
        (times(&count) >= 2).then_some(())
    });
    for _ in 0..100 {
        beat();
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(guard.ended().is_none());
    // Four in the first second, and then one a second.
    let most = 6 + usize::try_from(began.elapsed().as_secs()).unwrap();
    let asked = times(&count);
    assert!(
        asked <= most,
        "asked {asked} times in {:?}",
        began.elapsed()
    );
}
