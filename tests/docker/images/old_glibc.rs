//! The wheel on a C library much older than the one that it was built beside: Debian 11, glibc 2.31.

use std::{fs, path::Path, sync::OnceLock, time::Duration};

use ready_probe_test_support::{
    docker::{Engine, RunOptions},
    process::{wait_until, workspace_root},
};

use super::python::wheel;
use crate::fixture::LIMIT;

/// What `make setup` has packed.
fn image() -> &'static str {
    static IMAGE: OnceLock<()> = OnceLock::new();
    let tag = "ready-probe-test/debian-11";
    IMAGE.get_or_init(|| {
        let root = workspace_root().join("target/debian-11.tar");
        Engine::shared().import_packed(tag, &root, &["ENV PATH=/usr/bin:/bin"]);
    });
    tag
}

/// An image of that system in which pip has installed the wheel, with a health check.
fn installed(tag: &str, packages: &str, wheel: &Path) {
    let context = tempfile::tempdir().unwrap();
    fs::copy(wheel, context.path().join(wheel.file_name().unwrap())).unwrap();
    let dockerfile = context.path().join("Dockerfile");
    let text = format!(
        "FROM {}\n\
         COPY ready_probe-*.whl /wheels/\n\
         RUN [\"/python/python\", \"-m\", \"pip\", \"install\", \"--no-index\", \"--find-links=/wheels\", \
              \"--target={packages}\", \"ready-probe\"]\n\
         ENV READY_AGENT=translator\n\
         HEALTHCHECK --interval=500ms --timeout=20s CMD [\"{packages}/bin/ready-probe\"]\n",
        image()
    );
    fs::write(&dockerfile, text).unwrap();
    Engine::shared().build(tag, context.path(), &dockerfile, &[]);
}

/// Says what it runs on, and is an agent that promises progress.
const AGENT: &str = "
import os, sys, time
from ready_probe import Agent, probe
print(os.confstr('CS_GNU_LIBC_VERSION'), flush=True)
agent = Agent('translator', watchdog=10)
agent.mark_ready({'python': sys.version.split()[0]})
assert probe('agent:translator').verdict == 'healthy'
print('ready', flush=True)
while True:
    agent.tick()
    time.sleep(0.1)
";

#[test]
fn pip_installs_the_wheel_on_debian_11_and_its_agent_is_healthy() {
    let tag = "ready-probe-test/debian-11-agent";
    // An interpreter with no site-packages of its own looks into its library.
    installed(tag, "/python/lib", &wheel());
    let agent = Engine::shared().run(
        RunOptions::image(tag)
            .name("debian-11")
            .health_interval(Duration::from_millis(500))
            .command(["/python/python", "-c", AGENT]),
    );
    let health = agent.wait_health("healthy", LIMIT);
    let said = &health.log.last().unwrap().output;
    assert!(said.starts_with("healthy: 1 check passes"), "{said}");
    // It is ready before it says so.
    wait_until(LIMIT, "what it prints", || {
        (agent.logs() == "glibc 2.31\nready\n").then_some(())
    });
}
