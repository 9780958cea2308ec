//! A driver that was opened, with the tokens of one start of the controller, and short ways to ask it.

use super::Subject;
use super::acts::{Act, Name, seen_in};
use super::running::list;
use engine::ports::{Driver, Listed};
use lifecycle::{Facts, Look, Outcome, Seen, Token, VolumeId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An opened driver.
pub(super) struct Bench<'a> {
    pub(super) driver: Arc<dyn Driver>,
    subject: &'a dyn Subject,
    incarnation: u64,
    counter: AtomicU64,
}

impl<'a> Bench<'a> {
    /// Opens the driver for the first time.
    pub(super) async fn open(subject: &'a dyn Subject) -> Self {
        Self { driver: subject.open().await, subject, incarnation: 1, counter: AtomicU64::new(1) }
    }

    /// Drops the driver and opens it again, as after a crash.
    pub(super) async fn again(self) -> Self {
        let Self { driver, subject, incarnation, counter } = self;
        drop(driver);
        Self { driver: subject.open().await, subject, incarnation: incarnation + 1, counter }
    }

    /// A token newer than all before.
    pub(super) fn token(&self) -> Token {
        Token { incarnation: self.incarnation, counter: self.counter.fetch_add(1, Ordering::Relaxed) }
    }

    /// Makes a call that is newer than all before.
    pub(super) async fn perform(&self, act: Act) -> Outcome {
        act.perform(&*self.driver, self.token()).await
    }

    /// Makes a call that must be done, with these facts.
    pub(super) async fn done(&self, act: Act, facts: Seen) {
        assert_eq!(self.perform(act).await, Outcome::Done(Facts::Object(facts)), "{act:?}");
        assert_eq!(self.seen(act.object()).await, facts, "a look tells what {act:?} told");
    }

    /// Makes a call that must be refused, and leave what there was.
    pub(super) async fn refused(&self, act: Act) {
        let before = self.seen(act.object()).await;
        let outcome = self.perform(act).await;
        let Outcome::Refused(why) = outcome else { panic!("{act:?} is to be refused: {outcome:?}") };
        assert!(!why.is_empty(), "{act:?}: a refusal tells why");
        assert_eq!(self.seen(act.object()).await, before, "what is refused changes nothing: {act:?}");
    }

    /// A look that ends nothing.
    pub(super) async fn look(&self, volume: VolumeId) -> Look {
        self.driver.inspect(volume, None).await.expect("it answers")
    }

    pub(super) async fn seen(&self, name: Name) -> Seen {
        seen_in(&self.look(name.0).await, name.1)
    }

    /// Everything that is listed, each once.
    pub(super) async fn listed(&self) -> BTreeMap<Name, Seen> {
        let listed = list(&*self.driver).await.expect("it answers");
        let all: BTreeMap<_, _> =
            listed.iter().map(|Listed { volume, snapshot, seen, .. }| ((*volume, *snapshot), *seen)).collect();
        assert_eq!(all.len(), listed.len(), "something is listed twice: {listed:?}");
        all
    }

    pub(super) async fn write(&self, volume: VolumeId, at: u64, bytes: &[u8]) {
        self.subject.write(&*self.driver, volume, at, bytes).await;
    }

    pub(super) async fn read(&self, volume: VolumeId, at: u64, length: usize) -> Vec<u8> {
        self.subject.read(&*self.driver, volume, at, length).await
    }

    /// Writes a number to a volume's beginning.
    pub(super) async fn mark(&self, volume: VolumeId, mark: u64) {
        self.write(volume, 0, &mark.to_le_bytes()).await;
    }

    /// The number that was written to a volume's beginning.
    pub(super) async fn marked(&self, volume: VolumeId) -> u64 {
        u64::from_le_bytes(self.read(volume, 0, 8).await.try_into().expect("eight bytes were asked for"))
    }

    /// Removes these objects, snapshots first, until a list has none of them. A driver may want the clones of a snapshot gone before.
    pub(super) async fn clear(&self, names: &[Name]) {
        for _ in names {
            for (volume, snapshot) in names.iter().filter(|(_, snapshot)| snapshot.is_some()) {
                self.perform(Act::DeleteSnapshot(*volume, snapshot.expect("filtered by it"))).await;
            }
            for (volume, _) in names.iter().filter(|(_, snapshot)| snapshot.is_none()) {
                self.perform(Act::Delete(*volume)).await;
            }
            if self.listed().await.keys().all(|name| !names.contains(name)) {
                return;
            }
        }
        panic!("it cannot be removed: {:?}", self.listed().await);
    }
}
