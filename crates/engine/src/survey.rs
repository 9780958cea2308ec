//! What the looks at everything have shown of one pool: when it was looked at, who could not be, and what belongs to nobody.
//!
//! In memory alone, and bounded: a start looks anew. Nothing here is a status; what a look proves is committed by the rules.

use crate::requests::Unseen;
use crate::shared::lock;
use lifecycle::{Seen, SnapshotId, Timestamp, VolumeId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;
use tokio::sync::{Notify, watch};

/// How many objects without a record, volumes that could not be looked at, and objects that were removed are kept by name.
pub(crate) const KEPT_MAX: usize = 1000;

/// An object of a backend: a volume, or a snapshot of one.
pub(crate) type Name = (VolumeId, Option<SnapshotId>);

/// An object of the backend that no record names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Orphan {
    /// What it was seen to be.
    pub(crate) seen: Seen,
    /// When it was first seen.
    pub(crate) since: Timestamp,
}

/// One look at everything of a pool, as it ended.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    pub(crate) orphans: BTreeMap<Name, Seen>,
    /// How many more there were than are kept.
    pub(crate) more_orphans: usize,
    /// Volumes that the backend would not tell of, each with why.
    pub(crate) silent: BTreeMap<VolumeId, String>,
    /// Volumes that somebody unknown uses.
    pub(crate) strangers: BTreeSet<VolumeId>,
    /// How many more there were than are kept.
    pub(crate) more_strangers: usize,
    /// Records that cannot be read, each in words.
    pub(crate) unreadable: Vec<String>,
    /// How many volumes were compared.
    pub(crate) volumes: u64,
}

/// What is known of a pool from looking at everything it has.
#[derive(Default)]
pub(crate) struct Survey {
    held: Mutex<Held>,
    /// What was removed on demand, the last of it last.
    removed: Mutex<VecDeque<Name>>,
    asked: Notify,
    rounds: watch::Sender<Rounds>,
}

/// How many looks have begun, and how many of those have ended, well or not: one runs at a time.
#[derive(Clone, Copy, Debug, Default)]
struct Rounds {
    begun: u64,
    ended: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    /// When the last whole look began.
    pub(crate) looked_at: Option<Timestamp>,
    pub(crate) orphans: BTreeMap<Name, Orphan>,
    pub(crate) more_orphans: usize,
    pub(crate) strangers: BTreeSet<VolumeId>,
    pub(crate) more_strangers: usize,
    /// Records that cannot be read, each in words.
    pub(crate) unreadable: Vec<String>,
    pub(crate) volumes: u64,
    /// Since when the backend does not list what it has, and why.
    pub(crate) trouble: Option<Unseen>,
    silent: BTreeMap<VolumeId, Silence>,
}

/// A volume that could not be looked at.
#[derive(Clone, Debug)]
struct Silence {
    unseen: Unseen,
    /// When it was last looked at before that.
    looked_at: Option<Timestamp>,
}

impl Survey {
    /// Keeps what a look that began at `at` has shown.
    pub(crate) fn keep(&self, at: Timestamp, shown: Shown) {
        let mut held = lock(&self.held);
        let before = std::mem::take(&mut *held);
        let since = |name: &Name| before.orphans.get(name).map_or(at, |orphan| orphan.since);
        let silence = |(id, message): (VolumeId, String)| {
            let again = before.silent.get(&id).cloned();
            let fresh = || Silence { unseen: Unseen { since: at, message: message.clone() }, looked_at: before.looked_at };
            (id, again.unwrap_or_else(fresh))
        };
        *held = Held {
            looked_at: Some(at),
            orphans: shown.orphans.into_iter().map(|(name, seen)| (name, Orphan { seen, since: since(&name) })).collect(),
            more_orphans: shown.more_orphans,
            strangers: shown.strangers,
            more_strangers: shown.more_strangers,
            unreadable: shown.unreadable,
            volumes: shown.volumes,
            trouble: None,
            silent: shown.silent.into_iter().map(silence).collect(),
        };
    }

    /// Notes that the backend did not list what it has. What was seen before stays known, with its time.
    pub(crate) fn fail(&self, at: Timestamp, message: String) {
        let mut held = lock(&self.held);
        let since = held.trouble.as_ref().map_or(at, |trouble| trouble.since);
        held.trouble = Some(Unseen { since, message });
    }

    /// A look begins.
    pub(crate) fn begin(&self) {
        self.rounds.send_modify(|rounds| rounds.begun += 1);
    }

    /// It has ended, well or not.
    pub(crate) fn end(&self) {
        self.rounds.send_modify(|rounds| rounds.ended = rounds.begun);
    }

    /// An object was taken away: it is not told of any more.
    pub(crate) fn forget(&self, name: Name) {
        lock(&self.held).orphans.remove(&name);
        let mut removed = lock(&self.removed);
        if !removed.contains(&name) {
            removed.push_back(name);
        }
        if removed.len() > KEPT_MAX {
            removed.pop_front();
        }
    }

