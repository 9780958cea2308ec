//! The attachments on whose backings a thread works: one thread each, as tries on a disk that hangs must not take them all.

use lifecycle::AttachmentId;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::watch;

/// All of them. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Occupied(Arc<watch::Sender<BTreeSet<AttachmentId>>>);

/// A thread that works on an attachment's backing, until dropped.
pub(crate) struct Busy {
    all: Occupied,
    attachment: AttachmentId,
}

impl Occupied {
    /// The attachment's place, if no thread has it.
    pub(crate) fn try_take(&self, attachment: AttachmentId) -> Option<Busy> {
        let is_taken = self.0.send_if_modified(|all| all.insert(attachment));
        is_taken.then(|| Busy { all: self.clone(), attachment })
    }

    /// The attachment's place, once no thread has it any more.
    pub(crate) async fn take(&self, attachment: AttachmentId) -> Busy {
        let mut changes = self.0.subscribe();
        loop {
            if let Some(busy) = self.try_take(attachment) {
                return busy;
            }
            // An error says that nobody could ever let go; the sender is held here.
            let _ = changes.wait_for(|all| !all.contains(&attachment)).await.map(drop);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.all.0.send_if_modified(|all| all.remove(&self.attachment));
    }
}
