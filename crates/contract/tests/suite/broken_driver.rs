//! The simulated driver as a subject of the suite, with steps to be cut off at, and flaws on demand.

use async_trait::async_trait;
use contract::Cuts;
use contract::driver::{Room, Subject};
use engine::ports::{Backing, Batches, Call, Capacity, Driver, Unanswered};
use lifecycle::{Bytes, Capabilities, Content, Facts, Look, Outcome, Seen, SnapshotId, Source, Token, VolumeId};
use sim::{Fault, MemDriver};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A promise that a driver breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    IgnoresTokens,
    IgnoresFences,
    ForgetsSnapshots,
    CallsPartialWhole,
    ListsNoLeftovers,
    ShrinksOnExtend,
    ListsNoSnapshots,
    ClonesNothing,
    RoundsSizes,
    ForgetsWhenOpenedAgain,
    FailsToDeleteWhatIsAbsent,
    ClaimsDoneBeforeItIs,
    DeletesWithSnapshots,
    LeavesHalfWhenFull,
    CallsFullBroken,
    LeavesItsProbe,
    WaitsToBeHeard,
}

impl Flaw {
    /// Every flaw.
    pub(crate) const ALL: [Self; 17] = [
        Self::IgnoresTokens,
        Self::IgnoresFences,
        Self::ForgetsSnapshots,
        Self::CallsPartialWhole,
        Self::ListsNoLeftovers,
        Self::ShrinksOnExtend,
        Self::ListsNoSnapshots,
        Self::ClonesNothing,
        Self::RoundsSizes,
        Self::ForgetsWhenOpenedAgain,
        Self::FailsToDeleteWhatIsAbsent,
        Self::ClaimsDoneBeforeItIs,
        Self::DeletesWithSnapshots,
        Self::LeavesHalfWhenFull,
        Self::CallsFullBroken,
        Self::LeavesItsProbe,
        Self::WaitsToBeHeard,
    ];
}

/// A backend in memory, and what is wrong with its driver.
#[derive(Default)]
pub(crate) struct Memory {
    flaw: Option<Flaw>,
    backend: std::sync::Mutex<Option<Arc<MemDriver>>>,
    cuts: Arc<Cuts>,
    is_full: Arc<AtomicBool>,
}

impl Memory {
    pub(crate) fn with(flaw: Flaw) -> Self {
        Self { flaw: Some(flaw), ..Self::default() }
    }

    fn backend(&self) -> Arc<MemDriver> {
        self.backend.lock().unwrap().get_or_insert_with(|| Arc::new(MemDriver::able())).clone()
    }
}

#[async_trait]
impl Subject for Memory {
    async fn open(&self) -> Arc<dyn Driver> {
        if self.flaw == Some(Flaw::ForgetsWhenOpenedAgain) {
            *self.backend.lock().unwrap() = None;
        }
        Arc::new(Flawed { inner: self.backend(), flaw: self.flaw, cuts: self.cuts.clone(), is_full: self.is_full.clone() })
    }

    fn cuts(&self) -> Option<&Cuts> {
        Some(&self.cuts)
    }

    fn room(&self) -> Option<&dyn Room> {
        Some(self)
    }

    async fn write(&self, _driver: &dyn Driver, volume: VolumeId, at: u64, bytes: &[u8]) {
        self.backend().write(volume, at, bytes);
    }

    async fn read(&self, _driver: &dyn Driver, volume: VolumeId, at: u64, length: usize) -> Vec<u8> {
        self.backend().read(volume, at, length)
    }
}

impl Room for Memory {
    fn fill(&self) {
        self.is_full.store(true, Ordering::SeqCst);
    }

    fn empty(&self) {
        self.is_full.store(false, Ordering::SeqCst);
    }
}

/// The simulated driver, which takes a call in two steps, and breaks one promise.
struct Flawed {
    inner: Arc<MemDriver>,
    flaw: Option<Flaw>,
    cuts: Arc<Cuts>,
    is_full: Arc<AtomicBool>,
}

impl Flawed {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// The call as the backend gets it.
    fn call(&self, call: Call) -> Call {
        let token = if self.has(Flaw::IgnoresTokens) { Token { incarnation: u64::MAX, counter: u64::MAX } } else { call.token };
        Call { token, ..call }
    }

    /// Makes something that is not there yet in two steps: by one call that is interrupted, and another.
    async fn make<Made: Future<Output = Outcome> + Send>(
        &self,
        name: &'static str,
        object: (VolumeId, Option<SnapshotId>),
        make: impl Fn() -> Made + Send + Sync,
    ) -> Outcome {
        self.cuts.pass("before");
        let is_full = self.is_full.load(Ordering::SeqCst);
        if !self.inner.objects().contains_key(&object) {
            if is_full && !self.has(Flaw::LeavesHalfWhenFull) {
                return Outcome::Refused("the backend is full".into());
            }
            self.inner.script.next(name, Fault::HalfThenUnknown);
            let begun = make().await;
            if matches!(begun, Outcome::Refused(_)) {
                return begun;
            }
            if is_full {
                return Outcome::Refused("the backend is full".into());
            }
            self.cuts.pass("half");
        }
        let mut made = make().await;
        // The interruption may have been meant for the same call, delivered twice.
        while matches!(made, Outcome::Unknown(_)) {
            made = make().await;
        }
        self.cuts.pass("after");
        made
    }

