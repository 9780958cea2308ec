//! Bytes on their way out. Small answers wait for one another while there are requests to go on with, and leave together.
//!
//! Invariants:
//! - an answer, or a chunk of one, is sent whole, and those that wait leave before it;
//! - whoever is about to wait for the client, or has nothing more to do, sends what waits.

use crate::socket::Socket;
use std::io::{self, IoSlice, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many bytes may wait: enough that the calls do not count, few enough to stay in a processor's cache.
const WAITING_MAX: usize = 64 << 10;

pub(super) struct Outgoing<'a> {
    socket: &'a Socket,
    waiting: Mutex<Waiting>,
}

/// Answers that wait: the first `length` bytes.
#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    length: usize,
}

impl<'a> Outgoing<'a> {
    pub(super) fn new(socket: &'a Socket) -> Self {
        Self { socket, waiting: Mutex::default() }
    }

    /// Lets an answer wait.
    pub(super) fn post(&self, answer: &[u8]) -> io::Result<()> {
        self.post_data(answer, 0, |_| true).map(drop)
    }

    /// Lets an answer wait that is `front` and `length` bytes which `fill` fills; unless it cannot, then there is none. Returns
    /// whether there is.
    pub(super) fn post_data(&self, front: &[u8], length: usize, fill: impl FnOnce(&mut [u8]) -> bool) -> io::Result<bool> {
        let mut waiting = self.lock();
        let data = waiting.length + front.len();
        let end = data + length;
        if waiting.bytes.len() < end {
            waiting.bytes.resize(end.next_power_of_two(), 0);
        }
        if !fill(&mut waiting.bytes[data..end]) {
            return Ok(false);
        }
        let start = waiting.length;
        waiting.bytes[start..data].copy_from_slice(front);
        waiting.length = end;
        if end >= WAITING_MAX {
            self.send_waiting(&mut waiting, &[])?;
        }
        Ok(true)
    }

    /// Sends an answer, after those that wait.
    pub(super) fn send(&self, parts: &[&[u8]]) -> io::Result<()> {
        self.send_waiting(&mut self.lock(), parts)
    }

    /// Sends what waits.
    pub(super) fn flush(&self) -> io::Result<()> {
        let mut waiting = self.lock();
        if waiting.length == 0 { Ok(()) } else { self.send_waiting(&mut waiting, &[]) }
    }

    /// Gives memory back.
    pub(super) fn rest(&self) {
        let mut waiting = self.lock();
        if waiting.length == 0 {
            waiting.bytes = Vec::new();
        }
    }

    fn send_waiting(&self, waiting: &mut Waiting, parts: &[&[u8]]) -> io::Result<()> {
        let length = std::mem::take(&mut waiting.length);
        let first = std::iter::once(&waiting.bytes[..length]);
        let mut slices: Vec<IoSlice<'_>> =
            first.chain(parts.iter().copied()).filter(|part| !part.is_empty()).map(IoSlice::new).collect();
        write_all(self.socket, &mut slices)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_all(mut socket: &Socket, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !slices.is_empty() {
        match socket.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut slices, count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
