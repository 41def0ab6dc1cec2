//! An agent on the application's tokio runtime: stalled while that is blocked, and gone with its owners.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{TempFolder, throughout, until};
use ready_probe_sdk::{Agent, ErrorKind, State, TokioAgent};
use tokio::runtime::{Builder, Runtime};

/// Longer than a busy machine keeps a thread from running.
const LIMIT: Duration = Duration::from_secs(4);

fn runtime(workers: usize) -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_time()
        .build()
        .unwrap()
}

fn registered(folder: &TempFolder, name: &str, runtime: &Runtime) -> TokioAgent {
    let builder = Agent::builder(name).folder(folder.signals());
    let agent = runtime
        .block_on(async { builder.watchdog(LIMIT).register_on_tokio() })
        .unwrap();
    agent.mark_ready(()).unwrap();
    agent
}

#[test]
fn it_is_stalled_while_every_worker_is_blocked_and_ready_again_after() {
    let folder = TempFolder::new();
    let runtime = runtime(1);
    let agent = registered(&folder, "blocked", &runtime);
    let (go_on, blocked) = std::sync::mpsc::channel::<()>();
    runtime.spawn(async move { blocked.recv().is_err() });
    folder.until_says("blocked", "not_ready: stalled: no progress for ");
    assert_eq!(agent.state(), State::NotReady);
    drop(go_on);
    folder.until_says("blocked", "ready");
}

#[test]
fn a_thread_that_ticks_beside_a_blocked_runtime_hides_nothing() {
    let folder = TempFolder::new();
    let runtime = runtime(1);
    let agent = registered(&folder, "beside", &runtime);
    let (go_on, blocked) = std::sync::mpsc::channel::<()>();
    runtime.spawn(async move { blocked.recv().is_err() });
    until("it is stalled", || {
        agent.tick().unwrap();
        let work = agent.working().unwrap();
        work.tick().unwrap();
        (agent.state() == State::NotReady).then_some(())
    });
    drop(go_on);
    folder.until_says("beside", "ready");
}

#[test]
fn an_agent_that_is_marked_once_its_runtime_has_ended_is_stalled_after_the_limit() {
    let folder = TempFolder::new();
    let runtime = runtime(1);
    let agent = registered(&folder, "revived", &runtime);
    drop(runtime);
    agent.mark_ready(()).unwrap();
    folder.until_says("revived", "not_ready: stalled: no progress for ");
    drop(agent);
    assert_eq!(folder.says("revived"), [""; 0]);
}

#[test]
fn it_is_not_stalled_while_one_of_two_workers_is_blocked() {
    let folder = TempFolder::new();
    let runtime = runtime(2);
    let agent = registered(&folder, "half", &runtime);
    let (go_on, blocked) = std::sync::mpsc::channel::<()>();
    runtime.spawn(async move { blocked.recv().is_err() });
    throughout(LIMIT + LIMIT / 2, || {
        assert_eq!(agent.state(), State::Ready);
    });
    drop(go_on);
}

#[test]
fn a_runtime_of_one_thread_is_blocked_by_what_does_not_await_and_not_by_having_nothing_to_do() {
    let folder = TempFolder::new();
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let agent = registered(&folder, "single", &runtime);
    runtime.block_on(async {
        tokio::time::sleep(LIMIT + LIMIT / 2).await;
        assert_eq!(agent.state(), State::Ready);
        folder.until_says("single", "not_ready: stalled: no progress for ");
        tokio::time::sleep(LIMIT / 2).await;
        assert_eq!(agent.state(), State::Ready);
    });
}

#[test]
fn a_task_that_is_working_and_awaits_for_ever_is_a_stall_though_the_runtime_runs() {
    let folder = TempFolder::new();
    let runtime = runtime(2);
    let agent = registered(&folder, "awaits", &runtime);
    let worker = agent.clone();
    let task = runtime.spawn(async move {
        let work = worker.working().unwrap();
        std::future::pending::<()>().await;
        drop(work);
    });
    folder.until_says("awaits", "not_ready: stalled: no progress for ");
    task.abort();
    folder.until_says("awaits", "ready");
    drop(agent);
}

#[test]
fn its_signal_is_removed_with_the_last_clone() {
    let folder = TempFolder::new();
    let runtime = runtime(1);
    let agent = registered(&folder, "shared", &runtime);
    let other = agent.clone();
    drop(agent);
    assert_eq!(folder.says("shared"), ["ready"]);
    other.mark_stopping("deploy").unwrap();
    assert_eq!(folder.says("shared"), ["stopping: deploy"]);
    drop(other);
    assert_eq!(folder.says("shared"), [""; 0]);
}

#[test]
fn closing_it_removes_the_signal_for_all_clones() {
    let folder = TempFolder::new();
    let runtime = runtime(1);
    let agent = registered(&folder, "closes", &runtime);
    let other = agent.clone();
    runtime.block_on(agent.close("deploy")).unwrap();
    assert_eq!(folder.says("closes"), [""; 0]);
    assert_eq!(other.mark_ready(()).unwrap_err().kind(), ErrorKind::Closed);
    drop(other);
    let again = registered(&folder, "closes", &runtime);
    assert_eq!(folder.says("closes"), ["ready"]);
    drop(again);
}

#[test]
fn it_is_not_ready_once_its_runtime_has_ended() {
    let folder = TempFolder::new();
    let runtime = runtime(1);
    let agent = registered(&folder, "orphan", &runtime);
    drop(runtime);
    assert_eq!(
        folder.says("orphan"),
        ["not_ready: its tokio runtime has ended"]
    );
    drop(agent);
    assert_eq!(folder.says("orphan"), [""; 0]);
}

#[test]
fn a_runtime_that_ends_leaves_the_last_word_of_an_agent_that_stops() {
    let folder = TempFolder::new();
    let runtime = runtime(1);
    let agent = registered(&folder, "stops", &runtime);
    agent.mark_stopping("deploy").unwrap();
    drop(runtime);
    assert_eq!(folder.says("stops"), ["stopping: deploy"]);
}

#[test]
fn its_task_ends_with_it() {
    let folder = TempFolder::new();
    let runtime = runtime(1);
    let tasks = || runtime.metrics().num_alive_tasks();
    let agent = registered(&folder, "leaves", &runtime);
    assert_eq!(tasks(), 1);
    drop(agent);
    until("its task has ended", || (tasks() == 0).then_some(()));
}

#[test]
fn outside_of_a_runtime_it_says_where_to_call_it() {
    let folder = TempFolder::new();
    let builder = Agent::builder("outside").folder(folder.signals());
    let refused = builder.register_on_tokio().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    assert_eq!(
        refused.to_string(),
        "no tokio runtime runs here: call register_on_tokio in a task, or in a runtime's block_on; \
         without tokio there is register"
    );
    assert_eq!(folder.says("outside"), [""; 0]);
}

#[test]
fn what_the_builder_holds_is_checked_as_ever() {
    let runtime = runtime(1);
    let refused = runtime.block_on(async {
        let builder = Agent::builder("quick").watchdog(Duration::ZERO);
        builder.register_on_tokio().unwrap_err()
    });
    assert_eq!(
        refused.to_string(),
        "a watchdog of 0ms is too short: at least 100ms"
    );
}
