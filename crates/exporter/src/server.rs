//! The listeners: a thread each, and one for every connection, bounded.

use crate::exports::Registry;
use crate::handshake::Handshake;
use crate::limits::{Complaint, Limits, Place};
use crate::peer::Origin;
use crate::session;
use crate::socket::Socket;
use crate::tls::Tls;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long to pause when no connection can be accepted, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The stack of a connection's thread: it holds no large values.
pub(crate) const STACK: usize = 256 << 10;

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) registry: Registry,
    pub(crate) tls: Option<Tls>,
    pub(crate) limits: Limits,
    /// How many connections one export may have.
    pub(crate) sessions_max: usize,
    pub(crate) sessions_full: Complaint,
    pub(crate) stopping: AtomicBool,
}

/// Accepts connections on a thread of its own until the server stops.
pub(crate) fn listen<L: Send + 'static>(
    shared: Arc<Shared>,
    listener: L,
    accept: fn(&L) -> io::Result<(Socket, Origin)>,
) -> io::Result<()> {
    std::thread::Builder::new().name("nbd-listen".into()).spawn(move || {
        while !shared.stopping.load(Ordering::Acquire) {
            match accept(&listener) {
                Ok((socket, origin)) => admit(&shared, socket, origin),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an NBD connection");
                    std::thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    })?;
    Ok(())
}

pub(crate) fn accept_tcp(listener: &TcpListener) -> io::Result<(Socket, Origin)> {
    let (stream, peer) = listener.accept()?;
    Socket::tcp(stream, peer)
}

pub(crate) fn accept_unix(listener: &UnixListener) -> io::Result<(Socket, Origin)> {
    listener.accept().map(|(stream, _)| Socket::unix(stream))
}

fn admit(shared: &Arc<Shared>, socket: Socket, origin: Origin) {
    if shared.stopping.load(Ordering::Acquire) {
        return;
    }
    let Some(place) = shared.limits.handshakes.take(&origin) else { return };
    let shared = shared.clone();
    let named = std::thread::Builder::new().name("nbd".into()).stack_size(STACK);
    if let Err(error) = named.spawn(move || attend(&shared, socket, origin, place)) {
        tracing::warn!(peer = %origin, %error, "an NBD connection was refused: no thread could be started");
    }
}

/// One connection, from its first byte to its last. `place` is that of its handshake.
fn attend(shared: &Shared, socket: Socket, origin: Origin, place: Place) {
    let socket = Arc::new(socket);
    let agreed = Handshake::new(shared, socket.clone(), origin).run();
    drop(place);
    match agreed {
        Ok(Some(agreed)) => session::serve(&agreed.socket, &agreed),
        Ok(None) => {}
        Err(error) => tracing::debug!(peer = %origin, %error, "a handshake ended early"),
    }
    socket.cut();
}
