//! Everything on which records, backends and exporters disagree, what each disagreement means, and what may be done about it.
//!
//! Read from the records and from what the slow look has shown; nothing is changed by asking. The one thing that can be taken away
//! here is an object without a record, by its name and on demand: nothing else ever removes one.

use crate::drift::look_at_exports;
use crate::engine::Engine;
use crate::ports::{Call, Progress, Unanswered};
use crate::reach::Reach;
use crate::records::{Key, TenantId, VolumeRecord};
use crate::requests::{Caller, Refusal, Unseen};
use crate::round::names;
use crate::shared::{Pool, lock, unavailable};
use crate::store::{Field, Filter, Item, Kind, ListQuery};
use crate::survey::{Held, Name, Orphan};
use lifecycle::{
    AttachmentId, AttachmentPhase, AttachmentStatus, CommandKind, Outcome, PoolId, ReasonCode, Seen, SnapshotId, SnapshotPhase,
    SnapshotStatus, Subject, Timestamp, VolumeId, VolumeStatus, Work,
};
use std::time::Duration;

/// How many findings of a kind are told; more than anybody reads.
const TOLD_MAX: usize = 1000;
/// The commands that mend something, in the order in which they are best tried; see [`best_first`].
const MENDING: [CommandKind; 5] =
    [CommandKind::Recover, CommandKind::Retry, CommandKind::Detach, CommandKind::Delete, CommandKind::Forget];

/// What is wrong, as far as is known.
#[derive(Clone, Debug, Default)]
pub struct Diagnosis {
    /// Each pool, with when it was last looked at.
    pub pools: Vec<PoolLook>,
    /// What does not agree.
    pub findings: Vec<Finding>,
    /// How many more findings there are than are told.
    pub more: usize,
}

/// When a pool was last looked at as a whole.
#[derive(Clone, Debug)]
pub struct PoolLook {
    /// The pool.
    pub pool: PoolId,
    /// Its name.
    pub name: String,
    /// When the last whole look began.
    pub looked_at: Option<Timestamp>,
    /// How many volumes that look compared.
    pub volumes: u64,
    /// Why there was no whole look since.
    pub trouble: Option<Unseen>,
}

/// One disagreement.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What kind of disagreement.
    pub kind: FindingKind,
    /// What it is about.
    pub about: Target,
    /// Since when, as far as is known.
    pub since: Option<Timestamp>,
    /// What is the case, in words.
    pub message: String,
    /// What may be done about it, the best first.
    pub mend: Vec<Mend>,
    /// The attachments that can be detached, where `mend` says so: a volume's own, or the attachment itself.
    pub detachable: Vec<AttachmentId>,
}

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A resource of a tenant, with its status.
    Resource {
        /// Which one.
        subject: Subject,
        /// Whose.
        tenant: TenantId,
        /// Its status, in the seed's word.
        status: &'static str,
    },
    /// An object in a pool that no record names.
    Object {
        /// The pool.
        pool: PoolId,
        /// The volume it is, or belongs to.
        volume: VolumeId,
        /// The snapshot it is, unless it is the volume itself.
        snapshot: Option<SnapshotId>,
    },
    /// A pool.
    Pool(PoolId),
    /// An exporter, by what it speaks, or one of its exports.
    Exporter(String),
}

/// What may be done about a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mend {
    /// This command on the resource is allowed now.
    Command(CommandKind),
    /// The object can be removed, by its name.
    RemoveObject,
}

/// The kinds of disagreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// A resource in an error status, or one whose status has a reason that somebody must see to.
    Status(ReasonCode),
    /// An object without a record.
    UnknownObject,
    /// An export without a record, which could not be ended.
    UnknownExport,
    /// A volume that the backend would not tell of.
    Unseen,
    /// A pool whose backend does not tell what it has.
    PoolUnseen,
    /// A pool that has volumes and is not in the configuration.
    PoolUnconfigured,
    /// Records of a pool that cannot be read.
    RecordsDamaged,
    /// A pool whose backend does not answer.
    PoolDown,
    /// An exporter that does not answer.
    ExporterSilent,
    /// An operation whose tries fail.
    Struggling,
}

