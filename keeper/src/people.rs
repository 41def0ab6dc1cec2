//! Who is told of which service, and what is said of it: from the settings, without secrets. It leaves this machine.

use std::path::{Path, PathBuf};

use ready_probe_sdk::connect::env_or_file::Lookup;

use crate::alert::message::{Subject, Subjects};
use crate::alert::settings::{Channel, Hidden, NTFY_URL, ntfy_of_environment};
use crate::recovery::Recovery;
use crate::services::{Service, Services};
use crate::shell;

/// Who is told, and what of.
#[derive(Debug, Default)]
pub struct People {
    /// Where they are told.
    pub channels: Vec<Channel>,
    /// What of.
    pub subjects: Subjects,
    /// Who is not told, and why.
    pub notes: Vec<String>,
}

/// Finds them. `output_of` tells where the output of a service's restart command goes.
pub fn find(
    services: &Services,
    output_of: impl Fn(&str) -> PathBuf,
    lookup: Lookup<'_>,
) -> Result<People, String> {
    let ntfy = ntfy_of_environment(lookup)?;
    let mut people = People::default();
    for service in &services.all {
        let mut told = Vec::new();
        for name in service.alert.iter().filter(|name| !name.trim().is_empty()) {
            let known = services.alerts.get(name).map(|table| table.channel.clone());
            match known.map_or_else(|| channel(name, ntfy.as_ref()), Ok) {
                Ok(channel) => {
                    told.push(channel.name.clone());
                    if !people.channels.contains(&channel) {
                        people.channels.push(channel);
                    }
                }
                Err(why) => {
                    let name = &service.name;
                    let note = format!("{name}: notify_on_fail: nobody is told: {why}");
                    people.notes.push(note);
                }
            }
        }
        let name = |number: &usize| services.all.get(*number).map(|need| need.name.clone());
        let subject = Subject {
            needs: service.rules.needs.iter().filter_map(name).collect(),
            channels: told,
            container: services.container.clone(),
            check: service.question.shown(),
            restart: service.restart.as_ref().map(|restart| match restart {
                Recovery::Command(script) => shell::program(&script.command),
                Recovery::Container(container) => format!("docker restart {}", container.name),
            }),
            log: log(service, &output_of),
        };
        people.subjects.insert(service.name.clone(), subject);
    }
    Ok(people)
}

/// A topic is one of the ntfy server that the environment names.
fn channel(topic: &str, ntfy: Option<&Hidden>) -> Result<Channel, String> {
    let url = ntfy.ok_or_else(|| format!("{NTFY_URL} does not say where ntfy is"))?;
    Channel::of_topic(topic, url)
}

/// Its own log, or its container's, else what its restart command said.
fn log(service: &Service, output_of: &impl Fn(&str) -> PathBuf) -> Option<String> {
    if let (None, Some(container)) = (&service.log, &service.question.container) {
        return Some(format!("docker logs --tail 50 {}", container.name));
    }
    let output = || service.restart.as_ref().map(|_| output_of(&service.name));
    let own = service.log.as_deref().map(|log| Path::new(log).to_owned());
    own.or_else(output).map(|path| shell::tail(path.display()))
}
