//! The store port: four things, and no more.
//!
//! 1. [`Store::commit`]: all or nothing, durable before it returns, refuses any stale version.
//! 2. [`Store::read`] one aggregate, [`Store::find`] one part, [`Store::list`] many.
//! 3. [`Store::owes_work`]: every volume that owes work, from an index over the records. There is no job table.
//! 4. [`Store::journal`]: every transition ever committed, in order.
//!
//! Source: architecture page, "The store port".

use crate::records::{Key, Record, TenantId, VolumeRecord};
use async_trait::async_trait;
use lifecycle::{AttachmentId, OperationKind, Reason, SnapshotId, Subject, Timestamp, VolumeId};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Keeps the records.
#[async_trait]
pub trait Store: Send + Sync {
    /// Commits everything in `commit` or nothing, in one revision. It is durable when this returns `Ok`.
    ///
    /// Errors: [`CommitError`]; after `Unknown` the commit may or may not have happened, and a read tells.
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError>;

    /// Reads one record with its version.
    async fn read(&self, key: Key) -> Result<Option<Versioned<Record>>, StoreError>;

    /// A snapshot or an attachment, tombstones included, within an excerpt of its volume, as in a list ([`Item`]).
    async fn find(&self, child: Child) -> Result<Option<VolumeRecord>, StoreError>;

    /// How many times a host, profile or pool counter stands at (see [`Counter`]); 0 for an unknown key.
    async fn counted(&self, key: Key) -> Result<u64, StoreError>;

    /// Lists one kind. Batches arrive in order, consistent at one revision, and end when the channel closes; an error is the
    /// last thing sent. A reader that stops reading for 60 s is cut off with [`StoreError::Slow`], so that it holds no snapshot.
    async fn list(&self, query: ListQuery) -> Result<mpsc::Receiver<Result<Vec<Item>, StoreError>>, StoreError>;

    /// The volumes that owe work, in id order, at most `limit` of them, after `after`.
    async fn owes_work(&self, after: Option<VolumeId>, limit: usize) -> Result<Vec<VolumeId>, StoreError>;

    /// Journal entries behind `since`, oldest first, at most `limit`. Every part that a commit touched has one (see [`Touched`]), so that who
    /// follows the journal misses no change of a volume, snapshot or attachment.
    async fn journal(&self, query: JournalQuery) -> Result<Vec<JournalEntry>, StoreError>;

    /// What an idempotency key of a tenant was used for, if it is younger than the store keeps them.
    async fn idempotent(&self, tenant: &str, key: &str) -> Result<Option<Idempotent>, StoreError>;

    /// Where the store is.
    async fn head(&self) -> Result<Head, StoreError>;

    /// Begins a new incarnation of the controller: one durable commit. Source: lifecycle page, "Fencing".
    async fn begin_incarnation(&self) -> Result<u64, CommitError>;
}

/// A record with its version: the number of the commit that last changed the aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The record.
    pub record: T,
    /// Its version, to be given back as [`Expected::Version`].
    pub version: u64,
}

/// What commits together.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Records to write or remove, each under the version it was read at, and none of them twice.
    pub changes: Vec<Change>,
    /// Counters to move. They commute, so that a pool's capacity does not make every create conflict with every other.
    pub counters: Vec<Counter>,
    /// What happened, for the journal. The revision is set by the store.
    pub journal: Vec<JournalEntry>,
    /// The idempotency key of the request, remembered with what it made.
    pub idempotent: Option<(TenantId, String, Idempotent)>,
}

/// One record to write or remove.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which record.
    pub key: Key,
    /// The version it must have now.
    pub expected: Expected,
    /// What it becomes; `None` removes it (a volume with its attachments and snapshots).
    pub record: Option<Record>,
    /// Of a volume: which of its parts changed, so that the others are not written again. New revisions are set on these alone.
    pub touched: Touched,
    /// Of a host, profile or pool that is removed: refuse with [`CommitError::InUse`] if its counter is not 0.
    pub unused: bool,
}

/// The version a record must have for a commit to go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It must not exist.
    Absent,
    /// It must be at this version.
    Version(u64),
}

/// The parts of a volume that a commit changed. A part that is no longer in the record is removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// The volume's own row.
    pub volume: bool,
    /// These snapshots.
    pub snapshots: BTreeSet<SnapshotId>,
    /// These attachments.
    pub attachments: BTreeSet<AttachmentId>,
}

impl Touched {
    /// Sets the revision of each on the record: what a store does as it commits.
    pub fn stamp(&self, record: &mut VolumeRecord, revision: u64) {
        if self.volume {
            record.about.revision = revision;
        }
        for id in &self.snapshots {
            record.snapshots.entry(*id).and_modify(|held| held.about.revision = revision);
        }
        for id in &self.attachments {
            record.attachments.entry(*id).and_modify(|held| held.about.revision = revision);
        }
    }

