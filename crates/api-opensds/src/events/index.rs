//! Who may be interested in an event: found, not asked for from everybody.
//!
//! - A reader who names ids is filed under them. Another one is filed under its tenant, or under none if it reads everybody's: there under
//!   the host that it names, or else under the kinds that it wants.
//! - An event is looked up in every place whose readers it may interest, and finds each reader once. Found may be more than are interested,
//!   as statuses are in no index, and never fewer: [`Wanted::matches`] decides.

use super::ask::{KINDS, Wanted};
use super::event::Facts;
use engine::records::TenantId;
use lifecycle::HostId;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use uuid::Uuid;

/// See the module. Readers are numbers here.
#[derive(Default)]
pub(super) struct Index {
    by_id: HashMap<Uuid, HashSet<u64>>,
    by_tenant: HashMap<Option<TenantId>, Shelf>,
}

/// The readers of one tenant's events, or of everybody's, who name no ids.
#[derive(Default)]
struct Shelf {
    by_kind: HashMap<&'static str, HashSet<u64>>,
    by_host: HashMap<HostId, HashSet<u64>>,
}

impl Index {
    /// Files a reader who wants this.
    pub(super) fn file(&mut self, wanted: &Wanted, number: u64) {
        if wanted.ids.is_empty() {
            self.by_tenant.entry(wanted.tenant.clone()).or_default().file(wanted, number);
        }
        for id in &wanted.ids {
            file(&mut self.by_id, *id, number);
        }
    }

    /// Forgets a reader who was filed with this.
    pub(super) fn forget(&mut self, wanted: &Wanted, number: u64) {
        for id in &wanted.ids {
            forget(&mut self.by_id, id, number);
        }
        if let Some(shelf) = self.by_tenant.get_mut(&wanted.tenant) {
            shelf.forget(wanted, number);
            if shelf.by_kind.is_empty() && shelf.by_host.is_empty() {
                self.by_tenant.remove(&wanted.tenant);
            }
        }
    }

    /// Who may be interested in an event of which this is known; each once, also who named several of its ids.
    pub(super) fn find(&self, facts: &Facts) -> impl Iterator<Item = u64> {
        let named: BTreeSet<u64> = [Some(facts.about.id()), facts.volume]
            .into_iter()
            .flatten()
            .filter_map(|id| self.by_id.get(&id))
            .flat_map(|readers| readers.iter().copied())
            .collect();
        let shelves: Vec<&Shelf> = match facts.tenant {
            Some(_) => [&facts.tenant, &None].into_iter().filter_map(|tenant| self.by_tenant.get(tenant)).collect(),
            None => self.by_tenant.values().collect(),
        };
        named.into_iter().chain(shelves.into_iter().flat_map(|shelf| shelf.find(facts)))
    }
}

impl Shelf {
    fn file(&mut self, wanted: &Wanted, number: u64) {
        match wanted.host {
            Some(host) => file(&mut self.by_host, host, number),
            None => kinds(wanted).for_each(|kind| file(&mut self.by_kind, kind, number)),
        }
    }

    fn forget(&mut self, wanted: &Wanted, number: u64) {
        match &wanted.host {
            Some(host) => forget(&mut self.by_host, host, number),
            None => kinds(wanted).for_each(|kind| forget(&mut self.by_kind, &kind, number)),
        }
    }

    fn find(&self, facts: &Facts) -> impl Iterator<Item = u64> {
        let of_kind = self.by_kind.get(facts.about.kind());
        let of_host = facts.host.and_then(|host| self.by_host.get(&host));
        let of_any_host = facts.may_be_of_any_host().then_some(&self.by_host).into_iter().flat_map(HashMap::values);
        of_kind.into_iter().chain(of_host).chain(of_any_host).flatten().copied()
    }
}

fn kinds(wanted: &Wanted) -> impl Iterator<Item = &'static str> {
    KINDS.into_iter().filter(|kind| wanted.has(kind))
}

fn file<K: Hash + Eq>(index: &mut HashMap<K, HashSet<u64>>, key: K, number: u64) {
    index.entry(key).or_default().insert(number);
}

