//! The listeners: a thread each, and one for every connection, bounded.

use crate::exports::Registry;
use crate::handshake::Handshake;
use crate::session;
use crate::socket::{Peer, Socket};
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// How long to pause when no connection can be accepted, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The stack of a connection's thread: it holds no large values.
const STACK: usize = 256 << 10;

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) registry: Registry,
    pub(crate) connections: AtomicUsize,
    pub(crate) connections_max: usize,
    pub(crate) sessions_max: usize,
    pub(crate) stopping: AtomicBool,
}

/// Accepts connections on a thread of its own until the server stops.
pub(crate) fn listen<L: Send + 'static>(
    shared: Arc<Shared>,
    listener: L,
    accept: fn(&L) -> io::Result<(Socket, Peer)>,
) -> io::Result<()> {
    std::thread::Builder::new().name("nbd-listen".into()).spawn(move || {
        while !shared.stopping.load(Ordering::Acquire) {
            match accept(&listener) {
                Ok((socket, peer)) => admit(&shared, socket, peer),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an NBD connection");
                    std::thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    })?;
    Ok(())
}

pub(crate) fn accept_tcp(listener: &TcpListener) -> io::Result<(Socket, Peer)> {
    let (stream, peer) = listener.accept()?;
    Socket::tcp(stream, peer)
}

pub(crate) fn accept_unix(listener: &UnixListener) -> io::Result<(Socket, Peer)> {
    listener.accept().map(|(stream, _)| (Socket::Unix(stream), Peer::Unix))
}

/// One connection of the bounded number, until dropped.
struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

fn admit(shared: &Arc<Shared>, socket: Socket, peer: Peer) {
    if shared.stopping.load(Ordering::Acquire) {
        return;
    }
    let place = Place(shared.clone());
    if shared.connections.fetch_add(1, Ordering::AcqRel) >= shared.connections_max {
        tracing::warn!(%peer, limit = shared.connections_max, "an NBD connection was refused: there are as many as there may be");
        return;
    }
    let spawned = std::thread::Builder::new().name("nbd".into()).stack_size(STACK).spawn(move || {
        let (shared, socket) = (&place.0, Arc::new(socket));
        let agreed = Handshake::new(&shared.registry, socket.clone(), peer, shared.sessions_max).run();
        match agreed {
            Ok(Some(agreed)) => session::serve(&socket, &agreed),
            Ok(None) => {}
            Err(error) => tracing::debug!(%peer, %error, "a handshake ended early"),
        }
        socket.cut();
    });
    if let Err(error) = spawned {
        tracing::warn!(%peer, %error, "an NBD connection was refused: no thread could be started");
    }
}
