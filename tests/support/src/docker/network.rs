//! Networks and volumes of a test.

use super::{Container, Engine, owner_label};

/// A user network, where containers find each other by name. Removed on drop.
#[derive(Debug)]
pub struct Network {
    engine: Engine,
    name: String,
}

impl Network {
    /// Makes a bridge network; `name` is made unique.
    pub fn create(engine: &Engine, name: &str) -> Self {
        Self::create_with(engine, name, &[])
    }

    /// [`Network::create`] with options of `docker network create`, as in `["--internal"]`.
    pub fn create_with(engine: &Engine, name: &str, flags: &[&str]) -> Self {
        let name = engine.unique_name(name);
        let label = owner_label();
        engine.docker(
            ["network", "create", &label]
                .into_iter()
                .chain(flags.iter().copied())
                .chain([name.as_str()]),
        );
        Self {
            engine: engine.clone(),
            name,
        }
    }

    /// Its unique name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets `container` in, where the others find it as `alias`.
    pub fn connect(&self, container: &Container, alias: &str) {
        self.engine.docker([
            "network",
            "connect",
            "--alias",
            alias,
            &self.name,
            container.id(),
        ]);
    }

    /// Cuts `container` off; its connections hang rather than break.
    pub fn disconnect(&self, container: &Container) {
        self.engine
            .docker(["network", "disconnect", &self.name, container.id()]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Containers dropped later than their network are thrown out of it first.
        let members = self.engine.try_docker([
            "network",
            "inspect",
            "--format",
            "{{range $id, $_ := .Containers}}{{$id}} {{end}}",
            &self.name,
        ]);
        for id in members.stdout.split_whitespace() {
            self.engine
                .try_docker(["network", "disconnect", "--force", &self.name, id]);
        }
        self.engine.try_docker(["network", "rm", &self.name]);
    }
}

/// A named volume. Removed on drop, which must come after its containers'.
#[derive(Debug)]
pub struct Volume {
    engine: Engine,
    name: String,
}

impl Volume {
    /// Makes a volume; `name` is made unique.
    pub fn create(engine: &Engine, name: &str) -> Self {
        let name = engine.unique_name(name);
        engine.docker(["volume", "create", &owner_label(), &name]);
        Self {
            engine: engine.clone(),
            name,
        }
    }

    /// Its unique name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        self.engine
            .try_docker(["volume", "rm", "--force", &self.name]);
    }
}