    fn see(&self, seen: Seen) -> Seen {
        match seen {
            Seen::Present { size, content: Content::Partial } if self.has(Flaw::CallsPartialWhole) => {
                Seen::Present { size, content: Content::Whole }
            }
            seen => seen,
        }
    }
}

#[async_trait]
impl Driver for Flawed {
    fn name(&self) -> &'static str {
        "flawed"
    }

    async fn capabilities(&self) -> Result<Capabilities, Unanswered> {
        self.inner.capabilities().await
    }

    async fn create(&self, call: Call, volume: VolumeId, size: Bytes, source: Option<Source>) -> Outcome {
        let source = source.filter(|_| !self.has(Flaw::ClonesNothing));
        let size = if self.has(Flaw::RoundsSizes) { Bytes(size.0.saturating_add(511) / 512 * 512) } else { size };
        if self.has(Flaw::ClaimsDoneBeforeItIs) && !self.inner.objects().contains_key(&(volume, None)) {
            self.inner.script.next("create", Fault::HalfThenUnknown);
            self.inner.create(call, volume, size, source).await;
            return Outcome::Done(Facts::Object(Seen::Present { size, content: Content::Whole }));
        }
        let call = self.call(call);
        let create = || self.inner.create(call.clone(), volume, size, source);
        self.make("create", (volume, None), create).await
    }

    async fn delete(&self, call: Call, volume: VolumeId) -> Outcome {
        let names = self.inner.objects();
        let names: Vec<_> = names.keys().filter(|(owner, _)| *owner == volume).copied().collect();
        if self.has(Flaw::FailsToDeleteWhatIsAbsent) && names.is_empty() {
            return Outcome::Refused("not there".into());
        }
        if self.has(Flaw::DeletesWithSnapshots) {
            names.iter().for_each(|name| self.inner.meddle(*name, None));
        }
        self.cuts.pass("before");
        let done = self.inner.delete(self.call(call), volume).await;
        self.cuts.pass("after");
        done
    }

    async fn extend(&self, call: Call, volume: VolumeId, size: Bytes) -> Outcome {
        self.cuts.pass("before");
        let done = self.inner.extend(self.call(call), volume, size).await;
        if let (true, Outcome::Done(_)) = (self.has(Flaw::ShrinksOnExtend), &done) {
            self.inner.meddle((volume, None), Some(sim::Object { size, whole: true }));
            return Outcome::Done(Facts::Object(Seen::Present { size, content: Content::Whole }));
        }
        self.cuts.pass("after");
        done
    }

    async fn snapshot(&self, call: Call, volume: VolumeId, snapshot: SnapshotId) -> Outcome {
        let name = (volume, Some(snapshot));
        let call = self.call(call);
        let take = || self.inner.snapshot(call.clone(), volume, snapshot);
        let done = self.make("snapshot", name, take).await;
        if self.has(Flaw::ForgetsSnapshots) {
            self.inner.meddle(name, None);
        }
        done
    }

    async fn delete_snapshot(&self, call: Call, volume: VolumeId, snapshot: SnapshotId) -> Outcome {
        self.cuts.pass("before");
        let done = self.inner.delete_snapshot(self.call(call), volume, snapshot).await;
        self.cuts.pass("after");
        done
    }

    async fn backing(&self, volume: VolumeId) -> Result<Backing, Unanswered> {
        self.inner.backing(volume).await
    }

    async fn inspect(&self, volume: VolumeId, fence: Option<Token>) -> Result<Look, Unanswered> {
        let fence = fence.filter(|_| !self.has(Flaw::IgnoresFences) && !self.has(Flaw::IgnoresTokens));
        let mut look = self.inner.inspect(volume, fence).await?;
        look.volume = self.see(look.volume);
        look.snapshots.values_mut().for_each(|seen| *seen = self.see(*seen));
        Ok(look)
    }

    async fn list(&self, batches: Batches) -> Result<(), Unanswered> {
        let mut listed = contract::driver::list(&*self.inner).await?;
        listed.retain(|listed| listed.snapshot.is_none() || !self.has(Flaw::ListsNoSnapshots));
        listed.iter_mut().for_each(|listed| listed.seen = self.see(listed.seen));
        listed.retain(|listed| listed.seen.whole().is_some() || !self.has(Flaw::ListsNoLeftovers));
        for listed in listed {
            if batches.send(vec![listed]).await.is_ok() {
                continue;
            }
            if self.has(Flaw::WaitsToBeHeard) {
                std::future::pending::<()>().await;
            }
            break;
        }
        Ok(())
    }

    async fn capacity(&self) -> Result<Capacity, Unanswered> {
        let capacity = self.inner.capacity().await?;
        Ok(if self.is_full.load(Ordering::SeqCst) { Capacity { free: Bytes::ZERO, ..capacity } } else { capacity })
    }

    async fn probe(&self) -> Result<(), Unanswered> {
        if self.has(Flaw::LeavesItsProbe) {
            self.inner.meddle((VolumeId(uuid::Uuid::nil()), None), Some(sim::Object { size: Bytes(512), whole: true }));
        }
        if self.has(Flaw::CallsFullBroken) && self.is_full.load(Ordering::SeqCst) {
            return Err(Unanswered("no room to try it".into()));
        }
        self.inner.probe().await
    }
}