impl FindingKind {
    /// The word that programs read.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::UnknownObject => "unknownObject",
            Self::UnknownExport => "unknownExport",
            Self::Unseen => "notLookedAt",
            Self::PoolUnseen => "poolNotLookedAt",
            Self::PoolUnconfigured => "poolNotConfigured",
            Self::RecordsDamaged => "recordsDamaged",
            Self::PoolDown => "poolDown",
            Self::ExporterSilent => "exporterSilent",
            Self::Struggling => "operationFails",
        }
    }

    /// What it means for whoever must see to it.
    #[must_use]
    pub const fn means(self) -> &'static str {
        match self {
            Self::Status(code) => of_code(code),
            Self::UnknownObject => {
                "no record names it: it came from elsewhere, or the records were brought back from an older copy. It is left alone \
                 until you remove it"
            }
            Self::UnknownExport => "somebody may still use a volume by an export that no record names; it is tried again and again",
            Self::Unseen => "the backend does not tell of this volume; its status is as it was last known",
            Self::PoolUnseen => "nobody has seen what its backend has now; the statuses of its volumes are as they were last known",
            Self::PoolUnconfigured => {
                "nothing is known of its volumes, and nothing can be done with them; put it back into the configuration under this name"
            }
            Self::RecordsDamaged => {
                "nothing is known of what they describe, and nothing is done with it; what it has on the backend is left alone. Bring the \
                 records back from a copy"
            }
            Self::PoolDown => {
                "see to its backend: meanwhile new work on it is refused or queued, and the statuses of its volumes are as they were last \
                 known; when it answers, all that is still owed is tried, and what had ended at its deadline says what it needs"
            }
            Self::ExporterSilent => {
                "what is attached over it is as it was last known; nothing new is attached, and a detach ends as outcomeUnknown"
            }
            Self::Struggling => "it is tried again until its deadline, then ends in an error status that says so",
        }
    }
}

const fn of_code(code: ReasonCode) -> &'static str {
    match code {
        ReasonCode::Refused => "the backend refused; what it refused was not done. See to the cause, then retry, or delete it",
        ReasonCode::OutcomeUnknown => "nobody knows whether it was done; it is being looked at until that is known",
        ReasonCode::ProvenPresent => "there was no answer in time, and a look has proven since that the object is there",
        ReasonCode::ProvenAbsent => "there was no answer in time, and a look has proven since that nothing is there",
        ReasonCode::BackendMissing => "its data was there and is gone. If you can bring it back, do, then recover; else delete it",
        ReasonCode::BackendDamaged => "its data is not whole any more. If you can bring it back, do, then recover; else delete it",
        ReasonCode::SizeDiffers => {
            "it is larger than recorded; whether the bytes beyond are anybody's, nobody can tell here. recover takes the real size over"
        }
        ReasonCode::LeftoversRemain => "it was never usable, and something of it is left on the backend; delete removes that",
        ReasonCode::StrayClient => {
            "somebody uses it past the controller: two writers destroy a file system. End that use; the next look sees it"
        }
        ReasonCode::ClientsConnected => "a client is still connected, so that it was not cut; end the client, or detach by force",
        ReasonCode::NotExported => "its export was lost and is being made again; clients wait or connect again",
        ReasonCode::SnapshotRemains => "a snapshot of it could not be deleted; mend that, then delete it again",
    }
}

impl Engine {
    /// Why a volume could not be looked at lately, if so: what its status says may be out of date.
    #[must_use]
    pub fn unseen(&self, record: &VolumeRecord) -> Option<Unseen> {
        match self.shared.pools.get(&record.pool) {
            Some(pool) => pool.survey.unseen(record.state.id()),
            None => Some(Unseen { since: self.shared.begun, message: "its pool is not in the configuration".into() }),
        }
    }

    /// When the backend was last seen to be as the record says: of a part at the earliest when it came to be what it is.
    #[must_use]
    pub fn checked_at(&self, record: &VolumeRecord, subject: Subject) -> Option<Timestamp> {
        let (seen, at) = record.state.seen();
        let pool = self.shared.pools.get(&record.pool).filter(|_| seen.is_known());
        let looked_at = pool.and_then(|pool| pool.survey.looked_at(record.state.id(), record.about.created_at));
        at.max(looked_at).max(came_to_be(record, subject))
    }

