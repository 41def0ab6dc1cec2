//! `ready-probe run`: what a program says by sd_notify, who may speak for it, and who is told of it.

use std::os::unix::net::UnixDatagram;
use std::process::Command;

use ready_probe_test_support::process::{Signal, probe_binary, run, wait_until};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::speaker::{LIMIT, PYTHON, Speaker, lives, records, signal};

const STARTING: &str = "starting: agent worker: starting: no READY=1 yet";

#[test]
fn it_is_ready_once_it_says_so_and_reloads_and_stops() {
    let mut program = Speaker::start(&[]);
    program.wait_for(STARTING);
    program.does("say('READY=1')");
    program.wait_ready();
    program.does("say('READY=1')");
    program.does("say('RELOADING=1\\nMONOTONIC_USEC=5\\nSTATUS=new rules')");
    program.wait_for("unhealthy: agent worker: not_ready: reloading; it says: new rules");
    program.does("say('READY=1')");
    program.wait_ready();
    program.does("say('STOPPING=1\\nSTATUS=')");
    program.wait_for("unhealthy: agent worker: stopping: STOPPING=1");
    // It hangs, or says what it likes: that was its last word.
    program.does("say('READY=1')");
    program.does("tell('said')");
    assert_eq!(program.line(), "said");
    for _ in 0..5 {
        program.wait_for("unhealthy: agent worker: stopping: STOPPING=1");
    }
    program.ends();
    assert_eq!(program.code(), Some(0));
    assert!(records(&program.container).is_empty());
    assert_eq!(program.stderr(), "");
}

#[test]
fn every_line_of_a_message_counts() {
    let mut program = Speaker::start(&[]);
    program.does("say('X=1\\nSTATUS=serving 5 shards\\nREADY=1\\n')");
    program.wait_ready();
    let record = program.record();
    assert_eq!(record["details"]["status"], "serving 5 shards");
    let pid: u32 = program.tells("tell(os.getpid())").parse().unwrap();
    assert_eq!(record["pid"], pid);
    assert_ne!(pid, program.guard.pid());
}

#[test]
fn a_barrier_is_answered_when_all_before_it_can_be_seen() {
    let mut program = Speaker::start(&[]);
    let probe = probe_binary();
    for line in [
        "here, there = os.pipe()",
        "say('READY=1')",
        "say('BARRIER=1', there)",
        "os.close(there)",
        "os.read(here, 1)",
        &format!(
            "said = subprocess.run(['{}', 'agent:worker'], capture_output=True)",
            probe.display()
        ),
    ] {
        program.does(line);
    }
    let said = program.tells("tell(said.stdout.decode().splitlines()[0])");
    assert_eq!(said, "healthy: 1 check passes");
}

#[test]
fn descriptors_that_nobody_asked_for_are_closed() {
    let mut program = Speaker::start(&[]);
    program.does("here, there = os.pipe()");
    program.does("say('STATUS=x\\nFDSTORE=1', *[there] * 100)");
    program.does("os.close(there)");
    assert_eq!(program.tells("tell(os.read(here, 1))"), "b''");
}

#[test]
fn a_process_beneath_it_may_speak_if_it_is_told_so() {
    let speaks = "os.waitpid(fork('say(\"READY=1\"); os._exit(0)'), 0)";
    let mut refused = Speaker::start(&[]);
    refused.does(speaks);
    refused.does(speaks);
    refused.wait_said("is not the main process");
    refused.does("tell('done')");
    assert_eq!(refused.line(), "done");
    refused.wait_for(STARTING);
    let said = refused.stderr();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("ready-probe: worker: process "), "{said}");
    assert!(said.contains("--notify-from all"), "{said}");

    let mut accepted = Speaker::start(&["--notify-from", "all"]);
    accepted.does(speaks);
    accepted.wait_ready();
    assert_eq!(accepted.stderr(), "");
}

