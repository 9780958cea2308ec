//! A client's socket, TCP or unix, with the few calls that a session needs.
//!
//! Invariants:
//! - [`Socket::cut`] wakes whoever blocks in reading or writing it, from any thread;
//! - a TCP peer that vanished is noticed in about [`PEER_LOST`], so that no session of a dead host is shown for ever.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long a peer may leave our bytes or probes unacknowledged before it counts as gone.
const PEER_LOST: Duration = Duration::from_secs(60);
/// How long a connection is quiet before the peer is probed.
const PROBE_AFTER: Duration = Duration::from_secs(30);
/// Between probes; three of them fit before [`PEER_LOST`].
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// How many probes may fail.
const PROBES: u32 = 3;

/// Where a client comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Over TCP; an IPv4 address that came as an IPv6 one is an IPv4 one here.
    Tcp(SocketAddr),
    /// Over the unix socket, so from this machine.
    Unix,
}

impl Peer {
    /// Whether an export for `address` may be reached from here: over TCP by that address alone, over the unix socket if the
    /// address is this machine's own.
    pub(crate) fn may_reach(self, address: IpAddr) -> bool {
        match self {
            Self::Tcp(peer) => peer.ip() == address.to_canonical(),
            Self::Unix => address.to_canonical().is_loopback(),
        }
    }

    /// Who it is, as far as it can be told: all connections of one client share it.
    pub(crate) fn identity(self) -> String {
        match self {
            Self::Tcp(peer) => peer.ip().to_string(),
            Self::Unix => self.to_string(),
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Socket {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over the unix socket.
    Unix(UnixStream),
}

impl Socket {
    /// Takes a connection over TCP and tunes it: answers go out at once, a dead peer is noticed.
    pub(crate) fn tcp(stream: TcpStream, peer: SocketAddr) -> io::Result<(Self, Peer)> {
        use rustix::net::sockopt;
        stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, PROBE_AFTER)?;
        sockopt::set_tcp_keepintvl(&stream, PROBE_EVERY)?;
        sockopt::set_tcp_keepcnt(&stream, PROBES)?;
        sockopt::set_tcp_user_timeout(&stream, u32::try_from(PEER_LOST.as_millis()).expect("a minute"))?;
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        Ok((Self::Tcp(stream), Peer::Tcp(peer)))
    }

    /// Bounds how long each read and write may block; `None` lifts the bound.
    pub(crate) fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(timeout).and_then(|()| stream.set_write_timeout(timeout)),
            Self::Unix(stream) => stream.set_read_timeout(timeout).and_then(|()| stream.set_write_timeout(timeout)),
        }
    }

    /// Ends the connection both ways, at once. Ending it twice is fine.
    pub(crate) fn cut(&self) {
        // The one error there is says that it has ended already.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for &Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => (&*stream).read(buffer),
            Socket::Unix(stream) => (&*stream).read(buffer),
        }
    }
}

impl Write for &Socket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => (&*stream).write(buffer),
            Socket::Unix(stream) => (&*stream).write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_reaches_what_is_for_its_own_address_only() {
        let tcp = |text: &str| Peer::Tcp(text.parse().expect("an address"));
        let rows = [
            (tcp("10.0.0.5:1000"), "10.0.0.5", true),
            (tcp("10.0.0.5:1000"), "::ffff:10.0.0.5", true),
            (tcp("10.0.0.5:1000"), "10.0.0.6", false),
            (tcp("127.0.0.1:1000"), "127.0.0.2", false),
            (tcp("[2001:db8::1]:1000"), "2001:db8::1", true),
            (Peer::Unix, "127.0.0.1", true),
            (Peer::Unix, "::1", true),
            (Peer::Unix, "10.0.0.5", false),
        ];
        for (peer, address, expected) in rows {
            assert_eq!(peer.may_reach(address.parse().expect("an address")), expected, "{peer} {address}");
        }
    }
}
