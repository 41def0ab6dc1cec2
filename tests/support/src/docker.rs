//! A real Docker engine, for the tests that need Docker's own health monitor.
//!
//! Owns: finding or starting an engine, images made from files of this host (nothing is ever
//! pulled), containers, networks, volumes and compose projects that are removed when dropped.
//! Everything goes through the `docker` client, as a user's commands do. It knows nothing of
//! `ready-probe`.
//!
//! - [`Engine::shared`] is the engine that `docker version` reaches, else a private one. One
//!   private engine serves every test process of this user, and stops when none has used it for a
//!   while.
//! - Objects are called `ready-probe-PID-N-NAME`, so parallel tests never collide and what a killed
//!   test left behind can be told from what is in use; containers, networks and volumes carry the
//!   label `ready-probe.test=PID` as well.

mod compose;
mod container;
mod health;
mod image;
mod network;
mod private;
mod python;
mod run_options;
mod socket_proxy;
mod toolchain;

#[cfg(test)]
mod tests;

pub use compose::Compose;
pub use container::Container;
pub use health::{Health, HealthLog};
pub use image::{ImageRoot, REDIS_INSTRUCTIONS};
pub use network::{Network, Volume};
pub use run_options::RunOptions;
pub use socket_proxy::SocketProxy;

use std::{
    ffi::OsStr,
    fs,
    path::PathBuf,
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::process::{Run, run_within, workspace_root};

/// What the names of all test objects begin with; the pid of the test process follows.
const NAME_PREFIX: &str = "ready-probe-";

/// How often a condition is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(40);

/// Longer than any single command may take; a release build in a Dockerfile takes minutes.
const LONGEST_COMMAND: Duration = Duration::from_secs(900);

/// A Docker engine, spoken to through the `docker` client.
#[derive(Clone, Debug)]
pub struct Engine {
    /// `DOCKER_HOST` of the private engine; `None` leaves the choice to the client's own settings.
    host: Option<String>,
}

impl Engine {
    /// The engine of this test run, found or started at the first call.
    ///
    /// # Panics
    /// When there is none and none can be started; the message says what to install.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Engine> = OnceLock::new();
        SHARED.get_or_init(|| {
            find_program("docker");
            let ambient = Self { host: None };
            let version = ambient.try_docker(["version"]);
            if version.code() == 0 {
                return ambient;
            }
            if let Ok(host) = std::env::var("DOCKER_HOST") {
                panic!(
                    "DOCKER_HOST={host} is set, but no engine answers there: {}",
                    version.stderr
                );
            }
            private::join_or_start()
        })
    }

    /// `DOCKER_HOST` for programs that are to use this engine; `None` if they find it without.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// `program`, with the environment in which every Docker tool uses this engine and the classic
    /// builder (the other one is a plugin, which Debian does not have).
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("DOCKER_BUILDKIT", "0")
            .env("COMPOSE_DOCKER_CLI_BUILD", "0");
        if let Some(host) = &self.host {
            command
                .env("DOCKER_HOST", host)
                .env_remove("DOCKER_CONTEXT");
        }
        command
    }

    /// Runs `docker ARGS…` and returns what it printed on stdout, without the final newline.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn docker<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> String {
        let args: Vec<A> = args.into_iter().collect();
        let run = self.try_docker(&args);
        let typed: Vec<_> = args
            .iter()
            .map(|arg| arg.as_ref().to_string_lossy())
            .collect();
        assert!(
            run.code() == 0,
            "`docker {}` failed: {}",
            typed.join(" "),
            account(&run)
        );
        run.stdout.trim_end_matches('\n').to_owned()
    }

    /// Runs `docker ARGS…` to its end.
    pub fn try_docker<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Run {
        run_within(self.command("docker").args(args), LONGEST_COMMAND)
    }

    /// `name` made unique among all test objects of this engine.
    pub fn unique_name(&self, name: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        format!("{NAME_PREFIX}{}-{number}-{name}", std::process::id())
    }
}

/// The label that says which test process an object belongs to, as `docker` takes it.
fn owner_label() -> String {
    format!("--label=ready-probe.test={}", std::process::id())
}

/// How a program ended and what it said, for a panic message.
pub(crate) fn account(run: &Run) -> String {
    let (stdout, stderr) = (run.stdout.trim_end(), run.stderr.trim_end());
    format!("exit {}\n{stdout}\n{stderr}", run.code())
}

fn how_to_install(program: &str) -> &'static str {
    match program {
        "docker" | "dockerd" => "install it: apt-get install docker.io",
        "docker-compose" => "install it: apt-get install docker-compose",
        "redis-server" => "install it: apt-get install redis-server",
        "nats-server" => "install it: apt-get install nats-server",
        "podman" => "install it: apt-get install podman catatonit netavark aardvark-dns",
        "setsid" => "install it: apt-get install util-linux",
        _ => "is it installed?",
    }
}

/// The file that `program` names in `PATH`, or where an ordinary user's `PATH` does not lead.
///
/// # Panics
/// When there is none; the message says what to install.
pub fn find_program(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("no `{program}` in PATH; {}", how_to_install(program)))
}

/// Where what the engine keeps between runs is kept.
fn state_folder() -> PathBuf {
    let folder = workspace_root().join("target/docker-engine");
    fs::create_dir_all(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    folder
}

/// Looks until `look` sees something, for at most `limit`.
fn wait_for<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(seen) = look() {
            return Some(seen);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(POLL);
    }
}

/// A duration as Docker's options take it.
fn docker_duration(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}
