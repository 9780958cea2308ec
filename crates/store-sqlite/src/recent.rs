//! The volumes that were committed last, and those that are read again and again, as they are.
//!
//! What is being worked on is read by its worker, by whoever waits for it, by the answer to the request; what somebody watches is asked for again
//! and again. Each of those reads would go through the database.
//!
//! - The writer keeps what it commits, in the order of its commits. It lets go of what a transaction writes before that is committed,
//!   and keeps the new form once it is confirmed: in between it is read from the database, as lists are, so that nobody sees a volume go
//!   back to what it was.
//! - What was read from the database is kept only if since before it was read no transaction was about to be committed, and none was done; and
//!   if there is one between the two that does not write this volume. Else it could be what was, or what may be lost.
//! - It is kept if it was asked for before, not long ago: who reads everything once pushes nobody out.

use crate::weight::{self, PART_BYTES};
use engine::records::{Key, Record, VolumeRecord};
use engine::store::{Change, Child, Commit, Versioned};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// How much is kept, as [`weight`](crate::weight) counts: some 4,000 common volumes.
const KEPT_MAX: usize = 4 << 20;
/// The largest volume that is kept: one with as many snapshots as it may have, if their words are few.
const ONE_MAX: usize = KEPT_MAX / 4;
/// How many entries the order of keeping may have: several times as many as there can be volumes.
const ORDER_MAX: usize = 4 * KEPT_MAX / PART_BYTES;
/// How many volumes are remembered as asked for, about: twice as many as are kept.
const ASKED: usize = 8192;

/// See the module.
#[derive(Default)]
pub(crate) struct Recent(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    volumes: HashMap<Uuid, Held>,
    /// Which was kept when, oldest first, with its number. What is no longer kept, or was kept anew since, is out of date here.
    order: VecDeque<(Uuid, u64)>,
    /// How many were kept so far.
    kept: u64,
    /// Of all volumes.
    weight: usize,
    /// How often a transaction was about to be committed, or was done.
    moment: u64,
    /// What the last one writes, until it is done.
    unsettled: HashSet<Uuid>,
    /// Of volumes that were asked for, some bits of the id, where other bits of it say.
    asked: Vec<u32>,
}

/// A volume that is kept.
struct Held {
    volume: Arc<Versioned<VolumeRecord>>,
    weight: usize,
    /// Which of all that were ever kept it is.
    number: u64,
}

/// What is kept of a volume.
pub(crate) enum Found {
    /// It is.
    Kept(Box<Versioned<Record>>),
    /// It is not.
    Not(Miss),
}

/// What was not kept when it was asked for, to be [offered](Recent::offer) once it is read.
#[derive(Clone, Copy)]
pub(crate) struct Miss {
    /// When it was asked for.
    moment: u64,
    is_wanted: bool,
}

impl Recent {
    /// The volume, if it is kept. If not, it is noted that it was asked for.
    pub(crate) fn find(&self, key: Key) -> Found {
        let Key::Volume(id) = key else { return Found::Not(Miss { moment: 0, is_wanted: false }) };
        let mut inner = self.lock();
        let Some(held) = inner.get(id.0) else {
            let is_wanted = inner.note_asked(id.0);
            return Found::Not(Miss { moment: inner.moment, is_wanted });
        };
        drop(inner);
        let Versioned { record, version } = (*held).clone();
        Found::Kept(Box::new(Versioned { record: Record::Volume(Box::new(record)), version }))
    }

    /// A part within an excerpt of this volume, if that is kept; what is kept may not have the part any more.
    pub(crate) fn part(&self, volume: Uuid, child: Child) -> Option<Option<VolumeRecord>> {
        let held = self.lock().get(volume)?;
        Some(held.record.part(child))
    }

    /// Whether, if this is kept, it is kept like this.
    pub(crate) fn agrees(&self, key: Key, stored: Option<&Versioned<Record>>) -> bool {
        let Key::Volume(id) = key else { return true };
        let Some(held) = self.lock().get(id.0) else { return true };
        matches!(stored, Some(Versioned { record: Record::Volume(record), version })
            if **record == held.record && *version == held.version)
    }

