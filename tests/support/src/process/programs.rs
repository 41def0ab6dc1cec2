//! Where the programs are that were built here. Some tests run them as another user, who can't reach a clone in
//! somebody's own folder: then it is a copy that is run.

use std::{
    env,
    ffi::OsStr,
    fs::{self, DirBuilder, Permissions},
    hash::{DefaultHasher, Hash, Hasher},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::run;

/// A link beside a copy, to the program that it is a copy of.
const OF: &str = "of";

/// The directory of the workspace's `Cargo.toml`.
pub fn workspace_root() -> PathBuf {
    fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .expect("the workspace was built here")
}

/// The static probe: `$READY_PROBE_BIN`, else `dist/ready-probe`, where every user reaches it.
///
/// # Panics
/// When it is missing.
pub fn probe_binary() -> PathBuf {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE
        .get_or_init(|| reachable(&built("ready-probe", "READY_PROBE_BIN", "make probe")))
        .clone()
}

/// The static keeper: `$READY_KEEPER_BIN`, else `dist/ready-keeper`, where every user reaches it.
///
/// # Panics
/// When it is missing.
pub fn keeper_binary() -> PathBuf {
    static KEEPER: OnceLock<PathBuf> = OnceLock::new();
    KEEPER
        .get_or_init(|| reachable(&built("ready-keeper", "READY_KEEPER_BIN", "make keeper")))
        .clone()
}

fn built(name: &str, variable: &str, command: &str) -> PathBuf {
    let path = env::var_os(variable)
        .filter(|set| !set.is_empty())
        .map_or_else(|| workspace_root().join("dist").join(name), PathBuf::from);
    assert!(
        path.is_file(),
        "{} is missing: `{command}` builds it; {variable} names another",
        path.display()
    );
    path
}

/// The example agent as cargo has built it beside this test, without what only a debugger reads: images of it
/// are made again and again. Every user reaches it.
///
/// # Panics
/// When it is missing.
pub fn example_agent() -> PathBuf {
    static STRIPPED: OnceLock<PathBuf> = OnceLock::new();
    let strip = || {
        let test = env::current_exe().expect("/proc");
        let built = test
            .parent()
            .and_then(Path::parent)
            .expect("a folder of cargo's");
        let agent = built.join("rust-agent");
        assert!(
            agent.is_file(),
            "{} is missing: `cargo build -p rust-agent` builds it",
            agent.display()
        );
        // Several programs of tests may be at it: whose is renamed last does not matter.
        let mine = built.join(format!("rust-agent.{}", std::process::id()));
        let stripped = built.join("rust-agent.stripped");
        let run = run(Command::new("strip").arg("-o").args([&mine, &agent]));
        assert!(run.code() == 0, "`strip` failed: {run:?}");
        fs::rename(mine, &stripped).expect("the same folder");
        reachable(&stripped)
    };
    STRIPPED.get_or_init(strip).clone()
}

/// The probe with no environment but `PATH`, so that a developer's `READY_…` settings decide nothing.
pub fn probe() -> Command {
    let mut command = Command::new(probe_binary());
    command
        .env_clear()
        .envs(env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

/// Copies a program, with its mode, for somebody who runs the copy.
///
/// Another process writes it: what this one has open for writing is open in each child as well that another
/// thread starts meanwhile, until that child runs its program, and nobody can run a file that is open so
/// (ETXTBSY in execve(2)).
///
/// # Panics
/// When it can't be copied.
pub fn copy_program(from: &Path, to: &Path) {
    let mut cp = Command::new("cp");
    let copied = run(cp.args(["--preserve=mode", "--"]).args([from, to]));
    assert!(copied.code() == 0, "{copied:?}");
}

/// A path of this program by which every user can run it: its own, or that of a copy.
///
/// A copy stays as long as its program, in this version: tests beside each other share it, and so do those of another
/// day. Whoever copies something removes those that have outlived theirs.
///
/// # Panics
/// When it can't be copied.
pub fn reachable(program: &Path) -> PathBuf {
    let program = fs::canonicalize(program).expect("the program is there");
    if is_open_to_all(&program) {
        program
    } else {
        copy_in(&shared_folder(), &program)
    }
}

/// Whether every user can go there and run it.
fn is_open_to_all(program: &Path) -> bool {
    let others_may = |path: &Path, what: u32| {
        fs::metadata(path).is_ok_and(|found| found.permissions().mode() & what == what)
    };
    others_may(program, 0o005)
        && program
            .ancestors()
            .skip(1)
            .all(|above| others_may(above, 0o001))
}

/// Ours alone to write, and open to all: whoever finds another program there would run it as root.
fn shared_folder() -> PathBuf {
    let uid = rustix::process::getuid().as_raw();
    let folder = env::temp_dir().join(format!("ready-probe-tests-{uid}"));
    match DirBuilder::new().mode(0o755).create(&folder) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => panic!("{}: {e}", folder.display()),
        _ => {}
    }
    let found = fs::symlink_metadata(&folder).expect("it is there");
    assert!(
        found.is_dir() && found.uid() == uid && found.permissions().mode() & 0o022 == 0,
        "{} is not a folder that only user {uid} may write: remove it",
        folder.display()
    );
    open_to_all(&folder);
    folder
}

/// The copy of this version of a program, in a folder of its own, since a process is named after its program's
/// file. That folder appears as a whole; who is not the first to make it takes what is there.
fn copy_in(shared: &Path, program: &Path) -> PathBuf {
    let name = program.file_name().expect("a program has a name");
    let bytes = fs::read(program).expect("the program is there");
    let whose = format!("{:016x}-", hash_of(program));
    // By what it is: the example agent is stripped again and again.
    let folder = shared.join(format!("{whose}{:016x}", hash_of(bytes)));
    let copy = folder.join(name);
    if copy.is_file() {
        return copy;
    }
    let making = tempfile::tempdir_in(shared).expect("a folder of ours");
    let mine = making.path().join(name);
    copy_program(program, &mine);
    open_to_all(&mine);
    symlink(program, making.path().join(OF)).expect("a folder of ours");
    open_to_all(making.path());
    // It fails where another test's is there by now.
    let _ = fs::rename(making.path(), &folder);
    assert!(copy.is_file(), "{} can't be made", copy.display());
    remove_outlived(shared, &whose, &folder);
    copy
}

/// Removes the copies of this program's earlier versions, and those of programs that are no more.
fn remove_outlived(shared: &Path, whose: &str, but: &Path) {
    let entries = fs::read_dir(shared).into_iter().flatten().flatten();
    let is_outlived = |path: &PathBuf| {
        let name = path.file_name().and_then(OsStr::to_str);
        let is_earlier = path != but && name.is_some_and(|name| name.starts_with(whose));
        let of = path.join(OF);
        is_earlier || (of.is_symlink() && !of.exists())
    };
    for folder in entries.map(|entry| entry.path()).filter(is_outlived) {
        // Another test may be at it, too.
        let _ = fs::remove_dir_all(folder);
    }
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o755)).expect("it is ours");
}