    /// Looks at everything now, each pool as fast as it can, and at what is exported; returns once all have ended, well or not.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] for others than administrators.
    pub async fn look(&self, caller: &Caller) -> Result<(), Refusal> {
        administrator(caller)?;
        let mut looks = tokio::task::JoinSet::new();
        for id in self.shared.pools.keys() {
            let (shared, id) = (self.shared.clone(), *id);
            looks.spawn(async move {
                if let Some(pool) = shared.pools.get(&id) {
                    pool.survey.look().await;
                }
            });
        }
        looks.spawn(look_at_exports(self.shared.clone()));
        while looks.join_next().await.is_some() {}
        Ok(())
    }

    /// What does not agree, as of the last looks.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] for others than administrators; [`Refusal::Unavailable`] if the store cannot answer.
    pub async fn diagnose(&self, caller: &Caller) -> Result<Diagnosis, Refusal> {
        administrator(caller)?;
        let mut diagnosis = Diagnosis::default();
        for pool in self.shared.pools.values() {
            self.of_pool(pool, &mut diagnosis).await?;
        }
        self.of_unconfigured(&mut diagnosis).await?;
        for (kind, words) in troubled() {
            self.of_kind(kind, words, &mut diagnosis).await?;
        }
        self.of_exporters(&mut diagnosis);
        self.of_operations(&mut diagnosis).await?;
        Ok(diagnosis)
    }

    async fn of_pool(&self, pool: &Pool, diagnosis: &mut Diagnosis) -> Result<(), Refusal> {
        let held = pool.survey.held();
        diagnosis.pools.push(PoolLook {
            pool: pool.id,
            name: pool.setup.name.clone(),
            looked_at: held.looked_at,
            volumes: held.volumes,
            trouble: held.trouble.clone(),
        });
        if let Reach::Down { since, because } = pool.watched.reach() {
            let message = format!("the backend of pool {} does not answer: {because}", pool.setup.name);
            diagnosis.add(FindingKind::PoolDown, Target::Pool(pool.id), Some(since), message, vec![]);
        } else if let Some(Unseen { since, message }) = held.trouble.clone() {
            let message = format!("pool {} was not looked at: {message}", pool.setup.name);
            diagnosis.add(FindingKind::PoolUnseen, Target::Pool(pool.id), Some(since), message, vec![]);
        } else if held.looked_at.is_none() {
            let message = format!("pool {} was not looked at yet", pool.setup.name);
            diagnosis.add(FindingKind::PoolUnseen, Target::Pool(pool.id), Some(self.shared.begun), message, vec![]);
        }
        if let Some(first) = held.unreadable.first() {
            let message =
                format!("{} records of pool {} cannot be read; the first: {first}", held.unreadable.len(), pool.setup.name);
            diagnosis.add(FindingKind::RecordsDamaged, Target::Pool(pool.id), held.looked_at, message, vec![]);
        }
        for (name, orphan) in &held.orphans {
            self.of_orphan(pool, *name, *orphan, diagnosis).await?;
        }
        diagnosis.more += held.more_orphans + held.more_strangers;
        self.of_volumes(held, diagnosis).await
    }

    async fn of_orphan(&self, pool: &Pool, name: Name, orphan: Orphan, diagnosis: &mut Diagnosis) -> Result<(), Refusal> {
        let (volume, snapshot) = name;
        let what = snapshot.map_or_else(|| format!("volume {volume}"), |id| format!("snapshot {id} of volume {volume}"));
        let size = match orphan.seen {
            Seen::Present { size, .. } => format!(" ({size})"),
            Seen::Absent | Seen::Unknown => String::new(),
        };
        let record = self.shared.read_volume(volume).await.map_err(unavailable)?;
        let whose = match record.filter(|now| now.record.pool != pool.id) {
            Some(now) => format!("which belongs into pool {}", self.pool_name(now.record.pool)),
            None => "which no record names".to_owned(),
        };
        let message = format!("pool {} has {what}{size}, {whose}", pool.setup.name);
        let about = Target::Object { pool: pool.id, volume, snapshot };
        diagnosis.add(FindingKind::UnknownObject, about, Some(orphan.since), message, vec![Mend::RemoveObject]);
        Ok(())
    }

    fn pool_name(&self, id: PoolId) -> String {
        self.shared.pools.get(&id).map_or_else(|| id.to_string(), |pool| pool.setup.name.clone())
    }

