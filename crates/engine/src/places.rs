//! Places, bounded and fair among tenants: for the driver calls of a pool, for commands on their way to the store, and for lists.
//!
//! A tenant that asks for a thousand volumes and one that asks for one take turns: places are handed out round robin over the
//! tenants that wait. A place is given back when its holder is dropped, so an abandoned call frees it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// The places of one pool, for commands, or for lists.
#[derive(Clone)]
pub(crate) struct Places(Arc<Mutex<State>>);

struct State {
    free: usize,
    waiting: BTreeMap<String, VecDeque<oneshot::Sender<Place>>>,
    /// The tenants that wait, in the order of their turns.
    turns: VecDeque<String>,
}

/// A place that is held.
pub(crate) struct Place(Option<Places>);

impl Places {
    pub(crate) fn new(count: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: count.max(1), waiting: BTreeMap::new(), turns: VecDeque::new() })))
    }

    /// Waits for a place. Dropping the future gives up the wait.
    pub(crate) async fn take(&self, tenant: &str) -> Place {
        let waiter = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Place(Some(self.clone()));
            }
            let (sender, receiver) = oneshot::channel();
            let queue = state.waiting.entry(tenant.to_owned()).or_default();
            let first = queue.is_empty();
            queue.push_back(sender);
            if first {
                state.turns.push_back(tenant.to_owned());
            }
            receiver
        };
        // The sender lives in the queue until a place is sent through it.
        waiter.await.expect("a queued waiter is never dropped before it is served")
    }

    fn give_back(&self) {
        let mut state = self.lock();
        while let Some(tenant) = state.turns.pop_front() {
            let Some(queue) = state.waiting.get_mut(&tenant) else { continue };
            let next = queue.pop_front();
            if queue.is_empty() {
                state.waiting.remove(&tenant);
            } else {
                state.turns.push_back(tenant);
            }
            let Some(sender) = next else { continue };
            match sender.send(Place(Some(self.clone()))) {
                Ok(()) => return,
                // Its waiter gave up. The place comes back in the error; it must not give itself back while we hold the lock.
                Err(mut unserved) => unserved.0 = None,
            }
        }
        state.free += 1;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(places) = self.0.take() {
            places.give_back();
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
}
