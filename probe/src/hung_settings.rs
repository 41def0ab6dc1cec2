//! If a command's settings lie on a mount that may hang, a child runs the whole command. This
//! process passes on what the child says, and how it ends.
//!
//! What starts a program of the user's can't be left to a child. A child then only tries whether what may hang
//! answers, and ends.

use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use ready_probe_sdk::clock;
use ready_probe_sdk::folder::Folder;
use ready_probe_sdk::host::{Epoch, Mounts};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe;

use crate::exit::Exit;
use ready_probe::child;
use ready_probe::event_loop;
use ready_probe::hung_mount;
use ready_probe::memory::{Keeper, News, SHORT_PATIENCE};
use ready_probe::time_limit::TimeLimit;

/// What a list of the largest fleet takes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// What a child does of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// All of it.
    Whole,
    /// It resolves the settings, and ends.
    Settings,
    /// It reads what they name as well, and ends.
    Named,
}

impl Task {
    const ALL: [Self; 3] = [Self::Whole, Self::Settings, Self::Named];

    /// How a child is told; when its parent started follows, in milliseconds of the monotonic clock.
    fn role(self) -> &'static str {
        match self {
            Self::Whole => "relays ",
            Self::Settings => "resolves ",
            Self::Named => "tries ",
        }
    }

    /// This process's, if it is such a child, and when its parent started.
    fn own() -> Option<(Self, u64)> {
        let role = ready_probe::role::role()?;
        let role = role.to_str()?;
        Self::ALL.into_iter().find_map(|task| {
            let begun_ms = role.strip_prefix(task.role())?;
            Some((task, begun_ms.parse().ok()?))
        })
    }
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

impl Relayed {
    /// Whether to do it here. The error is how the command ends, if not.
    pub fn here(self) -> Result<(), Exit> {
        match self {
            Self::No => Ok(()),
            Self::Done(exit) => Err(exit),
            Self::Failed(why) => Err(Exit::failed(why)),
        }
    }

    /// The same where the child has only tried it: what it could do is done here.
    pub fn tried(self) -> Result<(), Exit> {
        match &self {
            Self::Done(exit) if exit.status() == 0 => Ok(()),
            Self::No | Self::Done(_) | Self::Failed(_) => self.here(),
        }
    }
}

/// What this process is to do and no more, if it is the child of a command that only tries.
pub fn trial() -> Option<Task> {
    let (task, _) = Task::own()?;
    (task != Task::Whole).then_some(task)
}

/// When the whole command has begun, if this is such a child: what its parent has spent of the time is gone.
pub fn begun() -> Option<Instant> {
    let (_, begun_ms) = Task::own()?;
    let gone = Duration::from_millis(clock::mono_ms().checked_sub(begun_ms)?);
    clock::instant().checked_sub(gone)
}

/// Leaves a command that has begun then to a child, if anything that it has to read before it knows its task may hang:
/// files and folders, each after the place where it was set, for people. `signals` is where the
/// probe's memory is, as far as that is known.
pub fn if_needed(
    task: Task,
    needed: Vec<(String, PathBuf)>,
    signals: &Folder,
    mounts: &Mounts,
    begun: Instant,
    limit: TimeLimit,
) -> Relayed {
    let hanging = needed.into_iter().find_map(|(setting, path)| {
        let mount = mounts.hanging_around(&path)?;
        Some((setting, mount.point()))
    });
    let (setting, point) = match hanging {
        Some(hanging) if ready_probe::role::role().is_none() => hanging,
        Some(_) | None => return Relayed::No,
    };
    let keeper = Keeper::new(signals, Some(mounts), &Epoch::current());
    let key = point.display().to_string();
    let failed = |why: String| Relayed::Failed(format!("{setting}: {why}"));
    let before = keeper.recall().memory.stuck(&key).copied();
    let gone = clock::instant().saturating_duration_since(begun);
    let begun_ms = clock::mono_ms().saturating_sub(clock::millis(gone));
    let role = format!("{}{begun_ms}", task.role());
    if let Err(e) = child::keep_ended() {
        tracing::debug!("how it ends may not be seen: {e}");
    }
    let mut child = match hung_mount::start_for(point, before.as_ref(), &role, true) {
        Ok(child) => child,
        Err(why) => return failed(why),
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
            hung_mount::leave(&mut child)
        }
    };
    let now_ms = clock::mono_ms();
    let news = News {
        children: &[(key, stuck)],
        ..News::default()
    };
    // If this can't be remembered, it costs one process more the next time.
    if let Err(why) = keeper.remember(&news, now_ms, SHORT_PATIENCE) {
        tracing::debug!("{why}");
    }
    failed(hung_mount::unanswered(point, limit))
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
