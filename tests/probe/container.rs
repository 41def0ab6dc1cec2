//! A container's worth of state for each test: signals, memory, configuration; and what a probe of it
//! said.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ready_probe_test_support::process::{Run, probe, run};
use serde_json::Value;
use tempfile::TempDir;

/// A READY_DIR of its own, and a folder for whatever else a test needs.
pub struct Container {
    dir: TempDir,
}

impl Container {
    /// Nothing has published, nothing is remembered.
    pub fn new() -> Self {
        let dir = TempDir::with_prefix("rp-probe-").unwrap();
        // Some tests probe as another user.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        Self { dir }
    }

    /// Where signals go.
    pub fn ready_dir(&self) -> PathBuf {
        self.dir.path().join("ready")
    }

    /// A path beside it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file beside it.
    pub fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A probe of this container, to be changed and run.
    pub fn probe<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = probe();
        command
            .env("READY_DIR", self.ready_dir())
            .args(args)
            .current_dir(self.dir.path());
        command
    }

    /// Probes it.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        run(&mut self.probe(args))
    }

    /// Probes one target, with its options as an argument of its own where that reads better.
    pub fn ask(&self, target: impl AsRef<OsStr>) -> Run {
        self.run([target])
    }

    /// Probes it and reads the JSON report.
    pub fn json<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Value {
        let run = run(self.probe(args).env("READY_FORMAT", "json"));
        parsed(&run)
    }

    /// The file in which probes of this user remember; there is one once they have answered.
    pub fn memory(&self) -> PathBuf {
        let files: Vec<PathBuf> = fs::read_dir(self.ready_dir().join(".probe"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension() == Some(OsStr::new("json")))
            .collect();
        match files.as_slice() {
            [file] => file.clone(),
            other => panic!("one memory, not {other:?}"),
        }
    }
}

/// The same command, started by another program: `unshare --pid --fork COMMAND`. It has the environment
/// that the command sets, and nothing else.
pub fn through(program: &str, args: &[&str], command: &Command) -> Command {
    let mut outer = Command::new(program);
    outer
        .args(args)
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
    if let Some(dir) = command.get_current_dir() {
        outer.current_dir(dir);
    }
    outer
}

/// The JSON report of a run.
pub fn parsed(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {run:?}"))
}

/// What a run said and how it ended, compared in one piece so that a failure shows both.
#[track_caller]
pub fn assert_said(run: &Run, code: i32, first_line: &str) {
    assert_eq!(
        (run.code(), run.first_line()),
        (code, first_line),
        "{run:?}"
    );
}

/// As [`assert_said`], where only a part of the line is foreseeable.
#[track_caller]
pub fn assert_starts(run: &Run, code: i32, start: &str) {
    assert!(
        run.code() == code && run.first_line().starts_with(start),
        "wanted {code} {start:?}\n{run:?}"
    );
}

/// As [`assert_starts`], for several parts in any place.
#[track_caller]
pub fn assert_mentions(run: &Run, code: i32, parts: &[&str]) {
    let line = run.first_line();
    assert!(
        run.code() == code && parts.iter().all(|part| line.contains(part)),
        "wanted {code} {parts:?}\n{run:?}"
    );
}

/// The row of a report about one check: `(outcome, text)`.
pub fn row<'a>(run: &'a Run, label: &str) -> (&'a str, &'a str) {
    let rows = run.stdout.lines().skip(1);
    let found = rows.filter_map(|line| {
        let (outcome, rest) = line.trim_start().split_once(' ')?;
        let text = rest.trim_start().strip_prefix(label)?;
        Some((outcome, text.trim_start()))
    });
    match found.collect::<Vec<_>>().as_slice() {
        [row] => *row,
        other => panic!("one row of {label}, not {other:?}\n{run:?}"),
    }
}

/// Makes a file or folder usable for every user.
pub fn open_to_all(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
}

/// An application's variable, or the file that it names, is checked and passes beside a check that
/// always does; the password in it is not printed. A file holds an address with its scheme only.
#[track_caller]
pub fn assert_variable_passes(container: &Container, variable: &str, url: &str, password: &str) {
    let file = container.file("url", format!("{url}\n"));
    let in_file = format!("{variable}_FILE");
    let mut ways = vec![(variable, url)];
    if url.contains("://") {
        ways.push((&in_file, file.to_str().unwrap()));
    }
    for (variable, value) in ways {
        let mut probe = container.probe([""; 0]);
        let run = run(probe.env(variable, value).env("READY_CHECKS", "exec:true"));
        let lines = run.stdout.lines();
        let passes = lines.filter(|line| line.starts_with(" pass")).count();
        assert_eq!(passes, 2, "{url}: {run:?}");
        assert!(!run.stdout.contains(password), "{run:?}");
    }
}
