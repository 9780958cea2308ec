//! The end of an export by force: begun once, and from then on driven to its end by a task of its own, however long its backing
//! hangs and whoever has stopped waiting.
//!
//! The order is the promise: fenced (no change begins), drained (none is in flight), cut (no client is left), flushed, absent.
//! Each later call for the same export joins the end that is under way.

use crate::exports::Export;
use crate::occupied::Occupied;
use crate::points::{CUT, FENCE, UNEXPORT};
use crate::server::Shared;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long each step of an end may take until whoever waits is told that it hangs: a healthy disk needs milliseconds.
pub(crate) const DRAIN: Duration = Duration::from_secs(10);

/// How far the end of an export is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It has not begun.
    #[default]
    Served,
    /// It goes on.
    Ending,
    /// It goes on, and takes longer than it should: why.
    Late(&'static str),
    /// The export is absent.
    Ended,
}

/// Ends the export by force. Returns once it is absent.
///
/// # Errors
/// Why that takes longer; it goes on, whoever waits.
pub(crate) async fn by_force(shared: &Arc<Shared>, occupied: &Occupied, export: &Arc<Export>) -> Result<(), &'static str> {
    let mut stage = export.stage.subscribe();
    begin(shared, occupied, export);
    let reached = stage.wait_for(|stage| matches!(stage, Stage::Late(_) | Stage::Ended)).await;
    match reached.map(|stage| *stage) {
        Ok(Stage::Late(why)) => Err(why),
        Ok(Stage::Ended | Stage::Ending | Stage::Served) | Err(_) => Ok(()),
    }
}

/// Fences the export, and leaves the rest to a task; only the first call for an export does.
pub(crate) fn begin(shared: &Arc<Shared>, occupied: &Occupied, export: &Arc<Export>) {
    let is_first = export.stage.send_if_modified(|stage| {
        let is_first = *stage == Stage::Served;
        if is_first {
            *stage = Stage::Ending;
        }
        is_first
    });
    if is_first {
        FENCE.before.pass();
        export.fence();
        FENCE.after.pass();
        tokio::spawn(finish(shared.clone(), occupied.clone(), export.clone()));
    }
}

async fn finish(shared: Arc<Shared>, occupied: Occupied, export: Arc<Export>) {
    let late = |why| {
        export.stage.send_replace(Stage::Late(why));
    };
    let mut changes = export.changes.subscribe();
    let is_drained = until_none(&mut changes, DRAIN).await;
    CUT.before.pass();
    export.cut();
    CUT.after.pass();
    if !is_drained {
        late("writes in flight do not end: the backing hangs");
        none(&mut changes).await;
    }
    let mut sessions = export.sessions.subscribe();
    if !until_none(&mut sessions, DRAIN).await {
        late("a client that was cut is not gone yet");
        none(&mut sessions).await;
    }
    let flush = flush(&occupied, &export);
    tokio::pin!(flush);
    let is_flushed = match tokio::time::timeout(DRAIN, &mut flush).await {
        Ok(is_flushed) => is_flushed,
        Err(_) => {
            late("the last flush does not end: the backing hangs");
            flush.await
        }
    };
    if !is_flushed {
        tracing::error!(attachment = %export.spec.attachment, "detached with force; what was written last could not be flushed");
    }
    UNEXPORT.before.pass();
    shared.registry.lock().remove(&export);
    export.stage.send_replace(Stage::Ended);
    UNEXPORT.after.pass();
}

/// Flushes what was written; false if that cannot be.
async fn flush(occupied: &Occupied, export: &Arc<Export>) -> bool {
    let busy = occupied.take(export.spec.attachment).await;
    let flushed = export.clone();
    let flush = tokio::task::spawn_blocking(move || {
        let _busy = busy;
        flushed.storage.flush().is_ok()
    });
    flush.await.unwrap_or(false)
}

/// Waits until nothing is counted any more; false if that takes longer than `patience`.
pub(crate) async fn until_none(count: &mut watch::Receiver<usize>, patience: Duration) -> bool {
    tokio::time::timeout(patience, none(count)).await.is_ok()
}

async fn none(count: &mut watch::Receiver<usize>) {
    // An error says that nobody counts any more; whoever waits holds the export, which does.
    let _ = count.wait_for(|count| *count == 0).await.map(drop);
}
