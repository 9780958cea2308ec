//! The end of every story: nothing goes wrong any more, and then everything must come right.
//!
//! - Everything settles in time, whatever it was in.
//! - Once it was looked at everything, every promise holds without any allowance for what was changed behind the controller's back.
//! - Whoever watched a volume has seen its last word.
//! - The doctor's findings are what is wrong, all of it and nothing else.
//! - A clean deletion of everything leaves an empty backend, no export, and counters at zero.
//!
//! Source: reliability page, L1, L4, L5, S6; lifecycle page, "Volume", drift.

use super::truth::Name;
use super::world::{State, World};
use engine::doctor::{Diagnosis, FindingKind, Target};
use engine::records::{Key, VolumeRecord};
use engine::requests::Caller;
use engine::{Engine, Reach};
use lifecycle::{Capabilities, Command, HostId, PoolId, Reason, ReasonCode, SnapshotPhase, Subject, VolumeId, VolumePhase};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Within this everything must have settled once faults have stopped, in milliseconds: the longest deadline that a pool of this
/// simulation has (300 s), twice, as a call that hangs may be followed by one that was superseded; and some tries with the longest
/// pause (30 s).
const SETTLED_WITHIN: u64 = 2 * 300_000 + 4 * 30_000;
/// Within this a backend that answers must be known to, in milliseconds: a probe that was lost is waited for (30 s), and the next
/// may be an interval away (10 s).
const UP_WITHIN: u64 = 45_000;
/// So long questions may be under way that were asked before all was calm (60 s); and what is only asked now and then is asked
/// again in that time (120 s at the most).
const UNDER_WAY: Duration = Duration::from_secs(60 + 120);
/// How often is looked whether everything has settled.
const GLANCE: Duration = Duration::from_secs(1);
/// How often deletion of what is left is asked for: a volume in an error is looked at, detached, and deleted.
const DELETIONS: u32 = 12;

/// Plays the end.
pub(crate) async fn play(world: &World, engine: &Engine) {
    world.lock().be_calm();
    let played = async {
        settle(world, true).await?;
        reach(world, engine).await?;
        look(world, engine).await?;
        world.lock().be_strict();
        let watchers = world.lock().watchers_kept();
        watchers?;
        diagnose(world, engine).await?;
        delete(world, engine).await
    };
    if let Err(promise) = played.await {
        world.lock().break_promise(promise);
    }
}

type Kept = Result<(), String>;

fn admin() -> Caller {
    Caller { tenant: "operator".into(), is_admin: true, ..Caller::default() }
}

/// Waits until nothing runs on anything.
async fn settle(world: &World, is_measured: bool) -> Kept {
    let began = world.lock().now();
    loop {
        {
            let mut state = world.lock();
            let passed = state.now() - began;
            let Some(unsettled) = state.ledger.records.values().find_map(|record| unsettled(record)) else {
                if is_measured {
                    state.tally.settled_in = passed;
                }
                return Ok(());
            };
            if passed > SETTLED_WITHIN {
                return Err(format!("L1: {unsettled} has not settled {} s after faults had stopped", passed / 1000));
            }
        }
        tokio::time::sleep(GLANCE).await;
    }
}

/// Something of this volume that is not settled, in words.
fn unsettled(record: &VolumeRecord) -> Option<String> {
    let owed = record.state.owed(Capabilities { attached_snapshot: true, online_extend: true });
    let owed = owed.first().map(|owed| {
        format!(
            "volume {} ({}), which owes {:?},",
            record.state.id(),
            record.state.word(Subject::Volume(record.state.id())),
            owed.work
        )
    });
    owed.or_else(|| {
        let (snapshot, clone) = *record.state.pins().first()?;
        Some(format!("snapshot {snapshot}, held by clone {clone},"))
    })
}

/// Waits until every backend is known to answer.
async fn reach(world: &World, engine: &Engine) -> Kept {
    tokio::time::sleep(UNDER_WAY).await;
    let began = world.lock().now();
    loop {
        let pools = engine.pools().await.map_err(|refusal| format!("the pools are refused: {refusal}"))?;
        let Some(pool) = pools.into_iter().find(|pool| !matches!(pool.reach, Reach::Up { .. })) else { return Ok(()) };
        let passed = world.lock().now() - began;
        if passed > UP_WITHIN {
            return Err(format!("L1: {} answers for {} s, and is called {:?}", pool.name, passed / 1000, pool.reach));
        }
        tokio::time::sleep(GLANCE).await;
    }
}

