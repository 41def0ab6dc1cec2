//! The recipes of `docs/install.md`, taken out of the page and run as they stand, but for names that others use on
//! the same engine, and for the reader's own programs.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::OnceLock,
    time::Duration,
};

use ready_probe_test_support::{
    docker::{Compose, Engine, RunOptions, Volume},
    pages::block,
    process::{
        Run, example_agent, probe, probe_binary, run, run_within, wait_until, workspace_root,
    },
};
use tempfile::TempDir;

use super::python;
use crate::fixture::{LIMIT, agent_image, debian_image};

const PAGE: &str = "docs/install.md";

/// An image like that of `Dockerfile.probe`, which packaging.rs builds from source, but of dist/ready-probe.
fn probe_image() -> &'static str {
    static IMAGE: OnceLock<()> = OnceLock::new();
    let tag = "ready-probe-test/probe-of-dist";
    IMAGE.get_or_init(|| {
        let built = fs::read_to_string(workspace_root().join("Dockerfile.probe")).unwrap();
        let (_, last_stage) = built.rsplit_once("\nFROM ").unwrap();
        let from = "--from=build /src/dist/ready-probe ";
        assert!(last_stage.contains(from), "{last_stage}");
        let dockerfile = format!("FROM {}", last_stage.replace(from, "ready-probe "));
        let context = folder(&[(&probe_binary(), "ready-probe")]);
        let path = context.path().join("Dockerfile");
        fs::write(&path, dockerfile).unwrap();
        Engine::shared().build(tag, context.path(), &path, &[]);
    });
    tag
}

/// The `nth` block of that language below `heading`, with some of its words replaced by others.
#[track_caller]
fn recipe(heading: &str, language: &str, nth: usize, replaced: &[(&str, &str)]) -> String {
    block(PAGE, heading, language, nth).with(replaced)
}

