//! Services that are containers: by their names, or all that have a label.

use std::collections::BTreeSet;

use ready_probe::redact::{Secrets, shown};
use ready_probe::target::Target;
use ready_probe::target::options::Options;

use super::table::Table;
use crate::engine::{self, Use};
use crate::recovery::Contained;

/// The engine, as far as services need one.
pub(super) struct Engine {
    setting: Option<String>,
    wanted: Option<Use>,
    every_ms: u64,
}

impl Engine {
    /// The one that the settings name, or else the one that Docker's client would ask.
    pub(super) fn new(setting: Option<String>, every_ms: u64) -> Self {
        Self {
            setting,
            wanted: None,
            every_ms,
        }
    }

    /// The container of a service, where its engine is what restarts it.
    pub(super) fn of_service(&mut self, table: &Table<'_>) -> Result<Option<Contained>, String> {
        let restart_exited = table.flag("restart_exited")?;
        let name = table.text("container")?.filter(|_| !table.has("restart"));
        let Some(name) = name else {
            return match restart_exited {
                Some(_) => Err(table.wrong(
                    "restart_exited",
                    "it is about a container that its engine restarts: container = \"…\" without restart = \"…\"",
                )),
                None => Ok(None),
            };
        };
        let target = format!("container:{name}");
        Target::parse(&target, Options::default(), &mut Secrets::default()).map_err(|_| {
            table.wrong(
                "container",
                &format!("{} is no name of a container", shown(&name)),
            )
        })?;
        self.contained(table, "container", name).map(Some)
    }

    /// The label by which services are found.
    pub(super) fn label(&mut self, table: &Table<'_>) -> Result<String, String> {
        for key in ["name", "container", "restart"] {
            if table.has(key) {
                let why = "it stands beside label, which names the containers and so the services";
                return Err(table.wrong(key, why));
            }
        }
        let label = table.text("label")?.unwrap_or_default();
        if !label.contains('=') || label.contains(char::is_control) {
            return Err(table.wrong(
                "label",
                "a label with its value is expected, \"ready-keeper=true\"",
            ));
        }
        // Its settings are read whether it has any by now or not.
        self.contained(table, "label", String::new())?;
        if let Some(wanted) = &mut self.wanted {
            wanted.labels.insert(label.clone());
        }
        Ok(label)
    }

    /// A container of that name.
    pub(super) fn contained(
        &mut self,
        table: &Table<'_>,
        key: &str,
        name: String,
    ) -> Result<Contained, String> {
        let at = match &self.setting {
            Some(at) => at.clone(),
            None => engine::of_environment().map_err(|why| table.wrong(key, &why))?,
        };
        self.wanted.get_or_insert_with(|| Use {
            at: at.clone(),
            labels: BTreeSet::new(),
            every_ms: self.every_ms,
        });
        Ok(Contained {
            engine: at,
            name,
            restart_exited: table.flag("restart_exited")?.unwrap_or(false),
        })
    }

    /// What is asked of it, if anything is.
    pub(super) fn wanted(self) -> Option<Use> {
        self.wanted
    }
}
