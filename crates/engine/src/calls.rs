//! One call to a driver or an exporter: from the work that is owed to the outcome that is reported.
//!
//! A panic in a driver ends that call with an unknown outcome, not the process. A call that is dropped is aborted.

use crate::admission::needs_backend;
use crate::patience::unless_it_panics;
use crate::points;
use crate::ports::{Call, ExportSpec, Progress, Unanswered};
use crate::records::{Initiator, Key, Record, VolumeRecord};
use crate::shared::{Bell, Shared};
use crate::store::Versioned;
use crate::waits;
use lifecycle::{AttachmentId, Facts, Outcome, PoolId, Slot, Token, Work};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// What a running call tells its worker.
pub(crate) enum Told {
    /// It has its place and begins now.
    Began,
    /// Whoever is called so was asked, and has not answered yet.
    Asks(String),
    /// The driver is this far, in percent.
    Progress(u8),
    /// It ended.
    Ended(Outcome),
}

/// A message of a running call.
pub(crate) struct Message {
    pub(crate) slot: Slot,
    pub(crate) token: Token,
    pub(crate) told: Told,
}

impl Message {
    /// Makes one of this and the same call's next message, if both tell of progress: however often a driver tells of it, few messages wait.
    /// Returns whether it did.
    pub(crate) fn takes_in(&mut self, next: &Self) -> bool {
        match (&mut self.told, &next.told) {
            (Told::Progress(percent), Told::Progress(now)) => {
                *percent = (*percent).max(*now);
                true
            }
            _ => false,
        }
    }
}

