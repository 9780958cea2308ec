//! What may wait for a disk: a queue, and a few threads of the connection's own that work it off.
//!
//! Invariants:
//! - at most [`IN_FLIGHT_MAX`] requests and [`MEMORY_MAX`] bytes of a connection wait or run at a time;
//! - threads are started when there is work for them, and leave after [`QUIET`] without.

use super::Task;
use crate::protocol::option::PAYLOAD_MAX;
use crate::protocol::request::Request;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many requests of a connection wait or run at once: the usual queue depth of fio and of qemu's block layer is below.
const IN_FLIGHT_MAX: usize = 128;
/// How many bytes they hold at once: one request of the largest size, and a second one being read.
const MEMORY_MAX: u64 = 2 * PAYLOAD_MAX as u64;
/// How many workers a connection may have.
const WORKERS_MAX: usize = 8;
/// For how long a worker waits for work until it leaves: long against the pauses of a busy client.
const QUIET: Duration = Duration::from_secs(3);

#[derive(Default)]
pub(super) struct Workers {
    queue: Mutex<Queue>,
    /// There is work, or never will be again.
    work: Condvar,
    /// There is room.
    room: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Task>,
    in_flight: usize,
    memory: u64,
    idle: usize,
    workers: usize,
    /// Somebody waits for room.
    is_full: bool,
    closed: bool,
}

impl Queue {
    const fn has_room(&self, memory: u64) -> bool {
        self.in_flight == 0 || (self.in_flight < IN_FLIGHT_MAX && self.memory + memory <= MEMORY_MAX)
    }

    const fn admit(&mut self, memory: u64) {
        self.in_flight += 1;
        self.memory += memory;
    }
}

fn memory(request: &Request) -> u64 {
    u64::from(request.memory().min(PAYLOAD_MAX))
}

impl Workers {
    /// Makes place for one more request. Returns whether there was.
    pub(super) fn try_admit(&self, request: &Request) -> bool {
        let mut queue = self.lock();
        let has_room = queue.has_room(memory(request));
        if has_room {
            queue.admit(memory(request));
        }
        has_room
    }

    /// Waits until there is place for one more request.
    pub(super) fn admit(&self, request: &Request) {
        let mut queue = self.lock();
        while !queue.has_room(memory(request)) {
            queue.is_full = true;
            queue = self.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.admit(memory(request));
    }

    /// A request that was admitted has been answered, or never will be.
    pub(super) fn done(&self, request: &Request) {
        let mut queue = self.lock();
        queue.in_flight -= 1;
        queue.memory -= memory(request);
        if std::mem::take(&mut queue.is_full) {
            drop(queue);
            self.room.notify_all();
        }
    }

    /// Lets a task wait for a worker. Returns whether one more is to be started.
    pub(super) fn push(&self, task: Task) -> bool {
        let mut queue = self.lock();
        queue.waiting.push_back(task);
        if queue.idle < queue.waiting.len() && queue.workers < WORKERS_MAX {
            queue.workers += 1;
            return true;
        }
        let is_awaited = queue.idle > 0;
        drop(queue);
        if is_awaited {
            self.work.notify_one();
        }
        false
    }

    /// A worker could not be started. Gives a task to do instead if there is no other worker for it.
    pub(super) fn not_started(&self) -> Option<Task> {
        let mut queue = self.lock();
        queue.workers -= 1;
        if queue.workers == 0 { queue.waiting.pop_front() } else { None }
    }

    /// The next task of a worker; `None`: it is to leave.
    pub(super) fn next(&self) -> Option<Task> {
        let mut queue = self.lock();
        let mut is_quiet = false;
        loop {
            if let Some(task) = queue.waiting.pop_front() {
                return Some(task);
            }
            if queue.closed || is_quiet {
                queue.workers -= 1;
                return None;
            }
            queue.idle += 1;
            let waited = self.work.wait_timeout(queue, QUIET).unwrap_or_else(PoisonError::into_inner);
            queue = waited.0;
            queue.idle -= 1;
            is_quiet = waited.1.timed_out();
        }
    }

    /// Nothing comes any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
