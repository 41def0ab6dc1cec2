//! The functions for whoever holds no [`Agent`]: the process holds the agents.

use std::path::Path;

use serde::Serialize;

use crate::agents::Agents;
use crate::folder::Folder;
use crate::signal::Name;
use crate::{Agent, Error, ErrorKind, Result};

/// Says that agent `name` does its work: `details` is anything that serialises to a JSON object,
/// or `()`. The first call registers the agent, with a TTL of 60 s; its signal is kept alive from
/// then on. Returns once the local signal is written.
///
/// Call [`close_all`] before the process ends: to the container's health check, a process that just
/// ends has died.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # ready_probe_sdk::use_dir(dir.path())?;
/// use ready_probe_sdk::{close_all, mark_agent_ready};
///
/// mark_agent_ready("translator", serde_json::json!({ "port": 5555 }))?;
/// mark_agent_ready("reader", ())?;
/// // … work …
/// close_all("deploy");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`crate::AgentBuilder::register`] and [`Agent::mark_ready`].
pub fn mark_agent_ready(name: &str, details: impl Serialize) -> Result<()> {
    Agent::builder(name).mark_ready(details)
}

/// Says that agent `name` can't do its work now, and why. The first call registers the agent, as
/// [`mark_agent_ready`] does.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # ready_probe_sdk::use_dir(dir.path())?;
/// use ready_probe_sdk::{ErrorKind, mark_agent_not_ready};
///
/// mark_agent_not_ready("translator", "reloading the model")?;
/// let refused = mark_agent_not_ready("../translator", "reloading").unwrap_err();
/// assert_eq!(refused.kind(), ErrorKind::InvalidName);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`crate::AgentBuilder::register`] and [`Agent::mark_not_ready`]; and [`ErrorKind::Forked`]
/// in a forked child for a name that only its parent publishes.
pub fn mark_agent_not_ready(name: &str, reason: &str) -> Result<()> {
    let agents = Agents::current();
    if agents.has_inherited(&Name::of_agent(name)?) {
        return Err(Error::new(
            ErrorKind::Forked,
            format!(
                "agent {name} belongs to the process this one was forked from: mark it there, or \
                 publish this process's own with mark_agent_ready"
            ),
        ));
    }
    let member = Agent::builder(name).held_by(agents)?;
    member.publisher.mark_not_ready(reason)
}

/// The agent of that name that this process publishes, whoever holds it; `None` if there is none,
/// as in a forked child that has not registered its own. Dropping the result leaves the agent as it
/// is; closing it ends the agent.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # ready_probe_sdk::use_dir(dir.path())?;
/// use ready_probe_sdk::{State, find_agent, mark_agent_ready};
///
/// mark_agent_ready("translator", ())?;
/// let translator = find_agent("translator").ok_or("not marked yet")?;
/// assert_eq!(translator.state(), State::Ready);
/// assert!(find_agent("reader").is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn find_agent(name: &str) -> Option<Agent> {
    let name = Name::of_agent(name).ok()?;
    Agents::current().find(&name).map(Agent::found)
}

/// Publishes `stopping` for every agent of this process and removes their signals: what a process
/// does before it ends. An [`Agent`] does so by itself when it is dropped.
///
/// ```
/// ready_probe_sdk::close_all("deploy");
/// ```
pub fn close_all(reason: &str) {
    let agents = Agents::current();
    for member in agents.members() {
        // If it can't be written, that was logged when it began to fail; the signal is removed even
        // so.
        let _ = member.publisher.stop(reason);
        member.remove();
    }
    agents.wait_withdrawn();
}

/// Publishes whatever this process registers from now on in `dir`, instead of `READY_DIR` and the
/// defaults. The folder is made when the first agent registers.
///
/// ```
/// use std::path::Path;
/// use ready_probe_sdk::{ErrorKind, use_dir};
///
/// let refused = use_dir(Path::new("signals")).unwrap_err();
/// assert_eq!(refused.kind(), ErrorKind::InvalidConfig);
/// ```
///
/// # Errors
/// [`ErrorKind::InvalidConfig`] when the path is not absolute.
pub fn use_dir(dir: &Path) -> Result<()> {
    Agents::current().use_folder(Folder::at(dir)?);
    Ok(())
}
