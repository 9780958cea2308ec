//! What one client has done so far: the figures behind [`engine::ports::Client`].
//!
//! The session moves them and whoever asks reads them. Each is an atomic of its own, so that neither waits for the other; a
//! reader may see a request's bytes before it sees the request ended, never a figure that was not true at some moment.
//!
//! Not here: who the client is (`exports`), and the limits on what it may have in flight (`session`).

use engine::ports::Client;
use lifecycle::{Bytes, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// The figures of one connection.
#[derive(Debug)]
pub(crate) struct Account {
    since: Timestamp,
    /// The size that the client was told; it keeps to it until it connects again.
    size: Bytes,
    last_seen_ms: AtomicI64,
    in_flight: AtomicU64,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
}

impl Account {
    /// Of a client that connects now, and is told `size`.
    pub(crate) fn open(size: u64) -> Self {
        let since = now();
        Self {
            since,
            size: Bytes(size),
            last_seen_ms: AtomicI64::new(since.0),
            in_flight: AtomicU64::new(0),
            bytes_read: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
        }
    }

    /// A request came.
    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.last_seen_ms.store(now().0, Ordering::Relaxed);
    }

    /// A request was answered, or never will be.
    pub(crate) fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// That many bytes were sent to the client, or told to be zeroes.
    pub(crate) fn read(&self, bytes: u32) {
        self.bytes_read.fetch_add(u64::from(bytes), Ordering::Relaxed);
    }

    /// That many bytes were taken from the client, or made zeroes for it. A trim is a hint and counts as nothing.
    pub(crate) fn wrote(&self, bytes: u32) {
        self.bytes_written.fetch_add(u64::from(bytes), Ordering::Relaxed);
    }

    /// Since when it is connected.
    pub(crate) const fn since(&self) -> Timestamp {
        self.since
    }

    /// The figures as they are, beside who the client is.
    pub(crate) fn told(&self, address: String, identity: String) -> Client {
        Client {
            address,
            identity,
            since: self.since,
            last_seen: Timestamp(self.last_seen_ms.load(Ordering::Relaxed)),
            size_seen: Some(self.size),
            bytes_read: self.bytes_read.load(Ordering::Relaxed),
            bytes_written: self.bytes_written.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
        }
    }
}

/// The time of day as of the kernel's last tick, some milliseconds ago at most: reading it takes no system call.
fn now() -> Timestamp {
    let time = clock_gettime(ClockId::RealtimeCoarse);
    Timestamp(time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000))
}
