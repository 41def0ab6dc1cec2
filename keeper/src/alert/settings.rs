//! Where alerts go. Parsed once; an address that stands in a file is read when something is sent, by the process that sends
//! it: the file may lie on a disk that hangs.

use std::path::PathBuf;

use ready_probe::redact::{Secrets, shown};
use ready_probe::target::options::{Options, TLS};
use ready_probe::target::{HttpTarget, Kind, Target};
use ready_probe_sdk::connect::Secret;
use ready_probe_sdk::connect::env_or_file::{Lookup, text};

/// Where ntfy is, for services whose `notify_on_fail` names a topic.
pub const NTFY_URL: &str = "READY_KEEPER_NTFY_URL";
/// Or the file that holds it.
pub const NTFY_URL_FILE: &str = "READY_KEEPER_NTFY_URL_FILE";
/// What may stand behind the # of an address, beside the options of TLS.
const HEADER: &str = "header";
/// How much of a topic is shown: whoever knows a topic of a public server can read it.
const TOPIC_CHARS: usize = 2;

/// Somewhere to send alerts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// By what it is known: in settings, and in what is remembered.
    pub name: String,
    /// What takes the messages there.
    pub receiver: Receiver,
    /// Its address.
    pub url: Hidden,
    /// What proves that we may: `Authorization: Bearer`.
    pub token: Option<Hidden>,
}

/// What takes messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receiver {
    /// ntfy. Without a topic, the last part of the address is the topic.
    Ntfy {
        /// The topic.
        topic: Option<String>,
    },
    /// Anything that takes JSON.
    Webhook {
        /// All of a message as the text of this field; without it each part has a field of its own.
        field: Option<String>,
    },
}

/// A text that is never printed, or the file that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hidden {
    /// The text itself.
    Text(Secret),
    /// The file.
    File(PathBuf),
}

/// A channel as a file of settings has it: `[alert.NAME]`. Not to be printed, it may hold secrets.
#[derive(Clone, Default)]
pub struct ChannelFields {
    /// `ntfy` or `webhook`.
    pub kind: String,
    /// Its address,
    pub url: Option<String>,
    /// or the file that holds it.
    pub url_file: Option<PathBuf>,
    /// ntfy's topic, unless it is the last part of the address.
    pub topic: Option<String>,
    /// A token,
    pub token: Option<String>,
    /// or the file that holds it.
    pub token_file: Option<PathBuf>,
    /// For a webhook: the field that holds the whole message.
    pub field: Option<String>,
}

impl ChannelFields {
    /// The channel of that name. The error begins with the key that is wrong, and holds no address.
    pub fn channel(self, name: &str) -> Result<Channel, String> {
        let kind = self.kind.as_str();
        let receiver = match kind {
            "ntfy" if self.field.is_some() => {
                return Err("field: only a webhook has one".to_owned());
            }
            "ntfy" => Receiver::Ntfy { topic: self.topic },
            "webhook" if self.topic.is_some() => {
                return Err("topic: only ntfy has topics".to_owned());
            }
            "webhook" => Receiver::Webhook { field: self.field },
            other => {
                return Err(format!("kind: {} is none of ntfy, webhook", shown(other)));
            }
        };
        let url = hidden(self.url, self.url_file, "url")?;
        let url = url.ok_or("url: it is missing, and so is url_file")?;
        let token = hidden(self.token, self.token_file, "token")?;
        let channel = Channel {
            name: name.to_owned(),
            receiver,
            url,
            token,
        };
        channel.check()?;
        Ok(channel)
    }
}

fn hidden(
    text: Option<String>,
    file: Option<PathBuf>,
    key: &str,
) -> Result<Option<Hidden>, String> {
    match (text, file) {
        (Some(_), Some(_)) => Err(format!("{key}_file: {key} is set as well: set one of them")),
        (Some(text), None) if text.trim().is_empty() => Err(format!("{key}: it is empty")),
        (Some(text), None) => Ok(Some(Hidden::Text(Secret::new(text.trim())))),
        (None, Some(path)) if !path.is_absolute() => Err(format!(
            "{key}_file: an absolute path is needed: cron and a shell have different working directories"
        )),
        (None, Some(path)) => Ok(Some(Hidden::File(path))),
        (None, None) => Ok(None),
    }
}

impl Channel {
    /// The topics of `notify_on_fail` are those of the ntfy server of the environment, if it names one.
    pub fn of_topic(topic: &str, url: &Hidden) -> Result<Self, String> {
        let channel = Self {
            name: format!("ntfy:{topic}"),
            receiver: Receiver::Ntfy {
                topic: Some(topic.to_owned()),
            },
            url: url.clone(),
            token: None,
        };
        channel.check()?;
        Ok(channel)
    }

