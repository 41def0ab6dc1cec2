//! `ready-probe run --ready-line`: a line of the program's output, which is passed on unchanged.

use std::process::{Command, Stdio};

use ready_probe_test_support::process::{Guard, run, run_within};

use crate::container::Container;
use crate::speaker::{LIMIT, PYTHON, Speaker, wait_for};

#[test]
fn it_is_ready_once_the_line_has_come() {
    let mut program = Speaker::start(&["--ready-line", "listening on * port"]);
    program.wait_for("starting: agent worker: starting: no line with \"listening on * port\" yet");
    program.does("tell('listening'); tell('on a port')");
    program.does("os.write(1, b'now listen')");
    program.does("say('READY=1')");
    program.wait_for("starting: agent worker: starting: no line with \"listening on * port\" yet");
    program.does("os.write(1, b'ing on every po')");
    program.does("os.write(2, b'not here\\n')");
    // The line has not ended yet.
    program.does("os.write(1, b'rt')");
    program.wait_ready();
    program.does("tell()");
    let lines: Vec<String> = (0..3).map(|_| program.line()).collect();
    assert_eq!(
        lines,
        ["listening", "on a port", "now listening on every port"]
    );
    assert_eq!(program.stderr(), "not here\n");
}

#[test]
fn a_line_of_stderr_counts_as_well_and_all_conditions_together() {
    let mut program = Speaker::start(&["--ready-line=open", "--notify"]);
    program.does("os.write(2, b'open\\n')");
    program.wait_for("starting: agent worker: starting: no READY=1 yet");
    program.does("say('READY=1')");
    program.wait_ready();
}

#[test]
fn output_is_passed_on_unchanged_to_its_end() {
    let container = Container::new();
    let script = "import os\n\
        os.write(1, bytes(range(256)) * 20000)\n\
        os.write(2, b'no end of line')\n\
        os.write(1, b'x' * 300000)";
    let mut command = container.probe(["run", "worker", "--ready-line=never", "--", PYTHON, "-c"]);
    command.arg(script);
    let passed_on = container.path("out");
    command
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&passed_on).unwrap())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr, b"no end of line");
    let mut want: Vec<u8> = (0..=255_u8).cycle().take(256 * 20_000).collect();
    want.extend(std::iter::repeat_n(b'x', 300_000));
    assert!(std::fs::read(&passed_on).unwrap() == want);
}

#[test]
fn a_reader_that_goes_away_ends_the_program_as_it_would_without_us() {
    let container = Container::new();
    let probe = container.probe(["run", "worker", "--ready-line=y", "--", "yes"]);
    let mut shell = Command::new("bash");
    shell
        .args(["-c", "set -o pipefail; \"$0\" \"$@\" | head -n 1"])
        .arg(probe.get_program())
        .args(probe.get_args())
        .env("READY_DIR", container.ready_dir());
    let run = run_within(&mut shell, LIMIT);
    assert_eq!((run.code(), run.stdout.as_str()), (141, "y\n"), "{run:?}");
}

/// What python does on a terminal of its own, 99 columns wide, and what comes out of it.
fn on_a_terminal(options: &[&str], program: &str, drive: &str) -> String {
    let container = Container::new();
    let probe = container.probe(["run", "worker"]);
    let script = format!(
        "import fcntl, os, pty, signal, struct, sys, termios\n\
        def size(fd, rows, columns): fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))\n\
        pid, terminal = pty.fork()\n\
        if pid == 0:\n\
        \x20   size(0, 33, 99)\n\
        \x20   os.execv(sys.argv[1], sys.argv[1:])\n\
        said = b''\n\
        def until(text):\n\
        \x20   global said\n\
        \x20   while text not in said: said += os.read(terminal, 1000)\n\
        {drive}\n\
        try:\n\
        \x20   while piece := os.read(terminal, 1000): said += piece\n\
        except OSError: pass\n\
        os.waitpid(pid, 0)\n\
        sys.stdout.buffer.write(said)\n"
    );
    let mut python = Command::new(PYTHON);
    python
        .args(["-c", &script])
        .arg(probe.get_program())
        .args(probe.get_args())
        .args(options)
        .args(["--", PYTHON, "-c", program])
        .env("READY_DIR", container.ready_dir());
    let run = run(&mut python);
    assert_eq!(run.code(), 0, "{run:?}");
    run.stdout
}

const COUNTS: &str = "import os, signal, sys, time\n\
    count = 0\n\
    def interrupted(*_):\n\
    \x20   global count\n\
    \x20   count += 1\n\
    signal.signal(signal.SIGINT, interrupted)\n\
    signal.signal(signal.SIGUSR1, lambda *_: os._exit(0))\n\
    def resized(*_): print('size', *os.get_terminal_size(1), flush=True)\n\
    signal.signal(signal.SIGWINCH, resized)\n\
    print('open', os.isatty(1), os.isatty(2), *os.get_terminal_size(1), flush=True)\n\
    while not count: time.sleep(0.01)\n\
    end = time.monotonic() + 1\n\
    while time.monotonic() < end: time.sleep(0.1)\n\
    print('interrupted', count, flush=True)";

#[test]
fn where_ours_is_a_terminal_the_programs_is_one_as_well() {
    let drive = "until(b'open True True 99 33\\r\\n')\n\
        size(terminal, 44, 88)\n\
        until(b'size 88 44')\n\
        os.write(terminal, b'\\x03')";
    let said = on_a_terminal(&["--ready-line=open"], COUNTS, drive);
    assert!(said.contains("open True True 99 33\r\n"), "{said:?}");
    assert!(!said.contains("\r\r"), "{said:?}");
    assert!(said.contains("interrupted 1\r\n"), "{said:?}");
}

#[test]
fn what_the_terminal_has_sent_to_the_group_is_not_repeated() {
    let drive = "until(b'open True True 99 33\\r\\n')\nos.write(terminal, b'\\x03')";
    let said = on_a_terminal(&[], COUNTS, drive);
    assert!(said.contains("interrupted 1\r\n"), "{said:?}");
}

#[test]
fn without_a_line_to_look_for_the_output_is_the_programs_own() {
    let container = Container::new();
    let out = container.path("out");
    let mut command = container.probe(["run", "worker", "--", "readlink", "/proc/self/fd/1"]);
    let file = std::fs::File::create(&out).unwrap();
    let mut guard = Guard::spawn(command.stdin(Stdio::null()).stdout(file));
    assert_eq!(guard.wait_within(LIMIT).code(), Some(0));
    let said = std::fs::read_to_string(&out).unwrap();
    assert_eq!(said.trim(), out.canonicalize().unwrap().to_str().unwrap());
    wait_for(&container, "starting: agent worker: no signal published");
}