#[test]
fn a_stranger_does_not_speak_for_it() {
    let mut program = Speaker::start(&["--notify-from", "all"]);
    let address = program.tells("tell(os.environ['NOTIFY_SOCKET'])");
    let name = address.strip_prefix('@').unwrap();
    let address =
        <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(
            name,
        );
    let stranger = UnixDatagram::unbound().unwrap();
    stranger.connect_addr(&address.unwrap()).unwrap();
    stranger.send(b"READY=1").unwrap();
    // Taken in this order.
    program.does("say('STATUS=here')");
    program.wait_for("starting: agent worker: starting: no READY=1 yet; it says: here");
    program.does("say('READY=1')");
    program.wait_ready();
}

#[test]
fn descriptors_that_a_stranger_sends_leave_room_for_our_own() {
    let mut program = Speaker::start(&[]);
    program.wait_for(STARTING);
    let address = program.tells("tell(os.environ['NOTIFY_SOCKET'])");
    let pid = Pid::from_raw(i32::try_from(program.guard.pid()).unwrap());
    let few = Rlimit {
        current: Some(64),
        maximum: Some(64),
    };
    prlimit(pid, Resource::Nofile, few).unwrap();
    let sends = "import array, socket, sys\n\
        speaker = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
        speaker.connect(sys.argv[1].replace('@', chr(0), 1))\n\
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [0] * 200))\n\
        for _ in range(50):\n    speaker.sendmsg([b'BARRIER=1'], [rights])";
    let stranger = run(Command::new(PYTHON).args(["-c", sends, &address]));
    assert_eq!(stranger.code(), 0, "{stranger:?}");
    program.does("say('READY=1')");
    program.wait_ready();
    let open = std::fs::read_dir(format!("/proc/{}/fd", program.guard.pid())).unwrap();
    assert!(open.count() < 40);
    let said = program.stderr();
    assert!(!said.contains("can't be read"), "{said}");
}

#[test]
fn a_flood_without_end_does_not_keep_signals_waiting() {
    let mut program = Speaker::start(&[]);
    let floods = "fork('s = connected()\\nwhile True: s.send(b\"X=1\")')";
    // Enough to keep the socket full.
    for _ in 0..8 {
        program.does(floods);
    }
    program.does("tell('flooding')");
    assert_eq!(program.line(), "flooding");
    program.guard.signal(Signal::TERM);
    assert_eq!(program.code(), Some(143));
}

#[test]
fn a_watchdog_tells_the_program_and_finds_it_hanging() {
    let mut program = Speaker::start(&["--watchdog", "30s"]);
    let told = "tell(os.environ['WATCHDOG_USEC'], os.environ['WATCHDOG_PID'] == str(os.getpid()))";
    assert_eq!(program.tells(told), "30000000 True");
    program.does("say('READY=1')");
    program.wait_ready();
    program.does("say('WATCHDOG=trigger')");
    program.wait_for("unhealthy: agent worker: not_ready: stalled: it says WATCHDOG=trigger");
    program.does("say('WATCHDOG=1')");
    program.wait_ready();
    program.does("say('WATCHDOG_USEC=100000')");
    program.wait_for("unhealthy: agent worker: not_ready: stalled: no WATCHDOG=1 within 100ms");
    program.does("say('WATCHDOG_USEC=30000000')");
    program.wait_ready();
}

#[test]
fn a_flood_of_messages_needs_no_memory_and_none_is_lost() {
    let mut program = Speaker::start(&[]);
    program.does("speaker = connected()");
    program.does("[speaker.send(b'STATUS=%d' % n) for n in range(100000)]");
    program.does("say('READY=1')");
    program.wait_ready();
    assert_eq!(program.record()["details"]["status"], "99999");
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.guard.pid())).unwrap();
    let peak = status
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:"))
        .unwrap();
    let peak_kib: u64 = peak.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    assert!(peak_kib < 32 * 1024, "{peak_kib} KiB");
}

#[test]
fn a_main_process_takes_over_when_its_parent_goes_to_the_background() {
    let mut program = Speaker::start(&[]);
    program.does("child = fork('os.setsid()')");
    let child: u32 = program.tells("tell(child)").parse().unwrap();
    program.does("say(f'MAINPID={child}\\nREADY=1')");
    program.ends();
    let followed = || (program.record()["pid"] == child).then_some(());
    wait_until(LIMIT, "the signal to move", followed);
    program.wait_ready();
    assert_eq!(program.guard.ended(), None);
    signal(child, Signal::KILL);
    assert_eq!(program.code(), Some(137));
    program.wait_for(&format!(
        "unhealthy: agent worker: process {child} is gone: killed by SIGKILL"
    ));
}