    /// Keeps what was read from the database, if that is still how it is.
    pub(crate) fn offer(&self, miss: Miss, read: &Versioned<Record>) {
        let Versioned { record: Record::Volume(record), version } = read else { return };
        if !miss.is_wanted {
            return;
        }
        let Some(weight) = bearable(record) else { return };
        let id = record.state.id().0;
        let is_still_so = |inner: &Inner| inner.moment == miss.moment && !inner.unsettled.contains(&id);
        // A copy that is not kept, as something is committed, would be for nothing.
        if !is_still_so(&self.lock()) {
            return;
        }
        let volume = Versioned { record: (**record).clone(), version: *version };
        let mut inner = self.lock();
        let _gone = if is_still_so(&inner) { inner.keep(volume, weight) } else { Vec::new() };
        // What had to go may be much: it is dropped where nobody waits for it.
        drop(inner);
    }

    /// Lets go of what these commits write: they are about to be committed, in one transaction.
    pub(crate) fn forget<'a>(&self, commits: impl Iterator<Item = &'a Commit>) {
        let changes = commits.flat_map(|commit| &commit.changes);
        let volumes = changes.filter_map(|change| if let Key::Volume(id) = change.key { Some(id.0) } else { None });
        let mut inner = self.lock();
        inner.moment += 1;
        inner.unsettled.clear();
        let mut gone = Vec::new();
        for id in volumes {
            inner.unsettled.insert(id);
            gone.extend(inner.let_go(id));
        }
        drop(inner);
    }

    /// The last transaction is done: what of it is to be kept is.
    pub(crate) fn settle(&self) {
        let mut inner = self.lock();
        // Who read before it was committed may offer what is no more, and not be told by what is kept: that may be gone again, or too large.
        inner.moment += 1;
        inner.unsettled.clear();
    }

    fn forget_one(&self, key: Key) {
        if let Key::Volume(id) = key {
            let _gone = self.lock().let_go(id.0);
        }
    }

    /// Keeps what this commit has written: it is on the disk, under this revision.
    pub(crate) fn keep(&self, commit: Commit, revision: u64) {
        for Change { key, record, touched, .. } in commit.changes {
            let Some(Record::Volume(mut record)) = record else {
                self.forget_one(key);
                continue;
            };
            let Some(weight) = bearable(&record) else {
                self.forget_one(key);
                continue;
            };
            touched.stamp(&mut record, revision);
            let _gone = self.lock().keep(Versioned { record: *record, version: revision }, weight);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The weight of a volume that is not too large to be kept.
fn bearable(record: &VolumeRecord) -> Option<usize> {
    Some(weight::of_volume(record)).filter(|weight| *weight <= ONE_MAX)
}

impl Inner {
    /// Whether this volume was asked for before, not long ago. It is now.
    fn note_asked(&mut self, id: Uuid) -> bool {
        // The last half of an id is at random.
        let bits = id.as_u64_pair().1;
        let (at, mark) = (bits as usize % ASKED, (bits >> 32) as u32);
        self.asked.resize(ASKED, 0);
        std::mem::replace(&mut self.asked[at], mark) == mark
    }

    fn get(&self, id: Uuid) -> Option<Arc<Versioned<VolumeRecord>>> {
        self.volumes.get(&id).map(|held| held.volume.clone())
    }

    /// Keeps it, which has this weight. Gives what is not kept any more, to be dropped without the lock.
    #[must_use]
    fn keep(&mut self, volume: Versioned<VolumeRecord>, weight: usize) -> Vec<Held> {
        let id = volume.record.state.id().0;
        let mut gone = Vec::from_iter(self.let_go(id));
        self.kept += 1;
        self.volumes.insert(id, Held { volume: Arc::new(volume), weight, number: self.kept });
        self.order.push_back((id, self.kept));
        self.weight += weight;
        while self.weight > KEPT_MAX
            && let Some((oldest, number)) = self.order.pop_front()
        {
            if self.is_kept(oldest, number) {
                gone.extend(self.let_go(oldest));
            }
        }
        if self.order.len() > ORDER_MAX {
            let mut order = std::mem::take(&mut self.order);
            order.retain(|(id, number)| self.is_kept(*id, *number));
            self.order = order;
        }
        gone
    }

    fn is_kept(&self, id: Uuid, number: u64) -> bool {
        self.volumes.get(&id).is_some_and(|held| held.number == number)
    }

    #[must_use]
    fn let_go(&mut self, id: Uuid) -> Option<Held> {
        let held = self.volumes.remove(&id)?;
        self.weight -= held.weight;
        Some(held)
    }
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
        let Found::Kept(kept) = recent.find(key(id)) else { return None };
        let Versioned { record, version } = *kept;
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

    /// What is read of a volume that has this name and version.
    fn read(id: u128, name: &str, version: u64) -> Versioned<Record> {
        let mut record = commit(id, name).changes.remove(0).record.unwrap();
        if let Record::Volume(volume) = &mut record {
            volume.about.revision = version;
        }
        Versioned { record, version }
    }

    fn miss(recent: &Recent, id: u128) -> Miss {
        let Found::Not(miss) = recent.find(key(id)) else { panic!("{id} is kept") };
        miss
    }

    #[test]
    fn what_is_asked_for_again_is_kept_as_it_was_read() {
        let recent = Recent::default();
        let far = |id: u128| id << 32 | id;
        recent.offer(miss(&recent, far(1)), &read(far(1), "a", 7));
        assert_eq!(name(&recent, far(1)), None, "nobody may ask again");
        recent.offer(miss(&recent, far(1)), &read(far(1), "a", 7));
        assert_eq!(name(&recent, far(1)), Some(("a".into(), 7, 7)));
        let all = 3..3 * ASKED as u128;
        all.clone().for_each(|id| recent.offer(miss(&recent, far(id)), &read(far(id), "b", 8)));
        assert!(all.clone().all(|id| name(&recent, far(id)).is_none()), "who reads everything");
        assert_eq!(name(&recent, far(1)), Some(("a".into(), 7, 7)), "pushes nobody out");
        // However often it is offered, it is one.
        let twice = miss(&recent, far(all.end - 1));
        (0..ORDER_MAX * 2).for_each(|_| recent.offer(twice, &read(far(all.end - 1), "b", 8)));
        assert_eq!(name(&recent, far(1)), Some(("a".into(), 7, 7)));
        recent.offer(miss(&recent, far(2)), &read(far(2), &"x".repeat(ONE_MAX), 8));
        recent.offer(miss(&recent, far(2)), &read(far(2), &"x".repeat(ONE_MAX), 8));
        assert_eq!(name(&recent, far(2)), None, "too large");
    }

    #[test]
    fn what_was_read_is_kept_only_if_no_commit_can_have_changed_it() {
        // When a reader asks, reads and offers what it read, beside a transaction: is it kept?
        let rows: [(&str, bool); 10] = [
            ("ask offer", true),
            ("ask begin offer", false),
            ("ask begin end offer", false),
            ("begin ask offer", false),
            ("begin ask end offer", false),
            ("begin end ask offer", true),
            ("begin-other ask offer", true),
            ("begin-other ask end offer", false),
            ("begin ask begin-other offer", false),
            ("begin begin-other ask offer", true),
        ];
        for (steps, is_kept) in rows {
            let recent = Recent::default();
            let _ = recent.find(key(0));
            let mut asked = None;
            for step in steps.split(' ') {
                match step {
                    "ask" => asked = Some(miss(&recent, 0)),
                    "begin" => recent.forget([&commit(0, "new")].into_iter()),
                    "begin-other" => recent.forget([&commit(1, "other")].into_iter()),
                    // What was committed is too large to be kept, or was pushed out by others.
                    "end" => recent.settle(),
                    _ => recent.offer(asked.unwrap(), &read(0, "old", 3)),
                }
            }
            assert_eq!(name(&recent, 0).is_some(), is_kept, "{steps}");
        }
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
        let held: usize = inner.volumes.values().map(|held| weight::of_volume(&held.volume.record)).sum();
        assert!(held == inner.weight && held <= KEPT_MAX, "{held}, counted {}", inner.weight);
        assert!(held > KEPT_MAX - 2 * PART_BYTES, "{held}: older forms take no room");
        assert!(inner.order.len() <= ORDER_MAX, "{}", inner.order.len());
        drop(inner);
        assert!(name(&recent, u128::from(many)).is_some() && name(&recent, 0).is_some() && name(&recent, 1).is_none());
    }

    #[test]
    fn long_words_count_and_what_is_huge_is_not_kept_in_an_older_form() {
        let recent = Recent::default();
        let long = "x".repeat(ONE_MAX / 2);
        (0..20).for_each(|id| recent.keep(commit(id, &long), 1));
        assert_eq!(recent.lock().volumes.len(), KEPT_MAX / (ONE_MAX / 2) - 1);
        assert!(name(&recent, 19).is_some());
        recent.keep(commit(19, &"x".repeat(ONE_MAX)), 2);
        assert_eq!(name(&recent, 19), None);
        let mut zoned = commit(18, "");
        if let Some(Record::Volume(volume)) = &mut zoned.changes[0].record {
            volume.zone = "x".repeat(ONE_MAX);
        }
        recent.keep(zoned, 2);
        assert_eq!(name(&recent, 18), None);
    }
}
