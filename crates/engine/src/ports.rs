//! The ports towards a backend: [`Driver`] makes volumes and snapshots, [`Exporter`] makes them reachable, [`Clock`] tells the time.
//!
//! Rules for everybody who implements one:
//! - every call is keyed by our ids and repeatable: done twice is done once;
//! - every changing call carries a [`Token`]; it is checked under the volume's (the attachment's) own lock just before each
//!   visible step (rename, unlink, export), and a call with a token older than the newest seen is refused ([`Outcome::Refused`]);
//! - a call answers with facts it observed, about the id it was asked for;
//! - a call may be abandoned (its future dropped) at any await: what it was doing may go on, but not past the next token check.
//!
//! Source: lifecycle page, "Fencing" and "Work in flight"; reliability page, its first rules.

use async_trait::async_trait;
use lifecycle::{
    AttachmentId, Bytes, Capabilities, Connection, ExportSeen, HostId, Look, Mode, Outcome, Seen, SnapshotId, Source, Timestamp,
    Token, VolumeId,
};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// A question to a driver or an exporter that could not be answered now.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Unanswered(pub String);

/// What comes with every changing call to a driver.
#[derive(Clone)]
pub struct Call {
    /// Orders this call among all calls for the same volume.
    pub token: Token,
    /// Where the driver tells how far it is, 0 to 100. Each report renews the deadline, so a long copy is not killed.
    pub progress: Progress,
}

/// Where a driver tells how far a call is. Cheap to clone and to call often.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(u8) + Send + Sync>);

impl Progress {
    /// Tells `sink` the percentage each time the driver reports one.
    pub fn new(sink: impl Fn(u8) + Send + Sync + 'static) -> Self {
        Self(Arc::new(sink))
    }

    /// A progress that nobody reads.
    #[must_use]
    pub fn ignored() -> Self {
        Self::new(|_| {})
    }

    /// Tells that `percent` (0 to 100; more is taken as 100) of the call is done. To be called only when more was done than at
    /// the last call, be it less than a percent: each call is a sign of life.
    pub fn report(&self, percent: u8) {
        (self.0)(percent.min(100));
    }
}

/// Where an exporter finds a volume's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// A raw file or block device that can be opened at this path.
    File(PathBuf),
}

/// How full a pool is, in bytes, as its backend tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// What the backend could hold when empty.
    pub total: Bytes,
    /// What can still be written, reserved bytes already taken off.
    pub free: Bytes,
}

/// Makes volumes and snapshots on one backend. One driver serves one pool.
#[async_trait]
pub trait Driver: Send + Sync {
    /// The driver's name as operators know it, for example `file`.
    fn name(&self) -> &'static str;

    /// What the backend can do, as probed.
    async fn capabilities(&self) -> Result<Capabilities, Unanswered>;

    /// Makes the volume of exactly `size` bytes: empty (it reads as zeroes), or with the content of `source`, zeroes beyond it.
    ///
    /// Done: [`lifecycle::Facts::Object`] with what is there now. Again with the same size and source: done, nothing changes. If a volume with that id
    /// but another size is there: refused. A leftover of an interrupted creation is finished or made anew.
    /// A crash in the middle leaves nothing that [`Driver::inspect`] would call whole.
    async fn create(&self, call: Call, volume: VolumeId, size: Bytes, source: Option<Source>) -> Outcome;

    /// Removes the volume, and whatever an interrupted creation left of it. Absent: done. Refused while the backend knows a user
    /// or a child of it (naming who). Its snapshots are not touched and must be gone before, or refused naming them.
    async fn delete(&self, call: Call, volume: VolumeId) -> Outcome;

    /// Grows the volume to `size` bytes; already that large or larger: done with the facts. Never shrinks.
    async fn extend(&self, call: Call, volume: VolumeId, size: Bytes) -> Outcome;

    /// Takes a snapshot: a complete copy of one point in time. Already there: done. Done facts are those of the snapshot.
    async fn snapshot(&self, call: Call, volume: VolumeId, snapshot: SnapshotId) -> Outcome;

    /// Removes the snapshot and what an interrupted one left. Absent: done. Volumes made from it live on, or it is refused.
    async fn delete_snapshot(&self, call: Call, volume: VolumeId, snapshot: SnapshotId) -> Outcome;

    /// Where an exporter finds the volume's bytes.
    async fn backing(&self, volume: VolumeId) -> Result<Backing, Unanswered>;

    /// Looks at the volume and its snapshots. With `fence`, answering also promises that no call with an older token will act
    /// from now on: only then may the answer "absent" be believed for good.
    async fn inspect(&self, volume: VolumeId, fence: Option<Token>) -> Result<Look, Unanswered>;

