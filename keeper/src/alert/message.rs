//! What an alert says: the title, what happened, what to do, and the command that shows the log. Pure; what comes in holds no
//! secrets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::events::Event;

/// Longer titles are cut.
const MAX_TITLE_BYTES: usize = 200;
/// So many services are named in one line.
const MAX_NAMED: usize = 10;
/// What is cut ends so.
const CUT: &str = "…";

/// What is said of a service, whatever happens to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// Those without which it can't work.
    pub needs: Vec<String>,
    /// Who is told: names of channels.
    pub channels: Vec<String>,
    /// The container that it runs in, if the settings name it.
    pub container: Option<String>,
    /// Its check.
    pub check: String,
    /// How it is brought back.
    pub restart: Option<String>,
    /// The command that shows its log.
    pub log: Option<String>,
}

/// All services by name.
pub type Subjects = BTreeMap<String, Subject>;

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// What.
    pub event: Event,
    /// Of which services: of one, unless several fail at once.
    pub services: Vec<String>,
    /// What the check says.
    pub reason: String,
    /// Why a restart would be wrong; empty for everything else.
    pub hold: String,
    /// Restarts in a row that did not help.
    pub attempts: u32,
    /// Those that wait for it.
    pub covers: Vec<String>,
    /// When it was seen.
    pub time: String,
}

/// A message, whoever takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// One line.
    pub title: String,
    /// Everything else, in lines.
    pub body: String,
    /// From 1 to 5, as ntfy has it.
    pub priority: u8,
    /// ntfy shows the names of emoji as such.
    pub tags: Vec<String>,
    /// The host that it comes from.
    pub host: String,
    /// The same for programs.
    pub facts: Vec<Fact>,
}

/// An event, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// Of which service.
    pub service: String,
    /// What.
    pub event: Event,
    /// What its check says.
    pub reason: String,
    /// When it was seen.
    pub time: String,
}

impl Letter {
    /// One that says all of this. `lost` earlier ones did not arrive.
    pub fn write(items: &[Item], subjects: &Subjects, host: &str, lost: u32) -> Self {
        let mut items: Vec<&Item> = items.iter().collect();
        // What is gravest comes first, and is cut last.
        items.sort_by_key(|item| u8::MAX - item.event.priority());
        let mut parts: Vec<String> = Vec::new();
        if items.len() > 1 {
            let lines: Vec<String> = items.iter().map(|item| headline(item)).collect();
            parts.push(lines.join("\n"));
        }
        if lost > 0 {
            parts.push(format!(
                "{lost} earlier {} could not be delivered: see the log of ready-keeper.",
                if lost == 1 { "alert" } else { "alerts" }
            ));
        }
        parts.extend(items.iter().map(|item| section(item, subjects, host)));
        let gravest = items.first().map(|item| item.event);
        let fact = |item: &&Item| {
            let item = (*item).clone();
            item.services.into_iter().map(move |service| Fact {
                service,
                event: item.event,
                reason: item.reason.clone(),
                time: item.time.clone(),
            })
        };
        Self {
            title: cut(&title(&items), MAX_TITLE_BYTES),
            body: parts.join("\n\n"),
            priority: gravest.map_or(3, Event::priority),
            tags: gravest.map(tags).unwrap_or_default(),
            host: host.to_owned(),
            facts: items.iter().flat_map(fact).collect(),
        }
    }

    /// One that only shows that messages arrive.
    pub fn test(host: &str) -> Self {
        Self {
            title: "ready-keeper: test".to_owned(),
            body: format!(
                "Host: {host}\nAlerts of ready-keeper arrive here. Nothing has happened, and there is nothing to do."
            ),
            priority: 3,
            tags: vec!["test_tube".to_owned(), "auto-recovery".to_owned()],
            host: host.to_owned(),
            facts: Vec::new(),
        }
    }
}

fn title(items: &[&Item]) -> String {
    if let [item] = items {
        return headline(item);
    }
    let mut names: Vec<&str> = Vec::new();
    for name in items.iter().flat_map(|item| &item.services) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    if let ([name], Some(first)) = (&names[..], items.first()) {
        return format!("{name} {}", what(first));
    }
    let recovered = items.iter().all(|item| item.event == Event::Recovered);
    let what = if recovered {
        "work again"
    } else {
        "need a look"
    };
    format!("{} services {what}: {}", names.len(), listed(&names))
}

/// What happened, in one line.
fn headline(item: &Item) -> String {
    let names: Vec<&str> = item.services.iter().map(String::as_str).collect();
    match (&names[..], item.event) {
        ([name], _) => format!("{name} {}", what(item)),
        (names, Event::Recovered) => {
            format!("{} services work again: {}", names.len(), listed(names))
        }
        (names, _) => format!("{} services fail at once: {}", names.len(), listed(names)),
    }
}

