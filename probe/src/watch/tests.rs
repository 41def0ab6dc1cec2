use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command};

use ready_probe_sdk::folder::{Publication, rewrite};
use ready_probe_sdk::host;
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;

const LIMIT: Duration = Duration::from_secs(20);
/// How long it is made sure that nothing is told.
const QUIET: Duration = Duration::from_millis(150);

fn memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

fn of(agent: &str) -> Woken {
    Woken {
        agents: BTreeSet::from([name(agent)]),
        all: false,
    }
}

fn publication(folder: &Folder, agent: &str) -> Publication {
    let (pid, start) = host::myself();
    Publication::new(folder.clone(), name(agent), pid, start)
}

fn named(folder: &Folder, agent: &str) -> Watch {
    let names = BTreeSet::from([name(agent)]);
    Watch::new(folder, None, Agents::Named(&names))
}

async fn next(watch: &mut Watch) -> Woken {
    timeout(LIMIT, watch.next()).await.expect("it is told")
}

/// Takes up what is left over of what was done.
async fn quiet(watch: &mut Watch) {
    while timeout(QUIET, watch.next()).await.is_ok() {}
}

async fn is_silent(watch: &mut Watch) {
    if let Ok(woken) = timeout(QUIET, watch.next()).await {
        panic!("{woken:?}");
    }
}

fn sleeper() -> (Child, u32, u64) {
    let child = Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = child.id();
    (child, pid, host::stat_of(pid).unwrap().start)
}

#[tokio::test]
async fn a_record_that_is_replaced_rewritten_or_removed_is_news_of_its_agent() {
    let dir = memory();
    let folder = Folder::at(dir.path()).unwrap();
    let mut published = publication(&folder, "a");
    published.write(b"{}").unwrap();
    for agents in [Agents::All, Agents::Named(&BTreeSet::from([name("a")]))] {
        let mut watch = Watch::new(&folder, None, agents);
        assert_eq!(watch.note(), None);
        is_silent(&mut watch).await;
        published.write(b"{ }").unwrap();
        assert_eq!(next(&mut watch).await, of("a"));
        is_silent(&mut watch).await;
        let record = fs::read_dir(dir.path().join("a")).unwrap().next().unwrap();
        let record = record.unwrap().path();
        fs::write(&record, b"{  }").unwrap();
        assert_eq!(next(&mut watch).await, of("a"));
        // As in a full folder. The writer keeps it open.
        let file = record.file_name().unwrap().to_str().unwrap();
        let open = fs::File::open(dir.path().join("a")).unwrap();
        let _kept = rewrite(&open, file, b"{}", 100).unwrap();
        assert_eq!(next(&mut watch).await, of("a"));
        is_silent(&mut watch).await;
        published.remove().unwrap();
        assert_eq!(next(&mut watch).await, of("a"));
        published.write(b"{}").unwrap();
        assert_eq!(next(&mut watch).await, of("a"));
        quiet(&mut watch).await;
    }
}

#[tokio::test]
async fn what_nobody_asked_for_is_no_news() {
    let dir = memory();
    let folder = Folder::at(dir.path()).unwrap();
    let mut published = publication(&folder, "a");
    let mut other = publication(&folder, "b");
    published.write(b"{}").unwrap();
    let mut watch = named(&folder, "a");
    // A new agent, its beats, the probe's own folder, and a record that has no name yet.
    other.write(b"{}").unwrap();
    other.write(b"{}").unwrap();
    assert!(folder.probe_dirs(true).all(|(_, opened)| opened.is_ok()));
    fs::write(dir.path().join(".probe/notes"), "").unwrap();
    fs::write(dir.path().join("a/.1-1.tmp"), "").unwrap();
    is_silent(&mut watch).await;
    published.write(b"{}").unwrap();
    assert_eq!(next(&mut watch).await, of("a"));
}