    /// Pools that have volumes and are not in the configuration: nobody looks at them.
    async fn of_unconfigured(&self, diagnosis: &mut Diagnosis) -> Result<(), Refusal> {
        for (id, name) in &self.shared.unconfigured {
            if self.shared.store.counted(Key::Pool(*id)).await.map_err(unavailable)? > 0 {
                let message = format!("pool {name} has volumes, and is not in the configuration");
                diagnosis.add(FindingKind::PoolUnconfigured, Target::Pool(*id), Some(self.shared.begun), message, vec![]);
            }
        }
        Ok(())
    }

    /// Volumes that could not be looked at, and those that somebody unknown uses.
    async fn of_volumes(&self, held: Held, diagnosis: &mut Diagnosis) -> Result<(), Refusal> {
        for (id, Unseen { since, message }) in held.silent() {
            let Some(now) = self.shared.read_volume(id).await.map_err(unavailable)? else { continue };
            let about = resource(&now.record, Subject::Volume(id));
            diagnosis.add(FindingKind::Unseen, about, Some(*since), message.clone(), vec![]);
        }
        for id in held.strangers {
            if let Some(now) = self.shared.read_volume(id).await.map_err(unavailable)? {
                self.of_subject(&now.record, Subject::Volume(id), diagnosis);
            }
        }
        Ok(())
    }

    /// Resources in an error status; and those that are attached again, for the reason of it.
    async fn of_kind(&self, kind: Kind, words: Vec<String>, diagnosis: &mut Diagnosis) -> Result<(), Refusal> {
        let query = ListQuery {
            filters: vec![Filter { field: Field::Status, values: words }],
            // Without a limit: those beyond what is told are counted, and many that are attached have nothing to tell.
            ..ListQuery::all(kind)
        };
        let mut batches = self.shared.store.list(query).await.map_err(unavailable)?;
        while let Some(batch) = batches.recv().await {
            for item in batch.map_err(unavailable)? {
                match item {
                    Item::Volume(record) => self.of_subject(&record, Subject::Volume(record.state.id()), diagnosis),
                    Item::Snapshot(id, record) => self.of_subject(&record, Subject::Snapshot(id), diagnosis),
                    Item::Attachment(id, record) => self.of_subject(&record, Subject::Attachment(id), diagnosis),
                    Item::Other(_) => {}
                }
            }
        }
        Ok(())
    }

    fn of_subject(&self, record: &VolumeRecord, subject: Subject, diagnosis: &mut Diagnosis) {
        let Some(reason) = record.state.reason(subject) else { return };
        let context = self.shared.context(record.pool);
        let allowed = record.state.allowed(subject, &context);
        let attached: Vec<_> = match subject {
            Subject::Volume(_) => record.state.attachments().keys().copied().collect(),
            Subject::Attachment(id) => vec![id],
            Subject::Snapshot(_) => vec![],
        };
        let can_go = |id: &AttachmentId| record.state.allowed(Subject::Attachment(*id), &context).contains(&CommandKind::Detach);
        let detachable: Vec<_> = attached.into_iter().filter(can_go).collect();
        let is_of_use = |kind: &CommandKind| allowed.contains(kind) && (*kind != CommandKind::Detach || !detachable.is_empty());
        let mend = best_first(reason.code, record.state.word(subject)).into_iter().filter(is_of_use).map(Mend::Command).collect();
        let (kind, about) = (FindingKind::Status(reason.code), resource(record, subject));
        diagnosis.tell(Finding { kind, about, since: Some(reason.since), message: reason.message.clone(), mend, detachable });
    }

    fn of_exporters(&self, diagnosis: &mut Diagnosis) {
        for exporter in self.shared.exporters.all().iter().filter(|exporter| !exporter.answers()) {
            let protocols = exporter.protocols().join(", ");
            let message = format!("whoever serves {protocols} does not answer");
            diagnosis.add(FindingKind::ExporterSilent, Target::Exporter(protocols), None, message, vec![]);
        }
        for (attachment, trouble) in lock(&self.shared.strays).iter() {
            let message = format!("an export of attachment {attachment}, which no record names, could not be ended: {trouble}");
            diagnosis.add(FindingKind::UnknownExport, Target::Exporter(attachment.to_string()), None, message, vec![]);
        }
    }