fn what(item: &Item) -> String {
    match item.event {
        Event::Failed => "is down and given up".to_owned(),
        Event::RecoveryFailed => format!(
            "does not come back: {} restarts did not help",
            item.attempts
        ),
        Event::Flapping => "fails again and again".to_owned(),
        Event::CannotTell => "can't be checked for 15 minutes".to_owned(),
        Event::Held => "is down and not restarted".to_owned(),
        Event::Recovered => "works again".to_owned(),
    }
}

fn section(item: &Item, subjects: &Subjects, host: &str) -> String {
    let mut lines = Vec::new();
    let mut line = |key: &str, value: &str| {
        if !value.is_empty() {
            lines.push(format!("{key}: {value}"));
        }
    };
    let names: Vec<&str> = item.services.iter().map(String::as_str).collect();
    let subject = match &names[..] {
        [name] => subjects.get(*name),
        _ => None,
    };
    let several = if names.len() == 1 {
        "Service"
    } else {
        "Services"
    };
    line(several, &listed(&names));
    line("Status", &status(item));
    line("Recovery attempt", &attempt(item));
    line("Host", host);
    line(
        "Container",
        subject
            .and_then(|subject| subject.container.as_deref())
            .unwrap_or_default(),
    );
    let covers: Vec<&str> = item.covers.iter().map(String::as_str).collect();
    line("Waiting for it", &listed(&covers));
    line("Seen", &item.time);
    line("Action required", action(item));
    if let Some(subject) = subject.filter(|_| item.event != Event::Recovered) {
        lines.push(String::new());
        lines.push(format!("Health check: {}", subject.check));
        if let Some(restart) = &subject.restart {
            lines.push(format!("Restart command: {restart}"));
        }
        if let Some(log) = &subject.log {
            lines.push(format!("\nView logs: {log}"));
        }
    }
    lines.join("\n")
}

fn status(item: &Item) -> String {
    match item.event {
        Event::Recovered => "it works again".to_owned(),
        Event::CannotTell => format!("nobody knows: it could not be asked: {}", item.reason),
        Event::Failed | Event::RecoveryFailed | Event::Held => {
            format!("failed health check: {}", item.reason)
        }
        Event::Flapping => {
            "it was restarted again and again, and each time that helped for a while only"
                .to_owned()
        }
    }
}

fn attempt(item: &Item) -> String {
    match item.event {
        Event::Failed if item.attempts == 0 => {
            "none is left: it was restarted too often within its window".to_owned()
        }
        Event::Failed => format!(
            "failed {} in a row, and it is given up",
            times(item.attempts)
        ),
        Event::RecoveryFailed => format!(
            "failed {} in a row; it is tried again",
            times(item.attempts)
        ),
        Event::Held => format!("none: {}", item.hold),
        Event::CannotTell => "none: what can't be asked is not restarted".to_owned(),
        Event::Flapping | Event::Recovered => String::new(),
    }
}

fn times(attempts: u32) -> String {
    match attempts {
        1 => "once".to_owned(),
        n => format!("{n} times"),
    }
}

fn action(item: &Item) -> &'static str {
    match item.event {
        Event::Failed => "manual intervention needed: its log says why it does not start",
        Event::RecoveryFailed => "none yet; its log says why it does not start",
        Event::Flapping => "find out why it ends: its log before each restart, memory, disk",
        Event::CannotTell => "mend its check, or what keeps ready-keeper from asking",
        Event::Held if item.services.len() > 1 => {
            "look at this machine first: memory, disk, network"
        }
        Event::Held => "manual intervention needed: see above why it is not restarted",
        Event::Recovered => "",
    }
}

/// As the message of the usual script has them, for failures.
fn tags(event: Event) -> Vec<String> {
    let tags: &[&str] = match event {
        Event::Failed => &["rotating_light", "alert", "auto-recovery"],
        Event::RecoveryFailed | Event::Flapping | Event::Held => &["warning", "auto-recovery"],
        Event::CannotTell => &["grey_question", "auto-recovery"],
        Event::Recovered => &["white_check_mark", "auto-recovery"],
    };
    tags.iter().map(|tag| (*tag).to_owned()).collect()
}

fn listed(names: &[&str]) -> String {
    let named = names.iter().take(MAX_NAMED).copied();
    let mut listed = named.collect::<Vec<&str>>().join(", ");
    if let Some(more) = names.len().checked_sub(MAX_NAMED).filter(|more| *more > 0) {
        listed.push_str(&format!(" and {more} more"));
    }
    listed
}

/// At most so many bytes, of whole characters, and if it can be of whole lines.
pub fn cut(text: &str, max_bytes: usize) -> String {
    if text.len() <= max_bytes {
        return text.to_owned();
    }
    let room = max_bytes.saturating_sub(CUT.len());
    let mut ends = (0..=room).rev();
    let begun = ends.find_map(|end| text.get(..end)).unwrap_or_default();
    // Half a line is no worse than none where the last one is long.
    let whole = match begun.rfind('\n') {
        Some(at) if at > begun.len() / 2 => begun.get(..=at).unwrap_or(begun),
        Some(_) | None => begun,
    };
    format!("{whole}{CUT}")
}

#[cfg(test)]
pub mod tests;
