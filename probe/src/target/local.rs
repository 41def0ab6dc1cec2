//! Targets without an address: agents here and elsewhere, processes, commands, files.

use std::path::PathBuf;

use ready_probe_sdk::signal::{NAME_RULE, NO_AGENTS, Name, clean};

use super::options::Options;
use super::variables::Variables;
use super::{FileTarget, Kind, Target, itself};
use crate::time_limit;
use crate::verdict::Scope;

pub(super) fn agent(body: &str, more: Options, variables: &Variables) -> Result<Target, String> {
    let kind = |name, min| Kind::Agent { name, min };
    named("agent", body, more, variables, kind, Scope::Own)
}

pub(super) fn peer(body: &str, more: Options, variables: &Variables) -> Result<Target, String> {
    let kind = |name, min| Kind::Peer { name, min };
    named("peer", body, more, variables, kind, Scope::Dependency)
}

/// `scheme:NAME#min=N`
fn named(
    scheme: &str,
    body: &str,
    more: Options,
    variables: &Variables,
    kind: impl Fn(Name, usize) -> Kind,
    scope: Scope,
) -> Result<Target, String> {
    // A name can't hold a `#`, so the first one begins the options.
    let (name, mut options) = Options::split(body, variables)?;
    options.extend(more);
    options.check_known(scheme, &["min"])?;
    let redacted = options.redacted();
    let name = variables.raw(name);
    let name = match (name.as_ref(), Name::of_agent(&name)) {
        (_, Ok(name)) => name,
        (NO_AGENTS, Err(e)) => return Err(e.to_string()),
        (_, Err(_)) => return Err(format!("invalid name: a name is {NAME_RULE}")),
    };
    let redacted = format!("{scheme}:{name}{redacted}");
    let min = options.min()?;
    Target::with_common(kind(name, min), &redacted, scope, &mut options)
}

pub(super) fn process(body: &str, more: Options, variables: &Variables) -> Result<Target, String> {
    let (pattern, mut options) = split(body, more, variables, "process", &["min"])?;
    if variables.raw(&pattern).trim().is_empty() {
        return Err("it needs a part of a command line: process:python agent.py".to_owned());
    }
    let shown = clean(&variables.shown(&pattern), 80);
    let redacted = format!("process:{shown}{}", options.redacted());
    let pattern = variables.raw(&pattern);
    let min = options.min()?;
    let kind = Kind::Process { pattern, min };
    Target::with_common(kind, &redacted, Scope::Own, &mut options)
}

pub(super) fn pid(body: &str, more: Options, variables: &Variables) -> Result<Target, String> {
    let (path, mut options) = split(body, more, variables, "pid", &[])?;
    let redacted = format!("pid:{}{}", variables.shown(&path), options.redacted());
    let path = absolute(&variables.raw(&path))?;
    Target::with_common(Kind::Pid(path), &redacted, Scope::Own, &mut options)
}

/// A command's arguments may hold secrets: only its program is printed.
pub(super) fn exec(body: &str, more: Options) -> Result<Target, String> {
    let none = Variables::default();
    let (command, mut options) = split(body, more, &none, "exec", &[])?;
    let argv = shell_words::split(&command)
        .map_err(|_| "its quotes are not closed; it is split as a shell splits words".to_owned())?;
    let Some(program) = argv.first().filter(|program| !program.is_empty()) else {
        return Err("it needs a command: exec:CMD ARG…".to_owned());
    };
    if let Some(why) = itself::found_by_shell(&argv) {
        return Err(why);
    }
    let rest = if argv.len() > 1 { " …" } else { "" };
    let redacted = format!("exec:{}{rest}{}", clean(program, 80), options.redacted());
    Target::with_common(Kind::Exec(argv), &redacted, Scope::Own, &mut options)
}

pub(super) fn file(body: &str, more: Options, variables: &Variables) -> Result<Target, String> {
    let (path, mut options) = split(body, more, variables, "file", &["max_age", "contains"])?;
    let redacted = format!("file:{}{}", variables.shown(&path), options.redacted());
    let path = absolute(&variables.raw(&path))?;
    let mut file = FileTarget {
        path,
        max_age: options.parsed("max_age", time_limit::parse)?,
        contains: options.values("contains")?,
        not: false,
    };
    let expects = file.max_age.is_some() || !file.contains.is_empty();
    file.not = expects && options.flag("not")?;
    Target::with_common(Kind::File(file), &redacted, Scope::Own, &mut options)
}

/// Splits at the last `#`, but only if everything after it is options: a body may hold a `#`
/// itself.
pub(super) fn split(
    body: &str,
    more: Options,
    variables: &Variables,
    kind: &str,
    known: &[&str],
) -> Result<(String, Options), String> {
    let (body, mut options) = match body.rsplit_once('#') {
        Some((before, fragment)) => match Options::parse(fragment, variables) {
            Ok(options) if !fragment.is_empty() && options.all_known(known) => (before, options),
            Ok(_) | Err(_) => (body, Options::default()),
        },
        None => (body, Options::default()),
    };
    options.extend(more);
    options.check_known(kind, known)?;
    Ok((body.to_owned(), options))
}

pub(super) fn absolute(path: &str) -> Result<PathBuf, String> {
    if path.starts_with('/') {
        return Ok(PathBuf::from(path));
    }
    Err("it needs an absolute path: the working directory is the image's".to_owned())
}
