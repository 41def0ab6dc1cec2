use std::{
    net::{TcpListener, TcpStream},
    os::unix::process::ExitStatusExt,
    panic::{AssertUnwindSafe, catch_unwind},
    process::Command,
    time::{Duration, Instant},
};

use super::{Guard, Signal, free_port, run, run_with_input, run_within, wait_until};

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn panic_message(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it should have panicked");
    payload
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_else(|| (*payload.downcast_ref::<&str>().unwrap()).into())
}

fn exists(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn run_reports_code_and_both_outputs() {
    let run = run(&mut sh("echo one; echo two; echo wrong >&2; exit 7"));
    assert_eq!(
        (run.code(), run.stdout.as_str(), run.stderr.as_str()),
        (7, "one\ntwo\n", "wrong\n")
    );
    assert_eq!(run.first_line(), "one");
}

#[test]
fn death_by_signal_is_128_and_its_number() {
    assert_eq!(run(&mut sh("kill -TERM $$")).code(), 143);
}

#[test]
fn standard_input_is_empty_unless_given() {
    assert_eq!(run(&mut sh("cat")).stdout, "");
    assert_eq!(run_with_input(&mut sh("cat"), b"given").stdout, "given");
    assert_eq!(
        run_with_input(&mut sh("exec true"), b"nobody reads this").code(),
        0
    );
}

#[test]
fn output_larger_than_a_pipe_arrives_whole() {
    assert_eq!(
        run(&mut sh("head -c 3000000 /dev/zero; echo >&2"))
            .stdout
            .len(),
        3_000_000
    );
}

#[test]
fn the_end_is_when_nobody_holds_the_output_open() {
    let run = run(&mut sh("sleep 0.3 & exit 0"));
    assert!(
        run.elapsed >= Duration::from_millis(290),
        "{:?}",
        run.elapsed
    );
}

#[test]
fn peak_memory_is_the_programs_and_not_ours() {
    // Makes this process larger than the program it starts.
    let ballast = vec![1_u8; 64 << 20];
    let small = run(&mut sh("sleep 0.05"));
    assert!(
        (100..20_000).contains(&small.peak_rss_kib),
        "{} KiB",
        small.peak_rss_kib
    );
    let large = run(&mut sh(
        "x=$(head -c 30000000 /dev/zero | tr '\\0' x); sleep 0.05; : $x",
    ));
    assert!(
        (30_000..200_000).contains(&large.peak_rss_kib),
        "{} KiB",
        large.peak_rss_kib
    );
    assert_eq!(ballast.last(), Some(&1));
}

#[test]
fn a_program_past_its_limit_is_killed_and_quoted() {
    let start = Instant::now();
    let message = panic_message(|| {
        run_within(
            &mut sh("echo $$; exec sleep 100"),
            Duration::from_millis(200),
        );
    });
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(message.contains("has not ended after 200ms"), "{message}");
    let pid = message
        .split("stdout: ")
        .nth(1)
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(!exists(pid), "{pid} lives");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let message = panic_message(|| drop(run(&mut Command::new("/no/such/program"))));
    assert!(message.contains("/no/such/program"), "{message}");
}

#[test]
fn wait_until_returns_what_was_found_or_says_what_was_awaited() {
    let mut looks = 0;
    let found = wait_until(Duration::from_secs(5), "three looks", || {
        looks += 1;
        (looks == 3).then_some(looks)
    });
    assert_eq!(found, 3);
    let message = panic_message(|| wait_until(Duration::from_millis(20), "godot", || None));
    assert!(message.contains("godot"), "{message}");
}

#[test]
fn free_ports_are_free_and_differ() {
    let (a, b) = (free_port(), free_port());
    assert_ne!(a, b);
    assert!(TcpStream::connect(("127.0.0.1", a)).is_err());
    TcpListener::bind(("127.0.0.1", b)).unwrap();
}

#[test]
fn a_guarded_child_does_not_outlive_its_guard() {
    let mut guard = Guard::spawn(Command::new("sleep").arg("100"));
    let pid = guard.pid();
    assert!(exists(pid) && guard.ended().is_none());
    drop(guard);
    assert!(!exists(pid));
}

#[test]
fn a_guarded_child_takes_signals_until_it_has_ended() {
    let mut guard = Guard::spawn(Command::new("sleep").arg("100"));
    guard.signal(Signal::TERM);
    assert_eq!(guard.wait_within(Duration::from_secs(5)).signal(), Some(15));
    guard.signal(Signal::TERM);
}
