//! Images made from files of this host.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{Engine, LONGEST_COMMAND, account, find_program, state_folder};
use crate::process::{run, run_within};

/// The label under which an imported image carries the hash of what it was made from.
pub(super) const CONTENT_LABEL: &str = "ready-probe.content";

/// As the official image's script: options and a file mean redis-server. The official binary also
/// has protected mode off by default, a patch that no distribution carries.
const REDIS_ENTRYPOINT: &str = r#"#!/bin/sh
case ${1-} in -*|*.conf) set -- redis-server "$@";; esac
[ "${1-}" = redis-server ] || exec "$@"
case "$*" in *protected-mode*) exec "$@";; esac
case ${2-} in *.conf)
    while read -r key _; do [ "$key" != protected-mode ] || exec "$@"; done <"$2";;
esac
exec "$@" --protected-mode no
"#;

/// Instructions of a Dockerfile.
pub const REDIS_INSTRUCTIONS: &str = "ENV PATH=/usr/local/bin:/usr/bin:/bin\nWORKDIR /data\n\
    EXPOSE 6379\nENTRYPOINT [\"/docker-entrypoint.sh\"]";

/// As in the official image, except for its cluster settings.
const NATS_CONFIG: &str = "port: 4222\nmonitor_port: 8222\n";

impl Engine {
    /// An image of these files alone: pairs of a path on the host and one in the image.
    pub fn import_scratch_root(&self, tag: &str, files: &[(&Path, &str)]) {
        let root = files.iter().fold(ImageRoot::new(), |root, (host, inside)| {
            root.file(host, inside)
        });
        self.import(tag, &root, &[]);
    }

    /// Imports `root` as `tag`, unless `tag` was imported from the same; `changes` are Dockerfile
    /// instructions as `docker import --change` takes them.
    #[track_caller]
    pub fn import(&self, tag: &str, root: &ImageRoot, changes: &[&str]) {
        let tar = root.pack();
        let sum = run(Command::new("sha256sum").arg(&tar));
        let content = sum.stdout.split(' ').next().unwrap_or_default().to_owned();
        self.import_tar(tag, &content, changes, || tar);
    }

    /// Imports the archive `tar` as `tag`, unless `tag` was imported from the same.
    ///
    /// # Panics
    /// When there is no such file; the message says what makes it.
    #[track_caller]
    pub fn import_packed(&self, tag: &str, tar: &Path, changes: &[&str]) {
        assert!(
            tar.is_file(),
            "{} is missing: `make setup` packs it",
            tar.display()
        );
        let sum = run(Command::new("sha256sum").arg(tar));
        let content = sum.stdout.split(' ').next().unwrap_or_default().to_owned();
        self.import_tar(tag, &content, changes, || tar.to_owned());
    }

    /// Imports what `pack` packs as `tag`, unless `tag` was imported under the same `content` and
    /// `changes`.
    pub(super) fn import_tar(
        &self,
        tag: &str,
        content: &str,
        changes: &[&str],
        pack: impl FnOnce() -> PathBuf,
    ) {
        let mut hasher = DefaultHasher::new();
        changes.hash(&mut hasher);
        let content = format!("{content}-{:016x}", hasher.finish());
        let _lock = self.image_lock();
        if self.image_content(tag) == Some(Value::from(content.as_str())) {
            return;
        }
        let label = format!("--change=LABEL {CONTENT_LABEL}={content}");
        let changes = changes.iter().map(|change| format!("--change={change}"));
        let tar = pack().display().to_string();
        self.docker(
            ["import".to_owned(), label]
                .into_iter()
                .chain(changes)
                .chain([tar, tag.to_owned()]),
        );
    }

    /// Held while looking whether an image must be made and making it, so that no two processes
    /// make it.
    pub(super) fn image_lock(&self) -> fs::File {
        let lock = fs::File::create(state_folder().join("image.lock")).expect("image.lock");
        lock.lock().expect("image.lock");
        lock
    }

