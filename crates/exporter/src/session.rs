//! The transmission phase of one connection.
//!
//! One thread reads requests. What the page cache can answer at once is answered by that thread; the rest goes to a few workers
//! of the connection's own, so that a slow disk does not keep the next request from being read. Answers are written whole, under
//! one lock, in whatever order they come.
//!
//! Invariants: at most [`IN_FLIGHT_MAX`] requests and [`MEMORY_MAX`] bytes of a connection are held at a time; a connection
//! that breaks the protocol, or does not read its answers, is cut.

use crate::exports::Session;
use crate::handshake::Agreed;
use crate::protocol::option::PAYLOAD_MAX;
use crate::protocol::request::{self, Command, Errno, REQUEST_LENGTH, Request, Terms};
use crate::socket::Socket;
use crate::storage::Zeroing;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;

/// How many requests of a connection wait or run at once: the usual queue depth of fio and of qemu's block layer is below.
const IN_FLIGHT_MAX: usize = 128;
/// How many bytes they hold at once: one request of the largest size, and a second one being read.
const MEMORY_MAX: u64 = 2 * PAYLOAD_MAX as u64;
/// How many workers a connection may have. They are started when there is work for them.
const WORKERS_MAX: usize = 8;
/// Reads up to this size are tried from the page cache by the reading thread; larger ones would keep it from reading on.
const INLINE_MAX: u32 = 256 << 10;

struct Task {
    request: Request,
    data: Vec<u8>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Task>,
    in_flight: usize,
    memory: u64,
    idle: usize,
    workers: usize,
    closed: bool,
}

struct Conn<'a> {
    session: &'a Session,
    terms: Terms,
    socket: &'a Socket,
    writing: Mutex<()>,
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// Serves the connection until the client leaves or is cut.
pub(crate) fn serve(socket: &Socket, agreed: &Agreed) {
    let conn = Conn {
        session: &agreed.session,
        terms: agreed.terms,
        socket,
        writing: Mutex::new(()),
        queue: Mutex::default(),
        changed: Condvar::new(),
    };
    std::thread::scope(|scope| {
        if let Err(error) = conn.read_requests(scope) {
            tracing::debug!(%error, "a client's connection ended");
        }
        conn.close();
    });
    socket.cut();
}

