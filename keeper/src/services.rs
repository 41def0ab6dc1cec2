//! The file of services, parsed once: what comes out of here can't be invalid.

mod file;
mod json;
mod toml;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ready_probe::redact::shown;

use crate::alert::settings::Channel;
use crate::engine::{Labelled, Use};
use crate::process_one;
use crate::question::Question;
use crate::recovery::Recovery;
use crate::rules::{GiveUp, Rules};

/// Within which time an answer has to come, unless the file says otherwise.
const TIMEOUT_MS: u64 = 5_000;

/// Where settings stand in the file, by their names in TOML. What is not in it has its default.
pub type Places = BTreeMap<String, String>;

/// One service.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name: also of its marker and of its output.
    pub name: String,
    /// What it is asked.
    pub question: Question,
    /// How it is brought back.
    pub restart: Option<Recovery>,
    /// Where its log is, for people.
    pub log: Option<String>,
    /// When it is brought back.
    pub rules: Rules,
    /// Who is told: names of `[alert.NAME]`, or the topic of `notify_on_fail`.
    pub alert: Vec<String>,
    /// Where all that stands.
    pub places: Places,
}

/// A table `[alert.NAME]`.
#[derive(Debug, Clone)]
pub struct AlertTable {
    /// Where it leads.
    pub channel: Channel,
    /// Where its keys stand.
    pub places: Places,
}

/// What a file says.
#[derive(Debug)]
pub struct Services {
    /// Those that are enabled, and here.
    pub all: Vec<Service>,
    /// Their numbers, each after those that it needs.
    pub order: Vec<usize>,
    /// What somebody should know.
    pub notes: Vec<String>,
    /// Nothing is done, it is only told.
    pub dry_run: bool,
    /// The container that this is, if somebody has said so.
    pub container: Option<String>,
    /// Where the keeper's own settings stand.
    pub places: Places,
    /// The tables `[alert.NAME]`.
    pub alerts: BTreeMap<String, AlertTable>,
    /// The engine of their containers, if they have any.
    pub engine: Option<Use>,
}

/// A file as it was read: which services it names may change with the containers that are there.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    text: String,
    is_json: bool,
}

impl Source {
    /// Reads it.
    pub fn read(path: &Path) -> Result<Self, String> {
        let is_json = match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => true,
            Some("toml") => false,
            Some(_) | None => {
                return Err(format!(
                    "{}: the name of the file of services ends in .json or in .toml",
                    path.display()
                ));
            }
        };
        Ok(Self {
            path: path.to_owned(),
            text: file::read(path)?,
            is_json,
        })
    }

    /// Its services, as if there were a container with each of its labels: the engine is not asked.
    pub fn services_of_any(&self, container: Option<&str>) -> Result<Services, String> {
        let services = self.services(container, &Labelled::new())?;
        let labels = services.engine.iter().flat_map(|wanted| &wanted.labels);
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let name = |label: &str| format!("any-{}", label.chars().map(plain).collect::<String>());
        let labelled = labels.map(|label| (label.clone(), BTreeSet::from([name(label)])));
        self.services(container, &labelled.collect())
    }

    /// Its services. `container` is the one that this is, if somebody has said so; `labelled` are those of an engine.
    pub fn services(
        &self,
        container: Option<&str>,
        labelled: &Labelled,
    ) -> Result<Services, String> {
        let at = self.path.display();
        let parsed = match self.is_json {
            true => json::parse(&self.text, container),
            false => toml::parse(&self.text, container, labelled),
        };
        let services = parsed.map_err(|e| format!("{at}: {e}"))?;
        let ends = |service: &&Service| service.rules.give_up == GiveUp::Exit;
        if let Some(service) = services.all.iter().find(ends) {
            process_one::can_be_ended()
                .map_err(|e| format!("{at}: service {}: give_up: exit: {e}", service.name))?;
        }
        Ok(services)
    }
}

fn check_name(name: &str) -> Result<(), String> {
    match is_name(name) {
        true => Ok(()),
        false => Err(format!(
            "{}: the name of a service is also that of a file: letters, digits, - _ . and no dot in front",
            shown(name)
        )),
    }
}

/// Whether a service may have it: it becomes that of a file.
pub fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=100).contains(&name.len()) && !name.starts_with('.') && name.chars().all(is_plain)
}

/// Where nobody says which container this is, all services must be in the same one.
fn only_container<'a>(named: impl Iterator<Item = &'a str>) -> Result<Option<String>, String> {
    let named: BTreeSet<&str> = named.collect();
    let names: Vec<String> = named.iter().map(|name| shown(name)).collect();
    match &names[..] {
        [] => Ok(None),
        [one] => Ok(Some(format!(
            "taken for container {one}, in which all services are: --container says otherwise"
        ))),
        [_, ..] => Err(format!(
            "the services are in several containers, and only those of this one can be looked after: --container is one of {}",
            names.join(", ")
        )),
    }
}

/// Each after those that it needs, and after those with which it is restarted; or the names of those that can't be.
fn in_order(all: &[Service]) -> Result<Vec<usize>, String> {
    let mut order: Vec<usize> = Vec::new();
    while order.len() < all.len() {
        let is_next = |number: &usize| {
            let after = all.get(*number).map(|service| &service.rules);
            let after = after.map(|rules| rules.needs.iter().chain(&rules.restart_with));
            !order.contains(number) && after.into_iter().flatten().all(|need| order.contains(need))
        };
        let next: Vec<usize> = (0..all.len()).filter(is_next).collect();
        if next.is_empty() {
            let names = all.iter().enumerate().filter(|(n, _)| !order.contains(n));
            let names: Vec<&str> = names.map(|(_, service)| service.name.as_str()).collect();
            return Err(names.join(", "));
        }
        order.extend(next);
    }
    Ok(order)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod toml_tests;
