//! Places, bounded and fair among tenants: for the driver calls of a pool, for commands on their way to the store, and for lists.
//!
//! A tenant that asks for a thousand volumes and one that asks for one take turns: places are handed out round robin over the
//! tenants that wait. A place is given back when its holder is dropped, so an abandoned call frees it. Of some places no tenant has more
//! than a share, so that what takes long in all that it has leaves others theirs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// The places of one pool, for commands, or for lists.
#[derive(Clone)]
pub(crate) struct Places(Arc<Mutex<State>>);

struct State {
    free: usize,
    /// How many one tenant may have, and how many each has; nothing where they are not counted.
    share: Option<(usize, BTreeMap<String, usize>)>,
    waiting: BTreeMap<String, VecDeque<oneshot::Sender<Place>>>,
    /// The tenants that wait, in the order of their turns.
    turns: VecDeque<String>,
}

/// A place that is held.
pub(crate) struct Place {
    /// What it is given back to; nothing if it must not be.
    places: Option<Places>,
    /// Who has it, where that is counted.
    tenant: Option<String>,
}

impl Places {
    /// Any of which any tenant may have.
    pub(crate) fn new(count: usize) -> Self {
        Self::with(count, None)
    }

    /// Of which no tenant has more than half, rounded up.
    pub(crate) fn shared(count: usize) -> Self {
        Self::with(count, Some((count.div_ceil(2), BTreeMap::new())))
    }

    fn with(count: usize, share: Option<(usize, BTreeMap<String, usize>)>) -> Self {
        let state = State { free: count.max(1), share, waiting: BTreeMap::new(), turns: VecDeque::new() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Waits for a place. Dropping the future gives up the wait.
    pub(crate) async fn take(&self, tenant: &str) -> Place {
        let waiter = {
            let mut state = self.lock();
            if state.may_have(tenant) {
                return state.give(self, tenant);
            }
            let (sender, receiver) = oneshot::channel();
            if let Some(queue) = state.waiting.get_mut(tenant) {
                // Those who gave up are not kept until a place is free, which may be long.
                while queue.front().is_some_and(oneshot::Sender::is_closed) {
                    queue.pop_front();
                }
                queue.push_back(sender);
            } else {
                state.waiting.insert(tenant.to_owned(), VecDeque::from([sender]));
                state.turns.push_back(tenant.to_owned());
            }
            receiver
        };
        // The sender lives in the queue until a place is sent through it.
        waiter.await.expect("a queued waiter is never dropped before it is served")
    }

    /// Whether none is free.
    pub(crate) fn are_taken(&self) -> bool {
        self.lock().free == 0
    }

    fn give_back(&self, tenant: Option<&str>) {
        let mut state = self.lock();
        state.free += 1;
        state.left(tenant);
        // Each tenant once: who has its share is passed over, and keeps its turn among the others.
        for _ in 0..state.turns.len() {
            let Some(tenant) = state.turns.pop_front() else { return };
            if !state.may_have(&tenant) {
                state.turns.push_back(tenant);
                continue;
            }
            let mut queue = state.waiting.remove(&tenant).unwrap_or_default();
            let mut is_served = false;
            while !is_served && let Some(sender) = queue.pop_front() {
                is_served = match sender.send(state.give(self, &tenant)) {
                    Ok(()) => true,
                    // Its waiter gave up. The place comes back in the error; it must not give itself back while we hold the lock.
                    Err(mut unserved) => {
                        unserved.places = None;
                        state.free += 1;
                        state.left(unserved.tenant.as_deref());
                        false
                    }
                };
            }
            if !queue.is_empty() {
                state.waiting.insert(tenant.clone(), queue);
                state.turns.push_back(tenant);
            }
            if is_served {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn may_have(&self, tenant: &str) -> bool {
        let has_share = |(most, held): &(usize, BTreeMap<String, usize>)| held.get(tenant).is_some_and(|held| held >= most);
        self.free > 0 && !self.share.as_ref().is_some_and(has_share)
    }

    fn give(&mut self, places: &Places, tenant: &str) -> Place {
        self.free -= 1;
        let counted = self.share.as_mut().map(|(_, held)| {
            *held.entry(tenant.to_owned()).or_default() += 1;
            tenant.to_owned()
        });
        Place { places: Some(places.clone()), tenant: counted }
    }

    /// This tenant has one less.
    fn left(&mut self, tenant: Option<&str>) {
        let (Some((_, held)), Some(tenant)) = (&mut self.share, tenant) else { return };
        if let Some(count) = held.get_mut(tenant) {
            *count -= 1;
            if *count == 0 {
                held.remove(tenant);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(places) = self.places.take() {
            places.give_back(self.tenant.as_deref());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tenants_take_turns() {
        let places = Places::new(1);
        let held = places.take("noisy").await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for tenant in ["noisy", "noisy", "noisy", "quiet"] {
            let (places, order) = (places.clone(), order.clone());
            tasks.push(tokio::spawn(async move {
                let _place = places.take(tenant).await;
                order.lock().unwrap().push(tenant);
            }));
            tokio::task::yield_now().await;
        }
        drop(held);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), ["noisy", "quiet", "noisy", "noisy"]);
    }

    #[tokio::test]
    async fn a_waiter_that_gives_up_loses_no_place() {
        let places = Places::new(1);
        let held = places.take("a").await;
        let waiter = tokio::spawn({
            let places = places.clone();
            async move { drop(places.take("b").await) }
        });
        tokio::task::yield_now().await;
        waiter.abort();
        assert!(waiter.await.unwrap_err().is_cancelled());
        drop(held);
        drop(places.take("c").await);
    }

    #[tokio::test]
    async fn no_tenant_has_more_than_its_share() {
        let places = Places::shared(4);
        let mut held = vec![places.take("noisy").await, places.take("noisy").await];
        let waits = |tenant: &'static str| {
            let places = places.clone();
            tokio::spawn(async move { places.take(tenant).await })
        };
        let (gone, third) = (waits("noisy"), waits("noisy"));
        tokio::task::yield_now().await;
        assert!(!third.is_finished(), "it waits, though two are free");
        held.push(places.take("quiet").await);
        gone.abort();
        assert!(gone.await.is_err());
        held.pop();
        tokio::task::yield_now().await;
        assert!(!third.is_finished(), "what another gives back is not for it either");
        held.pop();
        held.push(third.await.unwrap());
        drop(held);
        let state = places.lock();
        assert_eq!(state.free, 4);
        assert!(state.waiting.is_empty() && state.turns.is_empty() && state.share.as_ref().unwrap().1.is_empty());
    }
}
