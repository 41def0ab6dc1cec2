//! A forked child starts with an empty registry, and can neither harm nor imitate its parent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ready_probe_fork_tests::{become_user, fork};
use ready_probe_sdk::folder::Folder;
use ready_probe_sdk::freshness::{Observed, judge};
use ready_probe_sdk::host::Epoch;
use ready_probe_sdk::signal::Name;
use ready_probe_sdk::{
    Agent, State, clock, close_all, find_agent, mark_agent_not_ready, mark_agent_ready, use_dir,
    use_sdk,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn store(dir: &tempfile::TempDir) -> Folder {
    Folder::at(&dir.path().join("signals")).unwrap()
}

/// Process and what a probe would say, of each instance.
fn says(store: &Folder, agent: &str) -> Vec<(u32, String)> {
    let epoch = Epoch::current();
    let found = store.read(&Name::new(agent).unwrap()).unwrap();
    let mut says = Vec::new();
    for record in found.believed {
        let observed = Observed {
            epoch: &epoch,
            process: record.process,
            now_ms: clock::mono_ms(),
        };
        let signal = record.signal.unwrap();
        let said = judge(&signal, &observed).map_or_else(|why| why.to_string(), |_| "ready".into());
        says.push((record.pid, said));
    }
    says
}

/// What wrote the one record of an agent, as it says.
fn written_by(store: &Folder, agent: &str) -> String {
    let mut found = store.read(&Name::new(agent).unwrap()).unwrap();
    found.believed.remove(0).signal.unwrap().sdk.unwrap()
}

fn kind(result: ready_probe_sdk::Result<()>) -> String {
    result.map_or_else(|e| format!("{:?}", e.kind()), |()| "ok".to_owned())
}

#[test]
fn a_child_publishes_its_own_instance_and_its_own_beats() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let second = Duration::from_secs(1);
    let parent = Agent::builder("own")
        .folder(store.clone())
        .register()
        .unwrap();
    parent.mark_ready(()).unwrap();
    let child = fork(|| {
        let builder = Agent::builder("own").folder(store.clone()).ttl(second);
        let agent = builder
            .heartbeat(second / 10)
            .watchdog(second / 2)
            .register()
            .unwrap();
        agent.mark_ready(()).unwrap();
        let me = std::process::id();
        let mine = || {
            says(&store, "own")
                .into_iter()
                .find(|(pid, _)| *pid == me)
                .unwrap()
                .1
        };
        let ready = mine();
        // Beyond the TTL, by beats and a watchdog of its own heartbeat thread.
        let end = clock::mono_ms() + 1_500;
        while clock::mono_ms() < end {
            thread::sleep(Duration::from_millis(20));
        }
        let stalled = mine();
        drop(agent);
        format!("{ready}, {}", stalled.split_once(": no").unwrap().0)
    });
    assert_eq!(child.answer(PATIENCE), "ready, not_ready: stalled");
    assert_eq!(
        says(&store, "own"),
        [(std::process::id(), "ready".to_owned())]
    );
    parent.mark_not_ready("still the parent's").unwrap();
    assert_eq!(says(&store, "own")[0].1, "not_ready: still the parent's");
}

#[test]
fn what_a_child_has_inherited_raises_and_its_end_removes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let agent = Agent::builder("inherited")
        .folder(store.clone())
        .register()
        .unwrap();
    agent.mark_ready(()).unwrap();
    let other = Agent::builder("draining")
        .folder(store.clone())
        .register()
        .unwrap();
    let draining = other.close("deploy").unwrap();
    let (agent, draining) = (&agent, &draining);
    let child = fork(|| {
        // SAFETY: reads move out of borrowed objects, as they are in a child that ends by
        // returning from its main function; the child's copies are not used again.
        let (agent, draining) = unsafe { (std::ptr::read(agent), std::ptr::read(draining)) };
        let answers = [
            kind(agent.mark_ready(())),
            kind(agent.mark_not_ready("x")),
            kind(agent.tick()),
            kind(mark_agent_not_ready("inherited", "x")),
            format!("{:?}", agent.state()),
        ];
        close_all("the child ends");
        drop(draining);
        let closed = kind(agent.close("x").map(drop));
        format!("{} {closed}", answers.join(" "))
    });
    assert_eq!(
        child.answer(PATIENCE),
        "Forked Forked Forked Forked Ready Forked"
    );
    let me = std::process::id();
    assert_eq!(says(&store, "inherited"), [(me, "ready".to_owned())]);
    assert_eq!(
        says(&store, "draining"),
        [(me, "stopping: deploy".to_owned())]
    );
}

#[test]
fn a_call_that_a_child_has_inherited_is_its_parents() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::builder("calls")
        .folder(store(&dir))
        .watchdog(Duration::from_millis(300))
        .register()
        .unwrap();
    agent.mark_ready(()).unwrap();
    let job = agent.working().unwrap();
    let (agent, job) = (&agent, &job);
    let child = fork(|| {
        // SAFETY: as above.
        let job = unsafe { std::ptr::read(job) };
        let refused = [
            kind(job.tick()),
            kind(job.working().map(drop)),
            kind(agent.working().map(drop)),
        ];
        drop(job);
        format!("{} {}", refused.join(" "), find_agent("calls").is_none())
    });
    assert_eq!(child.answer(PATIENCE), "Forked Forked Forked true");
    let end = clock::mono_ms() + 20_000;
    while !job.is_stalled() {
        assert!(clock::mono_ms() < end, "the parent's call is under way");
        thread::sleep(Duration::from_millis(5));
    }
    job.tick().unwrap();
    assert_eq!(agent.state(), State::Ready);
}