    /// Whether this resource is one of them.
    #[must_use]
    pub fn has(&self, subject: Subject) -> bool {
        match subject {
            Subject::Volume(_) => self.volume,
            Subject::Snapshot(id) => self.snapshots.contains(&id),
            Subject::Attachment(id) => self.attachments.contains(&id),
        }
    }
}

/// A counter kept with a pool (bytes reserved), a host (attachments) or a profile (volumes), moved in the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Whose counter. The record must exist if the counter goes up: else [`CommitError::NoSuch`].
    pub key: Key,
    /// How far it moves.
    pub by: i64,
    /// Refuse with [`CommitError::Full`] if it went up and would stand above this.
    pub at_most: Option<u64>,
}

/// What a commit answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The global revision of this commit; larger than of every commit before it. It is also the new version of every record
    /// that the commit changed.
    pub revision: u64,
}

/// Why a commit did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Somebody else changed the record since it was read; read again and decide anew.
    #[error("{0} changed meanwhile")]
    Stale(Key),
    /// A counter would pass its limit.
    #[error("{key}: {counted} counted, {by} more would pass {limit}")]
    Full {
        /// Whose counter.
        key: Key,
        /// Where it stands.
        counted: u64,
        /// How far it should have moved.
        by: i64,
        /// The limit.
        limit: u64,
    },
    /// A counter of a record that does not exist should have moved up.
    #[error("{0} does not exist")]
    NoSuch(Key),
    /// The record to be removed is still counted as used.
    #[error("{key} is in use: {counted}")]
    InUse {
        /// Which record.
        key: Key,
        /// How often.
        counted: u64,
    },
    /// Another record of that kind has the name.
    #[error("the name is taken by {0}")]
    NameTaken(Key),
    /// The idempotency key was used before.
    #[error("the idempotency key was used before")]
    Repeated(Idempotent),
    /// The disk is full: nothing happened. Only commits of work that frees space go through now.
    #[error("the store's disk is full")]
    DiskFull,
    /// Nothing happened, for this reason.
    #[error("the store cannot commit: {0}")]
    Unavailable(String),
    /// It may have happened: the store stopped in the middle.
    #[error("the store stopped in the middle of a commit: {0}")]
    Unknown(String),
}

/// Why a read could not be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store cannot answer now.
    #[error("the store cannot answer: {0}")]
    Unavailable(String),
    /// A stored record cannot be understood.
    #[error("stored record of {0} cannot be read: {1}")]
    Corrupt(String, String),
    /// An unindexed filter looked at as many records as it may, and found fewer than were asked for.
    #[error("looked at more than {0} records without finding enough; filter by an indexed field")]
    TooBroad(u64),
    /// What rows would be sorted by, for an order without an index, is more than so many bytes.
    #[error("more than {0} bytes would have to be sorted; sort by id, name or createdAt, or filter by an indexed field")]
    TooMuchToSort(usize),
    /// The reader stopped reading.
    #[error("the reader of the list was too slow")]
    Slow,
}

/// Something inside a volume's aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Child {
    /// A snapshot.
    Snapshot(SnapshotId),
    /// An attachment.
    Attachment(AttachmentId),
}

/// The kinds that can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Volumes.
    Volume,
    /// Snapshots.
    Snapshot,
    /// Attachments.
    Attachment,
    /// Hosts.
    Host,
    /// Profiles.
    Profile,
    /// Pools.
    Pool,
}

/// One row of a list: a record, and which part of it was listed. A snapshot or an attachment comes with an excerpt of its volume
/// ([`VolumeRecord::excerpt`]): so it costs the same however many snapshots that has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A volume.
    Volume(Arc<VolumeRecord>),
    /// A snapshot, within an excerpt of its volume.
    Snapshot(SnapshotId, Arc<VolumeRecord>),
    /// An attachment, within an excerpt of its volume.
    Attachment(AttachmentId, Arc<VolumeRecord>),
    /// A host, profile or pool.
    Other(Box<Record>),
}

/// What to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// Which kind.
    pub kind: Kind,
    /// Of which tenant; `None` lists all tenants' (and profiles and pools have none).
    pub tenant: Option<TenantId>,
    /// All of these must hold; the values of one are alternatives, compared exactly.
    pub filters: Vec<Filter>,
    /// The order. Ties are broken by id, so that every order is total.
    pub sort: Sort,
    /// Sort downwards.
    pub descending: bool,
    /// Start after the row with this id (the id last listed), if it still exists; else where it would be by id.
    pub marker: Option<uuid::Uuid>,
    /// Skip this many rows after that.
    pub offset: usize,
    /// At most this many rows.
    pub limit: usize,
}