fn forget<K: Hash + Eq>(index: &mut HashMap<K, HashSet<u64>>, key: &K, number: u64) {
    if let Some(readers) = index.get_mut(key) {
        readers.remove(&number);
        if readers.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ask::Since;
    use super::super::event::About;
    use super::*;
    use lifecycle::{AttachmentId, SnapshotId, VolumeId};

    /// So few of each that chance meets all of them.
    const TENANTS: [&str; 2] = ["ours", "theirs"];
    const STATUSES: [&str; 2] = ["available", "attached"];
    const HOSTS: [HostId; 3] = [HostId(Uuid::from_u128(1)), HostId(Uuid::from_u128(2)), HostId(Uuid::from_u128(3))];
    /// Resources of every kind; the hosts are among them.
    const IDS: u64 = 6;

    /// A row of numbers that depends on its seed alone (SplitMix64).
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            (mixed ^ (mixed >> 31)) % limit
        }

        fn one<T: Copy>(&mut self, among: &[T]) -> T {
            among[usize::try_from(self.below(among.len() as u64)).unwrap()]
        }

        fn maybe<T: Copy>(&mut self, among: &[T]) -> Option<T> {
            (self.below(2) == 0).then(|| self.one(among))
        }

        fn id(&mut self) -> Uuid {
            Uuid::from_u128(u128::from(self.below(IDS) + 1))
        }

        fn wanted(&mut self) -> Wanted {
            let some = |dice: &mut Self| dice.below(3) / 2 * (dice.below(3) + 1);
            let statuses: BTreeSet<_> = (0..some(self)).map(|_| self.one(&STATUSES).to_owned()).collect();
            Wanted {
                tenant: self.maybe(&TENANTS).map(str::to_owned),
                kinds: (0..some(self)).map(|_| self.one(&KINDS)).collect(),
                ids: (0..some(self)).map(|_| self.id()).collect(),
                of_attachments: statuses.clone(),
                statuses,
                host: self.maybe(&HOSTS),
                ..anything()
            }
        }

        /// Also what no event is today, such as a volume of a host, or a pool of a tenant.
        fn facts(&mut self) -> Facts {
            let id = self.id();
            let about = [
                About::Volume(VolumeId(id)),
                About::Snapshot(SnapshotId(id)),
                About::Attachment(AttachmentId(id)),
                About::Host(HostId(id)),
                About::Pool(id),
            ];
            Facts {
                about: self.one(&about),
                tenant: self.maybe(&TENANTS).map(str::to_owned),
                volume: (self.below(2) == 0).then(|| self.id()),
                host: self.maybe(&HOSTS),
                statuses: [self.one(&STATUSES).to_owned(), self.maybe(&STATUSES).unwrap_or_default().to_owned()],
            }
        }
    }

    fn anything() -> Wanted {
        Wanted {
            tenant: None,
            kinds: BTreeSet::new(),
            ids: BTreeSet::new(),
            statuses: BTreeSet::new(),
            of_attachments: BTreeSet::new(),
            host: None,
            since: Since::Now,
            fails_on_gap: false,
            all: false,
        }
    }

    fn sorted(numbers: impl Iterator<Item = u64>) -> Vec<u64> {
        let mut numbers: Vec<_> = numbers.collect();
        numbers.sort_unstable();
        numbers
    }

    #[test]
    fn whoever_would_be_found_by_asking_everybody_is_found_once() {
        for seed in 0..40 {
            let mut dice = Dice(seed);
            let (mut index, mut readers) = (Index::default(), Vec::new());
            for number in 0..200 {
                let wanted = dice.wanted();
                index.file(&wanted, number);
                readers.push((number, wanted));
                if dice.below(3) == 0 {
                    let (number, wanted) = readers.swap_remove(usize::try_from(dice.below(readers.len() as u64)).unwrap());
                    index.forget(&wanted, number);
                }
                let facts = dice.facts();
                let asked = sorted(readers.iter().filter(|(_, wanted)| wanted.matches(&facts)).map(|(number, _)| *number));
                let wants = |number: &u64| readers.iter().any(|(other, wanted)| other == number && wanted.matches(&facts));
                assert_eq!(sorted(index.find(&facts).filter(wants)), asked, "seed {seed}: {facts:?} among {readers:?}");
            }
            readers.iter().for_each(|(number, wanted)| index.forget(wanted, *number));
            assert!(
                index.by_id.is_empty() && index.by_tenant.is_empty(),
                "seed {seed}: something of readers that are gone is kept"
            );
        }
    }

    #[test]
    fn nobody_is_found_who_named_something_else() {
        let ours = || Wanted { tenant: Some("ours".into()), ..anything() };
        let volume = IDS.into();
        let readers = [
            anything(),
            Wanted { kinds: ["volume"].into(), ..anything() },
            Wanted { host: Some(HOSTS[0]), ..anything() },
            Wanted { host: Some(HOSTS[0]), ..ours() },
            Wanted { host: Some(HOSTS[1]), ..ours() },
            Wanted { host: Some(HOSTS[0]), tenant: Some("theirs".into()), ..anything() },
            Wanted { kinds: ["attachment", "host"].into(), ..ours() },
            Wanted { host: Some(HOSTS[1]), ids: [Uuid::from_u128(volume)].into(), ..ours() },
        ];
        let mut index = Index::default();
        readers.iter().zip(0..).for_each(|(wanted, number)| index.file(wanted, number));
        let of = |about, host| Facts {
            about,
            tenant: Some("ours".into()),
            volume: Some(Uuid::from_u128(volume)).filter(|_| !matches!(about, About::Host(_))),
            host,
            statuses: Default::default(),
        };
        let attachment = About::Attachment(AttachmentId(Uuid::from_u128(9)));
        let pool = About::Pool(Uuid::from_u128(10));
        let rows: [(_, &[u64]); 6] = [
            (of(About::Volume(VolumeId(Uuid::from_u128(volume))), None), &[0, 1, 7]),
            (of(attachment, Some(HOSTS[0])), &[0, 2, 3, 6, 7]),
            (of(attachment, Some(HOSTS[1])), &[0, 4, 6, 7]),
            (of(attachment, None), &[0, 2, 3, 4, 6, 7]),
            (of(About::Host(HOSTS[0]), Some(HOSTS[0])), &[0, 2, 3, 6]),
            (Facts { tenant: None, volume: None, ..of(pool, None) }, &[0]),
        ];
        for (facts, found) in rows {
            assert_eq!(sorted(index.find(&facts)), found, "{facts:?}");
        }
    }
}
