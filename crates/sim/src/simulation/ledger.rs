//! What was durably committed, kept beside the store, and what must hold of every commit.
//!
//! Checked at each: versions only grow; every change of a status is an edge of the published diagram and has its journal entry,
//! whose words join on to the last; every operation that ends has exactly one ending, and nothing else has; an error has its reason;
//! a size never shrinks; what is gone stays gone; no request commits twice. Checked against the store: records and counters.
//!
//! Source: reliability page, S4, S7, S8, S10, S11, L2.

use super::tally::Walked;
use super::truth::Name;
use engine::records::{Key, Record, VolumeRecord};
use engine::store::{Commit, JournalEntry};
use lifecycle::{AttachmentId, HostId, Operation, Resource, Subject, VolumeId, VolumePhase};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

type Kept = Result<(), String>;

/// Everything that was committed.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) records: BTreeMap<VolumeId, Arc<VolumeRecord>>,
    /// The volumes that are gone, and whether they were forgotten.
    pub(crate) gone: BTreeMap<VolumeId, bool>,
    pub(crate) hosts: BTreeMap<HostId, String>,
    /// Which data an object held when it was first promised.
    pub(crate) data: BTreeMap<Name, u64>,
    /// In which commit each request had its effect.
    pub(crate) requests: BTreeMap<String, u64>,
    /// What each idempotency key made.
    pub(crate) keys: BTreeMap<(String, String), Subject>,
    revisions: BTreeMap<VolumeId, u64>,
    holders: BTreeMap<AttachmentId, VolumeId>,
    words: BTreeMap<Subject, String>,
    sums: BTreeMap<Key, i64>,
    revision: u64,
}

/// What a commit changed.
#[derive(Default)]
pub(crate) struct Noted {
    pub(crate) volumes: Vec<VolumeId>,
    pub(crate) edges: Vec<Walked>,
    /// Whose sums changed.
    pub(crate) counted: Vec<Key>,
}

impl Ledger {
    /// The volume of an attachment, also of one that is gone.
    pub(crate) fn holder(&self, attachment: AttachmentId) -> Option<VolumeId> {
        self.holders.get(&attachment).copied()
    }

    /// The last commit of a volume that is there.
    pub(crate) fn revision_of(&self, volume: VolumeId) -> Option<u64> {
        self.revisions.get(&volume).copied()
    }

    /// What a counter must stand at: the sum over all records.
    pub(crate) fn sum(&self, key: Key) -> u64 {
        self.sums.get(&key).copied().and_then(|sum| u64::try_from(sum).ok()).unwrap_or_default()
    }

    /// Counters that do not stand at 0.
    pub(crate) fn counted(&self) -> Vec<Key> {
        self.sums.iter().filter(|(_, sum)| **sum != 0).map(|(key, _)| *key).collect()
    }

    /// Notes what was committed.
    pub(crate) fn note(&mut self, commit: &Commit, revision: u64) -> Result<Noted, String> {
        keep(revision > self.revision, || format!("S8: revision {revision} after {}", self.revision))?;
        self.revision = revision;
        self.note_requests(commit, revision)?;
        let mut noted = Noted::default();
        for change in &commit.changes {
            match (&change.key, &change.record) {
                (Key::Volume(id), Some(Record::Volume(record))) => self.note_volume(*id, Some(record), commit, &mut noted)?,
                (Key::Volume(id), _) => self.note_volume(*id, None, commit, &mut noted)?,
                (Key::Host(id), Some(Record::Host(record))) => drop(self.hosts.insert(*id, record.tenant.clone())),
                (Key::Host(id), _) => drop(self.hosts.remove(id)),
                (Key::Profile(_) | Key::Pool(_), _) => {}
            }
        }
        Ok(noted)
    }

    fn note_requests(&mut self, commit: &Commit, revision: u64) -> Kept {
        for entry in commit.journal.iter().filter(|entry| !entry.request_id.is_empty()) {
            let first = *self.requests.entry(entry.request_id.clone()).or_insert(revision);
            keep(first == revision, || format!("request {} took effect in commits {first} and {revision}", entry.request_id))?;
        }
        if let Some((tenant, key, made)) = &commit.idempotent {
            let before = self.keys.insert((tenant.clone(), key.clone()), made.made);
            keep(before.is_none(), || format!("idempotency key {key} made {before:?} and {:?}", made.made))?;
        }
        Ok(())
    }

    fn note_volume(&mut self, id: VolumeId, after: Option<&VolumeRecord>, commit: &Commit, noted: &mut Noted) -> Kept {
        keep(!self.gone.contains_key(&id), || format!("S10: volume {id} was gone and is committed again"))?;
        let before = self.records.get(&id).cloned();
        let step = Step { id, before: before.as_deref(), after, entries: &commit.journal };
        step.check(&mut self.words, noted)?;
        self.count(step.before, -1, noted);
        self.count(after, 1, noted);
        match after {
            Some(record) => {
                self.holders.extend(record.state.attachments().keys().map(|attachment| (*attachment, id)));
                self.records.insert(id, Arc::new(record.clone()));
                self.revisions.insert(id, self.revision);
            }
            None => {
                self.records.remove(&id);
                self.revisions.remove(&id);
                self.gone.insert(id, step.is_forgotten());
            }
        }
        noted.volumes.push(id);
        Ok(())
    }

