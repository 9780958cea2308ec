//! A driver and an exporter in memory, with faults on demand.

use async_trait::async_trait;
use engine::ports::{Backing, Batches, Call, Capacity, Client, Driver, ExportSpec, Exporter, Listed, Unanswered};
use lifecycle::{
    AttachmentId, Bytes, Capabilities, Connection, Content, ExportSeen, Facts, Look, Outcome, Seen, SnapshotId, Source, Token,
    VolumeId,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// How one call misbehaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Refuses and does nothing.
    Refuse,
    /// Fails for now and does nothing.
    Fail,
    /// Acts, then loses its answer.
    ActThenUnknown,
    /// Acts half, then loses its answer (a create leaves part of the volume).
    HalfThenUnknown,
    /// Never answers and does nothing.
    Hang,
    /// Panics.
    Panic,
}

/// What the next calls of each name do; a call that is not scripted succeeds.
#[derive(Debug, Default)]
pub struct Script(Mutex<BTreeMap<&'static str, VecDeque<Fault>>>, Mutex<BTreeMap<&'static str, usize>>);

impl Script {
    /// The next call named `call` (`create`, `delete`, `extend`, `snapshot`, `delete_snapshot`, `inspect`, `list`, `batch` (of a
    /// list), `probe`, `export`, `unexport`) that is not spoken for yet misbehaves so.
    pub fn next(&self, call: &'static str, fault: Fault) {
        lock(&self.0).entry(call).or_default().push_back(fault);
    }

    /// Whatever is still scripted for calls named `call` is off: they succeed.
    pub fn forget(&self, call: &'static str) {
        lock(&self.0).remove(call);
    }

    /// How many calls named `call` were made.
    pub fn count(&self, call: &'static str) -> usize {
        lock(&self.1).get(call).copied().unwrap_or_default()
    }

    async fn meet(&self, call: &'static str) -> Option<Fault> {
        *lock(&self.1).entry(call).or_default() += 1;
        let fault = lock(&self.0).get_mut(call).and_then(VecDeque::pop_front);
        match fault {
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Panic) => panic!("scripted"),
            other => other,
        }
    }
}

/// An object of the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its size in bytes.
    pub size: Bytes,
    /// Whether all of its content is there.
    pub whole: bool,
}

impl Object {
    const fn seen(self) -> Seen {
        Seen::Present { size: self.size, content: if self.whole { Content::Whole } else { Content::Partial } }
    }
}

type Name = (VolumeId, Option<SnapshotId>);

/// A backend in memory.
#[derive(Debug, Default)]
pub struct MemDriver {
    /// How calls misbehave.
    pub script: Script,
    /// What the driver can do.
    pub can: Capabilities,
    held: Mutex<Held>,
    newest: Mutex<BTreeMap<VolumeId, Token>>,
    frozen: watch::Sender<bool>,
}

/// How many bytes are kept together: as a disk's blocks, few enough to copy and many enough to find.
const PAGE: u64 = 4096;
/// How many objects are listed together: few, so that a few objects are several batches.
const BATCH: usize = 2;

/// What a backend holds.
#[derive(Debug, Default)]
struct Held {
    objects: BTreeMap<Name, Object>,
    /// The pages of each object that were written, by their place.
    contents: BTreeMap<Name, BTreeMap<u64, Vec<u8>>>,
}

impl Held {
    fn whole(&self, name: Name) -> Option<Object> {
        self.objects.get(&name).copied().filter(|object| object.whole)
    }

    /// Makes an object, or finishes one that is there in part, with the content of `source`.
    fn make(&mut self, name: Name, size: Bytes, source: Option<Name>) -> Result<(), String> {
        match self.whole(name) {
            Some(there) if there.size != size => return Err(format!("it is there with {}, not {size}", there.size)),
            Some(_) => return Ok(()),
            None => fits(size)?,
        }
        let content = match source {
            Some(source) => match self.whole(source) {
                Some(from) if from.size > size => return Err(format!("its source has {}, more than {size}", from.size)),
                Some(_) => self.contents.get(&source).cloned().unwrap_or_default(),
                None => return Err("its source is not there".into()),
            },
            None => BTreeMap::new(),
        };
        self.objects.insert(name, Object { size, whole: true });
        self.contents.insert(name, content);
        Ok(())
    }

    fn snapshot(&mut self, volume: VolumeId, snapshot: SnapshotId) -> Result<(), String> {
        let name = (volume, Some(snapshot));
        match (self.whole(name), self.whole((volume, None))) {
            (Some(_), _) => Ok(()),
            (None, Some(from)) => self.make(name, from.size, Some((volume, None))),
            (None, None) => Err("the volume is not there".into()),
        }
    }

