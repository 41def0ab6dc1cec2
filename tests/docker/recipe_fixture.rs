//! What the tests of recipes share.
//!
//! Recipes are taken out of their page and run as they stand, but for names that others use on the same engine, for
//! how often a check runs, and for the images of others, which are made of the programs that are installed here.

use std::{fs, path::Path, sync::OnceLock, time::Duration};

use ready_probe_test_support::{
    docker::{Container, Engine, Network, RunOptions},
    process::{Run, probe_binary, run_within},
};
use tempfile::TempDir;

use crate::fixture::LIMIT;

pub const OPERATIONS: &str = "docs/operations.md";
/// How often the checks of these pages run, and how often they do here.
pub const INTERVAL: (&str, &str) = ("--interval=10s", "--interval=500ms");
/// Where the pages take the probe from.
pub const FROM: &str = "--from=ready-probe ";

/// The image that [`FROM`] names, as packaging.rs builds it, of the program that is there already.
pub fn from_here() -> &'static str {
    static IMAGE: OnceLock<()> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let files = [(&*probe_binary(), "/ready-probe")];
        Engine::shared().import_scratch_root("ready-probe-test/probe-file", &files);
    });
    "--from=ready-probe-test/probe-file "
}

pub fn shell(script: &str, folder: &Path) -> Run {
    let mut shell = Engine::shared().command("/bin/sh");
    shell.args(["-c", script]).current_dir(folder);
    run_within(&mut shell, Duration::from_secs(300))
}

#[track_caller]
pub fn done(script: &str, folder: &Path) -> String {
    let run = shell(script, folder);
    assert_eq!(run.code(), 0, "{script}\n{run:?}");
    run.stdout
}

/// Builds an image of a Dockerfile and the files that it copies.
pub fn build(tag: &str, dockerfile: &str, files: &[(&Path, &str)]) {
    let folder = folder(files);
    let path = folder.path().join("Dockerfile");
    fs::write(&path, dockerfile).unwrap();
    Engine::shared().build(tag, folder.path(), &path, &[]);
}

/// A folder with copies of these files.
pub fn folder(files: &[(&Path, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (from, name) in files {
        fs::copy(from, folder.path().join(name)).unwrap();
    }
    folder
}

#[track_caller]
pub fn assert_healthy(container: &Container) {
    let health = container.wait_health("healthy", LIMIT);
    let said = &health.log.last().unwrap().output;
    assert!(said.starts_with("healthy: "), "{said}");
}

/// A Redis that others in its network call `redis`.
pub fn redis(network: &Network) -> Container {
    let engine = Engine::shared();
    engine.server_image("redis:7");
    let options = RunOptions::image("redis:7").name("recipes-redis");
    engine.run(options.network(network, "redis"))
}
