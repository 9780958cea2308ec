//! The desk: who is interested in what, and what waits for each.
//!
//! - An event is offered to those alone who are interested: `index` finds who may be, so that hardly anybody else is asked.
//! - What waits for one reader is bounded. Of one resource only the latest waits, unless every transition was asked for. A reader for whom
//!   too much waits is offered nothing more, and reads the journal when it is back.

use super::ask::Wanted;
use super::event::{About, Event};
use super::index::Index;
use engine::store::Mark;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// How many changes may wait for one reader, and how many events without a place in the journal.
const WAITING_MAX: usize = 4096;

/// See the module.
#[derive(Default)]
pub(super) struct Desk {
    inner: Mutex<Inner>,
    /// Rings when the first reader comes.
    pub(super) opened: Notify,
}

#[derive(Default)]
struct Inner {
    next: u64,
    /// Everything up to here was offered to whoever is interested. Of no meaning while nobody reads.
    offered: Option<Mark>,
    trays: HashMap<u64, Arc<Tray>>,
    index: Index,
}

/// What waits for one reader.
pub(super) struct Tray {
    pub(super) wanted: Wanted,
    waiting: Mutex<Waiting>,
    /// Rings when something waits.
    pub(super) bell: Notify,
}

#[derive(Default)]
struct Waiting {
    changes: BTreeMap<Mark, Change>,
    /// Where the change of a resource waits.
    newest: HashMap<About, Mark>,
    /// Of a resource whose changes were passed over before they could be offered: the first one's revision.
    passed: HashMap<About, u64>,
    aside: BTreeMap<(&'static str, About), Arc<Event>>,
    /// A host's or a pool's change had no room.
    has_lost_aside: bool,
    has_overflown: bool,
}

/// A change that waits.
pub(super) struct Change {
    pub(super) event: Arc<Event>,
    /// The revision of the first change of the same resource that this one stands for.
    pub(super) from: Option<u64>,
}

/// What a reader takes.
pub(super) enum Taken {
    /// Nothing waits: everything up to here was offered.
    Nothing(Mark),
    /// What waits.
    Some {
        /// In order.
        changes: Vec<Change>,
        /// What has no place in the journal.
        aside: Vec<Arc<Event>>,
        /// Whether some of that had no room.
        has_lost_aside: bool,
    },
    /// Too much waited, and was let go of.
    Overflown,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    /// Whether anybody reads, and up to where everything was offered.
    pub(super) fn offered(&self) -> Option<Mark> {
        let inner = lock(&self.inner);
        inner.offered.filter(|_| !inner.trays.is_empty())
    }

    /// Begins to gather what `wanted` names. Returns the tray with its number, and the place up to which nothing is gathered.
    ///
    /// `head` is a place up to which the reader looks for itself: where it begins if it is the first.
    pub(super) fn open(&self, wanted: Wanted, head: Mark) -> (u64, Arc<Tray>, Mark) {
        let mut inner = lock(&self.inner);
        let number = inner.next;
        inner.next += 1;
        let tray = Arc::new(Tray { wanted, waiting: Mutex::default(), bell: Notify::new() });
        if inner.trays.is_empty() {
            // Never back: the one who follows may still be telling the last reader of what is behind this.
            inner.offered = inner.offered.max(Some(head));
            self.opened.notify_one();
        }
        inner.trays.insert(number, tray.clone());
        inner.index.file(&tray.wanted, number);
        (number, tray, inner.offered.unwrap_or(head))
    }

    /// Ends gathering for this reader.
    pub(super) fn close(&self, number: u64) {
        let mut inner = lock(&self.inner);
        let Some(tray) = inner.trays.remove(&number) else { return };
        inner.index.forget(&tray.wanted, number);
    }

    /// Begins to gather again for a reader whose tray has overflown. Returns the place up to which nothing is gathered.
    pub(super) fn reopen(&self, tray: &Tray) -> Mark {
        let inner = lock(&self.inner);
        *lock(&tray.waiting) = Waiting::default();
        inner.offered.unwrap_or(Mark::behind(0))
    }

    /// Offers changes, in their order, up to a place.
    pub(super) fn publish(&self, changes: &[Arc<Event>], up_to: Mark) {
        for event in changes {
            // For each anew, so that thousands of readers of a long page are not kept from what is theirs.
            let mut inner = lock(&self.inner);
            inner.interested(event, |tray| tray.offer(event));
            inner.offered = inner.offered.max(event.mark);
        }
        let mut inner = lock(&self.inner);
        inner.offered = inner.offered.max(Some(up_to));
    }

    /// Offers what has no place in the journal. What is not taken is replaced by the next of the same thing.
    pub(super) fn tell(&self, event: &Arc<Event>) {
        lock(&self.inner).interested(event, |tray| tray.put_aside(event));
    }

    /// Makes everybody read the journal for themselves: something could not be offered.
    pub(super) fn overflow(&self, up_to: Mark) {
        let mut inner = lock(&self.inner);
        inner.trays.values().for_each(|tray| tray.overflow());
        inner.offered = inner.offered.max(Some(up_to));
    }