    fn extend(&mut self, volume: VolumeId, size: Bytes) -> Result<(), String> {
        fits(size)?;
        match self.objects.get_mut(&(volume, None)) {
            Some(object) => object.size = object.size.max(size),
            None => return Err("it is not there".into()),
        }
        Ok(())
    }

    /// Removes a volume, and what interrupted calls left of its snapshots.
    fn remove_volume(&mut self, volume: VolumeId) -> Result<(), String> {
        let mut own = self.objects.iter().filter(|((owner, snapshot), _)| *owner == volume && snapshot.is_some());
        if let Some(((_, Some(snapshot)), _)) = own.find(|(_, object)| object.whole) {
            return Err(format!("it has snapshots, for example {snapshot}"));
        }
        self.objects.retain(|(owner, _), _| *owner != volume);
        self.contents.retain(|(owner, _), _| *owner != volume);
        Ok(())
    }

    fn remove(&mut self, name: Name) {
        self.objects.remove(&name);
        self.contents.remove(&name);
    }
}

/// Refuses what no backend addresses. Source: [`Bytes::from_gib`].
fn fits(size: Bytes) -> Result<(), String> {
    i64::try_from(size.0).map(drop).map_err(|_| format!("{size} is more than there is anywhere"))
}

impl MemDriver {
    /// A driver that can do all, and holds nothing.
    #[must_use]
    pub fn able() -> Self {
        Self { can: Capabilities { attached_snapshot: true, online_extend: true }, ..Self::default() }
    }

    /// From now on every call hangs until [`MemDriver::thaw`], and then goes on, as on a file system that is frozen.
    pub fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    /// Ends [`MemDriver::freeze`].
    pub fn thaw(&self) {
        self.frozen.send_replace(false);
    }

    async fn thawed(&self) {
        // The sender lives as long as the driver that is asked.
        let _ = self.frozen.subscribe().wait_for(|frozen| !frozen).await;
    }

    /// What is on the backend: the truth.
    pub fn objects(&self) -> BTreeMap<Name, Object> {
        lock(&self.held).objects.clone()
    }

    /// Writes into a volume, as a client does.
    pub fn write(&self, volume: VolumeId, at: u64, bytes: &[u8]) {
        let mut held = lock(&self.held);
        let pages = held.contents.entry((volume, None)).or_default();
        let (mut at, mut rest) = (at, bytes);
        while !rest.is_empty() {
            let within = (at % PAGE) as usize;
            let (now, later) = rest.split_at(rest.len().min(PAGE as usize - within));
            let page = pages.entry(at / PAGE).or_insert_with(|| vec![0; PAGE as usize]);
            page[within..within + now.len()].copy_from_slice(now);
            (at, rest) = (at + now.len() as u64, later);
        }
    }

    /// Reads from a volume; what was never written is zeroes.
    pub fn read(&self, volume: VolumeId, at: u64, length: usize) -> Vec<u8> {
        let held = lock(&self.held);
        let pages = held.contents.get(&(volume, None));
        let byte = |at: u64| pages.and_then(|pages| pages.get(&(at / PAGE))).map_or(0, |page| page[(at % PAGE) as usize]);
        (at..).take(length).map(byte).collect()
    }

    /// Changes the backend behind the controller's back; `None` removes the object.
    pub fn meddle(&self, name: Name, object: Option<Object>) {
        let mut held = lock(&self.held);
        match object {
            Some(object) => drop(held.objects.insert(name, object)),
            None => held.remove(name),
        }
    }

    /// Makes a call: fenced, scripted, then `act` on what is held, which may refuse; else it answers with what is there of `name`.
    async fn call(
        &self,
        call: &'static str,
        token: Token,
        name: Name,
        act: impl FnOnce(&mut Held) -> Result<(), String>,
    ) -> Outcome {
        let fault = self.script.meet(call).await;
        self.thawed().await;
        if !self.accept(name.0, token) {
            return Outcome::Refused("superseded by a newer call".into());
        }
        let mut held = lock(&self.held);
        let acted = match fault {
            Some(Fault::Refuse) => return Outcome::Refused("scripted to refuse".into()),
            Some(Fault::Fail) => return Outcome::Failed("scripted to fail".into()),
            Some(Fault::ActThenUnknown | Fault::HalfThenUnknown) | None => act(&mut held),
            Some(Fault::Hang | Fault::Panic) => return Outcome::Unknown("met before".into()),
        };
        match (fault, acted) {
            (Some(Fault::HalfThenUnknown), _) => {
                if let Some(object) = held.objects.get_mut(&name) {
                    object.whole = false;
                }
                Outcome::Unknown("scripted to act half".into())
            }
            (Some(_), _) => Outcome::Unknown("scripted to lose the answer".into()),
            (None, Err(why)) => Outcome::Refused(why),
            (None, Ok(())) => Outcome::Done(Facts::Object(held.objects.get(&name).map_or(Seen::Absent, |object| object.seen()))),
        }
    }