    async fn of_operations(&self, diagnosis: &mut Diagnosis) -> Result<(), Refusal> {
        let failing = |live: &crate::requests::Live| live.last_error.clone().map(|error| (live.attempt, error));
        let failing: Vec<_> = {
            let live = lock(&self.shared.live);
            live.iter().filter_map(|(subject, live)| Some((*subject, failing(live)?))).take(TOLD_MAX).collect()
        };
        for (subject, (attempt, error)) in failing {
            let Some(record) = self.shared.told(subject).await.map_err(unavailable)? else { continue };
            // What runs on a resource in an error status is the look that goes on; the status itself is told above.
            let Some(running) = record.state.operation(subject) else { continue };
            let message = match attempt {
                0 | 1 => format!("{} was tried once: {error}", running.kind.word()),
                _ => format!("{} was tried {attempt} times; the last time: {error}", running.kind.word()),
            };
            diagnosis.add(FindingKind::Struggling, resource(&record, subject), Some(running.since), message, vec![]);
        }
        Ok(())
    }

    /// Removes an object that no record names. Done again: done.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] for others than administrators; [`Refusal::NotFound`] for an unknown pool, or an object that neither the
    /// looks have shown nor the backend shows now;
    /// [`Refusal::Conflict`] if a record names it, or the backend refuses; [`Refusal::Unavailable`] if there is no answer.
    pub async fn remove_object(
        &self,
        caller: &Caller,
        pool: PoolId,
        volume: VolumeId,
        snapshot: Option<SnapshotId>,
    ) -> Result<(), Refusal> {
        administrator(caller)?;
        let no_pool = || Refusal::NotFound { kind: "pool", id: pool.to_string() };
        let held = self.shared.pools.get(&pool).ok_or_else(no_pool)?;
        // Taken before the record is read: whatever a worker begins after that has a newer one.
        let token = self.shared.token();
        let record = self.shared.read_volume(volume).await.map_err(unavailable)?;
        if names(record.as_ref().map(|now| &now.record), pool, snapshot) {
            return Err(Refusal::Conflict(format!("a record names it; delete it as the {} it is", word(snapshot))));
        }
        if lock(&self.shared.workers).contains_key(&volume) {
            return Err(Refusal::Conflict(format!("something runs on volume {volume}; wait for that to end, then try again")));
        }
        if !is_there(held, volume, snapshot, self.shared.deadline(pool, Work::Look)).await? {
            let id = snapshot.map_or_else(|| volume.to_string(), |snapshot| format!("{volume}@{snapshot}"));
            return Err(Refusal::NotFound { kind: "object", id });
        }
        if caller.dry_run {
            return Ok(());
        }
        let call = Call { token, progress: Progress::ignored() };
        let removing = async {
            match snapshot {
                Some(snapshot) => held.setup.driver.delete_snapshot(call, volume, snapshot).await,
                None => held.setup.driver.delete(call, volume).await,
            }
        };
        tracing::warn!(%volume, ?snapshot, pool = held.setup.name, actor = caller.actor, request_id = caller.request_id, "removing an object that no record names");
        let again = "it is not known whether it was removed; look again";
        match tokio::time::timeout(self.shared.deadline(pool, Work::Delete), removing).await {
            Ok(Outcome::Done(_)) => {
                held.survey.forget((volume, snapshot));
                Ok(())
            }
            Ok(Outcome::Refused(message)) => Err(Refusal::Conflict(format!("the backend refused: {message}"))),
            Ok(Outcome::Failed(message) | Outcome::Unknown(message)) => Err(Refusal::Unavailable(format!("{message}; {again}"))),
            Err(_) => Err(Refusal::Unavailable(format!("the backend did not answer in time; {again}"))),
        }
    }
}

impl Diagnosis {
    fn add(&mut self, kind: FindingKind, about: Target, since: Option<Timestamp>, message: String, mend: Vec<Mend>) {
        self.tell(Finding { kind, about, since, message, mend, detachable: vec![] });
    }

    fn tell(&mut self, finding: Finding) {
        if self.findings.len() >= TOLD_MAX {
            self.more += 1;
        } else if !self.findings.iter().any(|told| told.kind == finding.kind && told.about == finding.about) {
            self.findings.push(finding);
        }
    }
}

