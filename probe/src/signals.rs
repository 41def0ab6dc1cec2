//! Signals that end what waits.

use ready_probe_sdk::host;
use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::net::unix::pipe;

/// SIGTERM and SIGINT. Each is told by a pipe of its own.
#[derive(Debug)]
pub struct Signals {
    terminate: Option<pipe::Receiver>,
    interrupt: Option<pipe::Receiver>,
}

impl Signals {
    /// Catches them from now on. What was ignored when we were started stays so: the command inherits that, see execve(2).
    ///
    /// # Errors
    /// When there are no descriptors to be had.
    pub fn catch() -> std::io::Result<Self> {
        let ignored = host::ignored_signals();
        let catch = |number: i32| {
            let bit = 1_u64 << (number - 1);
            (ignored & bit == 0).then(|| catch(number)).transpose()
        };
        Ok(Self {
            terminate: catch(SIGTERM)?,
            interrupt: catch(SIGINT)?,
        })
    }

    /// The number of the next one.
    pub async fn next(&mut self) -> i32 {
        tokio::select! {
            () = caught(self.terminate.as_ref()) => SIGTERM,
            () = caught(self.interrupt.as_ref()) => SIGINT,
        }
    }
}

fn catch(number: i32) -> std::io::Result<pipe::Receiver> {
    let (reader, writer) = std::io::pipe()?;
    signal_hook::low_level::pipe::register(number, writer)?;
    pipe::Receiver::from_owned_fd(reader.into())
}

/// It ends what waits for it, so nobody reads what is in the pipe.
async fn caught(signal: Option<&pipe::Receiver>) {
    match signal {
        Some(signal) if signal.readable().await.is_ok() => {}
        Some(_) | None => std::future::pending().await,
    }
}
