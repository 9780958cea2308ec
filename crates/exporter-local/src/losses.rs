//! How an export that ended without being asked to is noticed: anybody with root can release a loop device, and one that was told
//! to go with its last user goes whenever that is.
//!
//! Not here: what then happens. The engine is told that something changed, compares, and exports again.

use crate::device::Life;
use crate::shared::{Shared, blocking, lock};
use lifecycle::AttachmentId;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The life of each device of this controller when it was last seen.
pub(crate) type Lives = BTreeMap<AttachmentId, Life>;

/// Watches for losses until the exporter is gone. Devices are not opened: a look that came between would be a user.
pub(crate) async fn watch(shared: Weak<Shared>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        let Some(shared) = shared.upgrade() else { return };
        if blocking(move || note(&shared)).await.is_err() {
            tracing::warn!("a look for lost loop devices failed inside");
        }
    }
}

fn note(shared: &Arc<Shared>) {
    let known = lock(&shared.lives).clone();
    for (attachment, life) in known.into_iter().filter(|(_, life)| !life.goes_on()) {
        let mut lives = lock(&shared.lives);
        // It may have been ended, or exported anew, since.
        if lives.get(&attachment) == Some(&life) {
            lives.remove(&attachment);
            tracing::warn!(%attachment, "its loop device was released by somebody else");
            shared.losses.send_modify(|count| *count += 1);
        }
    }
}
