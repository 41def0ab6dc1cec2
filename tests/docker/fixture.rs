//! The images of these tests, what is done to their containers, and what is seen of them.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    sync::OnceLock,
    time::Duration,
};

use ready_probe_test_support::{
    docker::{Container, Engine, HealthLog, ImageRoot, RunOptions},
    process::{Signal, example_agent, probe_binary, wait_until},
};
use rustix::process::{Pid, kill_process};

pub use crate::probes::Probes;

/// Longer than anything here takes on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Where the example agent takes commands unless told otherwise.
pub const PORT: u16 = 5555;

/// What every image of these tests holds: the probe, and the example agent with its libraries.
pub fn agent_root() -> ImageRoot {
    ImageRoot::new()
        .file(&probe_binary(), "/ready-probe")
        .program(&example_agent(), "/rust-agent")
}

/// `FROM scratch` with the bare `HEALTHCHECK CMD ["/ready-probe"]`. One failure makes it unhealthy,
/// so that what Docker says is what the last probe said.
pub const INSTRUCTIONS: &str = "HEALTHCHECK --interval=1s --timeout=20s --retries=1 CMD [\"/ready-probe\"]\n\
     CMD [\"/rust-agent\"]";

/// The image that [`INSTRUCTIONS`] describe.
pub fn agent_image() -> &'static str {
    static IMAGE: OnceLock<()> = OnceLock::new();
    let tag = "ready-probe-test/agent";
    IMAGE.get_or_init(|| Engine::shared().build_scratch(tag, &agent_root(), INSTRUCTIONS));
    tag
}

/// The same programs on Debian, with a shell, as `ready-probe-test/agent-debian`.
pub fn debian_image() -> &'static str {
    static IMAGE: OnceLock<()> = OnceLock::new();
    let tag = "ready-probe-test/agent-debian";
    IMAGE.get_or_init(|| {
        let engine = Engine::shared();
        let base = "ready-probe-test/debian-tools";
        let packages = [
            "base-files",
            "base-passwd",
            "coreutils",
            "dash",
            "mount",
            "util-linux",
        ];
        engine.debian_image(base, &packages, &["CMD [\"sh\"]"]);
        let context = tempfile::tempdir().unwrap();
        std::fs::copy(probe_binary(), context.path().join("ready-probe")).unwrap();
        std::fs::copy(example_agent(), context.path().join("rust-agent")).unwrap();
        let dockerfile = context.path().join("Dockerfile");
        let text = format!("FROM {base}\nCOPY ready-probe rust-agent /\n{INSTRUCTIONS}\n");
        std::fs::write(&dockerfile, text).unwrap();
        engine.build(tag, context.path(), &dockerfile, &[]);
    });
    tag
}

/// A container of [`agent_image`].
pub fn agent(name: &str) -> RunOptions {
    RunOptions::image(agent_image()).name(name)
}

/// Sends the agent at [`PORT`] of a container a command line, and returns its answer.
#[track_caller]
pub fn tell(container: &Container, line: &str) -> String {
    let mut stream = wait_until(LIMIT, "the agent to listen", || {
        TcpStream::connect((container.ip(), PORT)).ok()
    });
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer.trim_end().to_owned()
}

/// Kills (9) the agent `name` that PID 1 of the container supervises, and returns the pid that it had
/// in there.
#[track_caller]
pub fn kill_agent(container: &Container, name: &str) -> u32 {
    let started = format!("started {name} pid ");
    let inside: u32 = wait_until(LIMIT, "the supervisor to start the agent", || {
        let logs = container.logs();
        logs.lines()
            .find_map(|line| line.strip_prefix(&started)?.parse().ok())
    });
    let on_host = container
        .pids()
        .into_iter()
        .find(|pid| pid_inside(*pid) == Some(inside));
    let on_host = on_host.unwrap_or_else(|| panic!("no process {inside} in the container"));
    let pid = Pid::from_raw(i32::try_from(on_host).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    inside
}

/// The pid that a process of the host has in its own PID namespace.
fn pid_inside(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().last()?.parse().ok()
}

/// Whether a probe's first line begins so, and its exit status is what that verdict is to have.
pub fn says(probe: &HealthLog, beginning: &str) -> bool {
    let healthy = ["healthy: ", "degraded: "]
        .iter()
        .any(|verdict| probe.output.starts_with(verdict));
    probe.output.starts_with(beginning) && probe.exit_code == i64::from(!healthy)
}
