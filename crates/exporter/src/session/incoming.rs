//! Bytes on their way in: many small requests are taken from the socket at once, large payloads go straight where they are wanted.

use crate::socket::Socket;
use std::io::{self, Read};
use std::time::Duration;

/// How many bytes are taken from the socket at once: fifteen writes of 4 KiB, or two thousand reads.
pub(super) const LENGTH: usize = 64 << 10;
/// How many are taken while a client is quiet.
const QUIET_LENGTH: usize = 64;
/// For how long a client says nothing until its memory is given back: long against any pause of a busy one.
const QUIET: Duration = Duration::from_secs(3);

/// What came and was not used yet.
pub(super) struct Incoming {
    buffer: Vec<u8>,
    from: usize,
    to: usize,
    /// The last request was one with a large payload. The next is taken by itself, so that its payload need not be copied.
    is_bulk: bool,
}

impl Incoming {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; QUIET_LENGTH], from: 0, to: 0, is_bulk: false }
    }

    pub(super) const fn has(&self, length: usize) -> bool {
        self.to - self.from >= length
    }

    /// Waits until there are that many bytes, at most [`LENGTH`]. Calls `on_quiet` when the client has been quiet for long.
    pub(super) fn fill(&mut self, socket: &Socket, length: usize, on_quiet: impl Fn()) -> io::Result<()> {
        let is_bulk = std::mem::take(&mut self.is_bulk);
        self.buffer.copy_within(self.from..self.to, 0);
        (self.from, self.to) = (0, self.to - self.from);
        while !self.has(length) {
            if self.buffer.len() < length {
                self.wake(socket)?;
            }
            let end = if is_bulk { length } else { self.buffer.len() };
            match receive(socket, &mut self.buffer[self.to..end]) {
                Ok(count) => {
                    self.to += count;
                    self.wake(socket)?;
                }
                // Unless a part of a request is there.
                Err(error) if is_timeout(&error) && self.to == 0 => {
                    self.rest(socket)?;
                    on_quiet();
                }
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next bytes, which are there.
    pub(super) fn take(&mut self, length: usize) -> &[u8] {
        self.from += length;
        &self.buffer[self.from - length..self.from]
    }

    /// Waits for as many bytes as `payload` has.
    pub(super) fn read_into(&mut self, socket: &Socket, payload: &mut [u8]) -> io::Result<()> {
        self.is_bulk = payload.len() > LENGTH / 2;
        let mut filled = payload.len().min(self.to - self.from);
        payload[..filled].copy_from_slice(self.take(filled));
        while filled < payload.len() {
            match receive(socket, &mut payload[filled..]) {
                Ok(count) => filled += count,
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The client is busy (again): takes memory, and listens for the next pause.
    fn wake(&mut self, socket: &Socket) -> io::Result<()> {
        if self.buffer.len() < LENGTH {
            self.buffer.resize(LENGTH, 0);
            socket.set_read_timeout(Some(QUIET))?;
        }
        Ok(())
    }

    /// The client is quiet: gives memory back.
    fn rest(&mut self, socket: &Socket) -> io::Result<()> {
        self.buffer = vec![0; QUIET_LENGTH];
        socket.set_read_timeout(None)
    }
}

/// At least one byte.
fn receive(mut socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match socket.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
