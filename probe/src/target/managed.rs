//! Targets that somebody starts and watches: supervisord's programs, an engine's containers. It is asked, not they.

use std::path::PathBuf;

use data_encoding::BASE64;
use ready_probe_sdk::connect::{Endpoint, Secret};
use ready_probe_sdk::signal::clean;

use super::options::Options;
use super::server::host_and_port;
use super::variables::Variables;
use super::{ContainerTarget, Kind, SupervisorTarget, Target};
use crate::redact::Secrets;
use crate::verdict::Scope;

/// Where Debian's supervisord listens.
const SUPERVISOR: &str = "/var/run/supervisor.sock";
/// Where Docker does.
const DOCKER: &str = "/var/run/docker.sock";

/// `supervisor:NAME`
pub(super) fn supervisor(
    body: &str,
    more: Options,
    variables: &Variables,
    secrets: &mut Secrets,
) -> Result<Target, String> {
    let (name, mut options) = Options::split(body, variables)?;
    options.extend(more);
    options.check_known("supervisor", &["socket", "inet", "user", "password"])?;
    let shown = clean(&variables.shown(name), 80);
    let redacted = format!("supervisor:{shown}{}", options.redacted());
    let program = variables.raw(name);
    if program.trim().is_empty() || program.contains(char::is_control) {
        return Err("it needs a program: supervisor:NAME, or supervisor:GROUP:NAME".to_owned());
    }
    let authorization = match (options.value("user")?, options.text("password")?) {
        (None, None) => None,
        (Some(user), Some(password)) => {
            secrets.add(&password);
            let encoded = BASE64.encode(format!("{user}:{password}").as_bytes());
            secrets.add(&encoded);
            Some(Secret::new(format!("Basic {encoded}")))
        }
        (Some(_), None) | (None, Some(_)) => {
            return Err("the options user and password need each other".to_owned());
        }
    };
    let at = place(&mut options, SUPERVISOR)?;
    let supervisor = SupervisorTarget {
        program,
        at,
        authorization,
    };
    let kind = Kind::Supervisor(supervisor);
    Target::with_common(kind, &redacted, Scope::Own, &mut options)
}

/// `container:NAME`
pub(super) fn container(
    body: &str,
    more: Options,
    variables: &Variables,
) -> Result<Target, String> {
    let (name, mut options) = Options::split(body, variables)?;
    options.extend(more);
    options.check_known("container", &["socket", "inet"])?;
    let shown = clean(&variables.shown(name), 80);
    let redacted = format!("container:{shown}{}", options.redacted());
    let name = variables.raw(name);
    // As engines have them; anything else would be another path of their API.
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(is_part) {
        return Err("it needs the name of a container: container:NAME".to_owned());
    }
    let at = place(&mut options, DOCKER)?;
    let kind = Kind::Container(ContainerTarget { name, at });
    Target::with_common(kind, &redacted, Scope::Dependency, &mut options)
}

/// `socket=/PATH` or `inet=HOST:PORT`
fn place(options: &mut Options, usual: &str) -> Result<Endpoint, String> {
    match (options.value("socket")?, options.value("inet")?) {
        (None, None) => Ok(Endpoint::Unix(PathBuf::from(usual))),
        (Some(path), None) if path.starts_with('/') => Ok(Endpoint::Unix(PathBuf::from(path))),
        (Some(_), None) => Err("the option socket needs an absolute path".to_owned()),
        (None, Some(address)) => host_and_port(&format!("tcp://{address}"))
            .map_err(|_| "the option inet is written inet=HOST:PORT".to_owned()),
        (Some(_), Some(_)) => Err("socket and inet exclude each other".to_owned()),
    }
}
