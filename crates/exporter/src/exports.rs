//! What is exported, to whom, and who is connected.
//!
//! A change to the volume counts as in flight from [`Export::begin`] to the drop of its [`Change`]; once an export is fenced no
//! further one begins, and when the last has ended nothing can be written any more, however long its client lives.

use crate::socket::{Peer, Socket};
use crate::storage::Storage;
use engine::ports::{Client, ExportSpec};
use engine::tokens::Tokens;
use lifecycle::{AttachmentId, Connection, Timestamp};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::sync::watch;

/// Everything that is exported.
#[derive(Default)]
pub(crate) struct Registry {
    state: Mutex<State>,
}

/// What the registry's lock guards.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) exports: BTreeMap<AttachmentId, Arc<Export>>,
    pub(crate) tokens: Tokens,
}

/// One export.
pub(crate) struct Export {
    pub(crate) spec: ExportSpec,
    pub(crate) address: IpAddr,
    pub(crate) storage: Storage,
    pub(crate) connection: Connection,
    state: Mutex<ExportState>,
    /// How many clients are connected, for whoever waits for them to leave.
    pub(crate) sessions: watch::Sender<usize>,
    /// How many changes are in flight.
    pub(crate) changes: watch::Sender<usize>,
}

#[derive(Default)]
struct ExportState {
    /// How many calls are waiting for the clients to leave: new ones are refused meanwhile.
    closing: usize,
    /// No change is accepted any more.
    fenced: bool,
    sessions: BTreeMap<u64, Connected>,
    next: u64,
}

struct Connected {
    peer: Peer,
    since: Timestamp,
    socket: Socket,
}

/// Why a client may not use an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is none of that name that this client may know of.
    Unknown,
    /// It is being ended.
    Closing,
    /// It has as many connections as it may.
    Full,
}

/// A client that is connected to an export, until dropped.
pub(crate) struct Session {
    pub(crate) export: Arc<Export>,
    number: u64,
}

/// A change in flight, until dropped.
pub(crate) struct Change<'a>(&'a Export);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The export of that name, if this client may know of it.
    pub(crate) fn find(&self, name: &str, peer: Peer) -> Result<Arc<Export>, Refused> {
        let attachment: AttachmentId = name.parse().map_err(|_| Refused::Unknown)?;
        let found = self.lock().exports.get(&attachment).cloned();
        found.filter(|export| peer.may_reach(export.address)).ok_or(Refused::Unknown)
    }

    /// The names of the exports that this client may know of.
    pub(crate) fn names(&self, peer: Peer) -> Vec<String> {
        let state = self.lock();
        state.exports.iter().filter(|(_, export)| peer.may_reach(export.address)).map(|(id, _)| id.to_string()).collect()
    }
}

impl Export {
    pub(crate) fn new(spec: ExportSpec, address: IpAddr, storage: Storage, connection: Connection) -> Self {
        let (sessions, changes) = (watch::Sender::new(0), watch::Sender::new(0));
        Self { spec, address, storage, connection, state: Mutex::default(), sessions, changes }
    }

    /// Connects a client. `limit` is how many may be at once.
    pub(crate) fn connect(self: &Arc<Self>, peer: Peer, socket: Socket, limit: usize) -> Result<Session, Refused> {
        let mut state = lock(&self.state);
        if state.closing > 0 || state.fenced {
            return Err(Refused::Closing);
        }
        if state.sessions.len() >= limit {
            return Err(Refused::Full);
        }
        state.next += 1;
        let number = state.next;
        state.sessions.insert(number, Connected { peer, since: now(), socket });
        self.sessions.send_replace(state.sessions.len());
        Ok(Session { export: self.clone(), number })
    }

    /// Begins a change, unless none is accepted any more.
    pub(crate) fn begin(&self) -> Option<Change<'_>> {
        let state = lock(&self.state);
        if state.fenced {
            return None;
        }
        self.changes.send_modify(|count| *count += 1);
        Some(Change(self))
    }

    /// Accepts no change any more, and no client.
    pub(crate) fn fence(&self) {
        lock(&self.state).fenced = true;
    }

    pub(crate) fn is_fenced(&self) -> bool {
        lock(&self.state).fenced
    }

    /// Refuses new clients until the answer is dropped.
    pub(crate) fn close(self: &Arc<Self>) -> Closing {
        lock(&self.state).closing += 1;
        Closing(self.clone())
    }

    /// Cuts every client's connection.
    pub(crate) fn cut(&self) {
        lock(&self.state).sessions.values().for_each(|connected| connected.socket.cut());
    }

    /// Who is connected.
    pub(crate) fn clients(&self) -> Vec<Client> {
        let state = lock(&self.state);
        state
            .sessions
            .values()
            .map(|held| Client {
                address: held.peer.to_string(),
                identity: held.peer.to_string(),
                since: held.since,
                last_seen: held.since,
                size_seen: None,
                bytes_read: 0,
                bytes_written: 0,
                in_flight: 0,
            })
            .collect()
    }
}

/// New clients are refused while this lives.
pub(crate) struct Closing(Arc<Export>);

impl Drop for Closing {
    fn drop(&mut self) {
        lock(&self.0.state).closing -= 1;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut state = lock(&self.export.state);
        state.sessions.remove(&self.number);
        self.export.sessions.send_replace(state.sessions.len());
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.0.changes.send_modify(|count| *count -= 1);
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
