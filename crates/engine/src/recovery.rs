//! What a start of the controller does: asks what is there, drives again what is owed, and makes every export exist again.
//!
//! The API answers meanwhile. Nothing is assumed: drivers are looked at before they are asked to act, and an attachment whose
//! export is not served goes back to `attaching` until it is. Source: architecture page, "Life of a crash".

use crate::change::{Cause, Step};
use crate::exporters::Served;
use crate::patience::within;
use crate::points::{RECOVER_OWED, RECOVER_STRAYS};
use crate::requests::VolumeNow;
use crate::shared::{STALE_RETRIES, Shared, lock, successor};
use crate::store::{Child, Commit, CommitError, StoreError};
use crate::{drift, worker};
use lifecycle::{AttachmentId, Input, Outcome, VolumeId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::watch;

/// How many records are asked for at a time.
const PAGE: usize = 1000;

pub(crate) fn start(shared: &Arc<Shared>) {
    shared.recovering.store(true, Ordering::Release);
    for exporter in shared.exporters.all() {
        if let Some(losses) = exporter.losses() {
            tokio::spawn(watch_losses(shared.clone(), losses));
        }
    }
    let shared = shared.clone();
    tokio::spawn(async move {
        resume(&shared).await;
        drift::start(&shared);
        sweep(&shared).await;
    });
}

/// Drives everything that is owed.
async fn resume(shared: &Arc<Shared>) {
    let served = shared.exporters.served(shared.settings.look_timeout).await;
    RECOVER_STRAYS.before.pass();
    end_strays(shared, &served).await;
    RECOVER_STRAYS.after.pass();
    RECOVER_OWED.before.pass();
    walk(shared, &served, worker::resume).await;
    RECOVER_OWED.after.pass();
    shared.compared.send_replace(true);
}

/// Ends exports that no record names, as of records that were lost or brought back from a copy: nobody else ever could, and their
/// volumes read `available`. What could not be ended is kept for whoever asks what is wrong.
pub(crate) async fn end_strays(shared: &Shared, served: &Served) {
    let mut left = BTreeMap::new();
    for (exporter, attachment) in shared.exporters.each(served) {
        // Taken before the record is read: an export that is begun after that has a newer one, and is left alone.
        let token = shared.token();
        if is_named(shared, attachment).await {
            continue;
        }
        tracing::warn!(%attachment, "an export is served that no record names; ending it");
        let ended = exporter.unexport(token, attachment, true);
        let trouble = match within(shared.settings.export_deadline, ended).await {
            Ok(Outcome::Done(_)) => continue,
            Ok(Outcome::Refused(message) | Outcome::Failed(message) | Outcome::Unknown(message)) => message,
            Err(unheard) => format!("ending it {unheard}"),
        };
        tracing::error!(%attachment, trouble, "an export that no record names could not be ended");
        left.insert(attachment, trouble);
    }
    *lock(&shared.strays) = left;
}

/// Whether a record has the attachment as one that may be exported. What cannot be read now is not known to be nobody's.
async fn is_named(shared: &Shared, attachment: AttachmentId) -> bool {
    let Ok(found) = shared.store.find(Child::Attachment(attachment)).await else { return true };
    let held = found.as_ref().and_then(|record| record.state.attachments().get(&attachment));
    held.is_some_and(|held| held.phase.is_live())
}

/// Compares what is served with the records each time exports may have been lost, for as long as the engine lives.
async fn watch_losses(shared: Arc<Shared>, mut losses: watch::Receiver<u64>) {
    while losses.changed().await.is_ok() {
        let served = shared.exporters.served(shared.settings.look_timeout).await;
        walk(&shared, &served, worker::hurry).await;
    }
}

/// Goes through every record that owes work or has exports, notes which exports are there, and sends its worker.
async fn walk(shared: &Arc<Shared>, served: &Served, send: fn(&Arc<Shared>, VolumeId)) {
    let mut after = None;
    let mut missed = Vec::new();
    loop {
        let page = match shared.store.owes_work(after, PAGE).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(%error, "cannot read what is owed; trying again");
                tokio::time::sleep(shared.settings.retry_min).await;
                continue;
            }
        };
        for id in &page {
            if !export_again(shared, *id, served).await {
                missed.push(*id);
            }
            send(shared, *id);
        }
        match page.last() {
            Some(last) => after = Some(*last),
            None => break,
        }
    }
    // What is attached owes nothing, so nobody else would find out.
    while let Some(id) = missed.pop() {
        if export_again(shared, id, served).await {
            send(shared, id);
        } else {
            missed.insert(0, id);
            tokio::time::sleep(shared.settings.retry_min).await;
        }
    }
}

/// Notes which exports of a volume are there. What was seen counts for the record that it was compared with: if that changed while
/// it was looked, an attachment may have been exported since, and the look is taken anew. False if it could not be
/// noted; of a damaged record there is nothing to note.
pub(crate) async fn export_again(shared: &Shared, id: VolumeId, served: &Served) -> bool {
    let cause = Cause { what: "look at exports", ..Cause::default() };
    for _ in 0..STALE_RETRIES {
        let now = match shared.read_volume(id).await {
            Ok(Some(now)) => now,
            Ok(None) => return true,
            Err(error @ StoreError::Corrupt(..)) => {
                tracing::error!(volume = %id, %error, "nothing can be noted of its exports");
                return true;
            }
            Err(error) => {
                tracing::warn!(volume = %id, %error, "cannot read whose exports to look at; trying again");
                return false;
            }
        };
        let exports = shared.exporters.of_volume(&now.record, served, shared.settings.look_timeout).await;
        match note(shared, &now, &Input::Exports(exports), &cause).await {
            Ok(()) => return true,
            Err(CommitError::Stale(_)) => {}
            Err(error) => {
                tracing::warn!(volume = %id, %error, "cannot note which exports are served; trying again");
                return false;
            }
        }
    }
    false
}

/// Commits what was seen of a record, if it is still the one that was looked at.
pub(crate) async fn note(shared: &Shared, now: &VolumeNow, seen: &Input, cause: &Cause<'_>) -> Result<(), CommitError> {
    let context = shared.context(now.record.pool);
    let Ok(transitions) = now.record.state.decide(seen, &context) else { return Ok(()) };
    if transitions.is_empty() {
        return Ok(());
    }
    let after = successor(&now.record, &transitions, context.now);
    let step = Step { before: Some((&now.record, now.version)), after };
    shared.commit(vec![step], Commit::default(), cause).await.map(drop)
}

/// Sends workers after tombstones whose time has come.
async fn sweep(shared: &Arc<Shared>) {
    loop {
        tokio::time::sleep(shared.settings.sweep_interval).await;
        let mut after = None;
        while let Ok(page) = shared.store.owes_work(after, PAGE).await {
            let Some(last) = page.last() else { break };
            after = Some(*last);
            page.iter().for_each(|id| worker::poke(shared, *id));
        }
    }
}
