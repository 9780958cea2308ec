//! The transmission phase of one connection.
//!
//! One thread leads: it reads requests, and does itself what the page cache can do at once. What may wait for a disk goes to
//! workers; in between are things that hardly ever wait, plain writes above all, which the leader does while another thread stands
//! by to lead on. Answers are written whole, in whatever order they come; small ones leave together.
//!
//! - `incoming` and `outgoing`: bytes on the socket; `turns`: who leads; `workers`: the queue, its bounds and its threads.
//!
//! Invariants: what a connection holds is bounded (`workers`, and a few buffers); a disk that hangs keeps no request from being
//! read; a connection that breaks the protocol is cut; one that is quiet holds a thread and no buffers.

mod incoming;
mod outgoing;
mod turns;
mod workers;

use crate::buffers::{self, Buffer};
use crate::exports::Session;
use crate::handshake::Agreed;
use crate::protocol::option::PAYLOAD_MAX;
use crate::protocol::request::{self, Command, Errno, REQUEST_LENGTH, Request, Terms};
use crate::server::STACK;
use crate::socket::Socket;
use crate::storage::{self, Zeroing};
use incoming::Incoming;
use outgoing::Outgoing;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread::Scope;
use turns::Turns;
use workers::Workers;

/// Reads up to this size are tried from the page cache by the leader; larger ones would keep it from reading on.
const READ_AT_ONCE_MAX: u32 = 256 << 10;
/// Writes up to this size are made before the next request is read; for larger ones the lead is passed on, as somebody else can
/// read meanwhile.
const WRITE_AT_ONCE_MAX: u32 = 256 << 10;
/// How large the chunks are in which larger reads are answered: one stays in a processor's cache between file and socket.
const CHUNK: u32 = 256 << 10;

/// A request for a worker.
struct Task {
    request: Request,
    /// The payload of a write.
    data: Buffer,
    /// A read that has not been looked at yet: there may be nothing but a hole.
    may_be_hole: bool,
}

/// Something that hardly ever waits for a disk, done in a turn of its own.
enum Quick {
    /// With its payload.
    Write(Request, Buffer),
    /// Look whether there is a hole; if not, it takes a while.
    Read(Request),
}

/// What a thread does when it does not lead any more.
#[derive(PartialEq, Eq)]
enum Next {
    StandBy,
    Leave,
}

struct Conn<'a> {
    session: &'a Session,
    terms: Terms,
    socket: &'a Socket,
    /// Held by the leader but for its turns.
    incoming: Mutex<Incoming>,
    outgoing: Outgoing<'a>,
    turns: Turns,
    workers: Workers,
}

/// Serves the connection until the client leaves or is cut.
pub(crate) fn serve(socket: &Socket, agreed: &Agreed) {
    let conn = Conn {
        session: &agreed.session,
        terms: agreed.terms,
        socket,
        incoming: Mutex::new(Incoming::new()),
        outgoing: Outgoing::new(socket),
        turns: Turns::default(),
        workers: Workers::default(),
    };
    std::thread::scope(|scope| conn.take_part(scope, true));
    socket.cut();
}

