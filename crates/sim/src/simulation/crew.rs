//! The users: tenants who ask for everything at once, an administrator, and the hosts' clients.
//!
//! - What they ask for depends on what was committed so far, so that most of it makes sense; about a tenth of it does not.
//! - They ask beside each other: nobody awaits an answer before the next asks.
//! - An answer is compared with what was committed: what was refused took no effect, what was accepted did.

use super::dice::Dice;
use super::watch::watch;
use super::world::{State, World};
use engine::Engine;
use engine::records::VolumeRecord;
use engine::requests::{Caller, HostFields, NewAttachment, NewSnapshot, NewVolume, Refusal, Relabel};
use lifecycle::{
    AttachmentId, AttachmentPhase, Bytes, Command, HostId, Mode, PoolId, SnapshotId, SnapshotPhase, Subject, VolumeId, VolumePhase,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// How many volumes there are at most: few, so that users meet at the same ones.
const VOLUMES_MAX: usize = 10;
/// How many hosts.
const HOSTS_MAX: usize = 5;
/// How many requests with an idempotency key are remembered, to be sent again.
const REMEMBERED: usize = 16;

/// The users.
pub(crate) struct Crew {
    dice: Dice,
    asked: u64,
    /// Requests with an idempotency key, to be sent again now and then.
    keyed: VecDeque<(Caller, Wish)>,
}

/// Something that a user asks for.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    Volume(NewVolume),
    Snapshot(NewSnapshot),
    Attachment(NewAttachment),
    Command(VolumeId, Command),
    Relabel(Subject),
    Host(String),
    NoHost(HostId),
    Read(VolumeId),
}

impl Wish {
    const fn word(&self) -> &'static str {
        match self {
            Self::Volume(_) => "asks for a volume",
            Self::Snapshot(_) => "asks for a snapshot",
            Self::Attachment(_) => "asks for an attachment",
            Self::Command(_, command) => command.kind().word(),
            Self::Relabel(_) => "renames",
            Self::Host(_) => "asks for a host",
            Self::NoHost(_) => "removes a host",
            Self::Read(_) => "reads",
        }
    }
}

impl Crew {
    pub(crate) const fn new(dice: Dice) -> Self {
        Self { dice, asked: 0, keyed: VecDeque::new() }
    }

    /// One step: one or several users ask, and some time passes.
    pub(crate) async fn act(&mut self, engine: &Engine, world: &Arc<World>) {
        let burst = if self.dice.chance(150) { self.dice.between(2, 6) } else { 1 };
        // A burst is about one volume, so that its commands get in each other's way.
        let about = self.volume(&world.lock());
        for _ in 0..burst {
            let about = if burst > 1 { about } else { self.volume(&world.lock()) };
            let (caller, wish) = self.wish(&world.lock(), about);
            tokio::spawn(ask(engine.clone(), world.clone(), caller, wish));
        }
        if self.dice.chance(40)
            && let Some(id) = about
        {
            tokio::spawn(watch(engine.clone(), world.clone(), id));
        }
        self.clients(&mut world.lock());
        match self.dice.below(20) {
            0..8 => tokio::task::yield_now().await,
            8..14 => pass(self.dice.between(1, 100)).await,
            14..19 => pass(self.dice.between(100, 6000)).await,
            _ => pass(self.dice.between(6000, 150_000)).await,
        }
    }

    /// A client of a host comes to an export, or leaves it.
    fn clients(&mut self, state: &mut State) {
        if !self.dice.chance(100) {
            return;
        }
        let Some(at) = self.dice.index(state.truth.exports.len()) else { return };
        let comes = self.dice.chance(500);
        if let Some(export) = state.truth.exports.values_mut().nth(at) {
            export.clients = if comes { export.clients + 1 } else { export.clients.saturating_sub(1) };
        }
    }

    fn volume(&mut self, state: &State) -> Option<VolumeId> {
        let at = self.dice.index(state.ledger.records.len())?;
        state.ledger.records.keys().nth(at).copied()
    }

    fn wish(&mut self, state: &State, about: Option<VolumeId>) -> (Caller, Wish) {
        if self.dice.chance(30)
            && let Some(at) = self.dice.index(self.keyed.len())
        {
            let (mut caller, wish) = self.keyed[at].clone();
            caller.request_id = self.request();
            return (caller, wish);
        }
        let record = about.and_then(|id| state.ledger.records.get(&id)).cloned();
        let wish = match &record {
            Some(record) => self.of(state, record),
            None if state.ledger.hosts.is_empty() => self.host(),
            None => self.new_volume(state, None),
        };
        let caller = self.caller(record.as_deref(), &wish);
        if caller.idempotency.is_some() {
            self.keyed.push_back((caller.clone(), wish.clone()));
            self.keyed.truncate(REMEMBERED);
        }
        (caller, wish)
    }

