//! Where a folder that is looked at by default lies on a file system that never answers, the deadline
//! holds all the same.

use std::process::Command;
use std::time::Duration;

use ready_probe_test_support::process::{Run, copy_program, probe, probe_binary, run_within};

use crate::container::{Container, assert_mentions, through};
use crate::starved::{in_time, unless_starved};

const TIMEOUT: Duration = Duration::from_secs(1);

/// Runs a probe for which nobody answers below `folder`: it is the file system of a process that never
/// reads what it is asked.
fn without_answer_below(folder: &str, command: &Command) -> Run {
    // The program itself may lie below that folder.
    let mount = format!(
        "exec 3<>/dev/fuse 4<\"$0\"; \
         mount -i -t fuse -o fd=3,rootmode=41777,user_id=0,group_id=0,allow_other stuck {folder} || \
         exit 99; exec /proc/self/fd/4 \"$@\""
    );
    let unshare = ["--mount", "sh", "-c", &mount];
    let run = run_within(
        &mut through("unshare", &unshare, command),
        Duration::from_secs(10),
    );
    assert_ne!(run.code(), 99, "it needs root and /dev/fuse: {run:?}");
    run
}

#[test]
fn a_default_folder_that_hangs_ends_at_the_deadline() {
    // The folders of signals, what lies on the way to one of them, and the folder of the configuration.
    for folder in ["/tmp", "/dev/shm", "/dev", "/etc"] {
        for args in [&["agent:never-there"][..], &[]] {
            let mut probe = probe();
            probe
                .args(args)
                .env("READY_TIMEOUT", format!("{}ms", TIMEOUT.as_millis()));
            let run = in_time(TIMEOUT * 3, || without_answer_below(folder, &probe));
            let stuck = format!("{folder} does not answer within 1s");
            assert_mentions(&run, 1, &["unhealthy: ", &stuck]);
        }
    }
}

#[test]
fn what_hangs_over_the_path_of_the_probe_itself_is_not_taken_for_its_own() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let program = folder.path().join("ready-probe");
    copy_program(&probe_binary(), &program);
    let mut probe = Command::new(program);
    probe.arg("agent:never-there").env("READY_TIMEOUT", "1s");
    let run = unless_starved(|| without_answer_below("/tmp", &probe));
    assert_mentions(&run, 1, &["unhealthy: ", "/tmp does not answer within 1s"]);
}

#[test]
fn a_folder_that_hangs_and_is_not_looked_at_is_no_obstacle() {
    let container = Container::new();
    let probe = container.probe(["agent:never-there"]);
    let run = without_answer_below("/srv", &probe);
    assert_mentions(
        &run,
        1,
        &["starting: agent never-there: no signal published"],
    );
}
