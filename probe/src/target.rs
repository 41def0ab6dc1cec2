//! The target grammar: what a check asks, parsed once, so that nothing after it can be invalid.

pub mod amount;
mod http;
mod itself;
mod kind;
mod local;
mod managed;
pub mod needs_shell;
pub mod options;
mod resource;
mod scheme;
mod server;
pub mod variables;

use std::time::Duration;

use ready_probe_sdk::clock::millis;
use ready_probe_sdk::freshness::Span;
use ready_probe_sdk::signal::{Name, clean};

use crate::duration::duration;
use crate::grace::{self, Grace};
use crate::redact::{Secrets, shown};
use crate::time_limit;
use crate::verdict::Scope;
pub use kind::{
    Body, ContainerTarget, FileTarget, HttpNot, HttpTarget, Kind, NatsTarget, Opener, RedisRole,
    RedisTarget, Resource, SupervisorTarget,
};
use options::Options;
use scheme::{SCHEMES, no_scheme, unknown_scheme};
use variables::{Lookup, Unusable, Variables};

/// The least time between two questions of one check, while an answer is held.
const RECHECK_LEAST: Duration = Duration::from_millis(100);

/// How much of a target is printed and remembered at most: a path may have any length, and hold
/// line ends.
const MAX_REDACTED_CHARS: usize = 1_000;

/// One question, ready to be asked.
#[derive(Debug, Clone)]
pub struct Target {
    /// What to ask.
    pub kind: Kind,
    /// The target as it is printed: without secrets, timing and naming options. It also is the
    /// check's identity from one probe to the next.
    pub redacted: String,
    /// What it is called in reports, if not by its target.
    pub name: Option<String>,
    /// Its own time limit, within the probe's.
    pub timeout: Option<Duration>,
    /// Its own grace.
    pub grace: Option<Grace>,
    /// While an answer is held: how long it has not to pass before that is news, if it says so.
    pub confirm: Option<Duration>,
    /// While an answer is held: how often it is asked again, if it says so.
    pub recheck: Option<Duration>,
    /// It is only reported, and never decides.
    pub optional: bool,
    /// Pass and Fail change places. Where something is expected, the kind's own `not` is set instead.
    pub not: bool,
    /// Whose fault it finds.
    pub scope: Scope,
}

/// The name of the check that looks for agents; every other target has a scheme.
pub const AGENTS: &str = "agents";

impl Target {
    /// Parses a target with its own options, and `more` from elsewhere, as it is: no variable is
    /// looked up. Its secrets are added to `secrets`.
    ///
    /// The error quotes the target up to its scheme at most: what follows may hold a secret.
    pub fn parse(text: &str, more: Options, secrets: &mut Secrets) -> Result<Self, String> {
        Self::parse_with(text, more, &Variables::default(), secrets)
    }

    /// The same with variables, which are looked up once. `exec:` has none: a `$` there is its
    /// command's business.
    pub fn parse_configured(
        text: &str,
        more: Options,
        lookup: Lookup<'_>,
        secrets: &mut Secrets,
    ) -> Result<Self, Unusable> {
        let text = text.trim();
        let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
        if scheme.eq_ignore_ascii_case("exec") || !text.contains("${") {
            return Ok(Self::parse(text, more, secrets)?);
        }
        let (text, mut variables) = Variables::take(text, lookup)?;
        if let Some((whole, fragment)) = variables.target(&text) {
            variables.classify_options(whole, fragment, secrets);
            let mut options = Options::parse(fragment, &variables)?;
            options.extend(more);
            let value = variables.raw(&whole.to_string());
            return Ok(Self::parse_value(
                &value,
                &variables.names(),
                options,
                secrets,
            )?);
        }
        match text.split_once(':') {
            Some((scheme, rest)) if variables.shown(scheme) == scheme => {
                variables.classify(&scheme.to_ascii_lowercase(), rest, secrets);
            }
            Some(_) | None => {
                return Err(Unusable::Text(format!(
                    "a variable holds no scheme unless it is the whole target, or all before its #options: {}",
                    variables.names()
                )));
            }
        }
        let parsed = Self::parse_with(&text, more, &variables, secrets);
        Ok(parsed.map_err(|e| match variables.is_empty() {
            true => e,
            false => format!("{e} (with {})", variables.names()),
        })?)
    }