/// The commands that mend something, where a resource has this status and reason: what would change nothing comes last.
fn best_first(code: ReasonCode, status: &str) -> [CommandKind; 5] {
    use CommandKind::{Delete, Detach, Forget, Recover, Retry};
    match code {
        // A look has shown it already: another one finds the same.
        ReasonCode::ProvenAbsent | ReasonCode::Refused if status == VolumeStatus::Error.word() => {
            [Retry, Recover, Detach, Delete, Forget]
        }
        // It is served on, so a look finds it attached: that takes back the detach.
        ReasonCode::ClientsConnected => [Detach, Retry, Delete, Forget, Recover],
        _ => MENDING,
    }
}

/// The statuses that somebody must see to.
fn troubled() -> [(Kind, Vec<String>); 3] {
    let words = |all: &[&str]| all.iter().map(ToString::to_string).collect();
    let volume = [VolumeStatus::Error, VolumeStatus::ErrorExtending, VolumeStatus::ErrorDeleting].map(VolumeStatus::word);
    let snapshot = [SnapshotStatus::Error, SnapshotStatus::ErrorDeleting].map(SnapshotStatus::word);
    let attachment = [AttachmentStatus::ErrorAttaching, AttachmentStatus::ErrorDetaching, AttachmentStatus::Attaching];
    let attachment = attachment.map(AttachmentStatus::word);
    [(Kind::Volume, words(&volume)), (Kind::Snapshot, words(&snapshot)), (Kind::Attachment, words(&attachment))]
}

/// When a driver or an exporter told that a part is there.
fn came_to_be(record: &VolumeRecord, subject: Subject) -> Option<Timestamp> {
    match subject {
        Subject::Volume(_) => None,
        Subject::Snapshot(id) => {
            let held = record.state.snapshots().get(&id)?;
            matches!(held.phase, SnapshotPhase::Available).then_some(held.since)
        }
        Subject::Attachment(id) => {
            let held = record.state.attachments().get(&id)?;
            matches!(held.phase, AttachmentPhase::Attached { .. }).then_some(held.since)
        }
    }
}

fn resource(record: &VolumeRecord, subject: Subject) -> Target {
    Target::Resource { subject, tenant: record.tenant.clone(), status: record.state.word(subject) }
}

/// Whether a pool has an object, or had it until it was removed on demand. What the backend does not tell of may be there.
async fn is_there(pool: &Pool, volume: VolumeId, snapshot: Option<SnapshotId>, patience: Duration) -> Result<bool, Refusal> {
    let name = (volume, snapshot);
    if pool.survey.knows(name) || pool.survey.has_removed(name) {
        return Ok(true);
    }
    let unknown = |why: String| Refusal::Unavailable(format!("it is not known whether the object is there: {why}"));
    match tokio::time::timeout(patience, pool.setup.driver.inspect(volume, None)).await {
        Ok(Ok(look)) => Ok(match snapshot {
            None => look.volume != Seen::Absent,
            Some(id) => look.snapshots.get(&id).map_or(!look.volume.is_known(), |seen| *seen != Seen::Absent),
        }),
        Ok(Err(Unanswered(why))) => Err(unknown(why)),
        Err(_) => Err(unknown("the backend did not answer in time".into())),
    }
}

const fn word(snapshot: Option<SnapshotId>) -> &'static str {
    if snapshot.is_some() { "snapshot" } else { "volume" }
}

fn administrator(caller: &Caller) -> Result<(), Refusal> {
    if caller.is_admin { Ok(()) } else { Err(Refusal::Forbidden("looking at every tenant's resources")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use CommandKind::{Detach, Recover, Retry};

    #[test]
    fn what_would_change_nothing_is_not_told_first() {
        let rows = [
            (ReasonCode::ProvenAbsent, "error", Retry),
            (ReasonCode::Refused, "error", Retry),
            (ReasonCode::Refused, "errorExtending", Recover),
            (ReasonCode::ProvenPresent, "error", Recover),
            (ReasonCode::BackendMissing, "error", Recover),
            (ReasonCode::ClientsConnected, "errorDetaching", Detach),
        ];
        for (code, status, first) in rows {
            let order = best_first(code, status);
            assert_eq!(order[0], first, "{code:?} of {status}");
            assert!(MENDING.iter().all(|kind| order.contains(kind)), "{code:?} of {status} leaves something out");
        }
        assert_eq!(best_first(ReasonCode::ClientsConnected, "errorDetaching").last(), Some(&Recover));
    }
}
