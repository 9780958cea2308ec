//! From two records to what is committed: which parts changed, how counters move, what the journal tells.
//!
//! Pure. Capacity, use counts and journal rows are always the difference of two aggregates, so no caller can forget one.

use crate::records::{About, Key, Record, VolumeRecord};
use crate::store::{Change, Commit, Counter, Ended, Ending, Expected, JournalEntry, Mark, Touched};
use lifecycle::{Bytes, HostId, Subject, Timestamp, VolumeStatus};
use std::collections::BTreeMap;

/// Who or what made a change happen, for the journal.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cause<'a> {
    /// The command, the work that was reported, `deadline` or `look`.
    pub(crate) what: &'static str,
    /// Who asked, if anybody did.
    pub(crate) actor: &'a str,
    /// The request that asked, if any did.
    pub(crate) request_id: &'a str,
    /// Whether it is a user's command: then a running operation that ends was superseded, and capacity is limited.
    pub(crate) is_command: bool,
}

/// A volume before and after, to be committed.
pub(crate) struct Step<'a> {
    pub(crate) before: Option<(&'a VolumeRecord, u64)>,
    pub(crate) after: VolumeRecord,
}

impl Step<'_> {
    /// Whether it promises more of the pool's capacity than before.
    pub(crate) fn grows(&self) -> bool {
        let before = self.before.map_or(Bytes::ZERO, |(record, _)| record.state.reserved());
        self.after.state.reserved() > before
    }

    /// Adds to `commit` what is to be committed. `reservable` is the pool's limit in bytes, if it holds.
    pub(crate) fn add_to(mut self, commit: &mut Commit, cause: &Cause<'_>, reservable: Option<u64>, now: Timestamp) {
        self.count(&mut commit.counters, reservable);
        let touched = self.touched();
        commit.journal.extend(self.journal(&touched, cause, now));
        self.stamp(&touched, now);
        let key = Key::Volume(self.after.state.id());
        let expected = self.before.map_or(Expected::Absent, |(_, version)| Expected::Version(version));
        let record = (!self.after.state.is_gone()).then(|| Record::Volume(Box::new(self.after)));
        commit.changes.push(Change { key, expected, record, touched, unused: false });
    }

    fn count(&self, counters: &mut Vec<Counter>, reservable: Option<u64>) {
        let before = self.before.map(|(record, _)| record);
        let held = |record: Option<&VolumeRecord>| record.map_or(Bytes::ZERO, |record| record.state.reserved());
        let mut push = |key, by: i64, at_most| {
            if by != 0 {
                counters.push(Counter { key, by, at_most });
            }
        };
        push(Key::Pool(self.after.pool), signed(held(Some(&self.after))) - signed(held(before)), reservable);
        let lives = |record: Option<&VolumeRecord>| i64::from(record.is_some_and(|record| !record.state.is_gone()));
        push(Key::Profile(self.after.profile), lives(Some(&self.after)) - lives(before), None);
        let mut hosts: BTreeMap<HostId, i64> = BTreeMap::new();
        self.after.state.hosts().for_each(|host| *hosts.entry(host).or_default() += 1);
        if let Some(before) = before {
            before.state.hosts().for_each(|host| *hosts.entry(host).or_default() -= 1);
        }
        hosts.into_iter().for_each(|(host, by)| push(Key::Host(host), by, None));
    }

    fn touched(&self) -> Touched {
        let after = &self.after;
        let Some((before, _)) = self.before else {
            return Touched {
                volume: true,
                snapshots: after.snapshots.keys().copied().collect(),
                attachments: after.attachments.keys().copied().collect(),
            };
        };
        let snapshot_changed = |id: &&_| {
            before.snapshots.get(id) != after.snapshots.get(id)
                || before.state.snapshots().get(id) != after.state.snapshots().get(id)
        };
        let attachment_changed = |id: &&_| {
            before.attachments.get(id) != after.attachments.get(id)
                || before.state.attachments().get(id) != after.state.attachments().get(id)
        };
        Touched {
            volume: !before.state.is_same_but_for_parts(&after.state) || beside(before) != beside(after),
            snapshots: after.snapshots.keys().filter(snapshot_changed).copied().collect(),
            attachments: after.attachments.keys().filter(attachment_changed).copied().collect(),
        }
    }

    /// Notes when the touched parts changed. What is new has no `updated_at` yet.
    fn stamp(&mut self, touched: &Touched, now: Timestamp) {
        let Some((before, _)) = self.before else { return };
        let update = |about: &mut About| about.updated_at = Some(now);
        if touched.volume {
            update(&mut self.after.about);
        }
        for id in touched.snapshots.iter().filter(|id| before.snapshots.contains_key(id)) {
            self.after.snapshots.entry(*id).and_modify(|held| update(&mut held.about));
        }
        for id in touched.attachments.iter().filter(|id| before.attachments.contains_key(id)) {
            self.after.attachments.entry(*id).and_modify(|held| update(&mut held.about));
        }
    }

    fn journal(&self, touched: &Touched, cause: &Cause<'_>, now: Timestamp) -> impl Iterator<Item = JournalEntry> {
        let state = &self.after.state;
        let snapshots = state.snapshots().keys().map(|id| Subject::Snapshot(*id));
        let attachments = state.attachments().keys().map(|id| Subject::Attachment(*id));
        let subjects = [Subject::Volume(state.id())].into_iter().chain(snapshots).chain(attachments);
        subjects.filter_map(move |subject| self.entry(subject, touched, cause, now))
    }

    fn entry(&self, subject: Subject, touched: &Touched, cause: &Cause<'_>, now: Timestamp) -> Option<JournalEntry> {
        let before = self.before.map(|(record, _)| &record.state);
        let after = &self.after.state;
        let from = before.map(|state| state.word(subject)).filter(|word| !word.is_empty());
        // Its tombstones have told already that they ended.
        let is_tombstone = matches!(from, Some("deleted" | "detached")) && !matches!(subject, Subject::Volume(_));
        if is_tombstone && after.is_gone() {
            return None;
        }
        let gone = gone_word(after);
        let to = gone.unwrap_or_else(|| after.word(subject));
        let ran = before.and_then(|state| state.operation(subject));
        let runs = after.operation(subject);
        let ended = ran.filter(|_| ran != runs).map(|operation| Ended {
            operation: operation.kind,
            how: ending(to, cause),
            took_ms: Some(now.0.saturating_sub(operation.since.0).max(0).unsigned_abs()),
        });
        let why = |state: &lifecycle::Volume| state.reason(subject).map(|reason| (reason.code, reason.message.clone()));
        // A change that shows in no status, such as a new name, is told too: who follows the journal must not miss it.
        if !touched.has(subject) && from == Some(to) && ran == runs && before.and_then(why) == why(after) {
            return None;
        }
        Some(JournalEntry {
            mark: Mark::behind(0),
            at: now,
            tenant: self.after.tenant.clone(),
            volume: after.id(),
            subject,
            from: from.map(String::from),
            to: to.into(),
            cause: cause.what.into(),
            actor: cause.actor.into(),
            request_id: cause.request_id.into(),
            ended,
            reason: after.reason(subject).cloned(),
        })
    }
}

/// What else a volume's own row tells: some of it follows from its parts.
fn beside(record: &VolumeRecord) -> (Option<VolumeStatus>, bool, &About, &str) {
    (record.state.status(), record.state.owes_work(), &record.about, &record.zone)
}

fn gone_word(state: &lifecycle::Volume) -> Option<&'static str> {
    match state.phase() {
        lifecycle::VolumePhase::Gone { forgotten: true } => Some("forgotten, may have left data"),
        lifecycle::VolumePhase::Gone { forgotten: false } => Some("deleted"),
        _ => None,
    }
}

fn ending(to: &str, cause: &Cause<'_>) -> Ending {
    if cause.is_command {
        Ending::Superseded
    } else if to.starts_with("error") {
        Ending::Failed
    } else {
        Ending::Done
    }
}

fn signed(bytes: Bytes) -> i64 {
    i64::try_from(bytes.0).unwrap_or(i64::MAX)
}