    /// Whether this object was taken away on demand: to ask for that again is no mistake.
    pub(crate) fn has_removed(&self, name: Name) -> bool {
        lock(&self.removed).contains(&name)
    }

    /// Whether this object is known to be nobody's already.
    pub(crate) fn knows(&self, name: Name) -> bool {
        lock(&self.held).orphans.contains_key(&name)
    }

    /// The objects that are known to be nobody's.
    pub(crate) fn orphans(&self) -> Vec<Name> {
        lock(&self.held).orphans.keys().copied().collect()
    }

    /// Everything that is held.
    pub(crate) fn held(&self) -> Held {
        lock(&self.held).clone()
    }

    /// When a volume made at `created_at` was last looked at, as far as these looks know.
    pub(crate) fn looked_at(&self, id: VolumeId, created_at: Timestamp) -> Option<Timestamp> {
        let held = lock(&self.held);
        let at = held.silent.get(&id).map_or(held.looked_at, |silence| silence.looked_at);
        at.filter(|at| *at > created_at)
    }

    /// Since when, and why, a volume could not be looked at.
    pub(crate) fn unseen(&self, id: VolumeId) -> Option<Unseen> {
        let held = lock(&self.held);
        held.trouble.clone().or_else(|| held.silent.get(&id).map(|silence| silence.unseen.clone()))
    }

    /// Asks for a look now.
    pub(crate) fn ask(&self) {
        self.asked.notify_one();
    }

    /// Asks for a look now, and returns once one has ended that began after this was called.
    pub(crate) async fn look(&self) {
        let mut rounds = self.rounds.subscribe();
        let wanted = rounds.borrow_and_update().begun + 1;
        loop {
            let Rounds { begun, ended } = *rounds.borrow_and_update();
            if ended >= wanted {
                return;
            }
            if begun < wanted {
                self.ask();
            }
            if rounds.changed().await.is_err() {
                return;
            }
        }
    }

    /// Returns when a look is asked for.
    pub(crate) async fn asked(&self) {
        self.asked.notified().await;
    }
}

impl Held {
    /// The volumes that could not be looked at.
    pub(crate) fn silent(&self) -> impl Iterator<Item = (VolumeId, &Unseen)> {
        self.silent.iter().map(|(id, silence)| (*id, &silence.unseen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const fn volume(number: u128) -> VolumeId {
        VolumeId(Uuid::from_u128(number))
    }

    fn shown(silent: &[u128]) -> Shown {
        let orphans = BTreeMap::from([((volume(9), None), Seen::Unknown)]);
        let silent = silent.iter().map(|number| (volume(*number), "hangs".to_owned())).collect();
        Shown { orphans, silent, ..Shown::default() }
    }

    #[test]
    fn what_could_not_be_looked_at_keeps_the_time_of_its_last_look() {
        let survey = Survey::default();
        let times = |number| (survey.looked_at(volume(number), Timestamp(0)), survey.unseen(volume(number)).map(|held| held.since));
        assert_eq!(times(1), (None, None));
        survey.keep(Timestamp(10), shown(&[]));
        survey.keep(Timestamp(20), shown(&[1]));
        survey.keep(Timestamp(30), shown(&[1]));
        assert_eq!(times(1), (Some(Timestamp(10)), Some(Timestamp(20))));
        assert_eq!(times(2), (Some(Timestamp(30)), None));
        assert_eq!(survey.looked_at(volume(2), Timestamp(30)), None, "it is younger than the look");
        survey.fail(Timestamp(40), "gone".into());
        survey.fail(Timestamp(50), "still gone".into());
        assert_eq!(times(2), (Some(Timestamp(30)), Some(Timestamp(40))));
        survey.keep(Timestamp(60), shown(&[]));
        assert_eq!(times(1), (Some(Timestamp(60)), None));
    }

    #[test]
    fn an_object_without_a_record_tells_since_when_it_is_known() {
        let survey = Survey::default();
        survey.keep(Timestamp(10), shown(&[]));
        survey.keep(Timestamp(20), shown(&[]));
        assert_eq!(survey.held().orphans[&(volume(9), None)].since, Timestamp(10));
        assert!(!survey.has_removed((volume(9), None)));
        (0..=KEPT_MAX).for_each(|_| survey.forget((volume(9), None)));
        assert!(survey.held().orphans.is_empty() && survey.has_removed((volume(9), None)));
        (10..).take(KEPT_MAX).for_each(|number| survey.forget((volume(number), None)));
        assert!(!survey.has_removed((volume(9), None)), "what is remembered is bounded");
    }

    #[tokio::test]
    async fn a_look_that_is_asked_for_begins_after_the_asking() {
        let survey = std::sync::Arc::new(Survey::default());
        survey.begin();
        let asking = tokio::spawn({
            let survey = survey.clone();
            async move { survey.look().await }
        });
        survey.asked().await;
        survey.end();
        tokio::task::yield_now().await;
        assert!(!asking.is_finished(), "that one began before");
        survey.asked().await;
        survey.begin();
        survey.end();
        asking.await.expect("it ends");
    }
}