    /// What it is called where others may read it.
    pub fn shown(&self) -> String {
        match self.name.strip_prefix("ntfy:") {
            Some(topic) => format!("ntfy's topic {}", topic_shown(topic)),
            None => self.name.clone(),
        }
    }

    /// Whether something can be sent there, as far as that can be known now.
    fn check(&self) -> Result<(), String> {
        if let Receiver::Ntfy { topic: Some(topic) } = &self.receiver {
            check_topic(topic)?;
        }
        if let Receiver::Webhook { field: Some(field) } = &self.receiver
            && (field.is_empty() || field.len() > 64)
        {
            return Err(
                "field: it is the name of a field of JSON, such as text or content".to_owned(),
            );
        }
        match &self.url {
            Hidden::Text(url) => server(url.reveal(), &self.receiver, &mut Secrets::default())
                .map(drop)
                .map_err(|e| format!("url: {e}")),
            Hidden::File(_) => Ok(()),
        }
    }
}

/// A topic where others may read it.
pub fn topic_shown(topic: &str) -> String {
    let begun: String = topic.chars().take(TOPIC_CHARS).collect();
    format!("{begun}…")
}

/// Where ntfy is, by the environment.
pub fn ntfy_of_environment(lookup: Lookup<'_>) -> Result<Option<Hidden>, String> {
    let read = |name: &str| text(lookup, name).map_err(|e| format!("{}: {}", e.source, e.why));
    let file = read(NTFY_URL_FILE)?.map(PathBuf::from);
    hidden(read(NTFY_URL)?, file, NTFY_URL)
        .map_err(|e| e.replace(&format!("{NTFY_URL}_file"), NTFY_URL_FILE))
}

/// A server, and ntfy's topic there.
#[derive(Debug)]
pub struct Server {
    /// Where to send to.
    pub target: HttpTarget,
    /// The topic; empty for a webhook.
    pub topic: String,
}

/// What an address means. Its secrets are added to `secrets`; the error holds none.
pub fn server(url: &str, receiver: &Receiver, secrets: &mut Secrets) -> Result<Server, String> {
    let scheme = url.split("://").next().unwrap_or_default();
    if !["http", "https", "http+unix"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
    {
        return Err("it is written https://HOST/…".to_owned());
    }
    if url
        .split_once('#')
        .is_some_and(|(_, options)| !are_ours(options))
    {
        return Err(format!(
            "what follows its # means nothing here; there are: {}, {HEADER}; a # in a password is written %23",
            TLS.join(", ")
        ));
    }
    let Kind::Http(mut target) = Target::parse(url, Options::default(), secrets)?.kind else {
        return Err("it is written https://HOST/…".to_owned());
    };
    // Whoever knows the path may write there, too.
    for part in target.path.split(['/', '?']).filter(|part| part.len() > 5) {
        secrets.add(part);
    }
    let topic = match receiver {
        Receiver::Webhook { .. } => String::new(),
        Receiver::Ntfy { topic: Some(topic) } => topic.clone(),
        Receiver::Ntfy { topic: None } => take_topic(&mut target.path)?,
    };
    Ok(Server { target, topic })
}

fn are_ours(options: &str) -> bool {
    let pairs = options.split('&').filter(|pair| !pair.is_empty());
    let mut keys = pairs.map(|pair| pair.split('=').next().unwrap_or_default());
    keys.all(|key| key == HEADER || TLS.contains(&key))
}

/// Messages in JSON go to the server's own address: the topic is one of their fields
/// (<https://docs.ntfy.sh/publish/#publish-as-json>).
fn take_topic(path: &mut String) -> Result<String, String> {
    let (before, query) = match path.split_once('?') {
        Some((before, query)) => (before, format!("?{query}")),
        None => (path.as_str(), String::new()),
    };
    let before = before.trim_end_matches('/');
    let (base, topic) = before.rsplit_once('/').unwrap_or_default();
    if topic.is_empty() {
        return Err("there is no topic: set topic, or write it behind the address".to_owned());
    }
    check_topic(topic)?;
    let topic = topic.to_owned();
    *path = format!("{base}/{query}");
    Ok(topic)
}

/// As ntfy's server has it.
fn check_topic(topic: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if topic.is_empty() || topic.len() > 64 || !topic.chars().all(is_plain) {
        return Err("topic: it is made of 1 to 64 letters, digits, - and _".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