    /// The same for a target that stands on the probe's own command line.
    pub fn parse_typed(
        text: &str,
        lookup: Lookup<'_>,
        secrets: &mut Secrets,
    ) -> Result<Self, Unusable> {
        let target = Self::parse_configured(text, Options::default(), lookup, secrets)?;
        // From a variable, its words stand there only if they are those of the default.
        let typed = |argv: &[String]| {
            !text.trim().starts_with("${") || argv.iter().all(|word| text.contains(word.as_str()))
        };
        if let Kind::Exec(argv) = &target.kind
            && typed(argv)
            && let Some(why) = itself::found_by_typed(argv)
        {
            return Err(Unusable::Text(format!("the target \"exec:…\": {why}")));
        }
        Ok(target)
    }

    /// A whole target from a variable. Without a scheme it is not quoted, unlike a word that
    /// somebody typed.
    fn parse_value(
        value: &str,
        name: &str,
        more: Options,
        secrets: &mut Secrets,
    ) -> Result<Self, String> {
        let scheme = value.trim().split_once(':').map(|(scheme, _)| scheme);
        let is_known =
            |known: &str| scheme.is_some_and(|scheme| known.eq_ignore_ascii_case(scheme));
        if !SCHEMES.split(", ").any(is_known) {
            return Err(format!(
                "the value of {name} is no target: it is written SCHEME:…"
            ));
        }
        Self::parse(value, more, secrets).map_err(|e| format!("{e} (with {name})"))
    }

    fn parse_with(
        text: &str,
        more: Options,
        variables: &Variables,
        secrets: &mut Secrets,
    ) -> Result<Self, String> {
        let text = text.trim();
        let Some((written, rest)) = text.split_once(':') else {
            return Err(no_scheme(text));
        };
        // RFC 3986, 3.1.
        let scheme = written.to_ascii_lowercase();
        let text = &format!("{scheme}:{rest}");
        let in_target =
            |e: String| format!("the target {:?}: {e}", format!("{}:…", clean(&scheme, 20)));
        let parsed = match scheme.as_str() {
            "agent" => local::agent(rest, more, variables),
            "process" => local::process(rest, more, variables),
            "pid" => local::pid(rest, more, variables),
            "exec" => local::exec(rest, more),
            "file" => local::file(rest, more, variables),
            "supervisor" => managed::supervisor(rest, more, variables, secrets),
            "container" => managed::container(rest, more, variables),
            "disk" => resource::disk(rest, more, variables),
            "fds" => resource::fds(rest, more, variables),
            "pids" => resource::pids(rest, more, variables),
            "zombies" => resource::zombies(rest, more, variables),
            "redis" | "rediss" | "redis+unix" | "nats" | "tls" | "http" | "https" | "http+unix"
            | "tcp" | "unix"
                if !rest.starts_with("//") =>
            {
                Err(format!("it is written {scheme}://…"))
            }
            "redis" | "rediss" | "redis+unix" => server::redis(text, more, variables, secrets),
            "nats" | "tls" => server::nats(text, more, variables, secrets),
            "http" | "https" | "http+unix" => http::parse(text, more, variables, secrets),
            "tcp" => server::tcp(text, more, variables),
            "unix" => server::unix(text, more, variables),
            "peer" => local::peer(rest, more, variables),
            _ => return Err(unknown_scheme(written)),
        };
        parsed.map_err(in_target)
    }

    /// What `REDIS_URL` holds: also `host:port`, and the schemes of other clients.
    pub fn redis_of_application(text: &str, secrets: &mut Secrets) -> Result<Self, String> {
        let text = with_scheme(text, "redis");
        server::redis(&text, Options::default(), &Variables::default(), secrets)
    }

    /// What `NATS_URL` holds: also `host:port`.
    pub fn nats_of_application(text: &str, secrets: &mut Secrets) -> Result<Self, String> {
        let text = with_scheme(text, "nats");
        server::nats(&text, Options::default(), &Variables::default(), secrets)
    }