/// Has the engine look at everything, and waits for what follows from it.
async fn look(world: &World, engine: &Engine) -> Kept {
    engine.look(&admin()).await.map_err(|refusal| format!("a look at everything is refused: {refusal}"))?;
    // Twice: what was seen first may have set something going that the second sees the end of.
    settle(world, false).await?;
    engine.look(&admin()).await.map_err(|refusal| format!("a look at everything is refused: {refusal}"))?;
    settle(world, false).await
}

impl State {
    /// Every promise, without allowance for what was changed behind the controller's back: it has looked since. What is in an error
    /// is looked at only as somebody asks for that: until then its reason tells what was found last.
    fn be_strict(&mut self) {
        self.lost.clear();
        for name in std::mem::take(&mut self.drifted) {
            self.ledger.data.remove(&name);
            // Brought back after it was deleted.
            if !self.is_named(&name) {
                self.nobodys.insert(name);
            } else if self.is_in_error(&name) {
                self.drifted.insert(name);
            }
        }
        let all: Vec<VolumeId> = self.ledger.records.keys().copied().collect();
        all.into_iter().for_each(|id| self.check(id));
    }
}

/// What the doctor must find, and what it does.
async fn diagnose(world: &World, engine: &Engine) -> Kept {
    let told = engine.diagnose(&admin()).await.map_err(|refusal| format!("a diagnosis is refused: {refusal}"))?;
    let state = world.lock();
    let objects: BTreeSet<Name> = told.findings.iter().filter_map(unknown_object).collect();
    let nobodys = state.without_record();
    if objects != nobodys {
        return Err(format!("the doctor knows of objects without a record {objects:?}, and there are {nobodys:?}"));
    }
    let statuses = reasons_told(&told);
    let reasons = reasons_held(&state);
    if statuses != reasons {
        return Err(format!("the doctor tells {statuses:?}, and the records have {reasons:?}"));
    }
    let is_other = |kind: FindingKind| !matches!(kind, FindingKind::UnknownObject | FindingKind::Status(_));
    match told.findings.iter().find(|finding| is_other(finding.kind)) {
        Some(finding) => Err(format!("all is calm, and the doctor finds {finding:?}")),
        None => Ok(()),
    }
}

fn unknown_object(finding: &engine::doctor::Finding) -> Option<Name> {
    match (finding.kind, &finding.about) {
        (FindingKind::UnknownObject, Target::Object { volume, snapshot, .. }) => Some((*volume, *snapshot)),
        _ => None,
    }
}

type Reasons = BTreeSet<(Subject, &'static str)>;

fn code_word(code: ReasonCode) -> &'static str {
    FindingKind::Status(code).means()
}

fn reasons_told(told: &Diagnosis) -> Reasons {
    let status = |finding: &engine::doctor::Finding| match (finding.kind, &finding.about) {
        (FindingKind::Status(code), Target::Resource { subject, .. }) => Some((*subject, code_word(code))),
        _ => None,
    };
    told.findings.iter().filter_map(status).collect()
}

fn reasons_held(state: &State) -> Reasons {
    let mut held = Reasons::new();
    for record in state.ledger.records.values() {
        let volume = Subject::Volume(record.state.id());
        let snapshots = record.state.snapshots().keys().map(|id| Subject::Snapshot(*id));
        let attachments = record.state.attachments().keys().map(|id| Subject::Attachment(*id));
        let is_strayed = |reason: &Reason| reason.code == ReasonCode::StrayClient;
        for subject in snapshots.chain(attachments).chain([volume]) {
            let is_error = record.state.word(subject).starts_with("error");
            let reason = record.state.reason(subject).filter(|reason| is_error || is_strayed(reason));
            held.extend(reason.map(|reason| (subject, code_word(reason.code))));
        }
    }
    held
}

