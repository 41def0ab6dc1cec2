//! The kinds of target by name, and what to say about a text that is none.

use ready_probe_sdk::signal::Name;

pub(super) const SCHEMES: &str = "agent, peer, redis, rediss, redis+unix, nats, tls, http, https, http+unix, tcp, \
                       unix, process, pid, exec, file, supervisor, container, disk, fds, pids, zombies";

/// A scheme is letters, digits, `+`, `-` and `.` (RFC 3986, 3.1); anything else before the first
/// colon is something else, perhaps a user before its password.
pub(super) fn unknown_scheme(scheme: &str) -> String {
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    if scheme.is_empty() || scheme.len() > 20 || !scheme.chars().all(is_scheme) {
        return format!("it is no kind of target (there are: {SCHEMES})");
    }
    format!(
        "{:?} is no kind of target (there are: {SCHEMES})",
        format!("{scheme}:")
    )
}

/// What somebody types who means a command, not an agent.
const NOT_COMMANDS: [&str; 6] = ["help", "version", "check", "probe", "run", "health"];

/// A text without a scheme is quoted only if it can't be a secret: a word as short and plain as a
/// command or an agent's name.
pub(super) fn no_scheme(text: &str) -> String {
    match Name::new(text) {
        Ok(name) if ["wait", "mark", "list", "config"].contains(&name.as_str()) => {
            format!("the command {name} comes before its targets")
        }
        Ok(name) if NOT_COMMANDS.contains(&name.as_str()) => format!(
            "there is no command {name}, and a target is written SCHEME:…; see ready-probe --help"
        ),
        Ok(name) if name.as_str().len() <= 24 => format!(
            "{:?} is neither a command nor a target; a target is written SCHEME:…, for example \
             agent:{name} or tcp://{name}:80",
            name.as_str()
        ),
        Ok(_) | Err(_) => {
            "a target is written SCHEME:…, for example agent:translator or redis://redis:6379"
                .to_owned()
        }
    }
}