#[tokio::test]
async fn a_new_agent_is_news_where_none_is_named() {
    let dir = memory();
    let folder = Folder::at(dir.path()).unwrap();
    publication(&folder, "a").write(b"{}").unwrap();
    let mut watch = Watch::new(&folder, None, Agents::All);
    let mut published = publication(&folder, "b");
    published.write(b"{}").unwrap();
    assert!(next(&mut watch).await.all);
    quiet(&mut watch).await;
    published.write(b"{}").unwrap();
    assert_eq!(next(&mut watch).await, of("b"));
}

#[tokio::test]
async fn folders_that_are_missing_are_seen_when_they_are_made() {
    let dir = memory();
    let folder = Folder::at(&dir.path().join("x/y/z")).unwrap();
    let mut watch = named(&folder, "a");
    assert_eq!(watch.note(), None);
    // What is made beside them concerns nobody.
    fs::create_dir(dir.path().join("other")).unwrap();
    is_silent(&mut watch).await;
    let mut published = publication(&folder, "a");
    published.write(b"{}").unwrap();
    assert!(next(&mut watch).await.all);
    quiet(&mut watch).await;
    published.write(b"{}").unwrap();
    assert_eq!(next(&mut watch).await, of("a"));
    // One after the other.
    for gone in ["x/y/z", "x"] {
        fs::remove_dir_all(dir.path().join(gone)).unwrap();
        assert!(next(&mut watch).await.all, "{gone}");
        quiet(&mut watch).await;
        published.write(b"{}").unwrap();
        assert!(next(&mut watch).await.all, "{gone}");
        quiet(&mut watch).await;
        published.write(b"{}").unwrap();
        assert_eq!(next(&mut watch).await, of("a"), "{gone}");
    }
}

#[tokio::test]
async fn folders_that_are_renamed_or_changed_are_looked_at_anew() {
    let dir = memory();
    let path = |name: &str| dir.path().join(name);
    let folder = Folder::at(&path("x/y")).unwrap();
    let mut published = publication(&folder, "a");
    published.write(b"{}").unwrap();
    let mut watch = named(&folder, "a");
    let change_mode = |name: &str| {
        fs::set_permissions(path(name), fs::Permissions::from_mode(0o755)).unwrap();
    };
    let rename = |from: &str, to: &str| fs::rename(path(from), path(to)).unwrap();
    let changes: [(&str, &dyn Fn()); 8] = [
        ("the mode of the folder", &|| change_mode("x/y")),
        ("the mode of the agent's", &|| change_mode("x/y/a")),
        ("the agent's, away", &|| rename("x/y/a", "x/gone")),
        ("the agent's, back", &|| rename("x/gone", "x/y/a")),
        ("the folder, away", &|| rename("x/y", "x/gone")),
        ("the folder, back", &|| rename("x/gone", "x/y")),
        ("its parent, away", &|| rename("x", "gone")),
        ("its parent, back", &|| rename("gone", "x")),
    ];
    for (what, change) in changes {
        change();
        assert!(next(&mut watch).await.all, "{what}");
        quiet(&mut watch).await;
    }
    published.write(b"{}").unwrap();
    assert_eq!(next(&mut watch).await, of("a"));
}

#[tokio::test]
async fn what_is_made_between_looking_and_watching_is_not_lost() {
    for round in 0..200 {
        let dir = memory();
        let folder = Folder::at(&dir.path().join("x/y")).unwrap();
        let mut published = publication(&folder, "a");
        let agent = std::thread::spawn(move || {
            for _ in 0..round * 20 {
                std::hint::spin_loop();
            }
            published.write(b"{}").unwrap();
        });
        let mut watch = match round % 2 {
            0 => Watch::new(&folder, None, Agents::All),
            _ => named(&folder, "a"),
        };
        while folder.read(&name("a")).unwrap().believed.is_empty() {
            let woken = next(&mut watch).await;
            assert!(woken.all || woken == of("a"));
        }
        agent.join().unwrap();
    }
}

