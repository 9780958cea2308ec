//! What has changed, for those who follow: a bell at every commit, and the journal with the records that its entries are about.
//!
//! - The journal is the truth, and is read in order: a commit that nobody could tell of is found there like any other.
//! - While somebody follows, the records of the last commits are kept, so that an entry is told with the record as it was then.
//! - What an entry is about may have changed since: then a later entry tells of it, as every change has one.
//!
//! Not here: who is interested in what, and how it is told.

use crate::engine::Engine;
use crate::records::{TenantId, VolumeRecord};
use crate::requests::{Live, Refusal};
use crate::shared::{Shared, lock, unavailable};
use crate::store::{Head, JournalEntry, JournalQuery, Mark, StoreError, Touched};
use lifecycle::{Subject, VolumeId};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// How many records of the last commits are kept while somebody follows: some tenths of a second of a busy controller, in which a
/// follower that is awake has read them.
const RECENT_MAX: usize = 1024;

/// The bells, and what is kept.
pub(crate) struct News {
    commits: watch::Sender<u64>,
    hosts: watch::Sender<u64>,
    ended: watch::Sender<bool>,
    recent: Mutex<Recent>,
}

#[derive(Default)]
struct Recent {
    records: HashMap<(VolumeId, u64), Arc<VolumeRecord>>,
    order: VecDeque<(VolumeId, u64)>,
}

impl Default for News {
    fn default() -> Self {
        let (commits, hosts) = (watch::Sender::new(0), watch::Sender::new(0));
        Self { commits, hosts, ended: watch::Sender::new(false), recent: Mutex::default() }
    }
}

impl News {
    /// Whether anybody follows, so that records are worth keeping.
    pub(crate) fn is_followed(&self) -> bool {
        self.commits.receiver_count() > 0
    }

    /// Keeps the records that a commit wrote, and the parts of each that it touched.
    pub(crate) fn keep(&self, revision: u64, written: Vec<(VolumeRecord, Touched)>) {
        let mut recent = lock(&self.recent);
        for (mut record, touched) in written {
            touched.stamp(&mut record, revision);
            let name = (record.state.id(), revision);
            recent.records.insert(name, Arc::new(record));
            recent.order.push_back(name);
        }
        while recent.order.len() > RECENT_MAX {
            if let Some(oldest) = recent.order.pop_front() {
                recent.records.remove(&oldest);
            }
        }
    }

    /// Rings after a commit, also after one whose outcome is unknown.
    pub(crate) fn committed(&self) {
        self.commits.send_modify(|told| *told += 1);
    }

    /// Rings after a change of the hosts.
    pub(crate) fn hosts_changed(&self) {
        self.hosts.send_modify(|told| *told += 1);
    }
}

/// One that follows the journal. While there is one, the records of the last commits are kept.
pub struct Follower {
    shared: Arc<Shared>,
    commits: watch::Receiver<u64>,
    hosts: watch::Receiver<u64>,
}

/// What was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// Something that the journal tells.
    Commit,
    /// Something about the hosts, which the journal does not tell.
    Hosts,
}

/// The record that an entry is about.
#[derive(Clone, Debug)]
pub enum Told {
    /// As it was after the entry's commit.
    Then(Arc<VolumeRecord>),
    /// What the entry is about has changed since, to this: a later entry tells of it.
    Later(Arc<VolumeRecord>),
    /// The resource is gone.
    Gone,
}

impl Engine {
    /// Begins to follow: what is committed from now on rings.
    #[must_use]
    pub fn follow(&self) -> Follower {
        let news = &self.shared.news;
        Follower { shared: self.shared.clone(), commits: news.commits.subscribe(), hosts: news.hosts.subscribe() }
    }

    /// Where the store is.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] if it cannot answer.
    pub async fn head(&self) -> Result<Head, Refusal> {
        self.shared.store.head().await.map_err(unavailable)
    }

    /// Tells whoever waits for [`Engine::ended`] that the controller stops.
    pub fn end(&self) {
        self.shared.news.ended.send_replace(true);
    }

    /// Returns once the controller stops: what would go on for ever ends then.
    pub async fn ended(&self) {
        // The sender lives as long as this.
        let _ = self.shared.news.ended.subscribe().wait_for(|is_over| *is_over).await;
    }
}

impl Follower {
    /// Returns once something was committed after this began to follow, or after the last return.
    pub async fn rung(&mut self) -> Rung {
        let rung = tokio::select! {
            heard = self.commits.changed() => heard.map(|()| Rung::Commit),
            heard = self.hosts.changed() => heard.map(|()| Rung::Hosts),
        };
        match rung {
            Ok(rung) => rung,
            // The senders live as long as the engine, which this holds.
            Err(_) => std::future::pending().await,
        }
    }

    /// Entries behind `since`, oldest first; of one tenant, or of all.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn read(&self, since: Mark, tenant: Option<&TenantId>, limit: usize) -> Result<Vec<JournalEntry>, StoreError> {
        self.shared.store.journal(JournalQuery { since, subject: None, tenant: tenant.cloned(), limit }).await
    }

    /// The record that an entry is about.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record(&self, entry: &JournalEntry) -> Result<Told, StoreError> {
        let kept = lock(&self.shared.news.recent).records.get(&(entry.volume, entry.mark.revision)).cloned();
        let record = match kept {
            Some(record) => record,
            None => match self.shared.read_volume(entry.volume).await? {
                Some(now) => Arc::new(now.record),
                None => return Ok(Told::Gone),
            },
        };
        Ok(match record.about_of(entry.subject).map(|about| about.revision) {
            None => Told::Gone,
            Some(now) if now > entry.mark.revision => Told::Later(record),
            Some(_) => Told::Then(record),
        })
    }

    /// What is known in memory of the operations that run.
    #[must_use]
    pub fn running(&self) -> Vec<(Subject, Live)> {
        lock(&self.shared.live).iter().map(|(subject, live)| (*subject, live.clone())).collect()
    }

    /// What tells of a resource as it is now, whoever it belongs to: of a snapshot or an attachment an excerpt of its volume.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn told(&self, subject: Subject) -> Result<Option<VolumeRecord>, StoreError> {
        self.shared.told(subject).await
    }
}
