//! Base images made from what is installed on this host, for Dockerfiles that begin with `FROM
//! debian` or `FROM rust` where no registry can be reached.

use std::{
    collections::{BTreeSet, HashMap},
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::{Engine, LONGEST_COMMAND, account, image::CONTENT_LABEL, state_folder};
use crate::process::{run, run_within, workspace_root};

/// What a Dockerfile's RUN lines and a linker need beside the toolchain itself. gcc is also what
/// compiles the C in crates.
const BUILD_PACKAGES: &[&str] = &[
    "base-files",
    "base-passwd",
    "binutils",
    "coreutils",
    "dash",
    "diffutils",
    "findutils",
    "gcc",
    "grep",
    "libc6-dev",
    "make",
    "sed",
];

/// Left out, since nothing that is built or run reads it.
const UNREAD: &[&str] = &[
    "/usr/share/doc",
    "/usr/share/man",
    "/usr/share/info",
    "/usr/share/locale",
    "/usr/share/lintian",
];

/// What the scripts of packages put in place when they are installed, by where it lies before.
const INSTALLED_BY_SCRIPTS: [(&str, &str); 3] = [
    ("/usr/share/base-passwd/passwd.master", "/etc/passwd"),
    ("/usr/share/base-passwd/group.master", "/etc/group"),
    ("/usr/share/base-files/nsswitch.conf", "/etc/nsswitch.conf"),
];

impl Engine {
    /// Makes `tag` from Debian packages installed here, and all that they depend on. A real image
    /// of that name is left as it is.
    ///
    /// # Panics
    /// When one is not installed.
    #[track_caller]
    pub fn debian_image(&self, tag: &str, packages: &[&str], changes: &[&str]) {
        if self.is_foreign(tag) {
            return;
        }
        let installed = Installed::read();
        let packages = installed.with_dependencies(packages);
        let content = installed.versions(&packages);
        let scratch = scratch_folder();
        self.import_tar(tag, &sha256(&scratch, &content), changes, || {
            pack(&scratch, &package_files(&packages), &[])
        });
    }

    /// Makes `tag` stand in for the official `rust` image: the toolchain and gcc of this host, and
    /// the crates that the workspace's `Cargo.lock` names, with cargo told to be offline. A real
    /// image of that name is left as it is.
    ///
    /// Two layers, because the toolchain weighs most and the lock file changes most.
    #[track_caller]
    pub fn rust_build_image(&self, tag: &str) {
        if self.is_foreign(tag) {
            return;
        }
        let toolchain = "ready-probe-test/rust-toolchain";
        self.rust_toolchain_image(toolchain);
        self.add_crates(tag, toolchain);
    }

    fn rust_toolchain_image(&self, tag: &str) {
        let rustc = |args: &[&str]| {
            succeed(
                Command::new("rustc")
                    .args(args)
                    .current_dir(workspace_root()),
            )
        };
        let sysroot = rustc(&["--print", "sysroot"]);
        let version = rustc(&["--verbose", "--version"]);
        let triple = version
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .expect("rustc -vV names it");
        let installed = Installed::read();
        let packages = installed.with_dependencies(BUILD_PACKAGES);
        let scratch = scratch_folder();
        let content = sha256(
            &scratch,
            &(version.clone() + &installed.versions(&packages)),
        );
        let changes = [
            "ENV PATH=/usr/local/bin:/usr/bin:/bin",
            "ENV CARGO_HOME=/usr/local/cargo",
            "ENV CARGO_NET_OFFLINE=true",
            // What is built there is to work, and dist/ has what is to be small.
            "ENV CARGO_PROFILE_RELEASE_LTO=off",
            "ENV CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16",
            "ENV CARGO_PROFILE_RELEASE_OPT_LEVEL=0",
            "CMD [\"sh\"]",
        ];
        self.import_tar(tag, &content, &changes, || {
            let mut files = package_files(&packages);
            files.extend(["/usr/bin/cc".to_owned(), "/etc/alternatives/cc".to_owned()]);
            for part in ["bin/cargo", "bin/rustc", &format!("lib/rustlib/{triple}")] {
                files.extend(files_below(&Path::new(&sysroot).join(part)));
            }
            let libraries = fs::read_dir(Path::new(&sysroot).join("lib")).expect("the sysroot");
            files.extend(
                libraries
                    .flatten()
                    .filter(|e| e.path().is_file())
                    .map(|e| e.path().display().to_string()),
            );
            pack(&scratch, &files, &[(&sysroot, "/usr/local")])
        });
    }

    fn add_crates(&self, tag: &str, toolchain: &str) {
        let context = scratch_folder();
        copy_locked_crates(&context.path().join("registry"));
        let dockerfile = context.path().join("Dockerfile");
        let text = format!(
            "FROM {toolchain}\nLABEL {CONTENT_LABEL}=crates\nCOPY registry /usr/local/cargo/registry\n"
        );
        fs::write(&dockerfile, text).expect("a temporary folder");
        self.build(tag, context.path(), &dockerfile, &[]);
    }
}

/// Copies the part of cargo's registry that an offline build of the workspace reads: the downloaded
/// crates that `Cargo.lock` names, and the index entries of these names.
fn copy_locked_crates(to: &Path) {
    let cargo = |args: &[&str]| {
        run_within(
            Command::new("cargo")
                .args(args)
                .current_dir(workspace_root()),
            LONGEST_COMMAND,
        )
    };
    if cargo(&["fetch", "--locked", "--offline"]).code() != 0 {
        let fetched = cargo(&["fetch", "--locked"]);
        assert!(
            fetched.code() == 0,
            "`cargo fetch` failed: {}",
            account(&fetched)
        );
    }
    let lock = fs::read_to_string(workspace_root().join("Cargo.lock")).expect("Cargo.lock");
    let values = |key: &str| -> Vec<String> {
        let lines = lock
            .lines()
            .filter_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
        lines
            .map(|value| value.trim_end_matches('"').to_owned())
            .collect()
    };
    // Every package has a name and a version; the file's own `version = 4` has no quotes.
    let (names, versions) = (values("name"), values("version"));
    let wanted: BTreeSet<String> = names
        .iter()
        .zip(versions)
        .flat_map(|(name, version)| [name.clone(), format!("{name}-{version}.crate")])
        .chain(["config.json".to_owned()])
        .collect();
    let home = env::var("CARGO_HOME").map_or_else(
        |_| Path::new(&env::var("HOME").expect("HOME")).join(".cargo"),
        PathBuf::from,
    );
    let registry = home.join("registry");
    for file in files_below(&registry.join("cache"))
        .into_iter()
        .chain(files_below(&registry.join("index")))
    {
        let file = Path::new(&file);
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if wanted.contains(name) {
            let target = to.join(file.strip_prefix(&registry).expect("it is below"));
            fs::create_dir_all(target.parent().expect("it has one")).expect("a temporary folder");
            fs::copy(file, target).expect("a temporary folder");
        }
    }
}

/// The Debian packages of this host.
struct Installed {
    /// Version and dependencies of each, each dependency a list of alternatives.
    packages: HashMap<String, (String, Vec<Vec<String>>)>,
    /// Who provides a virtual package.
    providers: HashMap<String, String>,
}

impl Installed {
    fn read() -> Self {
        let format = "${db:Status-Status}\t${Package}\t${Version}\t${Provides}\t${Pre-Depends}, ${Depends}\n";
        let table = succeed(Command::new("dpkg-query").args(["--show", "--showformat", format]));
        let mut this = Self {
            packages: HashMap::new(),
            providers: HashMap::new(),
        };
        for line in table.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let ["installed", package, version, provides, depends] = fields[..] else {
                continue;
            };
            for provided in names(provides) {
                this.providers.insert(provided, package.to_owned());
            }
            let depends = depends
                .split(',')
                .map(|alternatives| names(&alternatives.replace('|', ",")))
                .collect();
            this.packages
                .insert(package.to_owned(), (version.to_owned(), depends));
        }
        this
    }

    #[track_caller]
    fn with_dependencies(&self, packages: &[&str]) -> BTreeSet<String> {
        let missing: Vec<_> = packages
            .iter()
            .filter(|package| !self.packages.contains_key(**package))
            .collect();
        assert!(
            missing.is_empty(),
            "packages {missing:?} are not installed here: apt-get install them"
        );
        let mut found = BTreeSet::new();
        let mut next: Vec<String> = packages
            .iter()
            .map(|package| (*package).to_owned())
            .collect();
        while let Some(package) = next.pop() {
            let (_, depends) = &self.packages[&package];
            if found.insert(package) {
                next.extend(
                    depends
                        .iter()
                        .filter_map(|any| any.iter().find_map(|name| self.provider(name))),
                );
            }
        }
        found
    }

    fn provider(&self, name: &str) -> Option<String> {
        if self.packages.contains_key(name) {
            return Some(name.to_owned());
        }
        self.providers.get(name).cloned()
    }

    fn versions(&self, packages: &BTreeSet<String>) -> String {
        packages
            .iter()
            .map(|package| format!("{package}={}\n", self.packages[package].0))
            .collect()
    }
}

