//! Memory for the bytes of large requests, used again: taking a fresh MiB from the system costs more than copying it.
//!
//! All connections share what is kept, so that idle ones hold none of it.
//!
//! Invariant: no more than [`KEPT_MAX`] bytes are kept, and none after [`trim`].

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many bytes are kept: a request of the largest size, or eight clients with four of 1 MiB each.
const KEPT_MAX: usize = 32 << 20;
/// The smallest buffer that is worth keeping: smaller ones the allocator serves without asking the system.
const KEPT_MIN: usize = 64 << 10;

static KEPT: Mutex<Kept> = Mutex::new(Kept { buffers: Vec::new(), bytes: 0 });

struct Kept {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

/// Bytes of the length asked for; what they are at first is left over from whoever had them before, so fill them all.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    length: usize,
}

impl Buffer {
    /// Takes one of that length.
    pub(crate) fn take(length: usize) -> Self {
        if length < KEPT_MIN {
            return Self { bytes: vec![0; length], length };
        }
        // Sizes go in powers of two, so that few of them serve all.
        let size = length.next_power_of_two();
        let mut kept = lock();
        let found = kept.buffers.iter().rposition(|bytes| bytes.len() == size);
        let bytes = found.map(|at| kept.buffers.swap_remove(at));
        kept.bytes -= bytes.as_ref().map_or(0, Vec::len);
        drop(kept);
        Self { bytes: bytes.unwrap_or_else(|| vec![0; size]), length }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut kept = lock();
        if self.bytes.len() >= KEPT_MIN && kept.bytes + self.bytes.len() <= KEPT_MAX {
            kept.bytes += self.bytes.len();
            kept.buffers.push(std::mem::take(&mut self.bytes));
        }
    }
}

/// Gives back to the system what is kept.
pub(crate) fn trim() {
    let mut kept = lock();
    let buffers = std::mem::take(&mut kept.buffers);
    kept.bytes = 0;
    drop(kept);
    drop(buffers);
}

fn lock() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded() {
        let all: Vec<Buffer> = (0..40).map(|_| Buffer::take((1 << 20) - 5)).collect();
        assert!(all.iter().all(|buffer| buffer.len() == (1 << 20) - 5));
        drop(all);
        let kept = lock();
        let bytes: usize = kept.buffers.iter().map(Vec::len).sum();
        assert!(bytes == kept.bytes && bytes <= KEPT_MAX, "{bytes} are kept, {} counted", kept.bytes);
    }
}
