//! Targets about what runs out: disks, descriptors, processes. A restart mends none of them, so they decide nothing
//! unless they are told to.

use ready_probe_sdk::signal::clean;

use super::amount::{percent, percent_or_number, percent_or_size};
use super::local::{absolute, split};
use super::options::Options;
use super::variables::Variables;
use super::{Kind, Opener, Resource, Target};
use crate::verdict::Scope;

/// `disk:/PATH`. Its options begin at the first `#`: one that is misspelt must not become a part of the path.
pub(super) fn disk(body: &str, more: Options, variables: &Variables) -> Result<Target, String> {
    let (path, mut options) = Options::split(body, variables)?;
    options.extend(more);
    options.check_known("disk", &["free", "inodes"])?;
    let redacted = format!("disk:{}{}", variables.shown(path), options.redacted());
    let disk = Resource::Disk {
        path: absolute(&variables.raw(path))?,
        free: options.parsed("free", percent_or_size)?,
        inodes: options.parsed("inodes", percent_or_number)?,
    };
    reported(disk, &redacted, options)
}

/// `fds:PATTERN` and `fds:system`.
pub(super) fn fds(body: &str, more: Options, variables: &Variables) -> Result<Target, String> {
    let (pattern, mut options) = split(body, more, variables, "fds", &["used"])?;
    let redacted = format!(
        "fds:{}{}",
        clean(&variables.shown(&pattern), 80),
        options.redacted()
    );
    let pattern = variables.raw(&pattern);
    let of = match pattern.trim() {
        "" => {
            return Err(
                "it needs a part of a command line, or system: fds:nginx#used=90%".to_owned(),
            );
        }
        "system" => Opener::System,
        _ => Opener::Processes(pattern),
    };
    let used = options.parsed("used", percent)?;
    reported(Resource::Descriptors { of, used }, &redacted, options)
}

/// `pids:`
pub(super) fn pids(body: &str, more: Options, variables: &Variables) -> Result<Target, String> {
    let (redacted, mut options) = without_body(body, more, variables, "pids", "used")?;
    let used = options.parsed("used", percent)?;
    reported(Resource::Pids { used }, &redacted, options)
}

/// `zombies:`
pub(super) fn zombies(body: &str, more: Options, variables: &Variables) -> Result<Target, String> {
    let (redacted, mut options) = without_body(body, more, variables, "zombies", "max")?;
    let number = |text: &str| text.parse().map_err(|_| "it must be a number".to_owned());
    let max = options.parsed("max", number)?;
    reported(Resource::Zombies { max }, &redacted, options)
}

fn without_body(
    body: &str,
    more: Options,
    variables: &Variables,
    scheme: &str,
    option: &str,
) -> Result<(String, Options), String> {
    let (body, mut options) = Options::split(body, variables)?;
    options.extend(more);
    options.check_known(scheme, &[option])?;
    if !body.is_empty() {
        return Err(format!(
            "it is written {scheme}:#{option}=…, with nothing before the #"
        ));
    }
    Ok((format!("{scheme}:{}", options.redacted()), options))
}

fn reported(resource: Resource, redacted: &str, mut options: Options) -> Result<Target, String> {
    let optional = options.said("optional")?.unwrap_or(true);
    let has_limit = resource.has_limit();
    let mut target =
        Target::with_common(Kind::Resource(resource), redacted, Scope::Own, &mut options)?;
    if target.not && !has_limit {
        return Err(
            "the option not needs a limit beside it: without one it always passes".to_owned(),
        );
    }
    target.optional = optional;
    Ok(target)
}