/// The package names of a list such as `libc6 (>= 2.34), gcc-12:any`.
fn names(list: &str) -> Vec<String> {
    let words = list
        .split(',')
        .filter_map(|entry| entry.split_whitespace().next());
    words
        .map(|name| name.split(':').next().unwrap_or(name).to_owned())
        .collect()
}

/// The files of packages, under the paths that they really have: /bin may be a link to /usr/bin.
fn package_files(packages: &BTreeSet<String>) -> BTreeSet<String> {
    let listing = succeed(Command::new("dpkg").arg("--listfiles").args(packages));
    let mut real_parents: HashMap<PathBuf, Option<PathBuf>> = HashMap::new();
    let mut files = BTreeSet::new();
    // Other lines tell of diversions.
    for line in listing.lines().filter(|line| line.starts_with('/')) {
        if UNREAD.iter().any(|unread| line.starts_with(unread)) {
            continue;
        }
        let path = Path::new(line);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            continue;
        };
        let real = real_parents
            .entry(parent.to_owned())
            .or_insert_with(|| parent.canonicalize().ok());
        let Some(path) = real.as_ref().map(|real| real.join(name)) else {
            continue;
        };
        // What an administrator has removed is not missed.
        if path.symlink_metadata().is_ok() {
            files.insert(path.display().to_string());
        }
    }
    files
}

