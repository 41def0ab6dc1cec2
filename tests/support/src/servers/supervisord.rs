//! Supervisord, and the programs that it starts.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::{Pid, kill_process};
use tempfile::TempDir;

use super::{MAKE_SERVERS, daemon::Daemon, virtualenv};
use crate::process::{Run, Signal, run, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);

/// `supervisord` of the package `supervisor`, on a unix socket in a directory of its own.
#[derive(Debug)]
pub struct Supervisord {
    daemon: Daemon,
    /// Somebody else starts it, and starts it again.
    is_anothers: bool,
    dir: TempDir,
}

impl Supervisord {
    /// Starts it with programs, each with its lines: `("web", "command=sleep 1000")`. `server` is what else is said of
    /// its unix socket: a user and a password, or an `[inet_http_server]`.
    ///
    /// # Panics
    /// When the program is missing, or does not start; with its log.
    pub fn start(server: &str, programs: &[(&str, &str)]) -> Self {
        let mut this = Self::configure(server, programs);
        this.is_anothers = false;
        let mut command = this.program("supervisord");
        let socket = this.socket();
        this.daemon
            .start(&mut command, |_| {
                std::os::unix::net::UnixStream::connect(&socket).is_ok()
            })
            .expect("it has no port");
        this
    }

    /// Writes the configuration for one that somebody else starts, with [`Self::command`]. Every process that has its
    /// directory on its command line ends with it.
    pub fn configure(server: &str, programs: &[(&str, &str)]) -> Self {
        let dir = TempDir::with_prefix("rp-supervisord-").expect("a temporary directory");
        let folder = dir.path().display();
        let mut configuration = format!(
            "[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\n\
             pidfile={folder}/supervisord.pid\nchildlogdir={folder}\n\
             [rpcinterface:supervisor]\n\
             supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
             [supervisorctl]\nserverurl=unix://{folder}/supervisor.sock\n\
             [unix_http_server]\nfile={folder}/supervisor.sock\n{server}\n"
        );
        for (name, lines) in programs {
            configuration.push_str(&format!("[program:{name}]\n{lines}\n"));
        }
        fs::write(dir.path().join("supervisord.conf"), configuration).expect("it is ours");
        Self {
            daemon: Daemon::new("supervisord", dir.path()),
            is_anothers: true,
            dir,
        }
    }

    fn program(&self, name: &str) -> Command {
        let program = virtualenv().join("bin").join(name);
        assert!(
            program.is_file(),
            "{} is missing: {MAKE_SERVERS}",
            program.display()
        );
        let mut command = Command::new(program);
        command
            .arg("-c")
            .arg(self.dir.path().join("supervisord.conf"))
            .current_dir(self.dir.path());
        command
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("supervisor.sock")
    }

    /// A path in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What starts `supervisord` in the foreground, or what `supervisorctl` begins with: for a shell.
    pub fn command(&self, name: &str) -> String {
        let command = self.program(name);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }

    /// Runs `supervisorctl`.
    pub fn ctl(&self, args: &[&str]) -> Run {
        run(self.program("supervisorctl").args(args))
    }

    /// Waits until `supervisorctl` shows a program in that state.
    ///
    /// # Panics
    /// When it does not come to that.
    pub fn wait_for(&self, program: &str, state: &str) {
        wait_until(PATIENCE, &format!("{program} to be {state}"), || {
            let told = self.ctl(&["status", program]);
            told.stdout.contains(state).then_some(())
        });
    }

    /// The process of a program.
    ///
    /// # Panics
    /// When it has none.
    pub fn pid(&self, program: &str) -> u32 {
        let told = self.ctl(&["pid", program]);
        told.stdout
            .trim()
            .parse()
            .unwrap_or_else(|e| panic!("{e}: {told:?}"))
    }

    /// Stops it where it is. Its socket stays open: the kernel goes on accepting.
    pub fn pause(&mut self) {
        self.daemon.pause();
    }

    /// Lets it go on.
    pub fn resume(&mut self) {
        self.daemon.resume();
    }

    /// Kills it and its programs. Its socket stays, and refuses.
    pub fn kill(&mut self) {
        if !self.daemon.is_running() {
            return;
        }
        // One that goes on would start them again.
        self.daemon.pause();
        for pid in self.children() {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        // Whoever drops it kills it.
        self.daemon = Daemon::new("supervisord", self.dir.path());
    }

    fn children(&self) -> Vec<u32> {
        let path = format!("/proc/{0}/task/{0}/children", self.daemon.pid());
        let text = fs::read_to_string(Path::new(&path)).unwrap_or_default();
        text.split_ascii_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect()
    }
}

impl Drop for Supervisord {
    fn drop(&mut self) {
        self.kill();
        // Whoever starts it again may be among those that end only now.
        while self.is_anothers && end_all_with(self.dir.path()) {}
    }
}

/// Kills all processes with this folder on their command lines. Returns whether there was one.
fn end_all_with(folder: &Path) -> bool {
    let folder = folder.display().to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has_it = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&folder)
    };
    let found: Vec<Pid> = pids.filter(has_it).filter_map(Pid::from_raw).collect();
    for pid in &found {
        // It has ended already.
        let _ = kill_process(*pid, Signal::KILL);
    }
    !found.is_empty()
}
