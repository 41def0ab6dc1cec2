//! `NOTIFY_SOCKET`: datagrams, who sent them, and the descriptors that come with them.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixDatagram;

use nix::errno::Errno;
use nix::libc::{SCM_CREDENTIALS, SCM_RIGHTS, SOL_SOCKET};
use nix::sys::socket::{MsgFlags, UnixCredentials, recvmsg};
use tokio::io::Interest;
use tokio::net::UnixDatagram as AsyncDatagram;

use super::notify;
use super::speakers::Sender;

/// The longest message, as systemd has it.
const MAX_BYTES: usize = 4_096;
/// The kernel passes on no more at once: `SCM_MAX_FD`, see unix(7).
const MAX_DESCRIPTORS: usize = 253;

/// The socket that a program is told by. Its address is an abstract one, which needs no file system and is
/// the same for every user.
#[derive(Debug)]
pub struct Socket {
    socket: AsyncDatagram,
    /// As `NOTIFY_SOCKET` names it.
    pub address: String,
}

/// One datagram.
#[derive(Debug)]
pub struct Datagram {
    /// Who sent it, if the kernel says so.
    pub sender: Option<Sender>,
    /// What it says; nothing where it is longer than a message may be.
    pub bytes: Option<Vec<u8>>,
    /// The one of `BARRIER=1`, which is answered by closing it. Nobody has a use for others.
    pub barrier: Option<Descriptors>,
}

/// Descriptors that came with a message; closed when dropped.
#[derive(Debug, Default)]
pub struct Descriptors(Vec<RawFd>);

impl Drop for Descriptors {
    fn drop(&mut self) {
        for descriptor in self.0.drain(..) {
            // It is closed whatever close(2) says.
            let _ = nix::unistd::close(descriptor);
        }
    }
}

impl Socket {
    /// A socket of an address that the kernel chooses.
    pub fn bind() -> io::Result<Self> {
        // Without a path it is the kernel's choice: "autobind" in unix(7).
        let socket = UnixDatagram::bind("")?;
        socket.set_nonblocking(true)?;
        rustix::net::sockopt::set_socket_passcred(&socket, true)?;
        let address = socket.local_addr()?;
        let name = address.as_abstract_name().unwrap_or_default();
        let address = format!("@{}", String::from_utf8_lossy(name));
        Ok(Self {
            socket: AsyncDatagram::from_std(socket)?,
            address,
        })
    }

    /// Waits until there may be a message.
    pub async fn readable(&self) {
        if self.socket.readable().await.is_err() {
            // The event loop is shutting down.
            return std::future::pending().await;
        }
        // All of it is read then, but not by the event loop, which is told so before.
        let _ = self.socket.try_io(Interest::READABLE, || {
            Err::<(), _>(io::ErrorKind::WouldBlock.into())
        });
    }

    /// The next message, if there is one.
    pub fn next(&self) -> io::Result<Option<Datagram>> {
        let mut bytes = [0; MAX_BYTES];
        let mut control = nix::cmsg_space!(UnixCredentials, [RawFd; MAX_DESCRIPTORS]);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let fd = self.socket.as_raw_fd();
        let received = recvmsg::<()>(fd, &mut slices, Some(&mut control), flags);
        let (length, flags) = match received {
            Ok(received) => (received.bytes, received.flags),
            Err(Errno::EAGAIN) => return Ok(None),
            Err(Errno::EINTR) => return self.next(),
            Err(e) => return Err(e.into()),
        };
        let mut sender = None;
        let mut descriptors = Descriptors::default();
        for part in parts(&control) {
            match part {
                (SCM_CREDENTIALS, said) => sender = sender_of(said),
                (SCM_RIGHTS, came) => descriptors.0.extend(words(came).map(i32::from_ne_bytes)),
                _ => {}
            }
        }
        let is_cut = flags.contains(MsgFlags::MSG_TRUNC);
        let text = bytes.get(..length).unwrap_or_default();
        let waits = notify::is_barrier(text) && descriptors.0.len() == 1;
        // Others are closed now: who has sent them is looked up, which takes descriptors of ours.
        let barrier = (waits && !flags.contains(MsgFlags::MSG_CTRUNC)).then_some(descriptors);
        Ok(Some(Datagram {
            sender,
            bytes: (!is_cut).then(|| text.to_vec()),
            barrier,
        }))
    }
}

/// Kind and content of what came with a message, see cmsg(3). Nix shows none of it when some is left out, as
/// the kernel does where we may open no more: nobody would close the descriptors that it has opened.
fn parts(mut control: &[u8]) -> impl Iterator<Item = (i32, &[u8])> {
    const LENGTH: usize = size_of::<usize>();
    const HEADER: usize = LENGTH + 2 * size_of::<i32>();
    std::iter::from_fn(move || {
        let (length, rest) = control.split_first_chunk()?;
        let length = usize::from_ne_bytes(*length);
        // Behind the last one there are zeros.
        let content = control.get(HEADER..length)?;
        let mut header = words(rest).map(i32::from_ne_bytes);
        let (level, kind) = (header.next()?, header.next()?);
        control = control
            .get(length.next_multiple_of(LENGTH)..)
            .unwrap_or_default();
        Some((if level == SOL_SOCKET { kind } else { 0 }, content))
    })
}

fn sender_of(credentials: &[u8]) -> Option<Sender> {
    let mut words = words(credentials);
    Some(Sender {
        pid: u32::from_ne_bytes(words.next()?),
        uid: u32::from_ne_bytes(words.next()?),
    })
}

fn words(bytes: &[u8]) -> impl Iterator<Item = [u8; 4]> {
    bytes.as_chunks().0.iter().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_come_with_their_sender_and_descriptors_are_closed() {
        let socket = Socket::bind().unwrap();
        let name = socket.address.strip_prefix('@').unwrap();
        let to = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
        let speaker = UnixDatagram::unbound().unwrap();
        speaker.connect_addr(&to).unwrap();
        speaker.send(b"READY=1").unwrap();
        speaker.send(&[b'x'; MAX_BYTES + 1]).unwrap();
        let (mine, theirs) = UnixDatagram::pair().unwrap();
        let descriptors = [theirs.as_raw_fd()];
        let rights = nix::sys::socket::ControlMessage::ScmRights(&descriptors);
        nix::sys::socket::sendmsg::<()>(
            speaker.as_raw_fd(),
            &[io::IoSlice::new(b"BARRIER=1")],
            &[rights],
            MsgFlags::empty(),
            None,
        )
        .unwrap();
        drop(theirs);
        socket.readable().await;
        let me = Some(Sender {
            pid: std::process::id(),
            uid: rustix::process::getuid().as_raw(),
        });
        let first = socket.next().unwrap().unwrap();
        assert_eq!(
            (first.sender, first.bytes.as_deref()),
            (me, Some(&b"READY=1"[..]))
        );
        assert_eq!(socket.next().unwrap().unwrap().bytes, None);
        let barrier = socket.next().unwrap().unwrap();
        assert_eq!(barrier.bytes.as_deref(), Some(&b"BARRIER=1"[..]));
        mine.set_nonblocking(true).unwrap();
        mine.send(b"open").unwrap();
        drop(barrier);
        assert!(mine.send(b"closed").is_err());
        assert!(socket.next().unwrap().is_none());
    }
}