    /// None if there is no image `tag`; null if it was not imported from here.
    pub(super) fn image_content(&self, tag: &str) -> Option<Value> {
        let format = "{{json .Config.Labels}}";
        let labels = self.try_docker(["image", "inspect", "--format", format, tag]);
        (labels.code() == 0).then(|| {
            let labels: Value = serde_json::from_str(&labels.stdout).expect("docker speaks JSON");
            labels[CONTENT_LABEL].clone()
        })
    }

    /// Whether `tag` is an image that was not imported from here: a real one, to be left alone.
    pub(super) fn is_foreign(&self, tag: &str) -> bool {
        self.image_content(tag) == Some(Value::Null)
    }

    /// Makes the image that a compose file names `redis:…`, `valkey:…` or `nats:…`, from the server
    /// installed here, its version whatever the tag says. A real image of that name is left as it
    /// is.
    ///
    /// # Panics
    /// When the server is not installed.
    #[track_caller]
    pub fn server_image(&self, tag: &str) {
        self.server_image_of(tag, &find_program(&format!("{}-server", repository(tag))));
    }

    /// [`Engine::server_image`] with the server at `program`.
    #[track_caller]
    pub fn server_image_of(&self, tag: &str, program: &Path) {
        if self.is_foreign(tag) {
            return;
        }
        match repository(tag) {
            kind @ ("redis" | "valkey") => {
                let start = format!("CMD [\"{kind}-server\"]");
                let changes: Vec<&str> = REDIS_INSTRUCTIONS.lines().chain([&*start]).collect();
                self.import(tag, &ImageRoot::redis_server(program), &changes);
            }
            "nats" => {
                let root = ImageRoot::with_users()
                    .program(program, "/nats-server")
                    .text("/nats-server.conf", 0o644, NATS_CONFIG);
                let start = "CMD [\"--config\", \"/nats-server.conf\"]";
                let entrypoint = "ENTRYPOINT [\"/nats-server\"]";
                self.import(tag, &root, &["EXPOSE 4222 6222 8222", entrypoint, start]);
            }
            other => panic!("no server is known for images called `{other}`"),
        }
    }

    /// Builds `tag` with `dockerfile`, and returns what the builder printed.
    ///
    /// # Panics
    /// When a step fails.
    #[track_caller]
    pub fn build(
        &self,
        tag: &str,
        context: &Path,
        dockerfile: &Path,
        build_args: &[(&str, &str)],
    ) -> String {
        let mut build = self.command("docker");
        build
            // A step that fails leaves no container behind.
            .args(["build", "--force-rm", "--tag", tag])
            .arg("--file")
            .arg(dockerfile);
        build.args(
            build_args
                .iter()
                .map(|(name, value)| format!("--build-arg={name}={value}")),
        );
        let built = run_within(build.arg(context), LONGEST_COMMAND);
        assert!(
            built.code() == 0,
            "image {tag} can't be built: {}",
            account(&built)
        );
        built.stdout
    }

    /// Builds `FROM scratch`, `root`, then `instructions`: the image that users make of a static
    /// binary, exec-form HEALTHCHECK included, which `docker import` cannot express.
    #[track_caller]
    pub fn build_scratch(&self, tag: &str, root: &ImageRoot, instructions: &str) {
        let context = tempfile::tempdir().expect("a temporary folder");
        let tar = root.pack();
        fs::rename(tar, context.path().join("root.tar")).expect("the same file system");
        let dockerfile = context.path().join("Dockerfile");
        fs::write(
            &dockerfile,
            format!("FROM scratch\nADD root.tar /\n{instructions}\n"),
        )
        .expect("a temporary folder");
        self.build(tag, context.path(), &dockerfile, &[]);
    }
}

/// `redis` of `docker.io/library/redis:7-alpine`.
fn repository(tag: &str) -> &str {
    let name = tag.rsplit('/').next().unwrap_or(tag);
    name.split([':', '@']).next().unwrap_or(name)
}