    fn accept(&self, volume: VolumeId, token: Token) -> bool {
        let mut newest = lock(&self.newest);
        let held = newest.entry(volume).or_default();
        let accepted = token >= *held;
        *held = token.max(*held);
        accepted
    }
}

#[async_trait]
impl Driver for MemDriver {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn capabilities(&self) -> Result<Capabilities, Unanswered> {
        self.thawed().await;
        Ok(self.can)
    }

    async fn create(&self, call: Call, volume: VolumeId, size: Bytes, source: Option<Source>) -> Outcome {
        let source = source.map(|source| (source.volume, Some(source.snapshot)));
        self.call("create", call.token, (volume, None), |held| held.make((volume, None), size, source)).await
    }

    async fn delete(&self, call: Call, volume: VolumeId) -> Outcome {
        self.call("delete", call.token, (volume, None), |held| held.remove_volume(volume)).await
    }

    async fn extend(&self, call: Call, volume: VolumeId, size: Bytes) -> Outcome {
        self.call("extend", call.token, (volume, None), |held| held.extend(volume, size)).await
    }

    async fn snapshot(&self, call: Call, volume: VolumeId, snapshot: SnapshotId) -> Outcome {
        self.call("snapshot", call.token, (volume, Some(snapshot)), |held| held.snapshot(volume, snapshot)).await
    }

    async fn delete_snapshot(&self, call: Call, volume: VolumeId, snapshot: SnapshotId) -> Outcome {
        let name = (volume, Some(snapshot));
        let remove = |held: &mut Held| {
            held.remove(name);
            Ok(())
        };
        self.call("delete_snapshot", call.token, name, remove).await
    }

    async fn backing(&self, volume: VolumeId) -> Result<Backing, Unanswered> {
        self.thawed().await;
        match lock(&self.held).whole((volume, None)) {
            Some(_) => Ok(Backing::File(volume.to_string().into())),
            None => Err(Unanswered("it is not there".into())),
        }
    }

    async fn inspect(&self, volume: VolumeId, fence: Option<Token>) -> Result<Look, Unanswered> {
        if let Some(fault) = self.script.meet("inspect").await {
            return Err(Unanswered(format!("scripted: {fault:?}")));
        }
        self.thawed().await;
        if fence.is_some_and(|token| !self.accept(volume, token)) {
            return Err(Unanswered("superseded by a newer call".into()));
        }
        let held = lock(&self.held);
        let of_volume = held.objects.iter().filter(|((id, _), _)| *id == volume);
        let mut look = Look { volume: Seen::Absent, ..Look::default() };
        for ((_, snapshot), object) in of_volume {
            match snapshot {
                Some(id) => drop(look.snapshots.insert(*id, object.seen())),
                None => look.volume = object.seen(),
            }
        }
        Ok(look)
    }