/// Leading.
impl<'a> Conn<'a> {
    /// Leads, and stands by when another does, until the connection ends.
    fn take_part<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, stays: bool) {
        loop {
            let led = self.lead(scope);
            if !matches!(led, Ok(Next::StandBy)) {
                if let Err(error) = led {
                    tracing::debug!(%error, "a client's connection ended");
                    self.socket.cut();
                }
                self.turns.close();
                self.workers.close();
                return;
            }
            if !self.turns.stand_by(stays) {
                return;
            }
        }
    }

    fn lead<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) -> io::Result<Next> {
        // What the one before left, if it is stuck.
        self.outgoing.flush()?;
        loop {
            let mut incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
            let Some((quick, turn)) = self.read_requests(&mut incoming, scope)? else { return Ok(Next::Leave) };
            drop(incoming);
            self.quick(quick)?;
            if !self.turns.end(turn) {
                self.outgoing.flush()?;
                return Ok(Next::StandBy);
            }
        }
    }

    /// Reads requests and does what can be done at once, until one is to be done in a turn of its own, or the client leaves.
    fn read_requests<'scope>(
        &'scope self,
        incoming: &mut Incoming,
        scope: &'scope Scope<'scope, '_>,
    ) -> io::Result<Option<(Quick, u64)>> {
        loop {
            let Some(request) = self.request(incoming)? else {
                self.outgoing.flush()?;
                return Ok(None);
            };
            if let Err(error) = request.check(self.terms) {
                self.skip(incoming, request.payload())?;
                self.post(&request::failure(request.cookie, error, self.terms.structured))?;
                continue;
            }
            let quick = match request.command {
                Command::Read if request.length > 0 => self.begin_read(scope, request)?,
                Command::Write if is_plain(&request) => self.begin_write(incoming, scope, request)?,
                _ => {
                    let data = self.admit_payload(incoming, &request)?;
                    self.hand_over(scope, Task { request, data, may_be_hole: true });
                    None
                }
            };
            if quick.is_some() {
                return Ok(quick);
            }
        }
    }

    /// The next request; `None`: the client leaves.
    fn request(&self, incoming: &mut Incoming) -> io::Result<Option<Request>> {
        self.expect(incoming, REQUEST_LENGTH)?;
        let bytes = incoming.take(REQUEST_LENGTH).try_into().expect("of the length asked for");
        let request = Request::parse(bytes).filter(|request| request.payload() <= PAYLOAD_MAX);
        let Some(request) = request else {
            self.outgoing.flush()?;
            return Err(io::ErrorKind::InvalidData.into());
        };
        if request.command == Command::Disconnect {
            return Ok(None);
        }
        self.session.account.begin();
        Ok(Some(request))
    }

    /// Waits until so many bytes have come; before it waits it sends what is ready, or the client might wait for us.
    fn expect(&self, incoming: &mut Incoming, length: usize) -> io::Result<()> {
        if !incoming.has(length) {
            self.outgoing.flush()?;
            incoming.fill(self.socket, length, || {
                self.outgoing.rest();
                buffers::trim();
            })?;
        }
        Ok(())
    }

    fn skip(&self, incoming: &mut Incoming, payload: u32) -> io::Result<()> {
        let mut left = usize::try_from(payload).expect("64-bit");
        while left > 0 {
            let piece = left.min(incoming::LENGTH);
            self.expect(incoming, piece)?;
            incoming.take(piece);
            left -= piece;
        }
        Ok(())
    }

    /// Answers a read from the page cache; leaves it to a turn or a worker if it is not there.
    fn begin_read<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, request: Request) -> io::Result<Option<(Quick, u64)>> {
        if request.length <= READ_AT_ONCE_MAX && self.read_cached(&request)? {
            self.session.account.read(request.length);
            self.session.account.end();
            return Ok(None);
        }
        self.admit(&request)?;
        if self.terms.structured
            && !request.flags.dont_fragment()
            && let Some(turn) = self.begin(scope)
        {
            return Ok(Some((Quick::Read(request), turn)));
        }
        self.hand_over(scope, Task { request, data: Buffer::take(0), may_be_hole: true });
        Ok(None)
    }

    fn read_cached(&self, request: &Request) -> io::Result<bool> {
        let storage = &self.session.export.storage;
        let length = usize::try_from(request.length).expect("64-bit");
        let fill = |buffer: &mut [u8]| storage.read_cached(request.offset, buffer);
        if self.terms.structured {
            let front = request::data_chunk(request.cookie, request.offset, request.length, true);
            self.outgoing.post_data(&front, length, fill)
        } else {
            self.outgoing.post_data(&request::simple(request.cookie, None), length, fill)
        }
    }

    /// Takes a write for a turn; leaves it to a worker if nobody stands by.
    fn begin_write<'scope>(
        &'scope self,
        incoming: &mut Incoming,
        scope: &'scope Scope<'scope, '_>,
        request: Request,
    ) -> io::Result<Option<(Quick, u64)>> {
        let data = self.admit_payload(incoming, &request)?;
        let Some(turn) = self.begin(scope) else {
            self.hand_over(scope, Task { request, data, may_be_hole: false });
            return Ok(None);
        };
        if request.length > WRITE_AT_ONCE_MAX {
            self.turns.pass();
        }
        Ok(Some((Quick::Write(request, data), turn)))
    }

    /// Begins a turn. If nobody stands by there is none, but there will be.
    fn begin<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) -> Option<u64> {
        let turn = self.turns.begin();
        if turn.is_none() && self.turns.wants_more() {
            let another = move || {
                if self.turns.stand_by(false) {
                    self.take_part(scope, false);
                }
            };
            if let Err(error) = thread().spawn_scoped(scope, another) {
                tracing::warn!(%error, "a connection goes on with fewer threads: no further one could be started");
                self.turns.not_started();
            }
        }
        turn
    }

    /// Does what a turn was begun for.
    fn quick(&self, quick: Quick) -> io::Result<()> {
        match quick {
            Quick::Write(request, data) => {
                let changed = self.change(&request, &data);
                self.workers.done(&request);
                self.post(&self.result(&request, changed)?)
            }
            Quick::Read(request) if self.session.export.storage.is_hole(request.offset, request.length) => {
                self.session.account.read(request.length);
                self.workers.done(&request);
                self.post(&request::hole_chunk(request.cookie, request.offset, request.length))
            }
            Quick::Read(request) => {
                self.turns.pass();
                self.do_task(Task { request, data: Buffer::take(0), may_be_hole: false });
                Ok(())
            }
        }
    }

    /// Lets the last answer of a request wait for others.
    fn post(&self, answer: &[u8]) -> io::Result<()> {
        self.session.account.end();
        self.outgoing.post(answer)
    }

    fn admit(&self, request: &Request) -> io::Result<()> {
        if !self.workers.try_admit(request) {
            self.outgoing.flush()?;
            self.workers.admit(request);
        }
        Ok(())
    }

    /// Makes place for a request, and reads its payload.
    fn admit_payload(&self, incoming: &mut Incoming, request: &Request) -> io::Result<Buffer> {
        self.admit(request)?;
        let mut data = Buffer::take(usize::try_from(request.payload()).expect("64-bit"));
        if !incoming.has(data.len()) {
            self.outgoing.flush()?;
        }
        incoming.read_into(self.socket, &mut data)?;
        Ok(data)
    }

    fn hand_over<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, task: Task) {
        if !self.workers.push(task) {
            return;
        }
        if let Err(error) = thread().spawn_scoped(scope, || self.work()) {
            tracing::warn!(%error, "a connection goes on with fewer workers: no further one could be started");
            if let Some(task) = self.workers.not_started() {
                self.do_task(task);
            }
        }
    }
}

