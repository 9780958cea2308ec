//! A socket with TLS on it, read by one thread while others write.
//!
//! TLS keeps one state for both directions, so a mutex guards it; but no thread holds that while it waits for the network, or a
//! client that does not read its answers would keep us from reading its requests, and it could not go on until we do:
//! - who reads takes ciphertext from the socket, then the mutex, and decrypts;
//! - who writes takes the mutex, encrypts into a buffer, lets go, and sends that; the buffer's own lock keeps the order.
//!
//! Invariants:
//! - the locks are taken in the order `sending` or `received` first, then `engine`, and `engine` is never held during I/O;
//! - with a timeout set, a read or a write ends within it, however few bytes come or go at a time;
//! - memory is bounded: [`RECEIVED`], and what the engine buffers at most (64 KiB out, a record or two in).

use crate::socket::Socket;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How much ciphertext is taken from the socket at once: two of the largest records.
const RECEIVED: usize = 2 * (16 << 10) + 512;

/// The state of TLS after its handshake, without any I/O.
pub(crate) trait Engine: Send {
    /// Takes ciphertext off the front of `received` until there is plaintext for `buffer`. Gives how much; `None`: there is none yet
    /// and all was taken; zero: the peer has ended the connection.
    fn decrypt(&mut self, received: &mut &[u8], buffer: &mut [u8]) -> io::Result<Option<usize>>;

    /// Encrypts some of `buffer`, at most what TLS buffers, and adds to `sending` whatever is to be sent. Gives how much it took.
    fn encrypt(&mut self, buffer: &[u8], sending: &mut Vec<u8>) -> io::Result<usize>;
}

/// The connection.
pub(crate) struct Secured {
    plain: Arc<Socket>,
    engine: Mutex<Box<dyn Engine>>,
    received: Mutex<Received>,
    /// Ciphertext on its way out; empty but while its lock is held.
    sending: Mutex<Vec<u8>>,
    /// When reads and writes must have ended.
    deadline: Mutex<Option<Instant>>,
}

/// Ciphertext that is not decrypted yet.
struct Received {
    bytes: Box<[u8]>,
    from: usize,
    to: usize,
}

impl Secured {
    /// TLS on that socket, after its handshake.
    pub(crate) fn new(plain: Arc<Socket>, engine: Box<dyn Engine>, deadline: Instant) -> Self {
        let received = Received { bytes: vec![0; RECEIVED].into(), from: 0, to: 0 };
        Self {
            plain,
            engine: Mutex::new(engine),
            received: Mutex::new(received),
            sending: Mutex::default(),
            deadline: Mutex::new(Some(deadline)),
        }
    }

    /// Reads at least one byte, or none at the end.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let mut received = lock(&self.received);
        loop {
            if let Some(count) = self.decrypt(&mut received, buffer)? {
                return Ok(count);
            }
            let count = self.timed().read(&mut received.bytes)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            (received.from, received.to) = (0, count);
        }
    }

    fn decrypt(&self, received: &mut Received, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let mut rest = &received.bytes[received.from..received.to];
        let read = lock(&self.engine).decrypt(&mut rest, buffer);
        received.from = received.to - rest.len();
        read
    }

    /// Sends some of `buffer`, as much as fits in what TLS buffers.
    pub(crate) fn write(&self, buffer: &[u8]) -> io::Result<usize> {
        let mut sending = lock(&self.sending);
        let count = lock(&self.engine).encrypt(buffer, &mut sending)?;
        let sent = self.timed().write_all(&sending);
        sending.clear();
        sent.map(|()| count)
    }

    /// Bounds how long each read and write may take; `None` lifts the bound.
    pub(crate) fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        *lock(&self.deadline) = timeout.map(|timeout| Instant::now() + timeout);
        self.plain.set_timeout(timeout)
    }

    /// Ends the connection both ways, at once; nothing is said over TLS, as that might wait.
    pub(crate) fn cut(&self) {
        self.plain.cut();
    }

    fn timed(&self) -> Timed<'_> {
        Timed::new(&self.plain, *lock(&self.deadline))
    }
}

/// The plain socket, each call within what is left until a deadline.
pub(crate) struct Timed<'a> {
    plain: &'a Socket,
    deadline: Option<Instant>,
}

impl<'a> Timed<'a> {
    pub(crate) const fn new(plain: &'a Socket, deadline: Option<Instant>) -> Self {
        Self { plain, deadline }
    }

    fn bound(&self) -> io::Result<&Socket> {
        if let Some(deadline) = self.deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.plain.set_timeout(Some(left))?;
        }
        Ok(self.plain)
    }
}

/// A blocking socket says "would block" when its time is up, which rustls would take for "try again".
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut socket = self.bound()?;
        socket.read(buffer).map_err(timed_out)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let mut socket = self.bound()?;
        socket.write(buffer).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
