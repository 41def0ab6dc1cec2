//! What `docker run` is told: one method an option, and [`RunOptions::flag`] for the rest.

use std::{path::Path, time::Duration};

use super::{Network, Volume, docker_duration};

/// A container to be. Everything that isn't said is as `docker run IMAGE` has it.
#[derive(Clone, Debug)]
#[must_use]
pub struct RunOptions {
    pub(super) image: String,
    pub(super) name: String,
    pub(super) flags: Vec<String>,
    pub(super) command: Vec<String>,
}

impl RunOptions {
    /// A container of `image`.
    pub fn image(image: impl Into<String>) -> Self {
        Self {
            image: image.into(),
            name: "container".into(),
            flags: Vec::new(),
            command: Vec::new(),
        }
    }

    /// The readable part of the container's name, which is made unique.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The command, in place of the image's.
    pub fn command<A: Into<String>>(mut self, argv: impl IntoIterator<Item = A>) -> Self {
        self.command = argv.into_iter().map(Into::into).collect();
        self
    }

    /// Any other option of `docker run`, as one word: `--memory=64m`.
    pub fn flag(mut self, flag: impl Into<String>) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// `--env NAME=VALUE`
    pub fn env(self, name: &str, value: &str) -> Self {
        self.flag(format!("--env={name}={value}"))
    }

    /// `--hostname`
    pub fn hostname(self, hostname: &str) -> Self {
        self.flag(format!("--hostname={hostname}"))
    }

    /// `--network`, where the others find this container as `alias`.
    pub fn network(self, network: &Network, alias: &str) -> Self {
        self.flag(format!("--network={}", network.name()))
            .flag(format!("--network-alias={alias}"))
    }

    /// `--network none`
    pub fn no_network(self) -> Self {
        self.flag("--network=none")
    }

    /// `--dns`
    pub fn dns(self, server: &str) -> Self {
        self.flag(format!("--dns={server}"))
    }

    /// `--add-host NAME:ADDRESS`
    pub fn add_host(self, name: &str, address: &str) -> Self {
        self.flag(format!("--add-host={name}:{address}"))
    }

    /// `--volume VOLUME:INSIDE`
    pub fn volume(self, volume: &Volume, inside: &str) -> Self {
        self.flag(format!("--volume={}:{inside}", volume.name()))
    }

    /// A file or folder of the host, readable at `inside`.
    pub fn bind_read_only(self, host: &Path, inside: &str) -> Self {
        self.flag(format!("--volume={}:{inside}:ro", host.display()))
    }

    /// `--tmpfs`: a path, with options after a colon if wanted (`/tmp:size=64k`).
    pub fn tmpfs(self, path: &str) -> Self {
        self.flag(format!("--tmpfs={path}"))
    }

    /// `--read-only`
    pub fn read_only(self) -> Self {
        self.flag("--read-only")
    }

    /// `--user`
    pub fn user(self, user: &str) -> Self {
        self.flag(format!("--user={user}"))
    }

    /// `--cap-drop`
    pub fn cap_drop(self, capability: &str) -> Self {
        self.flag(format!("--cap-drop={capability}"))
    }

    /// `--init`
    pub fn init(self) -> Self {
        self.flag("--init")
    }

    /// `--ipc`
    pub fn ipc(self, mode: &str) -> Self {
        self.flag(format!("--ipc={mode}"))
    }

    /// `--shm-size`
    pub fn shm_size(self, size: &str) -> Self {
        self.flag(format!("--shm-size={size}"))
    }

    /// `--pids-limit`
    pub fn pids_limit(self, limit: u32) -> Self {
        self.flag(format!("--pids-limit={limit}"))
    }

    /// `--memory`
    pub fn memory(self, limit: &str) -> Self {
        self.flag(format!("--memory={limit}"))
    }

    /// `--entrypoint`
    pub fn entrypoint(self, program: &str) -> Self {
        self.flag(format!("--entrypoint={program}"))
    }

    /// `--restart`
    pub fn restart_policy(self, policy: &str) -> Self {
        self.flag(format!("--restart={policy}"))
    }

    /// `--health-cmd`: always run by a shell; the exec form exists in Dockerfiles only.
    pub fn health_shell(self, command: &str) -> Self {
        self.flag(format!("--health-cmd={command}"))
    }

    /// `--no-healthcheck`
    pub fn no_healthcheck(self) -> Self {
        self.flag("--no-healthcheck")
    }

    /// `--health-interval`
    pub fn health_interval(self, interval: Duration) -> Self {
        self.flag(format!("--health-interval={}", docker_duration(interval)))
    }

    /// `--health-timeout`
    pub fn health_timeout(self, timeout: Duration) -> Self {
        self.flag(format!("--health-timeout={}", docker_duration(timeout)))
    }

    /// `--health-retries`
    pub fn health_retries(self, retries: u32) -> Self {
        self.flag(format!("--health-retries={retries}"))
    }

    /// `--health-start-period`
    pub fn health_start_period(self, period: Duration) -> Self {
        self.flag(format!("--health-start-period={}", docker_duration(period)))
    }
}