    fn request(&mut self) -> String {
        self.asked += 1;
        format!("request-{}", self.asked)
    }

    fn caller(&mut self, record: Option<&VolumeRecord>, wish: &Wish) -> Caller {
        let is_admin = self.dice.chance(150) || matches!(wish, Wish::Command(_, Command::Forget));
        let tenant = match record {
            // Now and then somebody else's.
            Some(record) if !self.dice.chance(20) => record.tenant.clone(),
            Some(_) | None => format!("tenant-{}", self.dice.below(3)),
        };
        let makes = matches!(wish, Wish::Volume(_) | Wish::Snapshot(_) | Wish::Attachment(_));
        let key = (makes && self.dice.chance(200)).then(|| (format!("key-{}", self.asked), [0; 32]));
        Caller {
            tenant,
            is_admin,
            actor: String::new(),
            request_id: self.request(),
            idempotency: key,
            if_match: None,
            dry_run: false,
        }
    }

    fn host(&mut self) -> Wish {
        Wish::Host(format!("host-{}", self.dice.draw()))
    }

    fn new_volume(&mut self, state: &State, pool: Option<PoolId>) -> Wish {
        let copied = state.ledger.records.values().flat_map(|record| record.state.snapshots().iter());
        let copied: Vec<(SnapshotId, Bytes)> = copied.map(|(id, held)| (*id, held.size)).collect();
        let source = if self.dice.chance(400) { self.dice.index(copied.len()).map(|at| copied[at]) } else { None };
        let least = source.map_or(1, |(_, size)| size.gib());
        Wish::Volume(NewVolume {
            name: "volume".into(),
            description: String::new(),
            metadata: BTreeMap::new(),
            size: Bytes(self.dice.between(least, least + 2) * Bytes::GIB),
            zone: String::new(),
            profile: None,
            pool: pool.filter(|_| self.dice.chance(200)),
            source: source.map(|(id, _)| id),
            multi_attach: self.dice.chance(400),
        })
    }

    /// Something about this volume, or one of its parts.
    fn of(&mut self, state: &State, record: &VolumeRecord) -> Wish {
        let id = record.state.id();
        let command = |command| Wish::Command(id, command);
        let is_room = state.ledger.records.len() < VOLUMES_MAX;
        match self.dice.below(100) {
            0..12 if is_room => self.new_volume(state, Some(record.pool)),
            0..14 if state.ledger.hosts.len() < HOSTS_MAX => self.host(),
            0..28 => self.attachment(state, record),
            28..42 => match self.attachment_of(record) {
                Some((id, _)) => command(Command::Detach { id, force: self.dice.chance(300) }),
                None => self.attachment(state, record),
            },
            42..54 => Wish::Snapshot(NewSnapshot {
                volume: id,
                name: "snapshot".into(),
                description: String::new(),
                metadata: BTreeMap::new(),
                profile: None,
            }),
            54..62 => match self.snapshot_of(record) {
                Some(id) => command(Command::DeleteSnapshot { id }),
                None => Wish::Read(id),
            },
            62..72 => command(Command::Extend { size: Bytes(record.state.size().0 + self.dice.below(3) * Bytes::GIB) }),
            72..81 => command(Command::Delete { cascade: self.dice.chance(600) }),
            81..93 => {
                let subject = self.subject(record);
                command(if self.dice.chance(500) { Command::Retry(subject) } else { Command::Recover(subject) })
            }
            93..97 => command(Command::Forget),
            97 => Wish::Relabel(self.subject(record)),
            98 if !state.ledger.hosts.is_empty() => {
                let at = self.dice.index(state.ledger.hosts.len()).unwrap_or_default();
                Wish::NoHost(state.ledger.hosts.keys().nth(at).copied().unwrap_or(HostId(Uuid::nil())))
            }
            _ => Wish::Read(id),
        }
    }

    fn attachment(&mut self, state: &State, record: &VolumeRecord) -> Wish {
        let own: Vec<HostId> = state
            .ledger
            .hosts
            .iter()
            .filter(|(_, tenant)| **tenant == record.tenant || self.dice.chance(50))
            .map(|(id, _)| *id)
            .collect();
        let Some(at) = self.dice.index(own.len()) else { return self.host() };
        Wish::Attachment(NewAttachment {
            volume: record.state.id(),
            host: own[at],
            mode: if self.dice.chance(600) { Mode::ReadWrite } else { Mode::ReadOnly },
            mountpoint: String::new(),
            protocol: None,
            metadata: BTreeMap::new(),
        })
    }