/// The folder in which the reader follows a recipe, with the files that it starts from.
fn folder(files: &[(&Path, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (from, name) in files {
        fs::copy(from, folder.path().join(name)).unwrap();
    }
    folder
}

fn shell(script: &str, folder: &Path) -> Run {
    let mut shell = Engine::shared().command("/bin/sh");
    shell.args(["-euc", script]).current_dir(folder);
    let run = run_within(&mut shell, Duration::from_secs(300));
    assert_eq!(run.code(), 0, "{script}\n{run:?}");
    run
}

/// Builds the Dockerfile in `folder`, and waits until a container of the image is healthy.
fn assert_healthy(dockerfile: &str, folder: &TempDir, tag: &str) {
    let path = folder.path().join("Dockerfile");
    fs::write(&path, dockerfile).unwrap();
    let engine = Engine::shared();
    engine.build(tag, folder.path(), &path, &[]);
    let options = RunOptions::image(tag).health_interval(Duration::from_millis(500));
    let health = engine.run(options).wait_health("healthy", LIMIT);
    let said = &health.log.last().unwrap().output;
    assert!(said.starts_with("healthy: 1 check passes"), "{said}");
}

fn assert_becomes_healthy(yaml: &str, folder: &TempDir, name: &str, service: &str) {
    let engine = Engine::shared();
    engine.server_image("redis:7");
    let path = folder.path().join("compose.yml");
    fs::write(&path, yaml).unwrap();
    let project = Compose::new(engine, &path, name);
    project.up();
    let health = project.service(service).wait_health("healthy", LIMIT);
    let said = &health.log.last().unwrap().output;
    assert!(said.starts_with("healthy: 1 check passes"), "{said}");
}

#[test]
fn an_image_is_made_over_the_file_in_dist() {
    let tag = "ready-probe-test/over-dist";
    let script = recipe(
        "Copy it from an image",
        "sh",
        1,
        &[("--tag ready-probe ", &format!("--tag {tag} "))],
    );
    shell(&script, &workspace_root());
    let image = RunOptions::image(tag).no_network();
    let version = Engine::shared().run_to_end(image.command(["--version"]));
    assert_eq!(version.stdout, run(probe().arg("--version")).stdout);
}

#[test]
fn a_dockerfile_copies_the_probe_from_its_image() {
    let build = recipe("Copy it from an image", "sh", 0, &[]);
    assert_eq!(
        build,
        "docker build --tag ready-probe --file Dockerfile.probe .\n"
    );
    let from = format!("--from={} ", probe_image());
    // Which has the libraries that the agent of these tests needs.
    let base = format!("FROM {}", agent_image());
    let replaced = [
        ("--from=ready-probe ", from.as_str()),
        ("FROM scratch", base.as_str()),
    ];
    let dockerfile = recipe("Copy it from an image", "dockerfile", 0, &replaced);
    let folder = folder(&[(&example_agent(), "agent")]);
    assert_healthy(&dockerfile, &folder, "ready-probe-test/install-copied");
}

#[test]
fn a_dockerfile_adds_the_file_beside_it() {
    debian_image();
    let replaced = [("debian:12-slim", "ready-probe-test/debian-tools")];
    let dockerfile = recipe("Add the file", "dockerfile", 0, &replaced);
    let folder = folder(&[
        (&example_agent(), "agent"),
        (&probe_binary(), "ready-probe"),
    ]);
    assert_healthy(&dockerfile, &folder, "ready-probe-test/install-added");
}

#[test]
fn pip_installs_the_wheel_from_a_folder() {
    python::base_image();
    let replaced = [("python:3.12-slim", python::PYTHON_IMAGE)];
    let dockerfile = recipe("Install the wheel", "dockerfile", 0, &replaced);
    let wheel = python::wheel();
    let folder = folder(&[(&wheel, wheel.file_name().unwrap().to_str().unwrap())]);
    let agent = recipe("Install the wheel", "python", 0, &[]);
    fs::write(folder.path().join("agent.py"), agent).unwrap();
    assert_healthy(&dockerfile, &folder, "ready-probe-test/install-wheel");
}

#[test]
fn docker_run_mounts_the_file_into_an_image_that_nobody_changes() {
    let engine = Engine::shared();
    engine.server_image("redis:7");
    let name = format!("--name {} ", engine.unique_name("cache"));
    let script = recipe("Mount the file", "sh", 0, &[("--name cache ", &name)]);
    let folder = folder(&[(&probe_binary(), "ready-probe")]);
    let id = shell(&script, folder.path()).stdout;
    let cache = engine.adopt(id.trim());
    let health = cache.wait_health("healthy", LIMIT);
    let said = &health.log.last().unwrap().output;
    assert!(said.starts_with("healthy: 1 check passes"), "{said}");
}

#[test]
fn compose_mounts_the_file_into_an_image_that_nobody_changes() {
    let yaml = recipe("Mount the file", "yaml", 0, &[]);
    let folder = folder(&[(&probe_binary(), "ready-probe")]);
    assert_becomes_healthy(&yaml, &folder, "mounted", "cache");
}

#[test]
fn a_container_of_the_probes_image_fills_a_volume_for_others() {
    let image = format!("image: {}\n", probe_image());
    let yaml = recipe(
        "Fill a volume",
        "yaml",
        0,
        &[("image: ready-probe\n", &image)],
    );
    assert_becomes_healthy(&yaml, &folder(&[]), "filled", "cache");
}

/// An `emptyDir` is a folder that anybody may write; a kubelet starts the image's entrypoint with `args`.
#[test]
fn an_init_container_fills_a_folder_as_any_user() {
    let args = "args: [install, /probe]";
    assert!(recipe("Fill a volume", "yaml", 1, &[]).contains(args));
    let engine = Engine::shared();
    let shared = tempfile::tempdir().unwrap();
    fs::set_permissions(shared.path(), Permissions::from_mode(0o777)).unwrap();
    let init = RunOptions::image(probe_image())
        .no_network()
        .read_only()
        .cap_drop("ALL")
        .user("4711:4711")
        .flag(format!("--volume={}:/probe", shared.path().display()))
        .command(["install", "/probe"]);
    let installed = engine.run_to_end(init);
    assert_eq!(installed.code(), 0, "{installed:?}");
    assert!(
        installed
            .stdout
            .starts_with("installed /probe/ready-probe (")
    );

    let agent = RunOptions::image(agent_image())
        .no_healthcheck()
        .bind_read_only(shared.path(), "/probe");
    let agent = engine.run(agent);
    wait_until(LIMIT, "the copy to find the agent ready", || {
        let asked = agent.exec(&["/probe/ready-probe", "agent:translator"]);
        (asked.code() == 0).then_some(())
    });
}

#[test]
fn a_named_volume_that_belongs_to_root_is_named_as_the_reason() {
    let engine = Engine::shared();
    let volume = Volume::create(engine, "roots");
    let refused = engine.run_to_end(
        RunOptions::image(probe_image())
            .no_network()
            .volume(&volume, "/probe")
            .command(["install", "/probe"]),
    );
    let documented = "can't install into /probe: user 65532 may not write there";
    assert_eq!(refused.code(), 1, "{refused:?}");
    assert!(refused.stdout.contains(documented), "{refused:?}");
    let page = fs::read_to_string(workspace_root().join("docs/install.md")).unwrap();
    assert!(page.contains(documented));
}
