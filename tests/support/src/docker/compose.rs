//! A compose project, from `up` to `down`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{Container, Engine, Health, LONGEST_COMMAND, account, find_program};
use crate::process::{Run, run_within};

/// A compose project. Taken down on drop, volumes included.
#[derive(Debug)]
pub struct Compose {
    engine: Engine,
    file: PathBuf,
    project: String,
    env: Vec<(String, String)>,
    /// `docker compose`, else the older `docker-compose`.
    plugin: bool,
}

impl Compose {
    /// The project that `file` describes; its name is made unique. Nothing is started yet.
    ///
    /// # Panics
    /// When there is no compose; the message says what to install.
    pub fn new(engine: &Engine, file: &Path, name: &str) -> Self {
        let plugin = engine.try_docker(["compose", "version"]).code() == 0;
        if !plugin {
            find_program("docker-compose");
        }
        Self {
            engine: engine.clone(),
            file: file.to_owned(),
            project: engine.unique_name(name),
            env: Vec::new(),
            plugin,
        }
    }

    /// The unique name, which begins those of its containers and networks.
    pub fn name(&self) -> &str {
        &self.project
    }

    /// Sets a variable that the file refers to.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `up --detach`: returns when everything is started, dependencies healthy.
    ///
    /// # Panics
    /// When that fails, with the logs of all services.
    #[track_caller]
    pub fn up(&self) {
        let up = self.try_up();
        assert!(
            up.code() == 0,
            "compose up: {}\nits logs:\n{}",
            account(&up),
            self.run(&["logs", "--no-color", "--tail=30"]).stdout
        );
    }

    /// [`Compose::up`] that may fail.
    pub fn try_up(&self) -> Run {
        self.run(&["up", "--detach"])
    }

    /// Any other subcommand.
    pub fn run(&self, args: &[&str]) -> Run {
        let mut command = self.command();
        command.args(args);
        run_within(&mut command, LONGEST_COMMAND)
    }

    fn command(&self) -> Command {
        let mut command = self.engine.command(if self.plugin {
            "docker"
        } else {
            "docker-compose"
        });
        command.args(self.plugin.then_some("compose"));
        command
            .arg("--project-name")
            .arg(&self.project)
            .arg("--file")
            .arg(&self.file);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// All containers of the project, stopped ones too.
    pub fn ps(&self) -> Vec<Container> {
        self.containers(&[])
    }

    /// The one container of `service`.
    ///
    /// # Panics
    /// When there are none or several.
    #[track_caller]
    pub fn service(&self, service: &str) -> Container {
        let mut containers = self.services(service);
        assert!(
            containers.len() == 1,
            "service {service} has {} containers, not one",
            containers.len()
        );
        containers.remove(0)
    }

    /// The containers of `service`.
    pub fn services(&self, service: &str) -> Vec<Container> {
        self.containers(&[format!(
            "--filter=label=com.docker.compose.service={service}"
        )])
    }

    /// Asked of the engine: the two compose programs list and print differently.
    fn containers(&self, filters: &[String]) -> Vec<Container> {
        let project = format!("--filter=label=com.docker.compose.project={}", self.project);
        let words = ["ps", "--all", "--quiet", "--no-trunc", &project].map(str::to_owned);
        let ids = self.engine.docker(words.iter().chain(filters));
        ids.lines()
            .map(|id| Container::borrowed(&self.engine, id))
            .collect()
    }

    /// The health of the one container of `service`.
    #[track_caller]
    pub fn health(&self, service: &str) -> Health {
        self.service(service).health()
    }

    /// Stops and removes everything, volumes included.
    pub fn down(&self) {
        self.run(&["down", "--volumes", "--remove-orphans", "--timeout", "1"]);
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        self.down();
    }
}