    /// A target that passes when one of several does.
    pub fn any(targets: Vec<Self>, mut options: Options) -> Result<Self, String> {
        if targets.is_empty() {
            return Err("any needs at least one target".to_owned());
        }
        options.check_known("any", &[])?;
        let labels: Vec<&str> = targets.iter().map(|t| t.redacted.as_str()).collect();
        let redacted = format!("any({}){}", labels.join(", "), options.redacted());
        let own = targets.iter().all(|t| t.scope == Scope::Own);
        let scope = if own { Scope::Own } else { Scope::Dependency };
        let any = Self::with_common(Kind::Any(targets), &redacted, scope, &mut options)?;
        if any.not {
            // Its members would answer for others: what can't be asked is no "none of these".
            return Err(
                "not is no option of any: for \"none of these\", write a check with not for each"
                    .to_owned(),
            );
        }
        Ok(any)
    }

    /// The check of one agent, with no options.
    pub fn agent(name: Name) -> Self {
        let redacted = format!("agent:{name}");
        Self::plain(Kind::Agent { name, min: 1 }, &redacted)
    }

    fn plain(kind: Kind, redacted: &str) -> Self {
        Self {
            kind,
            redacted: redacted.to_owned(),
            name: None,
            timeout: None,
            grace: None,
            confirm: None,
            recheck: None,
            optional: false,
            not: false,
            scope: Scope::Own,
        }
    }

    /// Looks for the agents of this container.
    pub fn agents() -> Self {
        Self::plain(Kind::Agents, AGENTS)
    }

    /// Whether it is about signals in `READY_STORE`.
    pub fn asks_store(&self) -> bool {
        self.asks(|kind| matches!(kind, Kind::Peer { .. }))
    }

    /// Whether it, or one of several in it, is such a question.
    pub fn asks(&self, is_one: impl Fn(&Kind) -> bool + Copy) -> bool {
        match &self.kind {
            Kind::Any(targets) => targets.iter().any(|target| target.asks(is_one)),
            kind => is_one(kind),
        }
    }

    /// What it is called in reports.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.redacted)
    }

    /// Takes the options of every target.
    fn with_common(
        kind: Kind,
        redacted: &str,
        scope: Scope,
        options: &mut Options,
    ) -> Result<Self, String> {
        let is_agent = matches!(kind, Kind::Agent { .. });
        let at_once = |option, value: Option<Duration>| match value {
            Some(_) if is_agent => Err(format!(
                "{option} is no option of agent: what an agent says counts at once"
            )),
            value => Ok(value),
        };
        Ok(Self {
            kind,
            redacted: clean(redacted, MAX_REDACTED_CHARS),
            name: options.parsed("name", report_name)?,
            timeout: options.parsed("timeout", time_limit::parse)?,
            grace: options.parsed("grace", grace::parse)?,
            confirm: at_once("confirm", options.parsed("confirm", duration)?)?,
            recheck: at_once("recheck", options.parsed("recheck", recheck)?)?,
            optional: options.flag("optional")?,
            not: options.flag("not")?,
            scope: options.parsed("scope", scope_word)?.unwrap_or(scope),
        })
    }
}

fn with_scheme(text: &str, scheme: &str) -> String {
    let text = text.trim();
    if text.contains("://") {
        return text.to_owned();
    }
    format!("{scheme}://{text}")
}

fn report_name(text: &str) -> Result<String, String> {
    if text.chars().count() <= 64 && clean(text, 64) == text {
        return Ok(text.to_owned());
    }
    Err("a name for reports is at most 64 printable characters".to_owned())
}

fn recheck(text: &str) -> Result<Duration, String> {
    let recheck = duration(text)?;
    if recheck < RECHECK_LEAST {
        return Err(format!(
            "{} is too often: at least {}",
            shown(text),
            Span(millis(RECHECK_LEAST))
        ));
    }
    Ok(recheck)
}

fn scope_word(text: &str) -> Result<Scope, String> {
    match text {
        "own" => Ok(Scope::Own),
        "dependency" => Ok(Scope::Dependency),
        _ => Err("it must be own or dependency".to_owned()),
    }
}

#[cfg(test)]
mod tests;
