//! The recipes of docs/celery.md and python.md that need an engine.

use std::{fs, path::Path, process::Command, time::Duration};

use ready_probe_test_support::{
    docker::{Engine, Network, RunOptions},
    pages::block,
    process::{run_within, workspace_root},
};

use super::python;
use crate::fixture::{LIMIT, debian_image};
use crate::recipe_fixture::{INTERVAL, assert_healthy, build, folder, redis};

#[test]
fn an_image_of_celery_is_healthy_with_its_pool_and_its_broker() {
    let engine = Engine::shared();
    let example = workspace_root().join("examples/celery");
    let base = "ready-probe-test/celery:local";
    engine.python_image(base, &example.join("requirements.txt"));
    let block = block("docs/celery.md", "Celery", "dockerfile", 0).with(&[INTERVAL]);
    let dockerfile = format!(
        "FROM {base}\nCOPY requirements.txt ready_probe-*.whl ./\n\
         RUN pip install --no-cache-dir --requirement requirements.txt ./ready_probe-*.whl\n\
         COPY readiness.py tasks.py ./\nCOPY UTC /usr/share/zoneinfo/UTC\n{block}"
    );
    let wheel = python::wheel();
    let sources = ["requirements.txt", "readiness.py", "tasks.py"];
    let sources = sources.map(|name| (example.join(name), name));
    let mut files: Vec<(&Path, &str)> = sources
        .iter()
        .map(|(path, name)| (path.as_path(), *name))
        .collect();
    files.push((&wheel, wheel.file_name().unwrap().to_str().unwrap()));
    // The official image has time zones.
    files.push((Path::new("/usr/share/zoneinfo/UTC"), "UTC"));
    let tag = "ready-probe-test/recipe-celery";
    build(tag, &dockerfile, &files);
    let network = Network::create(engine, "celery");
    let _redis = redis(&network);
    let options = RunOptions::image(tag).name("celery");
    let options = options.env("CELERY_BROKER_URL", "redis://redis:6379");
    let container = engine.run(options.network(&network, "celery"));
    let health = container.wait_health("healthy", 2 * LIMIT);
    let said = &health.log.last().unwrap().output;
    for target in [
        "agent:celery ",
        "agent:celery-pool#min=2 ",
        "redis://redis:6379 ",
    ] {
        assert!(said.contains(&format!(" pass     {target}")), "{said}");
    }
}

/// The program of the page's image: any that PyInstaller takes.
const FROZEN: &str = "
import signal
from ready_probe import Agent
agent = Agent('frozen', install_signal_handlers=True)
agent.mark_ready()
while True:
    signal.pause()
";

#[test]
fn an_image_of_a_frozen_program_needs_no_python() {
    debian_image();
    let python = workspace_root().join("target/python-venv/bin/python");
    assert!(
        python.is_file(),
        "{} is missing: `make python-venv` makes it",
        python.display()
    );
    let folder = folder(&[]);
    fs::write(folder.path().join("app.py"), FROZEN).unwrap();
    let mut freeze = Command::new(&python);
    freeze
        .args([
            "-m",
            "PyInstaller",
            "--onedir",
            "--log-level=WARN",
            "app.py",
        ])
        .current_dir(folder.path());
    let frozen = run_within(&mut freeze, Duration::from_secs(300));
    assert_eq!(frozen.code(), 0, "{frozen:?}");
    let block = block("docs/python.md", "A frozen program", "dockerfile", 0).with(&[INTERVAL]);
    let path = folder.path().join("Dockerfile");
    fs::write(
        &path,
        format!("FROM ready-probe-test/debian-tools\n{block}"),
    )
    .unwrap();
    let tag = "ready-probe-test/recipe-frozen";
    Engine::shared().build(tag, folder.path(), &path, &[]);
    let container = Engine::shared().run(RunOptions::image(tag).name("frozen"));
    assert_healthy(&container);
    container.kill("TERM");
    assert_eq!(container.wait_exit(LIMIT), 143, "{}", container.logs());
}