    async fn list(&self, batches: Batches) -> Result<(), Unanswered> {
        if let Some(fault) = self.script.meet("list").await {
            return Err(Unanswered(format!("scripted: {fault:?}")));
        }
        self.thawed().await;
        let listed =
            |(&(volume, snapshot), object): (&Name, &Object)| Listed { volume, snapshot, seen: object.seen(), is_used: false };
        let all: Vec<_> = lock(&self.held).objects.iter().map(listed).collect();
        for batch in all.chunks(BATCH) {
            if let Some(fault) = self.script.meet("batch").await {
                return Err(Unanswered(format!("scripted: {fault:?}")));
            }
            if batches.send(batch.to_vec()).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn capacity(&self) -> Result<Capacity, Unanswered> {
        self.thawed().await;
        Ok(Capacity { total: Bytes(100 * Bytes::GIB), free: Bytes(100 * Bytes::GIB) })
    }

    async fn probe(&self) -> Result<(), Unanswered> {
        if let Some(fault) = self.script.meet("probe").await {
            return Err(Unanswered(format!("scripted: {fault:?}")));
        }
        self.thawed().await;
        Ok(())
    }
}

/// An exporter in memory.
#[derive(Debug, Default)]
pub struct MemExporter {
    /// How calls misbehave.
    pub script: Script,
    exports: Mutex<BTreeMap<AttachmentId, Connection>>,
    newest: Mutex<BTreeMap<AttachmentId, Token>>,
    refreshed: Mutex<Vec<AttachmentId>>,
    clients: Mutex<BTreeMap<AttachmentId, Vec<Client>>>,
    losses: watch::Sender<u64>,
}

impl MemExporter {
    /// What is exported: the truth.
    pub fn exports(&self) -> BTreeMap<AttachmentId, Connection> {
        lock(&self.exports).clone()
    }

    /// Loses every export, as a data plane that died.
    pub fn lose(&self) {
        lock(&self.exports).clear();
        self.losses.send_modify(|count| *count += 1);
    }

    /// Changes what is exported behind the controller's back, and tells nobody; `None` ends the export.
    pub fn meddle(&self, attachment: AttachmentId, connection: Option<Connection>) {
        let mut exports = lock(&self.exports);
        match connection {
            Some(connection) => drop(exports.insert(attachment, connection)),
            None => drop(exports.remove(&attachment)),
        }
    }

    /// Of which attachments it was told that the volume has grown.
    pub fn refreshed(&self) -> Vec<AttachmentId> {
        lock(&self.refreshed).clone()
    }

    /// A client connects to the export, and stays.
    pub fn connect(&self, attachment: AttachmentId, client: Client) {
        lock(&self.clients).entry(attachment).or_default().push(client);
    }

    fn accept(&self, attachment: AttachmentId, token: Token) -> bool {
        let mut newest = lock(&self.newest);
        let held = newest.entry(attachment).or_default();
        let accepted = token >= *held;
        *held = token.max(*held);
        accepted
    }

    async fn call(&self, call: &'static str, token: Token, id: AttachmentId, connection: Option<Connection>) -> Outcome {
        let fault = self.script.meet(call).await;
        if !self.accept(id, token) {
            return Outcome::Refused("superseded by a newer call".into());
        }
        let mut exports = lock(&self.exports);
        match &fault {
            Some(Fault::Refuse) => return Outcome::Refused("scripted to refuse".into()),
            Some(Fault::Fail) => return Outcome::Failed("scripted to fail".into()),
            Some(_) | None => match connection.clone() {
                Some(connection) => drop(exports.insert(id, connection)),
                None => drop(exports.remove(&id)),
            },
        }
        match fault {
            Some(_) => Outcome::Unknown("scripted to lose the answer".into()),
            None => Outcome::Done(Facts::Export(connection.map_or(ExportSeen::Absent, ExportSeen::Serving))),
        }
    }
}

#[async_trait]
impl Exporter for MemExporter {
    fn protocols(&self) -> &'static [&'static str] {
        &["nbd"]
    }

    async fn export(&self, token: Token, spec: ExportSpec) -> Outcome {
        let data = BTreeMap::from([("export".to_owned(), spec.attachment.to_string())]);
        self.call("export", token, spec.attachment, Some(Connection { protocol: spec.protocol, data })).await
    }

    async fn unexport(&self, token: Token, attachment: AttachmentId, _force: bool) -> Outcome {
        self.call("unexport", token, attachment, None).await
    }

    async fn inspect(&self, attachment: AttachmentId, fence: Option<Token>) -> Result<ExportSeen, Unanswered> {
        if let Some(fault) = self.script.meet("inspect").await {
            return Err(Unanswered(format!("scripted: {fault:?}")));
        }
        if fence.is_some_and(|token| !self.accept(attachment, token)) {
            return Err(Unanswered("superseded by a newer call".into()));
        }
        Ok(lock(&self.exports).get(&attachment).cloned().map_or(ExportSeen::Absent, ExportSeen::Serving))
    }

    async fn list(&self) -> Result<BTreeMap<AttachmentId, Connection>, Unanswered> {
        Ok(self.exports())
    }

    async fn clients(&self, attachment: AttachmentId) -> Result<Vec<Client>, Unanswered> {
        Ok(lock(&self.clients).get(&attachment).cloned().unwrap_or_default())
    }

    async fn refresh(&self, attachment: AttachmentId) -> Result<(), Unanswered> {
        match self.script.meet("refresh").await {
            Some(fault) => Err(Unanswered(format!("scripted: {fault:?}"))),
            None => {
                lock(&self.refreshed).push(attachment);
                Ok(())
            }
        }
    }

    fn losses(&self) -> Option<watch::Receiver<u64>> {
        Some(self.losses.subscribe())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
