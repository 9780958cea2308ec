//! Looking whether what is served is still what its path leads to. Whoever moves a volume's file away and puts another in its
//! place leaves the clients of its export writing to a file that nobody will ever read again.
//!
//! Such an export ends by force, and is seen to be absent then: its attachment is exported anew, and its clients connect again.
//!
//! Invariants:
//! - one thread a device looks, one export after another: a file system that hangs takes one thread, and keeps no other's exports
//!   from being looked at;
//! - nobody waits for a look: what is served is told from memory.

use crate::ending;
use crate::exports::Export;
use crate::occupied::Occupied;
use crate::server::Shared;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// How often each export is looked at: what is written meanwhile goes to the wrong file, and 20,000 exports cost a few percent of a
/// processor.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The devices at which a thread looks.
type Looking = Arc<Mutex<BTreeSet<u64>>>;

/// Looks until the server ends.
pub(crate) async fn watch(shared: Weak<Shared>, occupied: Occupied) {
    let looking = Looking::default();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(shared) = shared.upgrade().filter(|shared| !shared.stopping.load(Ordering::Acquire)) else { return };
        for (device, exports) in by_device(&shared) {
            if lock(&looking).insert(device) {
                let place = Place { looking: looking.clone(), device };
                tokio::spawn(look(shared.clone(), occupied.clone(), exports, place));
            }
        }
    }
}

fn by_device(shared: &Shared) -> BTreeMap<u64, Vec<Arc<Export>>> {
    let mut devices: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    for export in shared.registry.lock().exports.values().filter(|export| !export.is_fenced()) {
        devices.entry(export.storage.device()).or_default().push(export.clone());
    }
    devices
}

/// Looks at some exports, and ends those that are not in their place any more.
async fn look(shared: Arc<Shared>, occupied: Occupied, exports: Vec<Arc<Export>>, place: Place) {
    let looked = tokio::task::spawn_blocking(move || {
        let _place = place;
        exports.into_iter().filter(|export| !export.is_in_place()).collect::<Vec<_>>()
    });
    for export in looked.await.unwrap_or_default() {
        end(&shared, &occupied, &export);
    }
}

/// Begins to end an export that is not in its place any more.
pub(crate) fn end(shared: &Arc<Shared>, occupied: &Occupied, export: &Arc<Export>) {
    let (attachment, volume) = (export.spec.attachment, export.spec.volume);
    tracing::error!(
        %attachment, %volume,
        "the volume's file was replaced by another while it was served; its clients are cut, and what they wrote is in the former file"
    );
    ending::begin(shared, occupied, export);
}

/// A thread that looks at a device, until dropped.
struct Place {
    looking: Looking,
    device: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.looking).remove(&self.device);
    }
}

fn lock(looking: &Mutex<BTreeSet<u64>>) -> MutexGuard<'_, BTreeSet<u64>> {
    looking.lock().unwrap_or_else(PoisonError::into_inner)
}