impl<'a> Conn<'a> {
    fn read_requests<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) -> io::Result<()> {
        loop {
            let mut bytes = [0; REQUEST_LENGTH];
            (&*self.socket).read_exact(&mut bytes)?;
            let Some(request) = Request::parse(&bytes) else { return Err(io::ErrorKind::InvalidData.into()) };
            if request.command == Command::Disconnect {
                return Ok(());
            }
            if request.payload() > PAYLOAD_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.admit(&request);
            let mut data = vec![0; usize::try_from(request.payload()).expect("bounded above")];
            (&*self.socket).read_exact(&mut data)?;
            if self.at_once(&request)? {
                self.done(&request);
                continue;
            }
            self.hand_over(scope, Task { request, data });
        }
    }

    /// Waits until there is room for one more request.
    fn admit(&self, request: &Request) {
        let memory = u64::from(request.memory().min(PAYLOAD_MAX));
        let mut queue = self.lock();
        while queue.in_flight >= IN_FLIGHT_MAX || (queue.in_flight > 0 && queue.memory + memory > MEMORY_MAX) {
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.in_flight += 1;
        queue.memory += memory;
        self.session.account.begin();
    }

    fn done(&self, request: &Request) {
        let mut queue = self.lock();
        self.session.account.end();
        queue.in_flight -= 1;
        queue.memory -= u64::from(request.memory().min(PAYLOAD_MAX));
        drop(queue);
        self.changed.notify_all();
    }

    /// Answers what needs no disk. Returns whether it did.
    fn at_once(&self, request: &Request) -> io::Result<bool> {
        if let Err(error) = request.check(self.terms) {
            self.send(&[&request::failure(request.cookie, error, self.terms.structured)])?;
            return Ok(true);
        }
        if request.command != Command::Read || request.length > INLINE_MAX || request.length == 0 {
            return Ok(false);
        }
        let mut data = vec![0; usize::try_from(request.length).expect("64-bit")];
        let cached = self.session.export.storage.read_cached(request.offset, &mut data);
        if cached {
            self.send_data(request, &data)?;
        }
        Ok(cached)
    }

    fn hand_over<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, task: Task) {
        let mut queue = self.lock();
        queue.waiting.push_back(task);
        if queue.idle < queue.waiting.len() && queue.workers < WORKERS_MAX {
            queue.workers += 1;
            drop(queue);
            scope.spawn(move || self.work());
        } else {
            drop(queue);
            self.changed.notify_all();
        }
    }

    fn work(&self) {
        while let Some(task) = self.next() {
            let request = task.request;
            if let Err(error) = self.answer(task) {
                tracing::debug!(%error, "an answer could not be sent");
                self.socket.cut();
            }
            self.done(&request);
        }
    }

    fn next(&self) -> Option<Task> {
        let mut queue = self.lock();
        loop {
            if let Some(task) = queue.waiting.pop_front() {
                return Some(task);
            }
            if queue.closed {
                return None;
            }
            queue.idle += 1;
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn answer(&self, Task { request, data }: Task) -> io::Result<()> {
        let storage = &self.session.export.storage;
        match request.command {
            Command::Read => return self.read(&request),
            Command::BlockStatus => {
                let extents = storage.extents(request.offset, request.length, request.flags.one());
                return self.send(&[&request::status_chunks(request.cookie, &extents, self.terms.contexts)]);
            }
            Command::Write | Command::Trim | Command::WriteZeroes => return self.reply(&request, self.change(&request, &data)),
            Command::Flush => return self.reply(&request, storage.flush()),
            Command::Cache => return self.reply(&request, storage.cache(request.offset, request.length)),
            Command::Disconnect | Command::Unknown => {}
        }
        self.reply(&request, Err(Errno::Invalid))
    }

    fn change(&self, request: &Request, data: &[u8]) -> Result<(), Errno> {
        let export = &self.session.export;
        let Some(_change) = export.begin() else { return Err(Errno::Shutdown) };
        let storage = &export.storage;
        let durable = request.flags.fua();
        match request.command {
            Command::Write => {
                storage.write(request.offset, data, durable)?;
                self.session.account.wrote(request.length);
                return Ok(());
            }
            Command::Trim => storage.trim(request.offset, request.length)?,
            Command::WriteZeroes => {
                let how = Zeroing { no_hole: request.flags.no_hole(), fast: request.flags.fast() };
                storage.zero(request.offset, request.length, how, || !export.is_fenced())?;
                self.session.account.wrote(request.length);
            }
            Command::Read | Command::Disconnect | Command::Flush | Command::Cache | Command::BlockStatus | Command::Unknown => {}
        }
        if durable { storage.flush() } else { Ok(()) }
    }

    fn read(&self, request: &Request) -> io::Result<()> {
        if request.length == 0 {
            return self.send(&[&request::nothing(request.cookie, self.terms.structured)]);
        }
        let storage = &self.session.export.storage;
        if self.terms.structured && !request.flags.dont_fragment() && storage.is_hole(request.offset, request.length) {
            self.send(&[&request::hole_chunk(request.cookie, request.offset, request.length)])?;
            self.session.account.read(request.length);
            return Ok(());
        }
        let mut data = vec![0; usize::try_from(request.length).expect("64-bit")];
        match storage.read(request.offset, &mut data) {
            Ok(()) => self.send_data(request, &data),
            Err(error) => self.send(&[&request::failure(request.cookie, error, self.terms.structured)]),
        }
    }

    fn send_data(&self, request: &Request, data: &[u8]) -> io::Result<()> {
        if self.terms.structured {
            self.send(&[&request::data_chunk(request.cookie, request.offset, request.length), data])?;
        } else {
            self.send(&[&request::simple(request.cookie, None), data])?;
        }
        self.session.account.read(request.length);
        Ok(())
    }

    fn reply(&self, request: &Request, result: Result<(), Errno>) -> io::Result<()> {
        match result {
            Ok(()) => self.send(&[&request::nothing(request.cookie, self.terms.structured)]),
            Err(error) => self.send(&[&request::failure(request.cookie, error, self.terms.structured)]),
        }
    }

    /// Writes one answer whole.
    fn send(&self, parts: &[&[u8]]) -> io::Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().try_for_each(|part| (&*self.socket).write_all(part))
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
