//! A container, from `docker run` to `docker rm`.

use std::{
    net::IpAddr,
    path::Path,
    thread,
    time::{Duration, SystemTime},
};

use serde_json::Value;

use super::{
    Engine, Health, HealthLog, LONGEST_COMMAND, Network, RunOptions, account, health, owner_label,
    wait_for,
};
use crate::process::{Run, run_within};

/// For how long freezing a container is tried.
const FREEZE_LIMIT: Duration = Duration::from_secs(30);

impl Engine {
    /// Starts a container.
    ///
    /// # Panics
    /// When it can't be started. What was made of it is removed.
    #[track_caller]
    pub fn run(&self, options: RunOptions) -> Container {
        let RunOptions {
            image,
            name,
            flags,
            command,
        } = options;
        let container = Container {
            engine: self.clone(),
            id: self.unique_name(&name),
            owned: true,
        };
        let (label, name) = (owner_label(), format!("--name={}", container.id));
        let words = ["run", "--detach", &label, &name].map(str::to_owned);
        let id = self.docker(words.into_iter().chain(flags).chain([image]).chain(command));
        // The name would do, but `docker inspect` and events speak of the id.
        let mut container = container;
        container.id = id;
        container
    }

    /// The container `id`, which a script has started; from now on as if it had been started here.
    pub fn adopt(&self, id: &str) -> Container {
        Container {
            engine: self.clone(),
            id: id.to_owned(),
            owned: true,
        }
    }

    /// Runs a container to its end, and removes it.
    pub fn run_to_end(&self, options: RunOptions) -> Run {
        let RunOptions {
            image,
            name,
            flags,
            command,
        } = options;
        let (label, name) = (owner_label(), format!("--name={}", self.unique_name(&name)));
        let words = ["run", "--rm", &label, &name].map(str::to_owned);
        self.try_docker(words.into_iter().chain(flags).chain([image]).chain(command))
    }
}

/// A container. Removed on drop, unless it belongs to a compose project.
#[derive(Debug)]
pub struct Container {
    engine: Engine,
    id: String,
    owned: bool,
}

impl Container {
    /// A container that somebody else removes.
    pub(super) fn borrowed(engine: &Engine, id: &str) -> Self {
        Self {
            engine: engine.clone(),
            id: id.to_owned(),
            owned: false,
        }
    }

    /// The same container for somebody else, who doesn't remove it.
    #[must_use]
    pub fn alias(&self) -> Self {
        Self::borrowed(&self.engine, &self.id)
    }

    /// Its full id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// All that `docker inspect` says of it.
    pub fn inspect(&self) -> Value {
        self.inspect_part("{{json .}}")
    }

    #[track_caller]
    fn inspect_part(&self, format: &str) -> Value {
        let json =
            self.engine
                .docker(["inspect", "--type=container", "--format", format, &self.id]);
        serde_json::from_str(&json).unwrap_or_else(|e| panic!("{e} in `{json}`"))
    }

    /// Its address in the first network it is in.
    #[track_caller]
    pub fn ip(&self) -> IpAddr {
        let networks = self.inspect_part("{{json .NetworkSettings.Networks}}");
        networks
            .as_object()
            .and_then(|networks| networks.values().find_map(address))
            .unwrap_or_else(|| panic!("container {} has no address in {networks}", self.id))
    }

    /// Its address in `network`.
    #[track_caller]
    pub fn ip_in(&self, network: &Network) -> IpAddr {
        let networks = self.inspect_part("{{json .NetworkSettings.Networks}}");
        address(&networks[network.name()]).unwrap_or_else(|| {
            panic!(
                "container {} has no address in {}: {networks}",
                self.id,
                network.name()
            )
        })
    }

    /// The pid of its PID 1 on the host.
    #[track_caller]
    pub fn host_pid(&self) -> u32 {
        let pid = self.inspect_part("{{.State.Pid}}").as_u64().unwrap_or(0);
        assert!(pid != 0, "container {} does not run", self.id);
        u32::try_from(pid).expect("a pid")
    }

    /// The pids on the host of all that runs in it.
    pub fn pids(&self) -> Vec<u32> {
        let table = self.engine.docker(["top", &self.id, "-eo", "pid"]);
        table
            .lines()
            .skip(1)
            .map(|pid| pid.trim().parse().expect("a pid"))
            .collect()
    }

    /// `running`, `paused`, `exited`, …
    pub fn status(&self) -> String {
        self.engine
            .docker(["inspect", "--format", "{{.State.Status}}", &self.id])
    }

    /// When its present life began, or its last one; on the engine's clock.
    #[track_caller]
    pub fn started(&self) -> SystemTime {
        let started = self.inspect_part("{{json .State.StartedAt}}");
        health::timestamp(started.as_str().unwrap_or_default())
            .unwrap_or_else(|| panic!("container {} started at no time: {started}", self.id))
    }

    /// Its health now.
    pub fn health(&self) -> Health {
        Health::from_state(&self.inspect_part("{{json .State.Health}}"))
    }

