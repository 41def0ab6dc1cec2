//! Does a command exit with 0?
//!
//! How its process is started and ended is in [`crate::child`].

use std::convert::Infallible;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use ready_probe_sdk::connect::stage;
use tokio::net::unix::pipe;

use crate::child;
use crate::outcome::Outcome;
use crate::redact::Secrets;
use crate::target::needs_shell;

/// How much of a command's output is kept for quoting.
const MAX_OUTPUT_BYTES: usize = 4 * 1024;
/// How much of it is quoted.
const MAX_QUOTE_CHARS: usize = 200;
/// Runs a command to its end.
pub async fn ask(argv: &[String], secrets: &Secrets) -> Outcome {
    let outcome = run(argv, secrets).await;
    match needs_shell::unread(argv) {
        None => outcome,
        Some(word) => outcome.with_text(|text| {
            let hint = format!("no shell reads the {word} in it: write exec:sh -c '…'");
            if text.is_empty() {
                hint
            } else {
                format!("{text}; {hint}")
            }
        }),
    }
}

async fn run(argv: &[String], secrets: &Secrets) -> Outcome {
    let (mut running, output) = match child::start(argv) {
        Ok(started) => started,
        Err(e) => {
            return Outcome::unknown(format!(
                "it can't be started: {}",
                crate::link::connect::plain(&e)
            ));
        }
    };
    let pid = running.pid();
    let still_runs = |said: &Output| {
        stage::doing(|| {
            let said = secrets.quote(&said.text(), MAX_QUOTE_CHARS);
            match said.as_str() {
                "" => format!("process {pid} still runs"),
                said => format!("process {pid} still runs: {said}"),
            }
        });
    };
    let mut said = Output::default();
    still_runs(&said);
    // A grandchild may keep the pipe open for longer than the command lives: its end decides.
    let status = tokio::select! {
        status = running.ended() => status,
        never = read(&output, &mut said, still_runs) => match never {},
    };
    read_rest(&output, &mut said);
    match status {
        Ok(status) => judge(status, &said, secrets),
        Err(e) => Outcome::unknown(format!("its end can't be told: {e}")),
    }
}

/// The output of a command, as far as it is kept.
#[derive(Debug, Default)]
struct Output {
    bytes: Vec<u8>,
    /// There was more of it.
    cut: bool,
}

impl Output {
    fn keep(&mut self, chunk: &[u8]) {
        let room = MAX_OUTPUT_BYTES.saturating_sub(self.bytes.len());
        self.bytes.extend(chunk.iter().take(room));
        self.cut |= chunk.len() > room;
    }

    /// As text. A last character `…` says that it was cut: it may end in half a secret.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        if self.cut {
            return format!("{text}…");
        }
        text.into_owned()
    }
}

fn judge(status: ExitStatus, output: &Output, secrets: &Secrets) -> Outcome {
    if status.success() {
        return Outcome::pass();
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "no exit status".to_owned(),
    };
    let said = secrets.quote(&output.text(), MAX_QUOTE_CHARS);
    if said.is_empty() {
        return Outcome::fail(how);
    }
    Outcome::fail(format!("{how}: {said}"))
}

/// Reads output as it comes, so that its writer never waits for us; what is beyond the bound is
/// thrown away.
async fn read(output: &pipe::Receiver, kept: &mut Output, tell: impl Fn(&Output)) -> Infallible {
    while output.readable().await.is_ok() {
        let before = kept.bytes.len();
        let goes_on = drain(output, kept);
        if kept.bytes.len() > before {
            tell(kept);
        }
        if !goes_on {
            break;
        }
    }
    std::future::pending().await
}

/// Takes what is in the pipe now; says whether more may come.
fn drain(output: &pipe::Receiver, kept: &mut Output) -> bool {
    let mut chunk = [0; 4_096];
    // A writer that is faster than we are must not keep us here: a pipe holds 16 of these.
    for _ in 0..16 {
        match output.try_read(&mut chunk) {
            Ok(0) => return false,
            Ok(n) => kept.keep(chunk.get(..n).unwrap_or_default()),
            Err(e) => return e.kind() == io::ErrorKind::WouldBlock,
        }
    }
    true
}

/// Takes what is left in the pipe when its command has ended. The kernel is asked, since the event
/// loop may not have heard of it yet.
fn read_rest(output: &pipe::Receiver, kept: &mut Output) {
    let mut chunk = [0; 4_096];
    // A child that lives on may go on writing; a pipe holds 16 of these.
    for _ in 0..16 {
        match rustix::io::read(output, &mut chunk) {
            Ok(n) if n > 0 => kept.keep(chunk.get(..n).unwrap_or_default()),
            Ok(_) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_table() {
        let judge = |raw: i32, output: &str| {
            let mut said = Output::default();
            said.keep(output.as_bytes());
            let outcome = judge(ExitStatus::from_raw(raw), &said, &Secrets::default());
            format!("{} {}", outcome.word(), outcome.text())
        };
        assert_eq!(judge(0, "noise"), "pass ");
        assert_eq!(judge(3 << 8, ""), "fail exit status 3");
        assert_eq!(judge(1 << 8, "no\nluck"), "fail exit status 1: no luck");
        assert_eq!(judge(9, ""), "fail killed by signal 9");
    }
}