/// What the parent has said and that it has ended are found at once, and either may be looked at first: several
/// times, so that each is.
#[test]
fn what_a_parent_says_before_it_goes_to_the_background_counts_though_it_has_ended() {
    let mut programs: Vec<Speaker> = (0..6).map(|_| Speaker::start(&[])).collect();
    for program in &mut programs {
        program.wait_for(STARTING);
        let parent: u32 = program.tells("tell(os.getpid())").parse().unwrap();
        program.guard.signal(Signal::STOP);
        program.does("child = fork('os.setsid()')");
        program.does("say(f'MAINPID={child}\\nREADY=1'); os._exit(tell(child) or 0)");
        let child: u32 = program.line().parse().unwrap();
        wait_until(LIMIT, "the parent to end", || {
            (!lives(parent)).then_some(())
        });
        program.guard.signal(Signal::CONT);
        wait_until(LIMIT, "the signal to move", || {
            assert_eq!(program.guard.ended(), None, "{}", program.stderr());
            (program.record()["pid"] == child).then_some(())
        });
        program.wait_ready();
        signal(child, Signal::KILL);
        assert_eq!(program.code(), Some(137));
    }
}

#[test]
fn a_main_process_that_its_parent_reaps_is_missed_until_there_is_another() {
    let mut program = Speaker::start(&[]);
    program.does("child = fork('')");
    program.does("say(f'MAINPID={child}\\nREADY=1')");
    let child: u32 = program.tells("tell(child)").parse().unwrap();
    program.wait_ready();
    program.does("os.kill(child, signal.SIGKILL); os.waitpid(child, 0)");
    program.wait_for(&format!(
        "unhealthy: agent worker: not_ready: its main process {child} has ended"
    ));
    program.does("child = fork('')");
    program.does("say(f'MAINPID={child}')");
    program.wait_ready();
    program.does("say(f'MAINPID={os.getpid()}')");
    let own: u32 = program.tells("tell(os.getpid())").parse().unwrap();
    let back = || (program.record()["pid"] == own).then_some(());
    wait_until(LIMIT, "the signal to come back", back);
    // The child is left over when the program ends, and ended with it.
    let child: u32 = program.tells("tell(child)").parse().unwrap();
    program.ends();
    assert_eq!(program.code(), Some(0));
    assert!(!lives(child));
}

#[test]
fn a_process_that_it_has_not_started_is_not_its_main_process() {
    let mut program = Speaker::start(&[]);
    program.does(&format!("say('MAINPID={}\\nREADY=1')", std::process::id()));
    program.wait_ready();
    let own: u32 = program.tells("tell(os.getpid())").parse().unwrap();
    assert_eq!(program.record()["pid"], own);
    program.wait_said("does not count: this command has not started such a process");
}

#[test]
fn whoever_has_started_it_is_told_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("outer");
    let outer = UnixDatagram::bind(&path).unwrap();
    outer.set_read_timeout(Some(LIMIT)).unwrap();
    let hear = || {
        let mut bytes = [0; 4_096];
        let length = outer.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let mut program = Speaker::start_with(&[], |command| {
        command
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "30000000");
    });
    assert_eq!(hear(), "STATUS=starting: no READY=1 yet");
    program.does("say('STATUS=serving\\nREADY=1')");
    assert_eq!(hear(), "READY=1\nSTATUS=serving");
    program.does("say('WATCHDOG=1')");
    assert_eq!(hear(), "WATCHDOG=1");
    assert_eq!(
        program.tells("tell(os.environ['WATCHDOG_USEC'])"),
        "30000000"
    );
    program.does("say('RELOADING=1')");
    let said = hear();
    assert!(said.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{said:?}");
    program.does("say('STOPPING=1\\nSTATUS=')");
    assert_eq!(hear(), "STOPPING=1\nSTATUS=stopping: STOPPING=1");
}
