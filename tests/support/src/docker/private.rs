//! The private engine: started by the first test process that needs one, used by all of this
//! user's, stopped when none has held it for a while.
//!
//! One for all checkouts, because engines on one host share the bridge `docker0` and iptables'
//! chains. Its sockets are in /tmp since a socket's path is limited to 107 bytes; its images and
//! containers are in the `target/docker-engine` of the checkout that started it.
//!
//! Two locks, both released by the kernel whatever becomes of their holders:
//! - `users.lock` is shared by every process that uses the engine. Whoever gets it exclusively
//!   knows that nobody does, and that nobody begins to before it lets go.
//! - `start.lock` is held while looking whether an engine answers and starting it.

use std::{
    fs::{self, File, OpenOptions},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use rustix::process::{Pid, geteuid, kill_process};

use super::{Engine, NAME_PREFIX, find_program, how_to_install, state_folder, wait_for};
use crate::process::{Signal, run};

/// For how long nobody has used an engine that stops; `TEST_ENGINE_IDLE_S` of whoever starts it
/// says otherwise.
const IDLE_LIMIT_S: &str = "600";

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Runs the engine, and stops it once nobody has used it for `$1` seconds or its data is gone.
/// The rest of the arguments is the engine's command line.
const KEEPER: &str = r#"
idle_limit=$1 users=$2 data=$3; shift 3
"$@" & engine=$!
exec 9<"$users"
idle=0
while sleep 5; kill -0 $engine 2>&-; do
    if flock --nonblock --exclusive 9; then idle=$((idle + 5)); else idle=0; fi
    if [ $idle -ge $idle_limit ] || ! [ -d "$data" ]; then kill $engine; break; fi
    flock --unlock 9
done
wait $engine
"#;

/// The engine that runs, else a new one. This process is its user from now on.
pub(super) fn join_or_start() -> Engine {
    static USER: OnceLock<File> = OnceLock::new();
    let folder = Folder::open();
    USER.get_or_init(|| {
        let lock = folder.lock_file("users.lock");
        lock.lock_shared().expect("users.lock");
        lock
    });
    let starting = folder.lock_file("start.lock");
    starting.lock().expect("start.lock");
    let engine = Engine {
        host: Some(format!("unix://{}", folder.file("docker.sock").display())),
    };
    if !is_usable(&engine) {
        folder.stop_engine();
        folder.start_engine(&engine);
        // Untagged images are the builder's cache: kept for a day, not for ever.
        engine.try_docker(["image", "prune", "--force", "--filter", "until=24h"]);
    }
    remove_leftovers(&engine);
    engine
}

/// It answers, and nobody has deleted its data.
fn is_usable(engine: &Engine) -> bool {
    let info = engine.try_docker(["info", "--format", "{{.DockerRootDir}}"]);
    info.code() == 0 && Path::new(info.stdout.trim()).is_dir()
}

/// Removes what tests left behind that did not live to do it themselves.
fn remove_leftovers(engine: &Engine) {
    for (list, remove) in [
        (
            ["ps", "--all", "--format={{.Names}}"].as_slice(),
            ["rm", "--force", "--volumes"].as_slice(),
        ),
        (&["network", "ls", "--format={{.Name}}"], &["network", "rm"]),
        (&["volume", "ls", "--format={{.Name}}"], &["volume", "rm"]),
    ] {
        let names = engine.docker(list);
        let dead: Vec<&str> = names
            .lines()
            .filter(|name| belongs_to_the_dead(name))
            .collect();
        if !dead.is_empty() {
            // Another process may be doing the same; what it took is not missed.
            engine.try_docker(remove.iter().chain(&dead));
        }
    }
}

fn belongs_to_the_dead(name: &str) -> bool {
    name.strip_prefix(NAME_PREFIX)
        .and_then(|rest| rest.split('-').next())
        .and_then(|pid| pid.parse::<u32>().ok())
        .is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

/// `/tmp/ready-probe-docker-UID`: sockets, pid file, locks.
struct Folder(PathBuf);

impl Folder {
    fn open() -> Self {
        let uid = geteuid().as_raw();
        let folder = PathBuf::from(format!("/tmp/ready-probe-docker-{uid}"));
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                panic!("{} can't be made: {error}", folder.display())
            }
            Ok(()) | Err(_) => {}
        }
        let metadata = fs::symlink_metadata(&folder).expect("just made");
        assert!(
            metadata.is_dir() && metadata.uid() == uid,
            "{} belongs to somebody else: remove it",
            folder.display()
        );
        Self(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn lock_file(&self, name: &str) -> File {
        let path = self.file(name);
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .unwrap_or_else(|error| panic!("{} can't be opened: {error}", path.display()))
    }

    /// Ends an engine that doesn't answer, or whose data is gone, and clears the pid files: a pid
    /// that is a zombie's, or meanwhile another process's, would keep the next engine from
    /// starting. containerd dies with its dockerd.
    fn stop_engine(&self) {
        let pid_file = self.file("dockerd.pid");
        let pid = fs::read_to_string(&pid_file)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .and_then(Pid::from_raw)
            .filter(|pid| is_dockerd(*pid));
        if let Some(pid) = pid {
            // It may have gone by itself.
            let _ = kill_process(pid, Signal::TERM);
            let gone = wait_for(STOP_LIMIT, || (!is_dockerd(pid)).then_some(()));
            assert!(
                gone.is_some(),
                "dockerd (pid {pid:?}) does not answer and does not stop"
            );
        }
        for stale in [pid_file, self.file("exec/containerd/containerd.pid")] {
            let _ = fs::remove_file(stale);
        }
    }

    fn start_engine(&self, engine: &Engine) {
        let dockerd = find_program("dockerd");
        assert!(
            geteuid().is_root(),
            "no Docker engine answers, and only root can start one: `service docker start`, or set DOCKER_HOST"
        );
        let log = state_folder().join("dockerd.log");
        let mut keeper = self.keeper(&dockerd, engine, &log);
        let started = wait_for(START_LIMIT, || {
            if engine.try_docker(["version"]).code() == 0 {
                return Some(true);
            }
            keeper.try_wait().expect("a child of ours").map(|_| false)
        });
        if started != Some(true) {
            self.stop_engine();
            panic!(
                "dockerd did not start; {} ends with:\n{}",
                log.display(),
                end_of(&log)
            );
        }
    }

    /// Starts the keeper in a session of its own, so that neither a terminal's Ctrl-C nor the end
    /// of the test runner's process group reaches the engine that others use.
    fn keeper(&self, dockerd: &Path, engine: &Engine, log: &Path) -> Child {
        let data = state_folder().join("data");
        fs::create_dir_all(&data).expect("the data folder");
        let log = File::create(log).expect("the log file");
        let idle_limit =
            std::env::var("TEST_ENGINE_IDLE_S").unwrap_or_else(|_| IDLE_LIMIT_S.into());
        let path = std::env::var("PATH").unwrap_or_default();
        Command::new("setsid")
            .args(["sh", "-c", KEEPER, "ready-probe-docker-keeper", &idle_limit])
            .arg(self.file("users.lock"))
            .arg(&data)
            .arg(dockerd)
            .arg("--data-root")
            .arg(&data)
            .arg("--exec-root")
            .arg(self.file("exec"))
            .arg("--pidfile")
            .arg(self.file("dockerd.pid"))
            .arg("--host")
            .arg(engine.host().expect("a private engine has one"))
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file descriptor"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("`setsid`: {error}; {}", how_to_install("setsid")))
    }
}

fn is_dockerd(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()))
        .is_ok_and(|comm| comm.trim() == "dockerd")
}

fn end_of(log: &Path) -> String {
    run(Command::new("tail").arg("--lines=20").arg(log)).stdout
}
