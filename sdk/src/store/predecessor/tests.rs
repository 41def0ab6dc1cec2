use std::cell::RefCell;

use super::*;
use crate::signal::{Instance, State, VERSION};
use crate::store::memory::MemoryStore;
use crate::store::{Expiry, Record};

const OURS: &str = "4d8e2f0c";

fn epoch(init_start: u64) -> Epoch {
    Epoch {
        boot_id: Some("boot".to_owned()),
        pid_ns: Some(7),
        init_start: Some(init_start),
        time_ns: None,
    }
}

/// Of an agent, published in a life of a container by process 17, which started at 1.
fn signal(agent: &str, container: Option<&str>, epoch: Epoch) -> Signal {
    Signal {
        v: VERSION,
        agent: Name::new(agent).unwrap(),
        instance: Instance::of_process("host", 17, epoch.init_start),
        state: State::Ready,
        reason: None,
        details: serde_json::Map::new(),
        ttl_ms: Some(60_000),
        beat_ms: None,
        seq: 1,
        host: Some("host".to_owned()),
        pid: Some(17),
        pid_start: Some(1),
        boot_id: epoch.boot_id,
        pid_ns: epoch.pid_ns,
        init_start: epoch.init_start,
        time_ns: epoch.time_ns,
        container: container.map(ToOwned::to_owned),
        mono_ms: Some(1),
        since: None,
        sdk: None,
        announced: None,
    }
}

fn seen(signal: &Signal) -> Seen {
    Seen {
        agent: signal.agent.clone(),
        instance: signal.instance.as_str().to_owned(),
        signal: Ok(signal.clone()),
        expiry: Expiry::Timely,
        age_ms: None,
    }
}

fn successor(container: Option<&str>, epoch: Epoch) -> Successor {
    Successor {
        epoch,
        container: container.map(ToOwned::to_owned),
        instance: None,
    }
}

const ALIVE: Process = Process::Alive {
    start: 1,
    euid: None,
};

#[test]
fn an_earlier_life_of_this_very_container_is_a_predecessor_whatever_runs_now() {
    let earlier = epoch(1);
    let earlier_boot = Epoch {
        boot_id: Some("earlier".to_owned()),
        ..epoch(2)
    };
    let unknown = Epoch {
        init_start: None,
        ..epoch(2)
    };
    for (us, container, epoch_of_signal, want) in [
        (Some(OURS), Some(OURS), earlier.clone(), true),
        (Some(OURS), Some(OURS), earlier_boot, true),
        // Its neighbour, or itself.
        (Some(OURS), Some(OURS), epoch(2), false),
        (Some(OURS), Some(OURS), unknown, false),
        (Some(OURS), Some("another"), earlier.clone(), false),
        (Some(OURS), None, earlier.clone(), false),
        (None, Some(OURS), earlier.clone(), false),
        // Host name and process id are the same here, and prove nothing.
        (None, None, earlier, false),
    ] {
        let signal = signal("a", container, epoch_of_signal.clone());
        // In another PID namespace this id is somebody else's, and proves nothing either way.
        for process in [ALIVE, Process::Gone] {
            if process == Process::Gone && epoch_of_signal == epoch(2) {
                continue;
            }
            let found = successor(us, epoch(2)).succeeds(&signal, |_| process);
            assert_eq!(found, want, "{us:?}, {container:?}, {epoch_of_signal:?}");
        }
    }
}

#[test]
fn a_dead_process_of_this_pid_namespace_is_a_predecessor_in_whatever_container() {
    let reused = Process::Alive {
        start: 2,
        euid: None,
    };
    for (process, is_dead) in [
        (ALIVE, false),
        (Process::Gone, true),
        (Process::Zombie { start: 1 }, true),
        (reused, true),
        // It may be there, and hidden.
        (Process::Unreadable, false),
    ] {
        for container in [None, Some(OURS), Some("another")] {
            for us in [None, Some(OURS)] {
                let signal = signal("a", container, epoch(2));
                let asked = RefCell::new(Vec::new());
                let found = successor(us, epoch(2)).succeeds(&signal, |pid| {
                    asked.borrow_mut().push(pid);
                    process
                });
                assert_eq!(found, is_dead, "{process:?}, {container:?}, {us:?}");
                assert_eq!(asked.take(), [17]);
            }
        }
    }
}

