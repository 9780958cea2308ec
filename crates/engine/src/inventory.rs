//! What a backend listed, kept in 16 bytes an object: which names are claimed by a record, and what each was seen to be.
//!
//! - A name is kept as a fingerprint, under keys drawn anew for each list. Two names meet in one about once in a hundred thousand lists of three
//!   million objects, and in the next list they do not: whoever looks a name up must confirm what it reads before anything follows.
//! - Several entries of one fingerprint (such a meeting, or an object that was listed twice while it changed) that differ are told
//!   as unknown, which asks for a look.
//! - What is listed is gathered first, then sorted once, then looked up: three million objects take 48 MB, given back when it is dropped.

use crate::ports::Listed;
use crate::survey::Name;
use lifecycle::{Bytes, Content, Seen};
use std::hash::{BuildHasher, RandomState};

/// What is left of a word for a name's fingerprint: all but the bits below.
const FINGERPRINT: u64 = !0 << 5;
/// Where the kind of what was seen is: five kinds in three bits.
const KIND_SHIFT: u32 = 2;
const KIND: u64 = 0b111 << KIND_SHIFT;
const USED: u64 = 0b10;
const CLAIMED: u64 = 0b1;

/// Room for these many objects is asked for at once: 32 MiB of addresses, of which the untouched ones cost nothing. That much is always mapped
/// by itself, grown without a copy, and given back when it is dropped; less may stay with the process. Source: mallopt(3), `M_MMAP_THRESHOLD`.
const ROOM: usize = (32 << 20) / size_of::<Entry>() + 1;
/// How many objects are sorted in one go, some milliseconds: others want the thread, too.
const SORTED_AT_ONCE: usize = 1 << 16;

/// An inventory to be, while the backend lists.
pub(crate) struct Gathered {
    keys: RandomState,
    entries: Vec<Entry>,
}

/// What a backend listed, to be looked up by name.
pub(crate) struct Inventory {
    keys: RandomState,
    /// Sorted.
    entries: Vec<Entry>,
    unclaimed: usize,
}

/// What the list said of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claimed {
    /// What it was seen to be.
    pub(crate) seen: Seen,
    /// Whether somebody seemed to use it.
    pub(crate) is_used: bool,
    /// Whether nobody had claimed it before.
    pub(crate) is_first: bool,
}

impl Gathered {
    pub(crate) fn new() -> Self {
        Self { keys: RandomState::new(), entries: Vec::with_capacity(ROOM) }
    }

    pub(crate) fn add(&mut self, listed: &Listed) {
        let fingerprint = fingerprint(&self.keys, (listed.volume, listed.snapshot));
        self.entries.push(Entry::new(fingerprint, listed.seen, listed.is_used));
    }

    /// The list is complete. What was listed twice alike counts once.
    pub(crate) async fn sort(mut self) -> Inventory {
        sort(&mut self.entries).await;
        self.entries.dedup();
        Inventory { unclaimed: self.entries.len(), keys: self.keys, entries: self.entries }
    }
}

impl Inventory {
    /// Looks a name up, and claims what is there; nothing if it was not listed.
    pub(crate) fn claim(&mut self, name: Name) -> Option<Claimed> {
        let fingerprint = fingerprint(&self.keys, name);
        let from = self.entries.partition_point(|entry| entry.fingerprint() < fingerprint);
        let mut told: Option<Claimed> = None;
        for entry in self.entries[from..].iter_mut().take_while(|entry| entry.fingerprint() == fingerprint) {
            let is_first = !entry.has(CLAIMED);
            let here = Claimed { seen: entry.seen(), is_used: entry.has(USED), is_first };
            told = Some(told.map_or(here, |others| others.and(here)));
            self.unclaimed -= usize::from(is_first);
            entry.word |= CLAIMED;
        }
        told
    }

    /// How many entries nobody has claimed.
    pub(crate) const fn unclaimed(&self) -> usize {
        self.unclaimed
    }
}

