//! A client's socket, TCP or unix, plain or with TLS on it, with the few calls that a session needs.
//!
//! Invariants:
//! - [`Socket::cut`] wakes whoever blocks in reading or writing it, from any thread;
//! - a TCP peer that vanished is noticed in about [`PEER_LOST`], so that no session of a dead host is shown for ever.

use crate::peer::Origin;
use crate::secured::Secured;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How many slices one call takes. Source: Linux, `UIO_MAXIOV`.
const SLICES_MAX: usize = 1024;
/// How long a peer may leave our bytes or probes unacknowledged before it counts as gone.
const PEER_LOST: Duration = Duration::from_secs(60);
/// How long a connection is quiet before the peer is probed.
const PROBE_AFTER: Duration = Duration::from_secs(30);
/// Between probes; three of them fit before [`PEER_LOST`].
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// How many probes may fail.
const PROBES: u32 = 3;
/// How many bytes may be on their way to a client over the unix socket: two chunks of a large read, so that neither side waits for
/// the other after each. Twice as much is slower with eight clients, as it does not stay in a processor's cache.
const SENDING: usize = 512 << 10;

/// A connected socket.
pub(crate) enum Socket {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over the unix socket.
    Unix(UnixStream),
    /// Over TLS, on one of the others.
    Tls(Box<Secured>),
}

impl Socket {
    /// Takes a connection over TCP and tunes it: answers go out at once, a dead peer is noticed.
    pub(crate) fn tcp(stream: TcpStream, peer: SocketAddr) -> io::Result<(Self, Origin)> {
        use rustix::net::sockopt;
        stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, PROBE_AFTER)?;
        sockopt::set_tcp_keepintvl(&stream, PROBE_EVERY)?;
        sockopt::set_tcp_keepcnt(&stream, PROBES)?;
        sockopt::set_tcp_user_timeout(&stream, u32::try_from(PEER_LOST.as_millis()).expect("a minute"))?;
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        Ok((Self::Tcp(stream), Origin::Tcp(peer)))
    }

    /// Takes a connection over the unix socket, and sees whose it is.
    pub(crate) fn unix(stream: UnixStream) -> (Self, Origin) {
        let credentials = getsockopt(&stream, PeerCredentials).ok();
        // A process of another pid namespace is shown as 0.
        let pid = credentials.and_then(|credentials| u32::try_from(credentials.pid()).ok()).filter(|pid| *pid != 0);
        // The kernel allows less where it is told to; that is slower and nothing else.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&stream, SENDING);
        (Self::Unix(stream), Origin::Unix(pid))
    }

    /// Bounds how long each read and write may block; `None` lifts the bound.
    pub(crate) fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(timeout).and_then(|()| stream.set_write_timeout(timeout)),
            Self::Unix(stream) => stream.set_read_timeout(timeout).and_then(|()| stream.set_write_timeout(timeout)),
            Self::Tls(secured) => secured.set_timeout(timeout),
        }
    }

    /// Bounds how long each read may block and nothing else. Over TLS reads stay unbounded: a record may have come in part.
    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(timeout),
            Self::Unix(stream) => stream.set_read_timeout(timeout),
            Self::Tls(_) => Ok(()),
        }
    }

    /// Ends the connection both ways, at once. Ending it twice is fine.
    pub(crate) fn cut(&self) {
        // The one error there is says that it has ended already.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
            Self::Tls(secured) => {
                secured.cut();
                Ok(())
            }
        };
    }
}

/// As `writev`, but a peer that is gone is an error here, whatever the process has decided about SIGPIPE.
fn send(stream: impl AsFd, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
    let some = &buffers[..buffers.len().min(SLICES_MAX)];
    Ok(sendmsg(stream, some, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)?)
}

impl Read for &Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => (&*stream).read(buffer),
            Socket::Unix(stream) => (&*stream).read(buffer),
            Socket::Tls(secured) => secured.read(buffer),
        }
    }
}

impl Write for &Socket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => (&*stream).write(buffer),
            Socket::Unix(stream) => (&*stream).write(buffer),
            Socket::Tls(secured) => secured.write(buffer),
        }
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => send(stream, buffers),
            Socket::Unix(stream) => send(stream, buffers),
            Socket::Tls(secured) => buffers.iter().find(|buffer| !buffer.is_empty()).map_or(Ok(0), |buffer| secured.write(buffer)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