    /// Tells everything the backend has that carries ids of ours: volumes, snapshots, and leftovers of either (as partial). Each is told
    /// once; what is worked on meanwhile may be told as it was before or after, twice, or not at all.
    ///
    /// It is told in batches, in any order, so that millions are never in memory at once: a batch is what is read at once (a page of an
    /// answer, a directory), or everything, for a driver that has it all anyway. `batches` is bounded; whoever finds it full waits. Each
    /// batch, an empty one too, renews the deadline of this call. Whoever hears may rest after each, for some time where it was large, and
    /// this is not polled meanwhile: what must be held open from one batch to the next is held by a task or a thread of its own.
    ///
    /// Done: everything was sent before this returned. Unanswered: what was sent is no list, and is thrown away.
    /// Once nobody hears any more (`batches` is closed), or the future was dropped, it ends at the next batch, as whatever, and leaves
    /// nothing that waits: no thread, no place, no lock.
    async fn list(&self, batches: Batches) -> Result<(), Unanswered>;

    /// How full the backend is.
    async fn capacity(&self) -> Result<Capacity, Unanswered>;

    /// Whether the backend works now: answered only if a change of some volume would be carried out too. Cheap, as it is asked
    /// every few seconds, but one at a time; it changes no volume. A full backend works. Who cannot try anything better is asked
    /// how full it is.
    async fn probe(&self) -> Result<(), Unanswered> {
        self.capacity().await.map(drop)
    }
}

/// Where [`Driver::list`] tells what there is. Sending fails once nobody hears any more.
pub type Batches = mpsc::Sender<Vec<Listed>>;

/// One object of a backend, from [`Driver::list`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The volume it is, or belongs to.
    pub volume: VolumeId,
    /// The snapshot it is, unless it is the volume itself.
    pub snapshot: Option<SnapshotId>,
    /// What it was seen to be.
    pub seen: Seen,
    /// Whether somebody seems to use it, one of our exporters included: worth a look where nothing is attached.
    pub is_used: bool,
}

/// Who an export is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportSpec {
    /// The attachment, which names the export.
    pub attachment: AttachmentId,
    /// The volume exported.
    pub volume: VolumeId,
    /// Where its bytes are.
    pub backing: Backing,
    /// The host that may connect.
    pub host: HostId,
    /// The host's recorded IP address, as text.
    pub address: String,
    /// The names of the host's initiators for this protocol; for NBD over TLS they are the names that its clients prove.
    pub initiators: Vec<String>,
    /// Whether it may write.
    pub mode: Mode,
    /// Whether several clients may use the export at once, as the volume may be attached many times.
    pub shared: bool,
    /// The protocol asked for, for example `nbd`.
    pub protocol: String,
}

/// A connection of a client to an export, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address as text (`10.0.0.5:41234`, `unix pid 17`).
    pub address: String,
    /// Who it is: the name it proved, else its process, else its address without the port.
    pub identity: String,
    /// Since when it is connected.
    pub since: Timestamp,
    /// When it last asked for anything.
    pub last_seen: Timestamp,
    /// The size in bytes that it was told when it connected, if the exporter knows.
    pub size_seen: Option<Bytes>,
    /// Bytes that it read.
    pub bytes_read: u64,
    /// Bytes that it wrote.
    pub bytes_written: u64,
    /// Its requests that are not answered yet.
    pub in_flight: u64,
}

/// Makes volumes reachable.
#[async_trait]
pub trait Exporter: Send + Sync {
    /// The protocols it speaks.
    fn protocols(&self) -> &'static [&'static str];

    /// Exports the volume. Done: [`lifecycle::Facts::Export`] with the connection, which stays the same across repeats and restarts. Again with the
    /// same spec: done. A protocol it does not speak, or a backing that cannot be opened: refused.
    async fn export(&self, token: Token, spec: ExportSpec) -> Outcome;

    /// Ends the export. Not exported: done. Not forced and a client is still connected: new connections are refused for a short
    /// grace while it waits; if a client is there still, refused, naming who and since when, and the export serves on. Forced:
    /// no write is accepted any more, writes in flight are awaited, clients cut, and their absence verified, before it is done.
    async fn unexport(&self, token: Token, attachment: AttachmentId, force: bool) -> Outcome;

    /// Looks at one export; `fence` as in [`Driver::inspect`].
    async fn inspect(&self, attachment: AttachmentId, fence: Option<Token>) -> Result<ExportSeen, Unanswered>;

    /// All exports it serves, with how each is reached.
    async fn list(&self) -> Result<BTreeMap<AttachmentId, Connection>, Unanswered>;

    /// Who is connected to an export, if it can tell.
    async fn clients(&self, attachment: AttachmentId) -> Result<Vec<Client>, Unanswered>;

    /// The volume has grown: its new size is to be offered. Nothing is exported: done. Repeatable. Clients see it as their
    /// protocol lets them (NBD: when they connect again), which [`Client::size_seen`] tells.
    async fn refresh(&self, _attachment: AttachmentId) -> Result<(), Unanswered> {
        Ok(())
    }

    /// Whether it answered when it was last asked. While it does not, what it serves is as it was last known to be.
    fn answers(&self) -> bool {
        true
    }

    /// Changes each time exports may have been lost without being asked for, as when a data plane of its own process ended or
    /// was reached again. The engine compares what is served with the records then. `None`: they live as long as the engine.
    fn losses(&self) -> Option<watch::Receiver<u64>> {
        None
    }
}

/// Tells the time of day, for people to read. Timers are the runtime's.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}