impl Claimed {
    fn and(self, other: Self) -> Self {
        Self {
            seen: if self.seen == other.seen { self.seen } else { Seen::Unknown },
            is_used: self.is_used || other.is_used,
            is_first: self.is_first || other.is_first,
        }
    }
}

/// One object: the fingerprint of its name, the kind of what was seen, whether it is used and claimed in one word, so that the
/// order of entries is that of fingerprints; and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    word: u64,
    size: u64,
}

impl Entry {
    const fn new(fingerprint: u64, seen: Seen, is_used: bool) -> Self {
        let (kind, size) = match seen {
            Seen::Unknown => (0, 0),
            Seen::Absent => (1, 0),
            Seen::Present { size, content: Content::Unknown } => (2, size.0),
            Seen::Present { size, content: Content::Partial } => (3, size.0),
            Seen::Present { size, content: Content::Whole } => (4, size.0),
        };
        let used = if is_used { USED } else { 0 };
        Self { word: fingerprint & FINGERPRINT | kind << KIND_SHIFT | used, size }
    }

    const fn fingerprint(self) -> u64 {
        self.word & FINGERPRINT
    }

    const fn has(self, bit: u64) -> bool {
        self.word & bit != 0
    }

    fn seen(self) -> Seen {
        let size = Bytes(self.size);
        match (self.word & KIND) >> KIND_SHIFT {
            0 => Seen::Unknown,
            1 => Seen::Absent,
            2 => Seen::Present { size, content: Content::Unknown },
            3 => Seen::Present { size, content: Content::Partial },
            4 => Seen::Present { size, content: Content::Whole },
            kind => unreachable!("no entry is made with kind {kind}"),
        }
    }
}

fn fingerprint(keys: &RandomState, name: Name) -> u64 {
    keys.hash_one(name) & FINGERPRINT
}