#[test]
fn a_process_id_is_believed_only_where_it_means_the_same_beyond_doubt() {
    let ours = epoch(2);
    let without = |take: fn(&mut Epoch)| {
        let mut epoch = epoch(2);
        take(&mut epoch);
        epoch
    };
    let lacking = [
        without(|epoch| epoch.boot_id = None),
        without(|epoch| epoch.pid_ns = None),
        without(|epoch| epoch.init_start = None),
    ];
    let differing = [
        without(|epoch| epoch.boot_id = Some("another".to_owned())),
        without(|epoch| epoch.pid_ns = Some(8)),
        epoch(3),
    ];
    let pairs = lacking.iter().chain(&differing);
    let mut pairs: Vec<(Epoch, Epoch)> = pairs.map(|e| (e.clone(), ours.clone())).collect();
    // Both sides lack the same: equal, and no proof.
    pairs.extend(lacking.iter().map(|e| (e.clone(), e.clone())));
    pairs.extend(lacking.iter().map(|e| (ours.clone(), e.clone())));
    for (theirs, ours) in pairs {
        let signal = signal("a", None, theirs.clone());
        let found = successor(None, ours.clone()).succeeds(&signal, |_| Process::Gone);
        assert!(!found, "{theirs:?}, {ours:?}");
    }
    for (pid, pid_start) in [(None, Some(1)), (Some(17), None)] {
        let signal = Signal {
            pid,
            pid_start,
            ..signal("a", None, epoch(2))
        };
        assert!(!successor(None, epoch(2)).succeeds(&signal, |_| Process::Gone));
    }
}

#[test]
fn what_is_no_record_is_nobodys_predecessor() {
    let rubbish = Seen {
        signal: Signal::decode(b"rubbish"),
        ..seen(&signal("a", Some(OURS), epoch(1)))
    };
    let successor = successor(Some(OURS), epoch(2));
    assert_eq!(successor.predecessors(&[rubbish], |_| Process::Gone), []);
}

#[tokio::test]
async fn who_comes_takes_the_place_of_its_predecessor_and_of_nobody_else() {
    let mut store = MemoryStore::default();
    let (own_pid, own_start) = host::myself();
    let here = Epoch::current();
    let of_process = |agent: &str, pid: u32, pid_start: Option<u64>| Signal {
        instance: Instance::of_process("host", pid, pid_start),
        pid: Some(pid),
        pid_start,
        ..signal(agent, None, here.clone())
    };
    let mut child = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let (pid, pid_start) = (child.id(), Process::of(child.id()).start());
    let signals = [
        signal("a", Some(OURS), epoch(1)),
        signal("a", Some("another"), epoch(3)),
        signal("b", Some(OURS), epoch(1)),
        of_process("a", own_pid, own_start),
        of_process("a", pid, pid_start),
        of_process("b", pid, pid_start),
    ];
    let records = signals.each_ref().map(|signal| Record::of(signal).unwrap());
    for answer in store.put(&records).await.unwrap() {
        answer.unwrap();
    }
    let successor = successor(Some(OURS), here.clone());
    let both = ["a", "b"].map(|name| Name::new(name).unwrap());
    let mut left = async || {
        let siblings = successor.succeed(&mut store, &both[..1]).await.unwrap();
        let seen = store.read(&both).await.unwrap();
        let mut left: Vec<String> = seen
            .into_iter()
            .map(|seen| format!("{} {}", seen.agent, seen.instance))
            .collect();
        left.sort();
        (left, siblings)
    };
    let named = |signals: &[&Signal]| {
        let mut named: Vec<String> = signals
            .iter()
            .map(|signal| format!("{} {}", signal.agent, signal.instance.as_str()))
            .collect();
        named.sort();
        named
    };
    let [
        _,
        another,
        other_agent,
        own,
        sibling,
        sibling_of_other_agent,
    ] = &signals;
    let stay = [another, other_agent, own, sibling_of_other_agent];
    let (all, siblings) = left().await;
    assert_eq!(all, named(&[&stay[..], &[sibling]].concat()));
    assert_eq!(siblings, both[..1], "it may be about to die");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(left().await, (named(&stay), Vec::new()));
}

#[tokio::test]
async fn what_it_publishes_for_another_process_is_no_sibling() {
    let mut store = MemoryStore::default();
    let published = Signal {
        pid: Some(1),
        pid_start: Process::of(1).start(),
        ..signal("a", None, Epoch::current())
    };
    let record = Record::of(&published).unwrap();
    store.put(&[record]).await.unwrap()[0].as_ref().unwrap();
    let agents = [published.agent.clone()];
    let mut successor = successor(None, Epoch::current());
    let siblings = successor.succeed(&mut store, &agents).await;
    assert_eq!(siblings, Ok(agents.to_vec()));
    successor.instance = Some(published.instance.clone());
    let siblings = successor.succeed(&mut store, &agents).await;
    assert_eq!(siblings, Ok(Vec::new()));
}