    /// Takes what waits for a reader, at most `most` changes.
    pub(super) fn take(&self, tray: &Tray, most: usize) -> Taken {
        // The desk's lock first: nothing is being offered while it is said that nothing waits.
        let inner = lock(&self.inner);
        let mut waiting = lock(&tray.waiting);
        if waiting.has_overflown {
            return Taken::Overflown;
        }
        let mut changes = Vec::new();
        while changes.len() < most
            && let Some((mark, change)) = waiting.changes.pop_first()
        {
            if waiting.newest.get(&change.event.facts.about) == Some(&mark) {
                waiting.newest.remove(&change.event.facts.about);
            }
            changes.push(change);
        }
        let aside: Vec<_> = std::mem::take(&mut waiting.aside).into_values().collect();
        let has_lost_aside = std::mem::take(&mut waiting.has_lost_aside);
        if changes.is_empty() && aside.is_empty() && !has_lost_aside {
            return Taken::Nothing(inner.offered.unwrap_or(Mark::behind(0)));
        }
        Taken::Some { changes, aside, has_lost_aside }
    }
}

impl Inner {
    /// Calls `offer` for each who is interested.
    fn interested(&self, event: &Event, offer: impl Fn(&Tray)) {
        let trays = self.index.find(&event.facts).filter_map(|number| self.trays.get(&number));
        trays.filter(|tray| tray.wanted.matches(&event.facts)).for_each(|tray| offer(tray));
    }
}

impl Waiting {
    /// Adds a change, which stands for those of the same resource that wait unless all are wanted.
    fn add(&mut self, event: &Arc<Event>, mark: Mark, all: bool) {
        let about = event.facts.about;
        let mut from = None;
        if !all {
            let before = self.newest.insert(about, mark).and_then(|before| self.changes.remove(&before));
            let passed = self.passed.remove(&about);
            from = passed.or_else(|| before.and_then(|before| before.from.or_else(|| before.event.mark.map(|mark| mark.revision))));
        }
        self.changes.insert(mark, Change { event: event.clone(), from });
    }
}

impl Tray {
    fn offer(&self, event: &Arc<Event>) {
        let mut waiting = lock(&self.waiting);
        let Some(mark) = event.mark.filter(|_| !waiting.has_overflown) else { return };
        let is_passed = event.is_passed && self.wanted.passes_over();
        if is_passed {
            waiting.passed.entry(event.facts.about).or_insert(mark.revision);
        } else {
            waiting.add(event, mark, self.wanted.all);
        }
        if waiting.changes.len().max(waiting.passed.len()) > WAITING_MAX {
            *waiting = Waiting { has_overflown: true, ..Waiting::default() };
        } else if is_passed {
            return;
        }
        drop(waiting);
        self.bell.notify_one();
    }

    fn put_aside(&self, event: &Arc<Event>) {
        let mut waiting = lock(&self.waiting);
        let name = (event.name, event.facts.about);
        if waiting.aside.len() < WAITING_MAX || waiting.aside.contains_key(&name) {
            waiting.aside.insert(name, event.clone());
        } else {
            waiting.has_lost_aside |= matches!(event.facts.about, About::Host(_) | About::Pool(_));
        }
        drop(waiting);
        self.bell.notify_one();
    }

    fn overflow(&self) {
        *lock(&self.waiting) = Waiting { has_overflown: true, ..Waiting::default() };
        self.bell.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::super::ask::Since;
    use super::super::event::Facts;
    use super::*;
    use lifecycle::VolumeId;
    use uuid::Uuid;

    fn tray() -> Tray {
        let (tenant, host, since) = (None, None, Since::Now);
        let (kinds, ids, statuses, of_attachments) = Default::default();
        let wanted = Wanted { tenant, kinds, ids, statuses, of_attachments, host, since, fails_on_gap: false, all: false };
        Tray { wanted, waiting: Mutex::default(), bell: Notify::new() }
    }

    fn passed(number: u64) -> Arc<Event> {
        let about = About::Volume(VolumeId(Uuid::from_u128(number.into())));
        let facts = Facts { about, tenant: None, volume: None, host: None, statuses: Default::default() };
        let mut event = Event::new("change", facts, Some(Mark::behind(number)), &serde_json::json!({}));
        event.is_passed = true;
        Arc::new(event)
    }

    #[test]
    fn what_is_passed_over_is_bounded_too() {
        let tray = tray();
        assert!(tray.wanted.passes_over());
        let most = WAITING_MAX as u64;
        (1..=most).chain(1..=most).for_each(|number| tray.offer(&passed(number)));
        assert!(!lock(&tray.waiting).has_overflown, "the same resources again take no more room");
        tray.offer(&passed(most + 1));
        let waiting = lock(&tray.waiting);
        assert!(waiting.has_overflown && waiting.passed.is_empty());
    }
}