#[tokio::test]
async fn news_that_was_lost_is_news_of_everything() {
    let dir = memory();
    let folder = Folder::at(dir.path()).unwrap();
    let mut published = publication(&folder, "a");
    published.write(b"{}").unwrap();
    let mut watch = named(&folder, "a");
    let room = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let (one, other) = (dir.path().join("a/one"), dir.path().join("a/other"));
    fs::write(&one, "").unwrap();
    // Two events each.
    for _ in 0..=room.trim().parse::<u32>().unwrap() / 4 {
        fs::rename(&one, &other).unwrap();
        fs::rename(&other, &one).unwrap();
    }
    assert!(next(&mut watch).await.all);
    quiet(&mut watch).await;
    published.write(b"{}").unwrap();
    assert_eq!(next(&mut watch).await, of("a"));
}

#[tokio::test]
async fn who_gives_up_waiting_loses_nothing() {
    let dir = memory();
    let folder = Folder::at(dir.path()).unwrap();
    let mut published = publication(&folder, "a");
    published.write(b"{}").unwrap();
    let mut watch = named(&folder, "a");
    for round in 0..50 {
        assert!(timeout(Duration::ZERO, watch.next()).await.is_err());
        published.write(b"{}").unwrap();
        let mut woken = None;
        for _ in 0..1_000 {
            woken = timeout(Duration::from_micros(round), watch.next())
                .await
                .ok();
            if woken.is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(woken, Some(of("a")), "{round}");
    }
}

#[tokio::test]
async fn the_end_of_a_process_is_news_of_its_agent_once() {
    let dir = memory();
    let folder = Folder::at(dir.path()).unwrap();
    for most in [MOST_AT_ONCE, 0] {
        let (mut child, pid, start) = sleeper();
        let mut published = Publication::new(folder.clone(), name("a"), pid, Some(start));
        published.write(b"{}").unwrap();
        publication(&folder, "b").write(b"{}").unwrap();
        let mut watch = Watch::new(&folder, None, Agents::All);
        watch.processes.limit(most);
        let (me, my_start) = host::myself();
        let processes = [(pid, start), (me, my_start.unwrap())];
        watch.follow(&processes);
        watch.follow(&processes);
        let note = "processes are looked at every second: they are more than 0";
        assert_eq!(watch.note(), (most == 0).then_some(note));
        is_silent(&mut watch).await;
        child.kill().unwrap();
        assert_eq!(next(&mut watch).await, of("a"));
        watch.follow(&processes);
        is_silent(&mut watch).await;
        child.wait().unwrap();
        watch.follow(&[]);
        assert_eq!(watch.note(), None);
        // It is gone when it is followed; and then as one whose id belongs to another.
        for gone in [(pid, start), (me, my_start.unwrap() + 1)] {
            watch.follow(&[gone]);
            let woken = next(&mut watch).await;
            assert!(woken == of("a") || woken.all && gone.0 == me, "{woken:?}");
            watch.follow(&[gone]);
            is_silent(&mut watch).await;
        }
        published.remove().unwrap();
    }
}

#[tokio::test]
async fn many_that_end_at_once_are_told_at_once() {
    let dir = memory();
    let folder = Folder::at(dir.path()).unwrap();
    let mut watch = named(&folder, "a");
    let mut children: Vec<_> = (0..2 * MOST_AT_ONCE).map(|_| sleeper()).collect();
    let processes: Vec<(u32, u64)> = children
        .iter()
        .map(|(_, pid, start)| (*pid, *start))
        .collect();
    watch.follow(&processes);
    is_silent(&mut watch).await;
    for (child, ..) in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(next(&mut watch).await.all);
    is_silent(&mut watch).await;
}

#[tokio::test]
async fn where_nothing_tells_it_is_looked_at_every_second() {
    let dir = memory();
    let folder = Folder::at(dir.path()).unwrap();
    let mut watch = named(&folder, "a");
    let mut old = Folders::new(&folder, Agents::All, Some("/mnt may hang".to_owned()));
    mem::swap(&mut watch.folders, &mut old);
    watch.follow(&[]);
    let note = "signals are looked at every second: /mnt may hang";
    assert_eq!(watch.note(), Some(note));
    let before = clock::instant();
    for _ in 0..2 {
        assert!(next(&mut watch).await.all);
    }
    assert!(before.elapsed() > LOOK_PAUSE);
}