impl State {
    /// What is on the backends and no record names, tombstones aside.
    fn without_record(&self) -> BTreeSet<Name> {
        self.truth.objects.keys().filter(|name| !self.is_named(name)).copied().collect()
    }

    /// Whether the record of the object is in an error in which nobody looks unasked.
    fn is_in_error(&self, (volume, snapshot): &Name) -> bool {
        let Some(record) = self.ledger.records.get(volume) else { return false };
        match snapshot {
            None => matches!(record.state.phase(), VolumePhase::Error { .. } | VolumePhase::ErrorDeleting { .. }),
            Some(id) => {
                let phase = record.state.snapshots().get(id).map(|held| &held.phase);
                matches!(phase, Some(SnapshotPhase::Error { .. } | SnapshotPhase::ErrorDeleting { .. }))
            }
        }
    }

    /// Whether a record names the object, and not as a tombstone.
    fn is_named(&self, (volume, snapshot): &Name) -> bool {
        let record = self.ledger.records.get(volume);
        record.is_some_and(|record| match snapshot {
            None => true,
            Some(id) => record.state.snapshots().get(id).is_some_and(|held| held.phase != SnapshotPhase::Deleted),
        })
    }
}

/// Deletes everything, as users and an administrator would.
async fn delete(world: &World, engine: &Engine) -> Kept {
    let pools: BTreeMap<String, PoolId> = match engine.pools().await {
        Ok(pools) => pools.into_iter().map(|pool| (pool.name, pool.id)).collect(),
        Err(refusal) => return Err(format!("the pools are refused: {refusal}")),
    };
    for _ in 0..DELETIONS {
        let unknown: Vec<(Name, usize)> = {
            let state = world.lock();
            state.without_record().into_iter().filter_map(|name| Some((name, state.truth.objects.get(&name)?.pool))).collect()
        };
        // Snapshots before their volumes.
        for ((volume, snapshot), pool) in unknown.into_iter().rev() {
            if let Some(pool) = pools.get(&format!("pool-{pool}")) {
                drop(engine.remove_object(&admin(), *pool, volume, snapshot).await);
            }
        }
        let left: Vec<Arc<VolumeRecord>> = world.lock().ledger.records.values().cloned().collect();
        if left.is_empty() && world.lock().truth.objects.is_empty() {
            break;
        }
        for record in left {
            delete_volume(engine, &record).await;
        }
        settle(world, false).await?;
    }
    let hosts: Vec<HostId> = world.lock().ledger.hosts.keys().copied().collect();
    for host in hosts {
        engine.delete_host(&admin(), host).await.map_err(|refusal| format!("a host that nobody uses is not deleted: {refusal}"))?;
    }
    world.lock().nothing_left()
}

/// Detaches and deletes; what is refused now is asked for again.
async fn delete_volume(engine: &Engine, record: &VolumeRecord) {
    let id = record.state.id();
    for (attachment, held) in record.state.attachments() {
        if held.phase.is_live() {
            drop(engine.command(&admin(), id, Command::Detach { id: *attachment, force: true }).await);
        }
    }
    if engine.command(&admin(), id, Command::Delete { cascade: true }).await.is_err() {
        drop(engine.command(&admin(), id, Command::Recover(Subject::Volume(id))).await);
    }
}

impl State {
    fn nothing_left(&self) -> Kept {
        if let Some(record) = self.ledger.records.values().next() {
            let word = record.state.word(Subject::Volume(record.state.id()));
            return Err(format!("L4: volume {} cannot be deleted: it is {word}, {:?}", record.state.id(), record.state));
        }
        if let Some((name, object)) = self.truth.objects.first_key_value() {
            return Err(format!("S6: everything is deleted, and there is {name:?}: {object:?}"));
        }
        if let Some((attachment, _)) = self.truth.exports.first_key_value() {
            return Err(format!("S6: everything is deleted, and attachment {attachment} is served"));
        }
        let counted = self.ledger.counted();
        let counted: Vec<&Key> = counted.iter().collect();
        if counted.is_empty() { Ok(()) } else { Err(format!("S11: everything is deleted, and {counted:?} are not at zero")) }
    }
}
