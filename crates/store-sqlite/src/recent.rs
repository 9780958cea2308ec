//! The volumes that were committed last, as they are: what is being worked on is read again and again, by its worker, by whoever waits
//! for it, by the answer to the request, and each of those reads would be handed to a thread and back.
//!
//! Only the writer keeps volumes here, in the order of its commits. It lets go of what a transaction writes before that is committed,
//! and keeps the new form once it is confirmed: in between it is read from the database, as lists are, so that nobody sees a volume go
//! back to what it was. What is not here is read from there too.

use engine::records::{About, Key, Record, VolumeRecord};
use engine::store::{Change, Commit, Versioned};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// How much is kept, as [`weight`] counts: some 4,000 common volumes.
const KEPT_MAX: usize = 4 << 20;
/// The largest volume that is kept: one with thousands of snapshots would push out all others.
const ONE_MAX: usize = 64 << 10;
/// What a volume, a snapshot or an attachment takes beside its words, in bytes, about.
const PART_BYTES: usize = 768;

/// See the module.
#[derive(Default)]
pub(crate) struct Recent(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    volumes: HashMap<Uuid, Arc<Versioned<VolumeRecord>>>,
    /// Which was kept when, oldest first, with its version then and its weight. One that was kept anew since is out of date here.
    order: VecDeque<(Uuid, u64, usize)>,
    weight: usize,
}

impl Recent {
    /// The volume, if it is kept.
    pub(crate) fn read(&self, key: Key) -> Option<Versioned<Record>> {
        let Key::Volume(id) = key else { return None };
        let held = self.lock().volumes.get(&id.0).cloned()?;
        let Versioned { record, version } = (*held).clone();
        Some(Versioned { record: Record::Volume(Box::new(record)), version })
    }

    /// Lets go of what these commits write: they are about to be committed.
    pub(crate) fn forget<'a>(&self, commits: impl Iterator<Item = &'a Commit>) {
        commits.flat_map(|commit| &commit.changes).for_each(|change| self.forget_one(change.key));
    }

    fn forget_one(&self, key: Key) {
        if let Key::Volume(id) = key {
            self.lock().volumes.remove(&id.0);
        }
    }

    /// Keeps what this commit has written: it is on the disk, under this revision.
    pub(crate) fn keep(&self, commit: Commit, revision: u64) {
        for Change { key, record, touched, .. } in commit.changes {
            let Some(Record::Volume(mut record)) = record else {
                self.forget_one(key);
                continue;
            };
            touched.stamp(&mut record, revision);
            self.lock().keep(Versioned { record: *record, version: revision });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn keep(&mut self, volume: Versioned<VolumeRecord>) {
        let (id, version) = (volume.record.state.id().0, volume.version);
        let weight = weight(&volume.record);
        if weight > ONE_MAX {
            self.volumes.remove(&id);
            return;
        }
        self.volumes.insert(id, Arc::new(volume));
        self.order.push_back((id, version, weight));
        self.weight += weight;
        while self.weight > KEPT_MAX
            && let Some((oldest, version, weight)) = self.order.pop_front()
        {
            self.weight -= weight;
            if self.volumes.get(&oldest).is_some_and(|held| held.version == version) {
                self.volumes.remove(&oldest);
            }
        }
    }
}

/// About how much memory a volume takes, in bytes. Tenants choose how long their words are.
fn weight(record: &VolumeRecord) -> usize {
    let words = |about: &About| {
        let metadata = about.metadata.iter().map(|(key, word)| key.len() + word.len() + size_of::<(String, String)>());
        PART_BYTES + about.name.len() + about.description.len() + metadata.sum::<usize>()
    };
    let snapshots = record.snapshots.values().map(|snapshot| words(&snapshot.about));
    let attachments = record.attachments.values().map(|attachment| words(&attachment.about));
    words(&record.about) + snapshots.chain(attachments).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::store::{Expected, Touched};
    use lifecycle::{Bytes, PoolId, ProfileId, Timestamp, Volume, VolumeId};

    fn key(id: u128) -> Key {
        Key::Volume(VolumeId(Uuid::from_u128(id)))
    }

    fn commit(id: u128, name: &str) -> Commit {
        let record = VolumeRecord {
            state: Volume::create(VolumeId(Uuid::from_u128(id)), Bytes(Bytes::GIB), false, None, Timestamp(5)),
            tenant: "t".into(),
            about: engine::records::About { name: name.into(), ..Default::default() },
            zone: "default".into(),
            profile: ProfileId(Uuid::from_u128(2)),
            pool: PoolId(Uuid::from_u128(1)),
            snapshots: std::collections::BTreeMap::new(),
            attachments: std::collections::BTreeMap::new(),
        };
        let touched = Touched { volume: true, ..Touched::default() };
        let record = Some(Record::Volume(Box::new(record)));
        let change = Change { key: key(id), expected: Expected::Absent, record, touched, unused: false };
        Commit { changes: vec![change], ..Commit::default() }
    }

    fn name(recent: &Recent, id: u128) -> Option<(String, u64, u64)> {
        let Versioned { record, version } = recent.read(key(id))?;
        let Record::Volume(record) = record else { panic!("{record:?}") };
        Some((record.about.name, record.about.revision, version))
    }

    #[test]
    fn what_was_committed_last_is_read_and_what_is_being_committed_is_not() {
        let recent = Recent::default();
        recent.keep(commit(1, "a"), 7);
        assert_eq!(name(&recent, 1), Some(("a".into(), 7, 7)));
        let next = commit(1, "b");
        recent.forget([&next].into_iter());
        assert_eq!(name(&recent, 1), None, "it may be committed or not");
        recent.keep(next, 8);
        assert_eq!(name(&recent, 1), Some(("b".into(), 8, 8)));
        let mut gone = commit(1, "");
        gone.changes[0].record = None;
        recent.forget([&gone].into_iter());
        recent.keep(gone, 9);
        assert_eq!(name(&recent, 1), None);
    }

    #[test]
    fn no_more_is_kept_than_may_be_and_the_newest_of_it() {
        let recent = Recent::default();
        let many = (KEPT_MAX / PART_BYTES) as u64 * 3;
        for turn in 0..many {
            // One is committed again and again: its older forms are no reason to let go of the newest.
            recent.keep(commit(0, "hot"), turn * 2);
            recent.keep(commit(u128::from(turn) + 1, "v"), turn * 2 + 1);
        }
        let inner = recent.lock();
        let held: usize = inner.volumes.values().map(|held| weight(&held.record)).sum();
        assert!(held <= inner.weight && inner.weight <= KEPT_MAX, "{held} of {}", inner.weight);
        drop(inner);
        assert!(name(&recent, u128::from(many)).is_some() && name(&recent, 0).is_some() && name(&recent, 1).is_none());
    }

    #[test]
    fn long_words_count_and_what_is_huge_is_not_kept_in_an_older_form() {
        let recent = Recent::default();
        let long = "x".repeat(ONE_MAX / 2);
        (0..200).for_each(|id| recent.keep(commit(id, &long), 1));
        let inner = recent.lock();
        assert!((100..=KEPT_MAX / (ONE_MAX / 2)).contains(&inner.volumes.len()), "{}", inner.volumes.len());
        drop(inner);
        assert!(name(&recent, 199).is_some());
        recent.keep(commit(199, &"x".repeat(ONE_MAX)), 2);
        assert_eq!(name(&recent, 199), None);
    }
}
