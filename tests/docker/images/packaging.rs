//! `Dockerfile.probe`, built from source as a user builds it.

use std::{fs, process::Command, sync::OnceLock};

use ready_probe_test_support::{
    docker::{Engine, RunOptions},
    process::{probe, run, workspace_root},
};

/// What stands in for `rust:1-bookworm` where no registry can be reached.
pub const RUST_IMAGE: &str = "ready-probe-test/rust:local";

/// The image of `Dockerfile.probe`. Once it is built, the builder has the steps at hand that other
/// Dockerfiles share with it.
pub fn probe_image() -> &'static str {
    static IMAGE: OnceLock<()> = OnceLock::new();
    let tag = "ready-probe-test/probe";
    IMAGE.get_or_init(|| {
        let engine = Engine::shared();
        engine.rust_build_image(RUST_IMAGE);
        let context = workspace_root();
        engine.build(
            tag,
            &context,
            &context.join("Dockerfile.probe"),
            &[("BASE", RUST_IMAGE)],
        );
    });
    tag
}

#[test]
fn built_image_is_the_probe_alone() {
    let engine = Engine::shared();
    let image = RunOptions::image(probe_image()).no_network();
    let version = engine.run_to_end(image.clone().command(["--version"]));
    assert_eq!(version.code(), 0, "{version:?}");
    assert_eq!(
        version.stdout,
        run(probe().arg("--version")).stdout,
        "of dist/ready-probe"
    );

    let config = engine.docker([
        "image",
        "inspect",
        "--format",
        "{{json .Config}}",
        probe_image(),
    ]);
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], serde_json::json!(["/ready-probe"]));

    let files = tempfile::tempdir().unwrap();
    let container = engine.run(image.command(["wait", "--for=1h", "file:/never"]));
    let archive = files.path().join("image.tar");
    engine.docker([
        "export",
        "--output",
        archive.to_str().unwrap(),
        container.id(),
    ]);
    let list = run(Command::new("tar")
        .arg("--list")
        .arg("--file")
        .arg(&archive));
    let is_dockers_own = |name: &&str| {
        ["dev/", "etc/", "proc/", "sys/", ".dockerenv"]
            .iter()
            .any(|own| name.starts_with(own))
    };
    let files: Vec<&str> = list
        .stdout
        .lines()
        .filter(|name| !is_dockers_own(name))
        .collect();
    assert_eq!(files, ["ready-probe"]);
}

#[test]
fn built_probe_is_static() {
    let copied = tempfile::tempdir().unwrap();
    let program = copied.path().join("ready-probe");
    let container = Engine::shared().run(RunOptions::image(probe_image()).no_network().command([
        "wait",
        "--for=1h",
        "file:/never",
    ]));
    let from = format!("{}:/ready-probe", container.id());
    Engine::shared().docker(["cp", &from, program.to_str().unwrap()]);
    assert_eq!(
        program_headers(&fs::read(program).unwrap())
            .iter()
            .filter(|kind| **kind == INTERPRETER)
            .count(),
        0
    );

    // The same question about a program that is not static, so that the answer means something.
    let shell = fs::read("/bin/sh").unwrap();
    assert!(program_headers(&shell).contains(&INTERPRETER));
}

/// PT_INTERP of elf(5): the program needs a dynamic loader.
const INTERPRETER: u32 = 3;

/// The types of the program headers of a 64-bit little-endian ELF file.
fn program_headers(elf: &[u8]) -> Vec<u32> {
    assert_eq!(elf[..6], *b"\x7fELF\x02\x01");
    let word = |at: usize, size: usize| {
        elf[at..at + size]
            .iter()
            .rev()
            .fold(0_usize, |n, byte| n << 8 | usize::from(*byte))
    };
    let (offset, size, count) = (word(32, 8), word(54, 2), word(56, 2));
    (0..count)
        .map(|i| u32::try_from(word(offset + i * size, 4)).unwrap())
        .collect()
}
