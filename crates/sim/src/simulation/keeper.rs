//! The store of a simulated world: the store in memory, with commits and reads that fail, and a ledger beside it.

use super::faults::{Fault, Place};
use super::world::{State, World};
use crate::MemStore;
use async_trait::async_trait;
use engine::records::{Key, Record, VolumeRecord};
use engine::store::{
    Child, Commit, CommitError, Committed, Head, Idempotent, Item, JournalEntry, JournalQuery, ListQuery, Store, StoreError,
    Versioned,
};
use lifecycle::VolumeId;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use uuid::Uuid;

/// The store.
pub(crate) struct SimStore {
    pub(crate) world: Arc<World>,
    pub(crate) inner: Arc<MemStore>,
}

impl SimStore {
    /// A read arrives: answered, late, or not at all.
    async fn reading(&self) -> Result<(), StoreError> {
        self.world.arrive().await;
        let fault = self.world.lock().strike(Place::Read);
        match fault {
            Some(Fault::Slow) => {
                let pause = self.world.lock().dice.between(1, 3000);
                tokio::time::sleep(Duration::from_millis(pause)).await;
                self.world.leave().await;
                Ok(())
            }
            Some(_) => Err(StoreError::Unavailable("it cannot be read now".into())),
            None => Ok(()),
        }
    }

    /// Commits for real, and notes what that was.
    async fn make(&self, mut commit: Commit) -> Result<Committed, CommitError> {
        let (loses, miscounts) = {
            let mut state = self.world.lock();
            let flaws = state.truth.flaws;
            (flaws.store_loses_commits && state.dice.chance(20), flaws.store_miscounts && state.dice.chance(20))
        };
        let noted = commit.clone();
        if miscounts {
            commit.counters.pop();
        }
        let answered = if loses { self.lose(&commit).await } else { self.inner.commit(commit).await };
        let mut state = self.world.lock();
        match &answered {
            Ok(Committed { revision }) => self.note(&mut state, &noted, *revision),
            Err(_) => state.note("commit refused", 0, 0),
        }
        answered
    }

    /// Answers as if it had committed.
    async fn lose(&self, commit: &Commit) -> Result<Committed, CommitError> {
        let nothing = Commit { changes: vec![], counters: vec![], journal: vec![], ..commit.clone() };
        self.inner.commit(nothing).await
    }

    fn note(&self, state: &mut State, commit: &Commit, revision: u64) {
        state.tally.commits += 1;
        let about = commit.changes.first().map_or(0, |change| match change.key {
            Key::Volume(id) => id.0.as_u128(),
            Key::Host(id) => id.0.as_u128(),
            Key::Profile(id) => id.0.as_u128(),
            Key::Pool(id) => id.0.as_u128(),
        });
        state.note("commit", about, revision);
        for entry in &commit.journal {
            state.say(|| {
                let from = entry.from.as_deref().unwrap_or("-");
                let reason = entry.reason.as_ref().map(|reason| format!(" {:?}", reason.code)).unwrap_or_default();
                format!("    {} {from} > {} by {} {:?}{reason}", entry.subject, entry.to, entry.cause, entry.ended)
            });
        }
        match state.ledger.note(commit, revision) {
            Ok(noted) => {
                noted.edges.into_iter().for_each(|edge| *state.tally.edges.entry(edge).or_default() += 1);
                for key in noted.counted {
                    let (counted, sum) = (self.inner.counter(key), state.ledger.sum(key));
                    if counted != sum {
                        state.break_promise(format!("S11: the counter of {key} stands at {counted}, its records sum to {sum}"));
                    }
                }
                noted.volumes.into_iter().for_each(|id| state.check(id));
            }
            Err(promise) => state.break_promise(promise),
        }
    }

    /// Whether everything that was ever committed is there: asked when the controller starts.
    pub(crate) fn compare(&self) {
        let stored = self.inner.volumes_now();
        let mut state = self.world.lock();
        let is_same = stored.len() == state.ledger.records.len()
            && stored.iter().all(|record| {
                let noted = state.ledger.records.get(&record.state.id());
                noted.is_some_and(|noted| noted.state == record.state && noted.tenant == record.tenant)
            });
        if !is_same {
            state.break_promise("S4: what was acknowledged is not in the store".into());
        }
    }
}

fn unavailable() -> CommitError {
    CommitError::Unavailable("it cannot commit now".into())
}

#[async_trait]
impl Store for SimStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        self.world.arrive().await;
        let fault = self.world.lock().strike(Place::Commit);
        let lies = self.world.lock().truth.flaws.store_lies_about_refusals;
        match fault {
            Some(Fault::Unanswered) if lies => {
                let key = commit.changes.first().map_or(Key::Volume(VolumeId(Uuid::nil())), |change| change.key);
                self.make(commit).await?;
                return Err(CommitError::NameTaken(key));
            }
            Some(Fault::Unanswered) => return Err(unavailable()),
            Some(Fault::DiskFull) => return Err(CommitError::DiskFull),
            Some(Fault::UnknownNotDone) => return Err(CommitError::Unknown("it stopped in the middle".into())),
            Some(Fault::UnknownDone) => {
                self.make(commit).await?;
                self.world.leave().await;
                return Err(CommitError::Unknown("it stopped in the middle".into()));
            }
            Some(Fault::CrashesBefore) => {
                self.world.lock().kill();
                std::future::pending::<()>().await;
            }
            Some(Fault::Slow) => {
                let pause = self.world.lock().dice.between(1, 5000);
                tokio::time::sleep(Duration::from_millis(pause)).await;
                self.world.leave().await;
            }
            Some(_) | None => {}
        }
        let answered = self.make(commit).await;
        if fault == Some(Fault::CrashesAfter) {
            let mut state = self.world.lock();
            // Soon, so that now and then the answer is still heard.
            let steps = state.dice.between(1, 3);
            state.kill_in(steps);
        }
        self.world.leave().await;
        answered
    }

    async fn read(&self, key: Key) -> Result<Option<Versioned<Record>>, StoreError> {
        self.reading().await?;
        self.inner.read(key).await
    }

    async fn find(&self, child: Child) -> Result<Option<VolumeRecord>, StoreError> {
        self.reading().await?;
        self.inner.find(child).await
    }

    async fn counted(&self, key: Key) -> Result<u64, StoreError> {
        self.reading().await?;
        self.inner.counted(key).await
    }

    async fn list(&self, query: ListQuery) -> Result<mpsc::Receiver<Result<Vec<Item>, StoreError>>, StoreError> {
        self.reading().await?;
        self.inner.list(query).await
    }

    async fn owes_work(&self, after: Option<VolumeId>, limit: usize) -> Result<Vec<VolumeId>, StoreError> {
        self.reading().await?;
        self.inner.owes_work(after, limit).await
    }

    async fn journal(&self, query: JournalQuery) -> Result<Vec<JournalEntry>, StoreError> {
        self.reading().await?;
        self.inner.journal(query).await
    }

    async fn idempotent(&self, tenant: &str, key: &str) -> Result<Option<Idempotent>, StoreError> {
        self.reading().await?;
        self.inner.idempotent(tenant, key).await
    }

    async fn head(&self) -> Result<Head, StoreError> {
        self.reading().await?;
        self.inner.head().await
    }

    async fn begin_incarnation(&self) -> Result<u64, CommitError> {
        self.world.arrive().await;
        let fault = self.world.lock().strike(Place::Commit);
        if matches!(fault, Some(Fault::Unanswered | Fault::DiskFull | Fault::UnknownNotDone)) {
            return Err(unavailable());
        }
        self.inner.begin_incarnation().await
    }
}