/// Whether the leader may make that write itself: it asks for no disk, and no page must be read for it first.
fn is_plain(request: &Request) -> bool {
    let is_paged = request.offset.is_multiple_of(storage::PAGE) && u64::from(request.length).is_multiple_of(storage::PAGE);
    is_paged && !request.flags.fua()
}

fn thread() -> std::thread::Builder {
    std::thread::Builder::new().name("nbd".into()).stack_size(STACK)
}

/// Working.
impl Conn<'_> {
    fn work(&self) {
        while let Some(task) = self.workers.next() {
            self.do_task(task);
        }
    }

    fn do_task(&self, task: Task) {
        let request = task.request;
        if let Err(error) = self.answer(task) {
            tracing::debug!(%error, "an answer could not be sent");
            self.socket.cut();
        }
        self.session.account.end();
        self.workers.done(&request);
    }

    fn answer(&self, Task { request, data, may_be_hole }: Task) -> io::Result<()> {
        let storage = &self.session.export.storage;
        match request.command {
            Command::Read => return self.read(&request, may_be_hole),
            Command::BlockStatus => {
                let extents = storage.extents(request.offset, request.length, request.flags.one());
                return self.outgoing.send(&[&request::status_chunks(request.cookie, &extents, self.terms.contexts)]);
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

    fn read(&self, request: &Request, may_be_hole: bool) -> io::Result<()> {
        if request.length == 0 {
            return self.outgoing.send(&[&request::nothing(request.cookie, self.terms.structured)]);
        }
        let storage = &self.session.export.storage;
        let in_chunks = self.terms.structured && !request.flags.dont_fragment();
        if in_chunks && may_be_hole && storage.is_hole(request.offset, request.length) {
            self.outgoing.send(&[&request::hole_chunk(request.cookie, request.offset, request.length)])?;
            self.session.account.read(request.length);
            return Ok(());
        }
        self.read_data(request, if in_chunks { CHUNK.min(request.length) } else { request.length })
    }

    /// Answers a read in pieces of that length.
    fn read_data(&self, request: &Request, piece: u32) -> io::Result<()> {
        let mut buffer = Buffer::take(usize::try_from(piece).expect("64-bit"));
        let mut done = 0;
        while done < request.length {
            let (offset, length) = (request.offset + u64::from(done), piece.min(request.length - done));
            let data = &mut buffer[..usize::try_from(length).expect("64-bit")];
            if let Err(error) = self.session.export.storage.read(offset, data) {
                return self.outgoing.send(&[&request::failure(request.cookie, error, self.terms.structured)]);
            }
            done += length;
            if self.terms.structured {
                let front = request::data_chunk(request.cookie, offset, length, done == request.length);
                self.outgoing.send(&[&front, data])?;
            } else {
                self.outgoing.send(&[&request::simple(request.cookie, None), data])?;
            }
            self.session.account.read(length);
        }
        Ok(())
    }

    fn reply(&self, request: &Request, result: Result<(), Errno>) -> io::Result<()> {
        self.outgoing.send(&[&self.result(request, result)?])
    }

    /// The answer to a request that carries no data back.
    ///
    /// Errors: a change that came after the fence is not answered. The end of the connection tells the client, which may connect
    /// again, here or to the next data plane, and ask again; an error would be passed on to whoever wrote.
    fn result(&self, request: &Request, result: Result<(), Errno>) -> io::Result<Vec<u8>> {
        match result {
            Ok(()) => Ok(request::nothing(request.cookie, self.terms.structured)),
            Err(Errno::Shutdown) => Err(io::ErrorKind::ConnectionAborted.into()),
            Err(error) => Ok(request::failure(request.cookie, error, self.terms.structured)),
        }
    }
}