fn hash_of(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::CommandExt, thread};

    use super::*;

    const NOBODY: u32 = 65_534;

    fn own_folder() -> tempfile::TempDir {
        let own = tempfile::tempdir().unwrap();
        fs::set_permissions(own.path(), Permissions::from_mode(0o700)).unwrap();
        own
    }

    fn says_as_nobody(program: &Path) -> String {
        let mut command = Command::new(program);
        run(command.arg("said").uid(NOBODY).gid(NOBODY)).stdout
    }

    #[test]
    fn a_program_in_a_folder_of_ones_own_is_run_by_others_from_a_copy() {
        let own = own_folder();
        let program = own.path().join("echo");
        copy_program(Path::new("/bin/echo"), &program);
        let copy = reachable(&program);
        assert_ne!(copy, program);
        assert_eq!(copy.file_name(), program.file_name());
        assert_eq!(says_as_nobody(&copy), "said\n");
        assert_eq!(reachable(&program), copy, "one is enough");

        // Another version.
        copy_program(Path::new("/bin/true"), &program);
        let next = reachable(&program);
        assert_eq!(says_as_nobody(&next), "");
        assert!(!copy.exists(), "the earlier one is gone");

        // Its clone is removed, and another one's program is copied.
        drop(own);
        let own = own_folder();
        let program = own.path().join("true");
        copy_program(Path::new("/bin/true"), &program);
        let other = reachable(&program);
        assert!(!next.exists(), "it has outlived its program");
        fs::remove_dir_all(other.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_program_that_everybody_reaches_is_not_copied() {
        let echo = fs::canonicalize("/bin/echo").unwrap();
        assert_eq!(reachable(&echo), echo);
    }

    #[test]
    fn who_copies_at_the_same_moment_gets_the_same_copy() {
        let own = tempfile::tempdir().unwrap();
        let program = own.path().join("echo");
        copy_program(Path::new("/bin/echo"), &program);
        let shared = tempfile::tempdir().unwrap();
        open_to_all(shared.path());
        let copies: Vec<PathBuf> = thread::scope(|scope| {
            let threads = [(); 8].map(|()| scope.spawn(|| copy_in(shared.path(), &program)));
            threads.map(|thread| thread.join().unwrap()).into()
        });
        assert!(copies.iter().all(|copy| *copy == copies[0]), "{copies:?}");
        assert_eq!(says_as_nobody(&copies[0]), "said\n");
        assert_eq!(fs::read_dir(shared.path()).unwrap().count(), 1);
    }
}