impl ListQuery {
    /// All there is of a kind, by id: where a list begins that wants less.
    pub const fn all(kind: Kind) -> Self {
        Self {
            kind,
            tenant: None,
            filters: Vec::new(),
            sort: Sort::Id,
            descending: false,
            marker: None,
            offset: 0,
            limit: usize::MAX,
        }
    }
}

/// One condition of a list: the field has one of these values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The field.
    pub field: Field,
    /// The values as the field's text: ids hyphenated, statuses in the seed's words, sizes in GiB, booleans `true` or `false`.
    pub values: Vec<String>,
}

/// The fields that lists filter by. The first group is indexed (flat cost); the others scan within a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// Indexed.
    Id,
    /// Indexed.
    Name,
    /// Indexed. A list of snapshots or attachments without it leaves tombstones out.
    Status,
    /// Indexed; of volumes.
    PoolId,
    /// Indexed; of volumes and snapshots.
    ProfileId,
    /// Indexed; of attachments.
    HostId,
    /// Indexed; of snapshots and attachments.
    VolumeId,
    /// Indexed; of volumes: the snapshot it was made from.
    SnapshotId,
    /// Scanned.
    Description,
    /// Scanned; of volumes and hosts.
    AvailabilityZone,
    /// Scanned; in GiB.
    Size,
    /// Scanned; of volumes.
    MultiAttach,
    /// Scanned: the owner.
    TenantId,
    /// Scanned; of attachments: `ro` or `rw`.
    AttachMode,
    /// Scanned; of attachments.
    Mountpoint,
    /// Scanned; of hosts.
    Ip,
    /// Scanned; of hosts.
    OsType,
    /// Scanned; of hosts.
    AccessMode,
    /// Scanned; of profiles.
    StorageType,
}

/// The orders of a list. The first three are indexed; the others sort within a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sort {
    /// By id.
    Id,
    /// By name, then id.
    Name,
    /// By creation, then id.
    CreatedAt,
    /// By another field, then id.
    By(Field),
}

/// A place in the journal: behind this entry of this commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// The revision of the commit.
    pub revision: u64,
    /// The entry within it, from 0.
    pub seq: u32,
}

impl Mark {
    /// Behind everything of a commit, whether or not it has entries; revision 0 is before the first one.
    #[must_use]
    pub const fn behind(revision: u64) -> Self {
        Self { revision, seq: u32::MAX }
    }
}

/// What to read of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalQuery {
    /// Entries after this place.
    pub since: Mark,
    /// Only of this resource.
    pub subject: Option<Subject>,
    /// Only of this tenant.
    pub tenant: Option<TenantId>,
    /// At most this many.
    pub limit: usize,
}

/// One transition, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// The revision of its commit, and which entry of it. Set by the store.
    pub mark: Mark,
    /// When.
    pub at: Timestamp,
    /// Whose.
    pub tenant: TenantId,
    /// The aggregate.
    pub volume: VolumeId,
    /// The resource whose status it is about.
    pub subject: Subject,
    /// The status before, in the seed's words; `None` when it was made by this commit.
    pub from: Option<String>,
    /// The status after; `deleted`, or `forgotten, may have left data`, for a volume that is gone.
    pub to: String,
    /// What made it happen: the command, the work that was reported, `deadline`, `look`.
    pub cause: String,
    /// Who asked; empty for what the controller did by itself.
    pub actor: String,
    /// The request that asked; empty for what the controller did by itself.
    pub request_id: String,
    /// The operation that ended here.
    pub ended: Option<Ended>,
    /// The reason that holds after it.
    pub reason: Option<Reason>,
}

/// The end of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which one.
    pub operation: OperationKind,
    /// How.
    pub how: Ending,
    /// How long it took by the wall clock, in milliseconds; none in entries of before this was noted.
    pub took_ms: Option<u64>,
}

/// How an operation ended: every accepted command gets exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ending {
    /// It did what was asked.
    Done,
    /// It ended in an error status, or recovered nothing.
    Failed,
    /// Its negation took over.
    Superseded,
}

impl Ending {
    /// Every ending.
    pub const ALL: &'static [Self] = &[Self::Done, Self::Failed, Self::Superseded];

    /// The word people read.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Superseded => "superseded",
        }
    }
}

/// What an idempotency key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotent {
    /// A hash of the request's method, path and body.
    pub request: [u8; 32],
    /// What it made.
    pub made: Subject,
}

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Made anew with every new store, so that a wiped or restored one never matches an old event id.
    pub epoch: String,
    /// The revision of the newest commit.
    pub revision: u64,
    /// The journal is whole behind this revision: what is older may have been swept.
    pub compacted: u64,
}
