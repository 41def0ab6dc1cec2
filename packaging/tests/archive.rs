//! What `make dist` hands out, made anew from what lies in dist/. Needs `make probe wheel`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TIME: &str = "1700000000";

fn root() -> PathBuf {
    fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).unwrap()
}

#[track_caller]
fn output(command: &mut Command) -> String {
    let run = command.output().unwrap();
    assert!(
        run.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&run.stderr)
    );
    String::from_utf8(run.stdout).unwrap()
}

fn made(folder: &Path) {
    let rustc = output(Command::new("rustc").arg("-vV"));
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: "));
    output(
        Command::new("python3")
            .arg(root().join("scripts/dist.py"))
            .arg(host.unwrap())
            .arg(env!("CARGO_BIN_EXE_ready-probe-pages"))
            .arg(folder)
            .env("SOURCE_DATE_EPOCH", TIME),
    );
}

#[test]
fn the_archive_holds_the_probe_and_all_that_belongs_to_it() {
    let dist = tempfile::tempdir().unwrap();
    made(dist.path());
    output(
        Command::new("sha256sum")
            .args(["--check", "--strict", "SHA256SUMS"])
            .current_dir(dist.path()),
    );
    let name = format!(
        "ready-probe-{}-{}-linux",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH
    );
    let archive = dist.path().join(format!("{name}.tar.gz"));
    let listed = output(
        Command::new("tar")
            .args([
                "--list",
                "--verbose",
                "--numeric-owner",
                "--utc",
                "--full-time",
                "--file",
            ])
            .arg(&archive),
    );
    for entry in listed.lines() {
        assert!(
            entry.contains(" 0/0 ") && entry.contains(" 2023-11-14 22:13:20 "),
            "{entry}"
        );
    }

    let unpacked = tempfile::tempdir().unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--file"])
        .arg(&archive)
        .arg("--directory");
    output(tar.arg(unpacked.path()));
    let folder = unpacked.path().join(&name);
    let version = output(Command::new(folder.join("ready-probe")).arg("--version"));
    assert_eq!(
        version,
        format!("ready-probe {}\n", env!("CARGO_PKG_VERSION"))
    );
    let files: BTreeSet<String> = listed
        .lines()
        .filter(|entry| !entry.starts_with('d'))
        .map(|entry| {
            entry
                .rsplit(' ')
                .next()
                .unwrap()
                .replace(&format!("{name}/"), "")
        })
        .collect();
    for file in [
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "THIRD-PARTY-LICENSES",
        "completions/_ready-probe",
        "completions/ready-probe.bash",
        "completions/ready-probe.fish",
        "man/man1/ready-probe-install.1",
        "man/man1/ready-probe.1",
        "ready-probe",
        "ready-probe.cdx.json",
    ] {
        assert!(files.contains(file), "{file} is not among {files:?}");
    }

    let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap();
    let (licences, list) = (read("THIRD-PARTY-LICENSES"), read("ready-probe.cdx.json"));
    for part in ["tokio ", "rustls ", "rust-std ", "glibc "] {
        assert!(licences.contains(&format!("\n{part}")), "{part}");
    }
    assert!(list.contains("\"timestamp\": \"2023-11-14T22:13:20Z\""));
    for part in [
        "pkg:cargo/tokio@",
        "pkg:cargo/ready-probe-sdk@",
        "pkg:generic/rust-std@",
    ] {
        assert!(list.contains(part), "{part}");
    }
    // What only builds, tests or macros need is not inside.
    for part in [
        "pkg:cargo/proptest@",
        "pkg:cargo/serde_derive@",
        "pkg:cargo/cc@",
    ] {
        assert!(!list.contains(part), "{part}");
    }
    let here = root().display().to_string();
    assert!(!licences.contains(&here) && !list.contains(&here));
}
