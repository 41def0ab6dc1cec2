//! Where no process, or no thread, can be had: the probe answers what it can, and ends in time.

use std::fs;
use std::io::pipe;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ready_probe_test_support::process::{Guard, run};

use crate::container::{Container, assert_mentions, open_to_all, row, through};
use crate::hung_mount::World;
use crate::records::publish;

#[test]
fn without_a_process_to_be_had_what_may_hang_is_unknown() {
    let world = World::new();
    fs::create_dir(world.container.ready_dir()).unwrap();
    open_to_all(&world.container.ready_dir());
    let target = format!("file:{}", world.file("state", "ready"));
    let process = Guard::spawn(Command::new("sleep").arg("1000"));
    publish(&world.container, "a", process.pid(), |_| {});
    // The number belongs to nobody, and to no other test.
    let user = [
        "--reuid=54322",
        "--regid=54322",
        "--clear-groups",
        "prlimit",
        "--nproc=1",
    ];
    let run = run(&mut through(
        "setpriv",
        &user,
        &world.probe(&["agent:a", &target]),
    ));
    assert_mentions(&run, 1, &["may hang, and no process can be had to ask it"]);
    assert_eq!(row(&run, &target).0, "unknown");
    assert_eq!(row(&run, "agent:a").0, "pass");
}

#[test]
fn without_a_thread_and_with_a_reader_that_does_not_read_it_ends() {
    let container = Container::new();
    let user = [
        "--reuid=54323",
        "--regid=54323",
        "--clear-groups",
        "prlimit",
        "--nproc=1",
    ];
    let mut probe = container.probe(["agent:never-there"]);
    probe.env("READY_TIMEOUT", "500ms");
    let (reader, writer) = pipe().unwrap();
    fill(&writer);
    let mut command = through("setpriv", &user, &probe);
    command
        .stdout(writer.try_clone().unwrap())
        .stderr(writer)
        .stdin(Stdio::null());
    let started = Instant::now();
    let mut child = Guard::spawn(&mut command);
    drop(command);
    let status = child.wait_within(Duration::from_secs(5));
    assert_eq!(status.code(), Some(1));
    assert!(started.elapsed() < Duration::from_secs(4));
    drop(reader);
}

/// Fills a pipe to the last byte.
fn fill(writer: impl AsFd) {
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    while rustix::io::write(&writer, &[b'x'; 4_096]).is_ok() {}
    while rustix::io::write(&writer, b"x").is_ok() {}
    rustix::fs::fcntl_setfl(&writer, flags).unwrap();
}
