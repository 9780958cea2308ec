//! Dry runs: a request is decided as for real and held against the store by reading; nothing is committed and nobody is woken.
//!
//! - What a commit would refuse is refused here in the same words: a full pool, a name that is taken, a use of what is not there, a
//!   removal of what is in use.
//! - It is true of the moment at which it is asked, and promises nothing: others go on meanwhile.
//! - Only the store can tell that its disk is full or that it stops: a dry run does not find that out.

use crate::change::{Cause, Step};
use crate::engine::Engine;
use crate::records::{Key, Record, VolumeRecord};
use crate::requests::{Caller, VolumeNow};
use crate::store::{Change, Commit, CommitError, Field, Filter, Item, Kind, ListQuery, Store, StoreError};

impl Engine {
    /// Commits what a request has come to; of a dry run only looks whether that would go through. Returns the revision, 0 of a dry
    /// run.
    pub(crate) async fn settle(
        &self,
        caller: &Caller,
        steps: Vec<Step<'_>>,
        extra: Commit,
        cause: &Cause<'_>,
    ) -> Result<u64, CommitError> {
        if !caller.dry_run {
            return self.shared.commit(steps, extra, cause).await;
        }
        let commit = self.shared.assemble(steps, extra, cause).await?;
        rehearse(&*self.shared.store, &commit).await.map(|()| 0)
    }
}

/// The volume as it would be; nothing if it would be gone.
pub(crate) fn rehearsed(record: VolumeRecord, version: u64) -> Option<VolumeNow> {
    (!record.state.is_gone()).then_some(VolumeNow { record, version })
}

/// Whether the store would take `commit` now, in the order in which it looks. Versions are those just read, and idempotency keys
/// were looked for by the request.
pub(crate) async fn rehearse(store: &dyn Store, commit: &Commit) -> Result<(), CommitError> {
    for change in &commit.changes {
        if change.unused {
            let counted = store.counted(change.key).await.map_err(unavailable)?;
            if counted > 0 {
                return Err(CommitError::InUse { key: change.key, counted });
            }
        }
        name_is_free(store, change).await?;
    }
    for at in 0..commit.counters.len() {
        counter_may_move(store, commit, at).await?;
    }
    Ok(())
}

async fn counter_may_move(store: &dyn Store, commit: &Commit, at: usize) -> Result<(), CommitError> {
    let counter = &commit.counters[at];
    if counter.by <= 0 {
        return Ok(());
    }
    let made_here = commit.changes.iter().any(|change| change.key == counter.key && change.record.is_some());
    if !made_here && store.read(counter.key).await.map_err(unavailable)?.is_none() {
        return Err(CommitError::NoSuch(counter.key));
    }
    let Some(limit) = counter.at_most else { return Ok(()) };
    let counted = store.counted(counter.key).await.map_err(unavailable)?;
    let before = commit.counters[..at].iter().filter(|other| other.key == counter.key);
    let counted = before.fold(counted, |counted, other| counted.saturating_add_signed(other.by));
    match counted.saturating_add_signed(counter.by) > limit {
        true => Err(CommitError::Full { key: counter.key, counted, by: counter.by, limit }),
        false => Ok(()),
    }
}

/// Whether nobody else has the name of a host, profile or pool. Names of volumes need not be unique.
async fn name_is_free(store: &dyn Store, change: &Change) -> Result<(), CommitError> {
    let (kind, name) = match &change.record {
        Some(Record::Host(host)) => (Kind::Host, &host.about.name),
        Some(Record::Profile(profile)) => (Kind::Profile, &profile.about.name),
        Some(Record::Pool(pool)) => (Kind::Pool, &pool.about.name),
        Some(Record::Volume(_)) | None => return Ok(()),
    };
    let query =
        ListQuery { filters: vec![Filter { field: Field::Name, values: vec![name.clone()] }], limit: 2, ..ListQuery::all(kind) };
    let mut batches = store.list(query).await.map_err(unavailable)?;
    while let Some(batch) = batches.recv().await {
        let holder = batch.map_err(unavailable)?.iter().filter_map(key_of).find(|key| *key != change.key);
        if let Some(holder) = holder {
            return Err(CommitError::NameTaken(holder));
        }
    }
    Ok(())
}

fn key_of(item: &Item) -> Option<Key> {
    let Item::Other(record) = item else { return None };
    match &**record {
        Record::Host(host) => Some(Key::Host(host.id)),
        Record::Profile(profile) => Some(Key::Profile(profile.id)),
        Record::Pool(pool) => Some(Key::Pool(pool.id)),
        Record::Volume(_) => None,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function in map_err")]
fn unavailable(error: StoreError) -> CommitError {
    CommitError::Unavailable(error.to_string())
}