    /// Waits until its health is `status`, and returns it.
    ///
    /// # Panics
    /// At the limit, with the last probes and the container's logs.
    #[track_caller]
    pub fn wait_health(&self, status: &str, limit: Duration) -> Health {
        self.wait_for_health(&format!("to be {status}"), limit, |health| {
            (health.status == status).then(|| health.clone())
        })
    }

    /// Waits until a probe that began after this call has ended, and returns it.
    ///
    /// # Panics
    /// At the limit, with the last probes and the container's logs.
    #[track_caller]
    pub fn wait_next_probe(&self, limit: Duration) -> HealthLog {
        let called = SystemTime::now();
        self.wait_for_health("to be probed", limit, |health| {
            health
                .log
                .iter()
                .find(|probe| probe.start >= called)
                .cloned()
        })
    }

    #[track_caller]
    fn wait_for_health<T>(
        &self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut(&Health) -> Option<T>,
    ) -> T {
        wait_for(limit, || look(&self.health())).unwrap_or_else(|| {
            panic!(
                "waited {limit:?} in vain for container {} ({}) {what}\n{:#?}\nits logs end with:\n{}",
                self.id,
                self.status(),
                self.health(),
                self.last_logs()
            )
        })
    }

    /// Waits until it has ended, and returns its exit status.
    ///
    /// # Panics
    /// At the limit, with the container's logs.
    #[track_caller]
    pub fn wait_exit(&self, limit: Duration) -> i64 {
        wait_for(limit, || {
            let state = self.inspect_part("{{json .State}}");
            (state["Status"] == "exited").then(|| state["ExitCode"].as_i64().unwrap_or(-1))
        })
        .unwrap_or_else(|| {
            panic!(
                "container {} still runs after {limit:?}:\n{}",
                self.id,
                self.last_logs()
            )
        })
    }

    /// `docker exec` of `argv`, to its end.
    pub fn exec(&self, argv: &[&str]) -> Run {
        self.exec_with(&[], argv)
    }

    /// [`Container::exec`] with options of `docker exec`, as in `["--user=1000"]`.
    pub fn exec_with(&self, flags: &[&str], argv: &[&str]) -> Run {
        self.engine
            .try_docker([&["exec"], flags, &[self.id()], argv].concat())
    }

    /// Puts a file or folder of the host at `inside`.
    pub fn copy_in(&self, host: &Path, inside: &str) {
        let target = format!("{}:{inside}", self.id);
        self.engine
            .docker([Path::new("cp"), host, Path::new(&target)]);
    }

    /// What it has written to stdout, then what it has written to stderr.
    pub fn logs(&self) -> String {
        let run = self.engine.try_docker(["logs", &self.id]);
        run.stdout + &run.stderr
    }

    fn last_logs(&self) -> String {
        account(&self.engine.try_docker(["logs", "--tail=30", &self.id]))
    }

    /// Freezes all its processes.
    ///
    /// # Panics
    /// When that fails again and again. With cgroups v1 the kernel gives up now and then on a machine
    /// that is busy ("unable to freeze").
    #[track_caller]
    pub fn pause(&self) {
        self.try_for_a_while("pause");
    }

    /// Ends [`Container::pause`].
    ///
    /// # Panics
    /// When that fails again and again.
    #[track_caller]
    pub fn unpause(&self) {
        self.try_for_a_while("unpause");
    }

    #[track_caller]
    fn try_for_a_while(&self, verb: &str) {
        let mut last = None;
        let done = wait_for(FREEZE_LIMIT, || {
            let run = self.engine.try_docker([verb, &self.id]);
            let done = run.code() == 0;
            last = Some(run);
            done.then_some(())
        });
        let said = last.as_ref().map(account).unwrap_or_default();
        assert!(done.is_some(), "`docker {verb}` {}: {said}", self.id);
    }

    /// `docker restart`: TERM, after a second KILL, then a new PID 1.
    pub fn restart(&self) {
        self.engine.docker(["restart", "-t", "1", &self.id]);
    }

    /// TERM, after a second KILL.
    pub fn stop(&self) {
        self.engine.docker(["stop", "-t", "1", &self.id]);
    }

    /// Starts it again.
    pub fn start(&self) {
        self.engine.docker(["start", &self.id]);
    }

    /// Sends a signal to PID 1, as in `"KILL"`.
    pub fn kill(&self, signal: &str) {
        self.engine.docker(["kill", "--signal", signal, &self.id]);
    }
}

/// The address of one entry of `NetworkSettings.Networks`.
fn address(network: &Value) -> Option<IpAddr> {
    let v4 = network["IPAddress"].as_str()?.parse();
    v4.or_else(|_| {
        network["GlobalIPv6Address"]
            .as_str()
            .unwrap_or_default()
            .parse()
    })
    .ok()
}

impl Drop for Container {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "container {} at the end of the test: {}",
                self.id,
                self.last_logs()
            );
        }
        if self.owned {
            let mut rm = self.engine.command("docker");
            // A panic while panicking would abort all tests of the binary, so failure is left
            // unsaid.
            run_within(
                rm.args(["rm", "--force", "--volumes", &self.id]),
                LONGEST_COMMAND,
            );
        }
    }
}
