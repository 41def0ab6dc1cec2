//! Where a command's settings lie on a mount that may hang, all of the command is a child's. This process
//! passes on what the child says, and how it ends.

use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::Duration;

use ready_probe_sdk::clock;
use ready_probe_sdk::freshness::Span;
use ready_probe_sdk::host::{Epoch, Mounts};
use ready_probe_sdk::store::local::LocalStore;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe;

use super::Stuck;
use crate::event_loop;
use crate::exit::Exit;
use crate::last_pass::{Keeper, News};
use crate::time_limit::TimeLimit;

/// What a list of the largest fleet takes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
const ROLE: &str = "relays";

/// Something that a command has to read before it knows what it is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// Where it was set, for people.
    pub setting: String,
    /// The file or folder.
    pub path: PathBuf,
}

/// What became of a command that was left to a child.
pub enum Relayed {
    /// Nothing of what it needs may hang, or this is that child: do it here.
    No,
    /// The child has done it.
    Done(Exit),
    /// It has not, and why.
    Failed(String),
}

/// Leaves a command to a child, if it needs anything that may hang. `signals` is where the probe's memory
/// is, as far as that is known before any file is read.
pub fn if_needed(
    needed: &[Needed],
    signals: &LocalStore,
    mounts: Option<&Mounts>,
    limit: TimeLimit,
) -> Relayed {
    let hanging = needed.iter().find_map(|needed| {
        let mount = mounts?.hanging_around(&needed.path)?;
        Some((needed, mount.point()))
    });
    let (needed, point) = match hanging {
        Some(hanging) if super::role().is_none() => hanging,
        Some(_) | None => return Relayed::No,
    };
    let keeper = Keeper::new(signals, mounts, &Epoch::current());
    let key = point.display().to_string();
    let failed = |why: String| Relayed::Failed(format!("{}: {key} {why}", needed.setting));
    let before = keeper.recall().memory.stuck(&key).copied();
    if let Some(stuck) = before.filter(Stuck::lives) {
        let waited = Span(clock::mono_ms().saturating_sub(stuck.since_ms));
        return failed(format!(
            "does not answer: process {} has waited for it for {waited}",
            stuck.pid
        ));
    }
    let mut child = match super::start(ROLE, true) {
        Ok(child) => child,
        Err(e) => {
            return failed(format!(
                "may hang, and no process can be had to ask it: {e}"
            ));
        }
    };
    let spoken = event_loop::start().and_then(|event_loop| {
        let spoken = event_loop.block_on(limit.hold(listen(&mut child)));
        event_loop.shutdown_background();
        spoken
    });
    let stuck = match spoken {
        Ok(exit) => return Relayed::Done(exit),
        Err(why) => {
            tracing::debug!("{why}");
            super::leave(&mut child, clock::mono_ms())
        }
    };
    let now_ms = clock::mono_ms();
    let news = News {
        children: &[(key.clone(), stuck)],
        ..News::default()
    };
    // What can't be remembered costs one process more the next time.
    if let Err(why) = keeper.remember(&news, now_ms, Duration::from_millis(10)) {
        tracing::debug!("{why}");
    }
    failed(format!("does not answer within {}", limit.shown()))
}

/// All that the child says, until it ends.
async fn listen(child: &mut Child) -> Result<Exit, String> {
    let stdout = child.stdout.take().ok_or("it has no output")?;
    let stderr = child.stderr.take().ok_or("it has no output")?;
    let (stdout, stderr) = futures_util::future::try_join(
        read(pipe::Receiver::from_owned_fd(stdout.into())),
        read(pipe::Receiver::from_owned_fd(stderr.into())),
    )
    .await?;
    let status = loop {
        match child.try_wait().map_err(|e| e.to_string())? {
            Some(status) => break status,
            None => tokio::time::sleep(Duration::from_micros(200)).await,
        }
    };
    Ok(Exit::Passed {
        status: code(status),
        stdout,
        stderr,
    })
}

async fn read(output: std::io::Result<impl AsyncRead + Unpin>) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let output = output.map_err(|e| e.to_string())?;
    let read = output.take(MAX_BYTES).read_to_end(&mut bytes).await;
    read.map(|_| bytes).map_err(|e| e.to_string())
}

/// A child that was killed has not answered.
fn code(status: ExitStatus) -> u8 {
    status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1)
}

/// A path as somebody has set it: a relative one begins where this process is.
pub fn needed(setting: String, path: &Path) -> Needed {
    let path = if path.is_absolute() {
        path.to_owned()
    } else {
        std::env::current_dir().unwrap_or_default().join(path)
    };
    Needed { setting, path }
}