    fn count(&mut self, record: Option<&VolumeRecord>, by: i64, noted: &mut Noted) {
        let Some(record) = record else { return };
        let mut add = |key, amount: i64| {
            *self.sums.entry(key).or_default() += by * amount;
            noted.counted.push(key);
        };
        add(Key::Pool(record.pool), i64::try_from(record.state.reserved().0).unwrap_or(i64::MAX));
        add(Key::Profile(record.profile), 1);
        record.state.hosts().for_each(|host| add(Key::Host(host), 1));
    }
}

fn keep(holds: bool, otherwise: impl FnOnce() -> String) -> Kept {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// One aggregate before and after a commit.
struct Step<'a> {
    id: VolumeId,
    before: Option<&'a VolumeRecord>,
    after: Option<&'a VolumeRecord>,
    entries: &'a [JournalEntry],
}

impl Step<'_> {
    fn is_forgotten(&self) -> bool {
        let of_volume = |entry: &&JournalEntry| entry.subject == Subject::Volume(self.id);
        self.entries.iter().find(of_volume).is_some_and(|entry| entry.to.starts_with("forgotten"))
    }

    fn check(&self, words: &mut BTreeMap<Subject, String>, noted: &mut Noted) -> Kept {
        for subject in self.subjects() {
            self.check_subject(subject, words, noted)?;
        }
        let sizes = (self.before.map(|record| record.state.size()), self.after.map(|record| record.state.size()));
        if let (Some(before), Some(after)) = sizes {
            keep(before <= after, || format!("S11: the size shrank from {before} to {after}"))?;
        }
        if self.after.is_none() {
            let phase = self.before.map(|record| record.state.phase());
            let may_go = matches!(phase, Some(VolumePhase::Deleting | VolumePhase::ErrorDeleting { .. })) || self.is_forgotten();
            keep(may_go, || format!("S7: gone from {phase:?}"))?;
        }
        Ok(())
    }

    fn subjects(&self) -> BTreeSet<Subject> {
        let of = |record: &VolumeRecord| {
            let snapshots = record.state.snapshots().keys().map(|id| Subject::Snapshot(*id));
            let attachments = record.state.attachments().keys().map(|id| Subject::Attachment(*id));
            snapshots.chain(attachments).chain([Subject::Volume(record.state.id())]).collect::<Vec<_>>()
        };
        self.before.into_iter().chain(self.after).flat_map(of).collect()
    }

    fn check_subject(&self, subject: Subject, words: &mut BTreeMap<Subject, String>, noted: &mut Noted) -> Kept {
        let word = |record: Option<&VolumeRecord>| record.map_or("", |record| record.state.word(subject));
        let (from, to) = (word(self.before), word(self.after));
        let mut entries = self.entries.iter().filter(|entry| entry.subject == subject);
        let entry = entries.next();
        keep(entries.next().is_none(), || format!("S7: two journal entries of {subject} in one commit"))?;
        if from != to {
            let walked = (Resource::of(subject), from, to);
            keep(edges().contains(&walked), || format!("S7: {subject} went from {from:?} to {to:?}, which is no edge"))?;
            noted.edges.push(walked);
            // A tombstone has told already that it ended; a volume always tells.
            let may_be_silent = to.is_empty() && matches!(from, "deleted" | "detached");
            keep(entry.is_some() || may_be_silent, || format!("S7: {subject} went from {from} to {to:?}, and no journal tells"))?;
        }
        if let Some(entry) = entry {
            let told = entry.from.as_deref().unwrap_or_default();
            keep(told == from, || format!("S7: the journal has {subject} go from {told}, and it was {from}"))?;
            let last = words.get(&subject).map_or("", String::as_str);
            keep(last == told, || format!("S7: the journal's last word on {subject} was {last}, and now it goes from {told}"))?;
            keep(entry.to == to || to.is_empty(), || format!("S7: the journal has {subject} go to {}, and it is {to}", entry.to))?;
            words.insert(subject, entry.to.clone());
        }
        let operation = |record: Option<&VolumeRecord>| record.and_then(|record| record.state.operation(subject));
        self.check_ending(subject, operation(self.before), operation(self.after), entry)?;
        let reason = self.after.and_then(|record| record.state.reason(subject));
        keep(!to.starts_with("error") || reason.is_some(), || format!("S11: {subject} is {to} without a reason"))
    }

    fn check_ending(
        &self,
        subject: Subject,
        ran: Option<Operation>,
        runs: Option<Operation>,
        entry: Option<&JournalEntry>,
    ) -> Kept {
        let ended = entry.and_then(|entry| entry.ended).map(|ended| ended.operation);
        let owed = ran.filter(|_| ran != runs).map(|operation| operation.kind);
        keep(ended == owed, || format!("L2: {subject}: {owed:?} ended, and the journal tells of {ended:?}"))
    }
}

/// The edges of the published diagrams.
pub(crate) fn edges() -> &'static BTreeSet<Walked> {
    static EDGES: OnceLock<BTreeSet<Walked>> = OnceLock::new();
    EDGES.get_or_init(|| lifecycle::edges().into_iter().map(|edge| (edge.resource, edge.from, edge.to)).collect())
}