fn files_below(folder: &Path) -> Vec<String> {
    succeed(
        Command::new("find")
            .arg(folder)
            .args(["-not", "-type", "d"]),
    )
    .lines()
    .map(str::to_owned)
    .collect()
}

/// Packs files of the host; what is at or below the first of a pair of paths goes to the second.
fn pack(scratch: &TempDir, files: &BTreeSet<String>, moved: &[(&str, &str)]) -> PathBuf {
    let (list, tar) = (
        scratch.path().join("files"),
        scratch.path().join("files.tar"),
    );
    let relative = files
        .iter()
        .map(|file| file.trim_start_matches('/').to_owned() + "\n");
    fs::write(&list, relative.collect::<String>()).expect("a temporary folder");
    let transforms = moved.iter().chain(&INSTALLED_BY_SCRIPTS).map(|(from, to)| {
        let (from, to) = (from.trim_start_matches('/'), to.trim_start_matches('/'));
        format!("--transform=s,^{from}\\(/\\|$\\),{to}\\1,")
    });
    succeed(
        Command::new("tar")
            .args([
                "--create",
                "--directory=/",
                "--no-recursion",
                "--verbatim-files-from",
            ])
            .args(transforms)
            .arg("--file")
            .arg(&tar)
            .arg("--files-from")
            .arg(&list),
    );
    tar
}

/// Files of a gigabyte are put here, so not on a /tmp that may be in memory.
pub(super) fn scratch_folder() -> TempDir {
    tempfile::tempdir_in(state_folder()).expect("a temporary folder")
}

pub(super) fn sha256(scratch: &TempDir, text: &str) -> String {
    let file = scratch.path().join("content");
    fs::write(&file, text).expect("a temporary folder");
    let sum = run(Command::new("sha256sum").arg(file));
    sum.stdout.split(' ').next().unwrap_or_default().to_owned()
}

/// The output of a command that must not fail, without the final newline.
#[track_caller]
pub(super) fn succeed(command: &mut Command) -> String {
    let run = run_within(command, LONGEST_COMMAND);
    assert!(run.code() == 0, "{command:?} failed: {}", account(&run));
    run.stdout.trim_end_matches('\n').to_owned()
}
