//! `--long-poll`: what wakes a hold for agents, wherever their records are, and however much else there is to do.
//!
//! How processes that end wake it is in `long_poll_agents`, and what is asked again in `long_poll_recheck`.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ready_probe_sdk::folder::{Folder, Publication};
use ready_probe_sdk::host;
use ready_probe_sdk::signal::Name;
use ready_probe_test_support::http::{HttpServer, Response};
use ready_probe_test_support::process::{Guard, copy_program, probe_binary};
use rustix::thread::set_thread_uid;

use crate::container::{Container, assert_mentions, assert_starts};
use crate::long_poll::{Caller, tell, unless_late};
use crate::records;

const A_WHILE: Duration = Duration::from_millis(1_500);
/// A user whom nothing belongs to.
const NOBODY: u32 = 65_534;

#[test]
fn whatever_becomes_of_a_record_is_news() {
    let container = Container::new();
    let pid = std::process::id();
    let record = records::path(&container, "a", pid);
    let rewrite = || {
        records::publish(&container, "a", pid, |record| {
            record["state"] = "not_ready".into();
            record["reason"] = "written in place".into();
            record["details"] = serde_json::json!({});
        });
    };
    let changes: [(&str, &dyn Fn()); 6] = [
        ("replaced", &|| tell(&container, "a", "not_ready")),
        ("rewritten", &rewrite),
        ("renamed", &|| {
            fs::rename(&record, record.with_extension("gone")).unwrap();
        }),
        ("moved away", &|| {
            fs::rename(&record, container.path("elsewhere")).unwrap();
        }),
        ("removed", &|| fs::remove_file(&record).unwrap()),
        ("emptied", &|| drop(File::create(&record).unwrap())),
    ];
    for (what, change) in changes {
        tell(&container, "a", "ready");
        let hold = Caller::new(&container, &["agent:a"]).hold();
        change();
        let run = hold.ends();
        let is_told = run.code() == 1 && run.first_line().starts_with("unhealthy: agent a: ");
        assert!(is_told, "{what}: {run:?}");
    }
}

#[test]
fn an_agent_whose_folder_is_made_is_news() {
    let container = Container::new();
    tell(&container, "a", "ready");
    // Who must not be there has no folder yet.
    let hold = Caller::new(&container, &["agent:a", "agent:maintenance#not"]).hold();
    assert!(!container.ready_dir().join("maintenance").exists());
    tell(&container, "maintenance", "ready");
    let run = hold.ends();
    assert_mentions(
        &run,
        1,
        &["unhealthy: ", "maintenance", "it passes, and must not"],
    );
}

#[test]
fn an_agent_that_may_not_remove_its_record_any_more_is_heard() {
    let container = Container::new();
    let (pid, start) = host::myself();
    let folder = Folder::at(&container.ready_dir()).unwrap();
    let mut publication = Publication::new(folder, Name::new("a").unwrap(), pid, start);
    let mut record = records::ready("a", pid);
    record["ttl_ms"] = 3_600_000.into();
    publication.write(record.to_string().as_bytes()).unwrap();
    let hold = Caller::new(&container, &["agent:a"]).hold();
    // It gives up its privileges as a thread may: the others keep theirs. And it goes on living.
    let removes = thread::spawn(move || {
        set_thread_uid(rustix::process::Uid::from_raw(NOBODY)).unwrap();
        publication.remove().unwrap();
        publication
    });
    let _publication = removes.join().unwrap();
    let emptied = fs::metadata(records::path(&container, "a", pid)).unwrap();
    assert_eq!(emptied.len(), 0);
    assert_starts(&hold.ends(), 1, "unhealthy: agent a: no signal published");
}

/// A container with default folders of its own, in which nobody has published.
struct World {
    container: Container,
    /// It keeps the mounts.
    keeper: Guard,
}

