//! Podman, in namespaces of its own: what it mounts, starts and names on the network ends with them, and
//! neither the machine's own Podman nor systemd is in reach.
//!
//! Owns: those namespaces, a storage in a temporary folder, images made from files of this host, and running
//! `podman` there. Nothing is ever pulled. It knows nothing of `ready-probe`.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    docker::{ImageRoot, account, find_program},
    process::{Guard, Run, Signal, run, run_within, wait_until},
};

/// Longer than any single command may take.
const LONGEST_COMMAND: Duration = Duration::from_secs(180);

/// The first process of the PID namespace, and with it everything there, ends when the test does and nobody
/// holds its stdin any more. It reaps what is left to it. Podman finds no state of the machine's: that is in `/run`
/// and, its locks, in `/dev/shm`.
const INIT: &str = "mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /dev/shm && echo up && cat";

/// As root without systemd, and where the limits of resources may not be raised.
const CONFIGURATION: &str = r#"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
"#;

/// An empty Podman; everything in it is removed on drop.
#[derive(Debug)]
pub struct Podman {
    namespaces: Guard,
    init: Pid,
    folder: TempDir,
    /// Shared by all that live on this machine, of any test process.
    users: File,
}

impl Podman {
    /// Makes the namespaces.
    ///
    /// # Panics
    /// When Podman is not installed, or for users who are not root.
    pub fn start() -> Self {
        find_program("podman");
        let users = File::create(std::env::temp_dir().join("ready-probe-podman.lock"))
            .expect("ready-probe-podman.lock: only root runs these tests");
        users.lock_shared().expect("ready-probe-podman.lock");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let configuration = format!(
            "{CONFIGURATION}network_config_dir = \"{}\"\n",
            folder.path().join("networks").display()
        );
        fs::write(folder.path().join("containers.conf"), configuration)
            .expect("a temporary folder");
        let mut namespaces = Guard::spawn(
            Command::new("unshare")
                .args([
                    "--mount",
                    "--net",
                    "--pid",
                    "--fork",
                    "--mount-proc",
                    "--kill-child",
                ])
                .args(["sh", "-c", INIT])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                // It complains when its child is killed, which is how it ends.
                .stderr(Stdio::null()),
        );
        let mut output = namespaces.child().stdout.take().expect("it is piped");
        let mut up = [0; 3];
        std::io::Read::read_exact(&mut output, &mut up)
            .expect("unshare makes namespaces: only root may do so");
        // It writes nothing after this.
        let children = format!("/proc/{0}/task/{0}/children", namespaces.pid());
        let children = fs::read_to_string(children).expect("unshare has a child");
        let init = children
            .split_whitespace()
            .next()
            .and_then(|pid| pid.parse().ok());
        Self {
            namespaces,
            init: init.and_then(Pid::from_raw).expect("unshare has a child"),
            folder,
            users,
        }
    }

    /// Runs `podman ARGS…`, and returns what it printed on stdout, without the final newline.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn podman<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> String {
        let args: Vec<A> = args.into_iter().collect();
        let run = self.try_podman(&args);
        let typed: Vec<_> = args
            .iter()
            .map(|arg| arg.as_ref().to_string_lossy())
            .collect();
        assert!(
            run.code() == 0,
            "`podman {}` failed: {}",
            typed.join(" "),
            account(&run)
        );
        run.stdout.trim_end_matches('\n').to_owned()
    }

    /// Runs `podman ARGS…` to its end.
    pub fn try_podman<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Run {
        let mut podman = Command::new("nsenter");
        podman
            .arg(format!("--target={}", self.init.as_raw_nonzero()))
            .args([
                "--mount",
                "--net",
                "--pid",
                "podman",
                "--storage-driver=overlay",
            ])
            .arg(format!(
                "--root={}",
                self.folder.path().join("root").display()
            ))
            .args(["--runroot=/run/containers/storage", "--log-level=error"])
            .args(args)
            .env(
                "CONTAINERS_CONF",
                self.folder.path().join("containers.conf"),
            );
        run_within(&mut podman, LONGEST_COMMAND)
    }

    /// Makes an image of `root`. `instructions` follow `ADD` in its Dockerfile, and are kept in the docker
    /// format, which knows `HEALTHCHECK`.
    #[track_caller]
    pub fn build(&self, tag: &str, root: &ImageRoot, instructions: &str) {
        self.build_as("docker", tag, root, instructions);
    }

    /// The same in a format that `podman build --format` knows.
    #[track_caller]
    pub fn build_as(&self, format: &str, tag: &str, root: &ImageRoot, instructions: &str) {
        let context = tempfile::tempdir().expect("a temporary folder");
        fs::rename(root.pack(), context.path().join("root.tar")).expect("the same file system");
        let dockerfile = format!("FROM scratch\nADD root.tar /\n{instructions}\n");
        fs::write(context.path().join("Dockerfile"), dockerfile).expect("a temporary folder");
        let format = format!("--format={format}");
        let context = context.path().to_str().expect("a path in UTF-8");
        self.podman(["build", "--quiet", &format, "--tag", tag, context]);
    }

    /// What `podman inspect` says of a container or image.
    #[track_caller]
    pub fn inspect(&self, name: &str) -> Value {
        let inspected = self.podman(["inspect", name]);
        let inspected: Value = serde_json::from_str(&inspected).expect("podman speaks JSON");
        inspected[0].clone()
    }

    /// A program in its network, where the addresses of its containers are in reach.
    pub fn in_network(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.init.as_raw_nonzero()))
            .args(["--net", program]);
        command
    }

    /// Plays the Kubernetes objects in a file.
    #[track_caller]
    pub fn play(&self, file: &Path) {
        self.podman(["kube", "play", file.to_str().expect("a path in UTF-8")]);
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Their control groups would outlive the namespaces.
        self.try_podman(["pod", "rm", "--all", "--force", "--time=0"]);
        self.try_podman(["rm", "--all", "--force", "--time=0"]);
        // Everything in the PID namespace ends with its first process, and unshare with that.
        let _ = kill_process(self.init, Signal::KILL);
        wait_until(Duration::from_secs(30), "the namespaces to end", || {
            self.namespaces.ended()
        });
        // Whoever gets it alone knows that no other Podman of these tests makes groups now.
        let _ = self.users.unlock();
        if self.users.try_lock().is_ok() {
            remove_groups();
        }
    }
}

/// Removes the control groups that Podman leaves behind, as far as they are empty.
fn remove_groups() {
    let below = "for parent in /sys/fs/cgroup/libpod_parent /sys/fs/cgroup/*/libpod_parent; do \
        [ ! -d $parent ] || find $parent -depth -type d -exec rmdir {} \\; ; done";
    run(Command::new("sh").args(["-c", below]));
}