/// What the file system of an image is to hold. All of it belongs to root.
#[derive(Debug)]
#[must_use]
pub struct ImageRoot {
    /// `root` is packed; the tar is put beside it.
    folder: TempDir,
}

impl Default for ImageRoot {
    fn default() -> Self {
        Self::new()
    }
}

impl ImageRoot {
    /// Nothing yet.
    pub fn new() -> Self {
        let root = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        root.folder("/", 0o755)
    }

    /// The users that servers run as.
    fn with_users() -> Self {
        Self::new()
            .folder("/tmp", 0o1777)
            .text(
                "/etc/passwd",
                0o644,
                "root:x:0:0:root:/:/bin/sh\nredis:x:999:999::/data:/bin/sh\n",
            )
            .text("/etc/group", 0o644, "root:x:0:\nredis:x:999:\n")
    }

    /// The Redis or Valkey server at `program`, in an image that [`REDIS_INSTRUCTIONS`] finish.
    #[track_caller]
    pub fn redis_server(program: &Path) -> Self {
        Self::with_users()
            .folder("/data", 0o777)
            .program(&find_program("sh"), "/bin/sh")
            .text("/docker-entrypoint.sh", 0o755, REDIS_ENTRYPOINT)
            .program(program, "/usr/local/bin/redis-server")
            .link("redis-server", "/usr/local/bin/valkey-server")
    }

    /// A file of the host, with its permissions.
    #[track_caller]
    pub fn file(self, host: &Path, inside: &str) -> Self {
        let target = self.place(inside);
        fs::copy(host, target).unwrap_or_else(|e| panic!("{}: {e}", host.display()));
        self
    }

    /// A program of the host, with its loader and every library that `ldd` names.
    #[track_caller]
    pub fn program(self, host: &Path, inside: &str) -> Self {
        let libraries = libraries(host);
        libraries
            .iter()
            .fold(self.file(host, inside), |root, library| {
                root.file(Path::new(library), library)
            })
    }

    /// A text file.
    pub fn text(self, inside: &str, mode: u32, text: &str) -> Self {
        let target = self.place(inside);
        fs::write(&target, text).expect("a temporary folder");
        set_mode(&target, mode);
        self
    }

    /// An empty folder.
    pub fn folder(self, inside: &str, mode: u32) -> Self {
        let target = self.place(inside);
        fs::create_dir_all(&target).expect("a temporary folder");
        set_mode(&target, mode);
        self
    }

    /// A symbolic link to `target`.
    pub fn link(self, target: &str, inside: &str) -> Self {
        symlink(target, self.place(inside)).expect("a temporary folder");
        self
    }

    /// Where `inside` is staged; its parents exist.
    fn place(&self, inside: &str) -> PathBuf {
        let target = self
            .folder
            .path()
            .join("root")
            .join(inside.trim_start_matches('/'));
        fs::create_dir_all(target.parent().expect("below the root")).expect("a temporary folder");
        target
    }

    /// The same bytes for the same files, whenever and by whomever they are packed.
    pub(crate) fn pack(&self) -> PathBuf {
        let tar = self.folder.path().join("root.tar");
        let packed = run(Command::new("tar")
            .args([
                "--create",
                "--sort=name",
                "--mtime=@0",
                "--owner=0",
                "--group=0",
                "--numeric-owner",
            ])
            .arg("--file")
            .arg(&tar)
            .arg("--directory")
            .arg(self.folder.path().join("root"))
            .arg("."));
        assert!(packed.code() == 0, "`tar` failed: {}", account(&packed));
        tar
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a temporary folder");
}

/// The files that `ldd` names, in lines such as `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`.
#[track_caller]
fn libraries(program: &Path) -> Vec<String> {
    let ldd = run(Command::new("ldd").arg(program));
    assert!(
        !ldd.stdout.contains("not found"),
        "{}: {}",
        program.display(),
        account(&ldd)
    );
    let words = ldd.stdout.lines().flat_map(str::split_whitespace);
    words
        .filter(|word| word.starts_with('/') && !word.ends_with(':'))
        .map(str::to_owned)
        .collect()
}