#[test]
fn an_inherited_error_says_whose_the_agent_is_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::builder("texts")
        .folder(store(&dir))
        .register()
        .unwrap();
    let child = fork(|| {
        let by_object = agent.mark_ready(()).unwrap_err();
        let by_name = mark_agent_not_ready("texts", "x").unwrap_err();
        format!("{by_object}\n{by_name}")
    });
    let want = format!(
        "agent texts belongs to process {}, which this one was forked from: register or mark it \
         anew in this process\n\
         agent texts belongs to the process this one was forked from: mark it there, or publish \
         this process's own with mark_agent_ready",
        std::process::id()
    );
    assert_eq!(child.answer(PATIENCE), want);
}

#[test]
fn a_child_of_a_child_has_inherited_from_both() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let _agent = Agent::builder("grand")
        .folder(store.clone())
        .register()
        .unwrap();
    let child = fork(|| {
        let _agent = Agent::builder("parent")
            .folder(store.clone())
            .register()
            .unwrap();
        let grandchild = fork(|| {
            let of = |name| kind(mark_agent_not_ready(name, "x"));
            let inherited = format!("{} {}", of("grand"), of("parent"));
            let own = Agent::builder("grand")
                .folder(store.clone())
                .register()
                .unwrap();
            format!("{inherited} {}", kind(own.mark_ready(())))
        });
        grandchild.answer(PATIENCE)
    });
    assert_eq!(child.answer(PATIENCE), "Forked Forked ok");
}

#[test]
fn a_fork_while_other_threads_publish_leaves_the_child_no_lock_to_wait_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let agent = Agent::builder("busy")
        .folder(store.clone())
        .register()
        .unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                agent.mark_ready(()).unwrap();
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                drop(
                    Agent::builder("comes-and-goes")
                        .folder(store.clone())
                        .register()
                        .unwrap(),
                );
            }
        });
        for _ in 0..50 {
            let child = fork(|| {
                // SAFETY: as above, the child's copy is not used again.
                let inherited = unsafe { std::ptr::read(&raw const agent) };
                let (state, tick) = (inherited.state(), kind(inherited.tick()));
                assert!(matches!(state, State::Starting | State::Ready));
                drop(inherited);
                let own = Agent::builder("busy")
                    .folder(store.clone())
                    .register()
                    .unwrap();
                let ready = kind(own.mark_ready(()));
                drop(own);
                format!("{tick} {ready}")
            });
            assert_eq!(child.answer(PATIENCE), "Forked ok");
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(
        says(&store, "busy"),
        [(std::process::id(), "ready".to_owned())]
    );
}

#[test]
fn a_child_publishes_where_its_parent_was_told_to() {
    // In a child of its own: the folder is chosen for a whole process.
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let child = fork(|| {
        use_dir(store.dirs().next().unwrap()).unwrap();
        mark_agent_ready("told", ()).unwrap();
        let grandchild = fork(|| {
            let marked = kind(mark_agent_ready("told", ()));
            let count = says(&store, "told").len();
            close_all("done");
            format!("{marked} {count}")
        });
        let said = grandchild.answer(PATIENCE);
        close_all("done");
        said
    });
    assert_eq!(child.answer(PATIENCE), "ok 2");
    assert!(says(&store, "told").is_empty());
}

#[test]
fn records_say_which_sdk_writes_them_and_a_child_s_too() {
    // In a child of its own: it is said for a whole process.
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let child = fork(|| {
        let agent = Agent::builder("sdk")
            .folder(store.clone())
            .register()
            .unwrap();
        let before = written_by(&store, "sdk");
        for refused in ["", "a b", "größer/1", "x".repeat(65).leak()] {
            assert_eq!(kind(use_sdk(refused)), "InvalidArgument");
        }
        use_sdk("python/1.2.3").unwrap();
        agent.mark_ready(()).unwrap();
        let grandchild = fork(|| {
            let _agent = Agent::builder("inherits")
                .folder(store.clone())
                .register()
                .unwrap();
            written_by(&store, "inherits")
        });
        let inherits = grandchild.answer(PATIENCE);
        format!("{before} {} {inherits}", written_by(&store, "sdk"))
    });
    let rust = format!("rust/{}", env!("CARGO_PKG_VERSION"));
    let want = format!("{rust} python/1.2.3 python/1.2.3");
    assert_eq!(child.answer(PATIENCE), want);
}

/// Root makes the folders, so that they are sticky and the files in them root's.
fn after_dropping_privileges(work: impl FnOnce(&Agent, &Folder) -> String) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), mode).unwrap();
    let store = store(&dir);
    let child = fork(|| {
        let agent = Agent::builder("drops")
            .folder(store.clone())
            .register()
            .unwrap();
        agent.mark_ready(()).unwrap();
        become_user(65_534);
        let said = work(&agent, &store);
        drop(agent);
        said
    });
    let said = child.answer(PATIENCE);
    let left: Vec<String> = says(&store, "drops")
        .into_iter()
        .map(|(_, said)| said)
        .collect();
    format!("{said}; left: {left:?}")
}

#[test]
fn an_agent_that_has_dropped_its_privileges_goes_on_publishing_and_leaves_nothing_behind() {
    let said = after_dropping_privileges(|agent, store| {
        let before = says(store, "drops").remove(0).1;
        agent.mark_not_ready("dropped").unwrap();
        let after = says(store, "drops").remove(0).1;
        agent.mark_ready(()).unwrap();
        format!("{before}, {after}, {}", says(store, "drops").remove(0).1)
    });
    assert_eq!(said, "ready, not_ready: dropped, ready; left: []");
}

#[test]
fn an_agent_that_has_dropped_its_privileges_and_says_no_more_leaves_nothing_behind() {
    let said = after_dropping_privileges(|_, _| "-".to_owned());
    assert_eq!(said, "-; left: []");
}
