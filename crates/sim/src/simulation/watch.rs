//! Those who wait for a volume to change, as event streams and `wait` do: whoever reads after each call sees the last word.
//!
//! A watcher lives as long as its controller; what it saw last is kept beside the world and compared once everything has settled.
//!
//! Source: reliability page, S8 and L5.

use super::world::{State, World};
use engine::Engine;
use engine::requests::{Caller, Refusal};
use lifecycle::VolumeId;
use std::sync::Arc;
use std::time::Duration;

/// What a watcher saw last: of which volume, and at which of its commits; none before the first look, and once it is gone.
pub(crate) type Watched = (VolumeId, Option<u64>);

/// Takes the watcher off the list as it ends.
struct Watcher {
    world: Arc<World>,
    number: u64,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.world.lock().watched.remove(&self.number);
    }
}

/// Watches the volume until it is gone.
pub(crate) async fn watch(engine: Engine, world: Arc<World>, id: VolumeId) {
    let watcher = {
        let mut state = world.lock();
        let number = state.watched.last_key_value().map_or(0, |(number, _)| number + 1);
        state.watched.insert(number, (id, None));
        Watcher { world: world.clone(), number }
    };
    let admin = Caller { is_admin: true, ..Caller::default() };
    let mut waiter = engine.wait(id);
    loop {
        match engine.volume(&admin, id).await {
            Ok(now) => drop(world.lock().watched.insert(watcher.number, (id, Some(now.version)))),
            Err(Refusal::NotFound { .. }) => return,
            // The store cannot answer now: asked again, without waiting for a change that may have been the last.
            Err(_) => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        }
        waiter.changed().await;
    }
}

impl State {
    /// Whether every watcher has seen the last commit of its volume.
    pub(crate) fn watchers_kept(&self) -> Result<(), String> {
        let stale = self.watched.values().find(|(id, seen)| self.ledger.revision_of(*id) != *seen);
        stale.map_or(Ok(()), |(id, seen)| {
            let last = self.ledger.revision_of(*id);
            Err(format!("L5: a watcher of volume {id} saw commit {seen:?} last, and there is {last:?}"))
        })
    }
}
