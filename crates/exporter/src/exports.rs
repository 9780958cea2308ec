//! What is exported, to whom, and who is connected.
//!
//! A change to the volume counts as in flight from [`Export::begin`] to the drop of its [`Change`]; once an export is fenced no
//! further one begins, and when the last has ended nothing can be written any more, however long its client lives.

use crate::account::Account;
use crate::ending::Stage;
use crate::names::Names;
use crate::peer::Peer;
use crate::plane::ExportStatus;
use crate::socket::Socket;
use crate::storage::Storage;
use engine::ports::{Backing, Client, ExportSpec};
use engine::tokens::Tokens;
use lifecycle::{AttachmentId, Connection, Mode, Timestamp};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How long a client waits for the one before it to leave a volume that is attached once: whoever has closed its connection is
/// gone as soon as its last requests are, and the next one may be as fast as that. Well within a handshake's deadline.
const LEAVING: Duration = Duration::from_secs(1);

/// Everything that is exported.
pub(crate) struct Registry {
    pub(crate) names: Names,
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
    /// A client has left.
    left: Condvar,
    /// How many changes are in flight.
    pub(crate) changes: watch::Sender<usize>,
    /// How far its end by force is.
    pub(crate) stage: watch::Sender<Stage>,
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
    identity: String,
    account: Arc<Account>,
    /// For cutting it: the session's own, not another handle, as each handle would cost a file of the process.
    socket: Arc<Socket>,
}

/// Why a client may not use an export, as it is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// There is none of that name that this client may know of. Nobody learns from this which of the two it is.
    #[error("there is no such export for this client")]
    Unknown,
    /// It is being ended.
    #[error("the export is being ended")]
    Closing,
    /// Another client has it, and it is for one at a time.
    #[error("the volume is attached once, and {by} is connected since {since}; it must leave first")]
    Held {
        /// Who.
        by: String,
        /// Since when.
        since: Timestamp,
    },
    /// It has as many connections as it may.
    #[error("the export has as many connections as it may")]
    Full,
    /// The server has as many connections as it may.
    #[error("the server has as many connections as it may")]
    Crowded,
}

/// A client that is connected to an export, until dropped.
pub(crate) struct Session {
    pub(crate) export: Arc<Export>,
    pub(crate) account: Arc<Account>,
    number: u64,
}

/// A change in flight, until dropped.
pub(crate) struct Change<'a>(&'a Export);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    pub(crate) fn new(names: Names) -> Self {
        Self { names, state: Mutex::default() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The export of that name, if this client may know of it.
    pub(crate) fn find(&self, name: &str, peer: &Peer) -> Result<Arc<Export>, Refused> {
        let attachment = self.names.read(name).ok_or(Refused::Unknown)?;
        let found = self.lock().exports.get(&attachment).cloned();
        found.filter(|export| peer.may_reach(export.address, &export.spec.initiators)).ok_or(Refused::Unknown)
    }

    /// The names that this client may be told.
    pub(crate) fn list(&self, peer: &Peer) -> Vec<String> {
        let state = self.lock();
        let told = state.exports.iter().filter(|(_, export)| peer.may_list(export.address, &export.spec.initiators));
        told.map(|(id, _)| self.names.of(*id)).collect()
    }
}

impl State {
    /// Takes the export off, unless another has its place already.
    pub(crate) fn remove(&mut self, export: &Arc<Export>) {
        let attachment = export.spec.attachment;
        if self.exports.get(&attachment).is_some_and(|held| Arc::ptr_eq(held, export)) {
            self.exports.remove(&attachment);
        }
    }
}

impl Export {
    pub(crate) fn new(spec: ExportSpec, address: IpAddr, storage: Storage, connection: Connection) -> Self {
        let (sessions, changes) = (watch::Sender::new(0), watch::Sender::new(0));
        let (state, left, stage) = (Mutex::default(), Condvar::new(), watch::Sender::default());
        Self { spec, address, storage, connection, state, sessions, left, changes, stage }
    }

    /// What it is, for people.
    pub(crate) fn description(&self) -> String {
        let mode = if self.spec.mode == Mode::ReadOnly { "for reading" } else { "for reading and writing" };
        format!("volume {}, attached to host {} {mode}", self.spec.volume, self.spec.host)
    }

    /// Why this client could not connect now, if so. `limit` is how many connections there may be.
    pub(crate) fn refusal(&self, peer: &Peer, limit: usize) -> Option<Refused> {
        let identity = peer.identity();
        self.refusal_in(&self.settled(&identity, limit), &identity, limit)
    }

    /// The state, once a client that is in this one's way has had the time to leave.
    fn settled(&self, identity: &str, limit: usize) -> MutexGuard<'_, ExportState> {
        let is_held = |state: &mut ExportState| matches!(self.refusal_in(state, identity, limit), Some(Refused::Held { .. }));
        let waited = self.left.wait_timeout_while(lock(&self.state), LEAVING, is_held);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn refusal_in(&self, state: &ExportState, identity: &str, limit: usize) -> Option<Refused> {
        if state.closing > 0 || state.fenced {
            return Some(Refused::Closing);
        }
        // All sessions of an export for one client are of the same one, so that the first stands for them.
        let first = state.sessions.values().next().filter(|_| !self.spec.shared);
        if let Some(held) = first.filter(|held| held.identity != identity) {
            return Some(Refused::Held { by: held.identity.clone(), since: held.account.since() });
        }
        (state.sessions.len() >= limit).then_some(Refused::Full)
    }

    /// Connects a client, which is told `size`. `limit` is how many connections there may be.
    pub(crate) fn connect(self: &Arc<Self>, peer: &Peer, socket: Arc<Socket>, size: u64, limit: usize) -> Result<Session, Refused> {
        let identity = peer.identity();
        let mut state = self.settled(&identity, limit);
        if let Some(refused) = self.refusal_in(&state, &identity, limit) {
            return Err(refused);
        }
        state.next += 1;
        let number = state.next;
        let account = Arc::new(Account::open(size));
        state.sessions.insert(number, Connected { peer: peer.clone(), identity, account: account.clone(), socket });
        self.sessions.send_replace(state.sessions.len());
        Ok(Session { export: self.clone(), account, number })
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

    /// Whether its path leads to what is served still. May block as long as the file system does.
    pub(crate) fn is_in_place(&self) -> bool {
        let Backing::File(path) = &self.spec.backing;
        self.storage.is_at(path)
    }

    /// What it is, for people.
    pub(crate) fn status(&self) -> ExportStatus {
        ExportStatus {
            attachment: self.spec.attachment.0,
            volume: self.spec.volume.0,
            mode: if self.storage.is_read_only() { "ro" } else { "rw" }.to_owned(),
            size: self.storage.size().ok(),
            is_fenced: self.is_fenced(),
            clients: self.clients().into_iter().map(Into::into).collect(),
        }
    }

    /// Who is connected.
    pub(crate) fn clients(&self) -> Vec<Client> {
        let state = lock(&self.state);
        state.sessions.values().map(|held| held.account.told(held.peer.to_string(), held.identity.clone())).collect()
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
        drop(state);
        self.export.left.notify_all();
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.0.changes.send_modify(|count| *count -= 1);
    }
}