impl World {
    fn new(mounts: &str) -> Self {
        let script = format!("{mounts} && echo up && exec sleep 1000");
        let mut keeper = Command::new("unshare");
        keeper.args(["--mount", "sh", "-c", &script]);
        let mut keeper = Guard::spawn(keeper.stdin(Stdio::null()).stdout(Stdio::piped()));
        let mut up = [0; 3];
        let told = keeper.child().stdout.as_mut().unwrap().read_exact(&mut up);
        told.expect("this test mounts, as root");
        let world = Self {
            container: Container::new(),
            keeper,
        };
        // The one that was built may lie below such a mount.
        copy_program(&probe_binary(), &world.path("tmp/probe"));
        world
    }

    /// Where that is, seen from outside.
    fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.keeper.pid())).join(path)
    }

    fn caller(&self) -> Caller<'_> {
        let pid = self.keeper.pid().to_string();
        let enter = ["--mount", "--target", &pid];
        let script = ["sh", "-c", "exec /tmp/probe \"$@\""];
        Caller::new(&self.container, &[])
            .env("READY_DIR", "")
            .through("nsenter", &[enter, script].concat())
    }

    /// As [`tell`], in this folder.
    fn tell(&self, folder: &str, agent: &str, state: &str) {
        tell(&self.container, agent, state);
        let record = records::path(&self.container, agent, std::process::id());
        let folder = self.path(folder).join(agent);
        fs::create_dir_all(&folder).unwrap();
        let beside = folder.join(".beside.tmp");
        fs::copy(&record, &beside).unwrap();
        fs::rename(&beside, folder.join(record.file_name().unwrap())).unwrap();
    }
}

#[test]
fn both_default_folders_are_watched_and_before_they_are_made_what_they_are_to_lie_in() {
    const IN_MEMORY: &str = "dev/shm/ready-probe";
    const IN_TMP: &str = "tmp/ready-probe";
    for (mounts, there, missing) in [
        (
            "mount -t tmpfs none /tmp && mount -t tmpfs none /dev/shm",
            IN_MEMORY,
            IN_TMP,
        ),
        // There is not even a /dev/shm.
        (
            "mount -t tmpfs none /tmp && mount -t tmpfs none /dev",
            IN_TMP,
            IN_MEMORY,
        ),
    ] {
        let world = World::new(mounts);
        world.tell(there, "a", "ready");
        let caller = world.caller();
        let mut hold = caller.hold();
        assert!(!world.path(missing).exists(), "{missing}");
        world.tell(missing, "b", "ready");
        hold.goes_on(A_WHILE);
        world.tell(missing, "b", "not_ready");
        assert_starts(&hold.ends(), 1, "unhealthy: agent b: ");
        world.tell(missing, "b", "ready");
        let hold = caller.hold();
        world.tell(there, "a", "not_ready");
        assert_starts(&hold.ends(), 1, "unhealthy: agent a: ");
    }
}

#[test]
fn checks_that_answer_all_the_time_hold_up_no_news() {
    let container = Container::new();
    // Each takes another time to answer, so that they drift apart.
    let server = HttpServer::start(|request| {
        let number: u64 = request.path.trim_start_matches('/').parse().unwrap();
        Response::new(200).delay(Duration::from_millis(number))
    });
    let mut targets = vec!["agent:a".to_owned()];
    targets.extend((0..60).map(|number| {
        let url = server.url(&format!("/{number}"));
        format!("{url}#recheck=100ms")
    }));
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    let caller = Caller::new(&container, &targets);
    unless_late(|| {
        tell(&container, "a", "ready");
        let mut hold = caller.hold();
        hold.goes_on(A_WHILE);
        tell(&container, "a", "not_ready");
        let since = Instant::now();
        let run = hold.ends();
        let lasted = since.elapsed();
        assert_starts(&run, 1, "unhealthy: agent a: not_ready: told so");
        (lasted < Duration::from_millis(500))
            .then_some(())
            .ok_or_else(|| format!("after {lasted:?}: {run:?}"))
    });
}