    /// One of its attachments: of those that may be exported, if there are any.
    fn attachment_of(&mut self, record: &VolumeRecord) -> Option<(AttachmentId, AttachmentPhase)> {
        let all = record.state.attachments();
        let live: Vec<_> = all.iter().filter(|(_, held)| held.phase.is_live()).collect();
        let of = if live.is_empty() || self.dice.chance(50) { all.iter().collect() } else { live };
        self.dice.index(of.len()).map(|at| (*of[at].0, of[at].1.phase.clone()))
    }

    fn snapshot_of(&mut self, record: &VolumeRecord) -> Option<SnapshotId> {
        let all: Vec<_> = record.state.snapshots().keys().collect();
        self.dice.index(all.len()).map(|at| *all[at])
    }

    /// The volume or a part of it, most likely one that is in trouble.
    fn subject(&mut self, record: &VolumeRecord) -> Subject {
        let state = &record.state;
        let snapshots = state
            .snapshots()
            .iter()
            .filter(|(_, held)| matches!(held.phase, SnapshotPhase::Error { .. } | SnapshotPhase::ErrorDeleting { .. }));
        let failed = |phase: &AttachmentPhase| {
            matches!(phase, AttachmentPhase::ErrorAttaching { .. } | AttachmentPhase::ErrorDetaching { .. })
        };
        let attachments = state.attachments().iter().filter(|(_, held)| failed(&held.phase));
        let snapshots = snapshots.map(|(id, _)| Subject::Snapshot(*id));
        let mut all: Vec<Subject> = snapshots.chain(attachments.map(|(id, _)| Subject::Attachment(*id))).collect();
        let is_well = matches!(state.phase(), VolumePhase::Ready | VolumePhase::Creating(_));
        if !is_well || all.is_empty() {
            all.push(Subject::Volume(state.id()));
        }
        self.dice.index(all.len()).map_or(Subject::Volume(state.id()), |at| all[at])
    }
}

async fn pass(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

/// Asks, and compares the answer with what was committed.
async fn ask(engine: Engine, world: Arc<World>, caller: Caller, wish: Wish) {
    {
        let mut state = world.lock();
        state.tally.commands += 1;
        state.note(wish.word(), 0, u64::from(caller.is_admin));
        state.say(|| format!("  {} of {}: {wish:?}", caller.request_id, caller.tenant));
    }
    let answered = match wish.clone() {
        Wish::Volume(new) => engine.create_volume(&caller, new).await.map(drop),
        Wish::Snapshot(new) => engine.create_snapshot(&caller, new).await.map(drop),
        Wish::Attachment(new) => engine.create_attachment(&caller, new).await.map(drop),
        Wish::Command(volume, command) => engine.command(&caller, volume, command).await.map(drop),
        Wish::Relabel(subject) => engine.relabel(&caller, subject, Relabel::default()).await.map(drop),
        Wish::Host(name) => engine.create_host(&caller, host_fields(name)).await.map(drop),
        Wish::NoHost(id) => engine.delete_host(&caller, id).await,
        Wish::Read(id) => engine.volume(&caller, id).await.map(drop),
    };
    let mut state = world.lock();
    state.tally.accepted += u64::from(answered.is_ok());
    state.note("answered", 0, u64::from(answered.is_ok()));
    if let Err(promise) = answered_truly(&state, &caller, &wish, &answered) {
        state.break_promise(promise);
    }
    if let Err(refusal) = &answered {
        state.say(|| format!("  {} is refused: {refusal}", caller.request_id));
    }
}

fn host_fields(name: String) -> HostFields {
    HostFields { name: Some(name), ip: Some("10.0.0.1".into()), ..HostFields::default() }
}

fn answered_truly(state: &State, caller: &Caller, wish: &Wish, answered: &Result<(), Refusal>) -> Result<(), String> {
    let request = &caller.request_id;
    let took_effect = state.ledger.requests.contains_key(request);
    let is_journalled = matches!(wish, Wish::Volume(_) | Wish::Snapshot(_) | Wish::Attachment(_));
    match answered {
        Ok(()) if is_journalled && !took_effect => Err(format!("S4: {request} was accepted and not committed")),
        // These say that reading tells.
        Ok(()) | Err(Refusal::Unavailable(_)) => Ok(()),
        Err(refusal) if took_effect => Err(format!("{request} took effect and was refused: {refusal}")),
        Err(_) => Ok(()),
    }
}