/// A call under way. Dropping it abandons the call.
pub(crate) struct Running {
    pub(crate) work: Work,
    pub(crate) token: Token,
    pub(crate) pool: PoolId,
    /// How long it may go without progress.
    pub(crate) limit: Duration,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts the call that `work` owes. Its messages go to the worker with this bell.
pub(crate) fn start(shared: &Arc<Shared>, record: &Arc<VolumeRecord>, work: Work, worker: Arc<Bell>) -> Running {
    let token = shared.token();
    let (shared, record) = (shared.clone(), record.clone());
    let slot = work.slot();
    let (pool, limit) = (record.pool, shared.deadline(record.pool, work));
    let (turns, tenant) = (shared.turns.clone(), record.tenant.clone());
    let call = async move {
        // A worker that is gone does not hear it, and need not: the record owes the work still.
        let told = |told| worker.tell(Message { slot, token, told });
        let _place = match shared.pools.get(&record.pool) {
            Some(pool) if needs_backend(work) => Some(pool.places.take(&record.tenant).await),
            Some(_) | None => None,
        };
        told(Told::Began);
        let sink = worker.clone();
        let progress = Progress::new(move |percent| sink.tell(Message { slot, token, told: Told::Progress(percent) }));
        let asks = |whom| told(Told::Asks(whom));
        let performing = async {
            points::call(work).before.pass();
            let outcome = perform(&shared, &record, work, Call { token, progress }, &asks).await;
            points::call(work).after.pass();
            outcome
        };
        let outcome = unless_it_panics(performing).await.unwrap_or_else(|panic| {
            tracing::error!(?work, panic, "a driver call panicked");
            Outcome::Unknown("the driver failed inside; its log tells more".into())
        });
        bear_witness(&shared, &record, work, &outcome);
        told(Told::Ended(outcome));
    };
    let task = tokio::spawn(turns.take(tenant, call));
    Running { work, token, pool, limit, task }
}

/// What a call's outcome tells of the pool's backend. A look answers from what can be read, which may be there when nothing can be
/// written; a refusal may come from the driver alone.
fn bear_witness(shared: &Shared, record: &VolumeRecord, work: Work, outcome: &Outcome) {
    let Some(pool) = shared.pools.get(&record.pool) else { return };
    match (outcome, work.slot()) {
        (Outcome::Done(_), Slot::Shape) if needs_backend(work) => pool.watched.worked(),
        (Outcome::Failed(_) | Outcome::Unknown(_), Slot::Shape) => pool.watched.stumbled(),
        (Outcome::Done(_) | Outcome::Refused(_) | Outcome::Failed(_) | Outcome::Unknown(_), _) => {}
    }
}

/// Where a call tells whom it asks, so that it is known who is waited for.
type Asks<'a> = &'a (dyn Fn(String) + Send + Sync);

async fn perform(shared: &Shared, record: &VolumeRecord, work: Work, call: Call, asks: Asks<'_>) -> Outcome {
    let volume = record.state.id();
    if let Work::Unexport { attachment, force } = work {
        asks(exporter_of(record, attachment));
        return match shared.exporters.of(record, attachment) {
            Some(exporter) => exporter.unexport(call.token, attachment, force).await,
            None => not_spoken(record, attachment),
        };
    }
    if let Work::LookExport(attachment) = work {
        asks(exporter_of(record, attachment));
        let Some(exporter) = shared.exporters.of(record, attachment) else { return not_spoken(record, attachment) };
        let seen = exporter.inspect(attachment, Some(call.token)).await;
        return seen.map_or_else(unknown, |seen| Outcome::Done(Facts::Export(seen)));
    }
    let Some(pool) = shared.pools.get(&record.pool) else {
        return Outcome::Failed(format!("pool {} is not in the configuration", record.pool));
    };
    let driver = &pool.setup.driver;
    asks(waits::driver(driver.name(), &pool.setup.name));
    match work {
        Work::Create => driver.create(call, volume, record.state.size(), record.state.source()).await,
        Work::CleanUp | Work::Delete => driver.delete(call, volume).await,
        Work::Extend { target } => refresh(shared, record, driver.extend(call, volume, target).await, asks).await,
        Work::Snapshot(id) => driver.snapshot(call, volume, id).await,
        Work::CleanUpSnapshot(id) | Work::DeleteSnapshot(id) => driver.delete_snapshot(call, volume, id).await,
        Work::Look => driver.inspect(volume, Some(call.token)).await.map_or_else(unknown, |look| Outcome::Done(Facts::Look(look))),
        Work::Export(id) => match driver.backing(volume).await {
            Ok(backing) => {
                asks(exporter_of(record, id));
                export(shared, record, id, backing, call.token).await
            }
            Err(error) => Outcome::Failed(error.to_string()),
        },
        Work::Unexport { .. } | Work::LookExport(_) => Outcome::Failed("asked of the exporter above".into()),
    }
}

async fn export(shared: &Shared, record: &VolumeRecord, id: AttachmentId, backing: crate::ports::Backing, token: Token) -> Outcome {
    let (Some(held), Some(about)) = (record.state.attachments().get(&id), record.attachments.get(&id)) else {
        return Outcome::Failed("the attachment is gone".into());
    };
    let Some(exporter) = shared.exporters.of(record, id) else { return not_spoken(record, id) };
    let host = match shared.store.read(Key::Host(held.host)).await {
        Ok(Some(Versioned { record: Record::Host(host), .. })) => host,
        Ok(_) => return Outcome::Refused(format!("host {} does not exist", held.host)),
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    let of_protocol = |initiator: &&Initiator| initiator.protocol.eq_ignore_ascii_case(&about.protocol);
    let initiators = host.initiators.iter().flatten().filter(of_protocol).map(|initiator| initiator.port_name.clone()).collect();
    let spec = ExportSpec {
        attachment: id,
        volume: record.state.id(),
        backing,
        host: held.host,
        address: host.ip,
        initiators,
        mode: held.mode,
        shared: record.state.multi_attach(),
        protocol: about.protocol.clone(),
    };
    exporter.export(token, spec).await
}

/// The volume has grown: tells the exporters of what is attached, so that the new size is offered before the extend is done.
async fn refresh(shared: &Shared, record: &VolumeRecord, extended: Outcome, asks: Asks<'_>) -> Outcome {
    if !matches!(extended, Outcome::Done(_)) {
        return extended;
    }
    for id in record.state.attachments().keys() {
        asks(exporter_of(record, *id));
        if let Some(exporter) = shared.exporters.of(record, *id)
            && let Err(error) = exporter.refresh(*id).await
        {
            return Outcome::Failed(format!("the volume has grown, but attachment {id} does not offer the new size yet: {error}"));
        }
    }
    extended
}

/// How the exporter of an attachment is called.
fn exporter_of(record: &VolumeRecord, id: AttachmentId) -> String {
    waits::data_plane(record.attachments.get(&id).map_or("", |about| &about.protocol))
}

fn not_spoken(record: &VolumeRecord, id: AttachmentId) -> Outcome {
    let protocol = record.attachments.get(&id).map_or("", |about| &about.protocol);
    Outcome::Failed(format!(
        "nothing here speaks access protocol {protocol} now; start the controller as it was when this was attached"
    ))
}

fn unknown(error: Unanswered) -> Outcome {
    Outcome::Unknown(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::Bell;

    #[test]
    fn progress_that_was_not_heard_yet_is_one_message_however_often_it_is_told() {
        let bell = Bell::default();
        let tell = |counter, told| bell.tell(Message { slot: Slot::Shape, token: Token { incarnation: 1, counter }, told });
        tell(1, Told::Began);
        // Also where one that was superseded goes on beside its successor.
        for percent in [3, 5, 4] {
            tell(1, Told::Progress(percent));
            tell(2, Told::Progress(percent - 2));
        }
        tell(1, Told::Ended(Outcome::Unknown(String::new())));
        tell(1, Told::Progress(6));
        let told = |message: Message| match message.told {
            Told::Progress(percent) => Some((message.token.counter, percent)),
            Told::Began | Told::Asks(_) | Told::Ended(_) => None,
        };
        let heard: Vec<_> = bell.take_messages().into_iter().map(told).collect();
        assert_eq!(heard, [None, Some((1, 5)), Some((2, 3)), None, Some((1, 6))]);
        assert!(bell.take_messages().is_empty());
    }
}