/// Sorts, a part at a time.
async fn sort(entries: &mut [Entry]) {
    let mut parts = vec![entries];
    while let Some(part) = parts.pop() {
        if part.len() <= SORTED_AT_ONCE {
            part.sort_unstable();
        } else {
            let (lower, _, upper) = part.select_nth_unstable(part.len() / 2);
            parts.extend([lower, upper]);
        }
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifecycle::{SnapshotId, VolumeId};
    use uuid::Uuid;

    const fn name(volume: u128, snapshot: Option<u128>) -> Name {
        let snapshot = match snapshot {
            Some(snapshot) => Some(SnapshotId(Uuid::from_u128(snapshot))),
            None => None,
        };
        (VolumeId(Uuid::from_u128(volume)), snapshot)
    }

    const fn whole(size: u64) -> Seen {
        Seen::Present { size: Bytes(size), content: Content::Whole }
    }

    const fn listed((volume, snapshot): Name, seen: Seen) -> Listed {
        Listed { volume, snapshot, seen, is_used: false }
    }

    async fn of(objects: &[Listed]) -> Inventory {
        let mut gathered = Gathered::new();
        objects.iter().for_each(|object| gathered.add(object));
        gathered.sort().await
    }

    const fn first(seen: Seen) -> Option<Claimed> {
        Some(Claimed { seen, is_used: false, is_first: true })
    }

    #[test]
    fn an_entry_tells_what_was_put_into_it() {
        assert_eq!(size_of::<Entry>(), 16);
        let contents = [Content::Whole, Content::Partial, Content::Unknown];
        let sizes = [0, 1, u64::MAX];
        let present = contents.into_iter().flat_map(|content| sizes.map(|size| Seen::Present { size: Bytes(size), content }));
        for seen in [Seen::Unknown, Seen::Absent].into_iter().chain(present) {
            for (is_used, fingerprint) in [(false, 0), (true, 0), (false, FINGERPRINT), (true, FINGERPRINT)] {
                let mut entry = Entry::new(fingerprint, seen, is_used);
                for is_claimed in [false, true] {
                    let told = (entry.fingerprint(), entry.seen(), entry.has(USED), entry.has(CLAIMED));
                    assert_eq!(told, (fingerprint, seen, is_used, is_claimed));
                    entry.word |= CLAIMED;
                }
            }
        }
    }

    #[tokio::test]
    async fn each_name_is_found_and_no_other() {
        let all: Vec<_> = (0..3000).map(|number| name(number / 3, (number % 3 > 0).then_some(number % 3))).collect();
        let objects: Vec<_> = all.iter().zip(0..).map(|(name, size)| listed(*name, whole(size))).collect();
        let mut inventory = of(&objects).await;
        assert_eq!((inventory.claim(name(1000, None)), inventory.claim(name(0, Some(3)))), (None, None));
        assert_eq!(inventory.unclaimed(), 3000);
        for (claimed, (name, size)) in (1..).zip(all.iter().zip(0..)) {
            assert_eq!(inventory.claim(*name), first(whole(size)));
            assert_eq!(inventory.unclaimed(), 3000 - claimed);
        }
        assert_eq!(inventory.claim(all[0]), Some(Claimed { is_first: false, ..first(whole(0)).unwrap() }));
        assert_eq!(inventory.unclaimed(), 0);
    }

    #[tokio::test]
    async fn what_is_used_is_told_of_the_volume_alone() {
        let used = Listed { is_used: true, ..listed(name(1, None), whole(1)) };
        let mut inventory = of(&[used, listed(name(1, Some(1)), whole(1)), listed(name(2, None), whole(1))]).await;
        let told = [name(1, None), name(1, Some(1)), name(2, None)].map(|name| inventory.claim(name).unwrap().is_used);
        assert_eq!(told, [true, false, false]);
    }

    #[tokio::test]
    async fn what_is_listed_twice_is_one_object_and_unknown_if_it_differs() {
        let (one, other) = (name(1, None), name(2, None));
        let mut inventory = of(&[listed(one, whole(1)), listed(other, whole(1)), listed(one, whole(1))]).await;
        assert_eq!(inventory.unclaimed(), 2);
        assert_eq!((inventory.claim(one), inventory.unclaimed()), (first(whole(1)), 1));
        let mut inventory = of(&[listed(one, whole(1)), listed(other, whole(1)), listed(one, whole(2))]).await;
        assert_eq!((inventory.claim(one), inventory.unclaimed()), (first(Seen::Unknown), 1));
        let used = Listed { is_used: true, ..listed(one, whole(1)) };
        let told = of(&[listed(one, whole(1)), used]).await.claim(one);
        assert_eq!(told, Some(Claimed { is_used: true, ..first(whole(1)).unwrap() }));
    }

    #[tokio::test]
    async fn names_that_meet_in_a_fingerprint_are_told_as_unknown_or_alike() {
        let (one, other) = (name(1, None), name(2, None));
        for (size, seen) in [(1, whole(1)), (2, Seen::Unknown)] {
            let mut gathered = Gathered::new();
            gathered.add(&listed(one, whole(1)));
            let met = fingerprint(&gathered.keys, one);
            gathered.entries.push(Entry::new(met, whole(size), false));
            gathered.add(&listed(other, whole(7)));
            let mut inventory = gathered.sort().await;
            assert_eq!(inventory.claim(one), first(seen));
            // Whoever met it is claimed with it: a record's object is found still, and one that is nobody's in the next list.
            assert_eq!((inventory.claim(one).unwrap().is_first, inventory.unclaimed()), (false, 1));
            assert_eq!(inventory.claim(other), first(whole(7)));
        }
    }

    #[tokio::test]
    async fn more_than_is_sorted_at_once_is_sorted() {
        let mixed = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut entries: Vec<_> =
            (0..5 * SORTED_AT_ONCE as u64 / 2).map(|number| Entry { word: mixed(number), size: number }).collect();
        let mut wanted = entries.clone();
        wanted.sort_unstable();
        sort(&mut entries).await;
        assert!(entries == wanted);
    }
}
