//! Signals of the kernel for whoever waits, or stands in for another process.

use std::collections::VecDeque;
use std::io;
use std::os::unix::net::UnixStream;

use ready_probe_sdk::host;
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::Cause;
use tokio::io::Interest;
use tokio::net::UnixStream as AsyncStream;

/// Signals that are caught, in the order of their numbers where several come at once.
#[derive(Debug)]
pub struct Signals {
    delivery: SignalDelivery<AsyncStream, WithOrigin>,
    caught: VecDeque<Caught>,
}

/// One signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caught {
    /// Its number.
    pub number: i32,
    /// The kernel has sent it: the terminal to its whole foreground group, say.
    pub by_kernel: bool,
}

impl Signals {
    /// Catches these from now on. What was ignored when we were started stays so: a command that we start
    /// or become inherits that, see execve(2).
    ///
    /// # Errors
    /// When there are no descriptors to be had.
    pub fn catch(numbers: &[i32]) -> io::Result<Self> {
        let ignored = host::ignored_signals();
        let is_ignored = |number: &i32| ignored & (1_u64 << (number - 1)) != 0;
        let numbers: Vec<i32> = numbers.iter().copied().filter(|n| !is_ignored(n)).collect();
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        let reader = AsyncStream::from_std(reader)?;
        let delivery = SignalDelivery::with_pipe(reader, writer, WithOrigin::default(), numbers)?;
        Ok(Self {
            delivery,
            caught: VecDeque::new(),
        })
    }

    /// The next one. May be given up and called again; none is lost.
    pub async fn next(&mut self) -> Caught {
        loop {
            if let Some(caught) = self.caught.pop_front() {
                return caught;
            }
            let reader = self.delivery.get_read();
            if reader.readable().await.is_err() {
                // The event loop is shutting down.
                return std::future::pending().await;
            }
            // All of it is read then, but not by the event loop, which is told so before.
            let _ = reader.try_io(Interest::READABLE, || {
                Err::<(), _>(io::ErrorKind::WouldBlock.into())
            });
            let origins = self.delivery.pending();
            self.caught.extend(origins.map(|origin| Caught {
                number: origin.signal,
                by_kernel: origin.cause == Cause::Kernel,
            }));
        }
    }
}
