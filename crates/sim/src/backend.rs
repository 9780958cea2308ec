//! A driver and an exporter in memory, with faults on demand.

use async_trait::async_trait;
use engine::ports::{Backing, Call, Capacity, Client, Driver, ExportSpec, Exporter, Listed, Unanswered};
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
    /// The next call named `call` (`create`, `delete`, `extend`, `snapshot`, `delete_snapshot`, `inspect`, `list`, `probe`, `export`,
    /// `unexport`) that is not spoken for yet misbehaves so.
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
    objects: Mutex<BTreeMap<Name, Object>>,
    newest: Mutex<BTreeMap<VolumeId, Token>>,
    frozen: watch::Sender<bool>,
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
        lock(&self.objects).clone()
    }

    /// Changes the backend behind the controller's back; `None` removes the object.
    pub fn meddle(&self, name: Name, object: Option<Object>) {
        let mut objects = lock(&self.objects);
        match object {
            Some(object) => drop(objects.insert(name, object)),
            None => drop(objects.remove(&name)),
        }
    }

    /// Makes a call: fenced, scripted, then `act` on the objects, which answers with what is there of `name`.
    async fn call(&self, call: &'static str, token: Token, name: Name, act: impl FnOnce(&mut BTreeMap<Name, Object>)) -> Outcome {
        let fault = self.script.meet(call).await;
        self.thawed().await;
        if !self.accept(name.0, token) {
            return Outcome::Refused("superseded by a newer call".into());
        }
        let mut objects = lock(&self.objects);
        match fault {
            Some(Fault::Refuse) => return Outcome::Refused("scripted to refuse".into()),
            Some(Fault::Fail) => return Outcome::Failed("scripted to fail".into()),
            Some(Fault::ActThenUnknown | Fault::HalfThenUnknown) | None => act(&mut objects),
            Some(Fault::Hang | Fault::Panic) => return Outcome::Unknown("met before".into()),
        }
        match fault {
            Some(Fault::HalfThenUnknown) => {
                if let Some(object) = objects.get_mut(&name) {
                    object.whole = false;
                }
                Outcome::Unknown("scripted to act half".into())
            }
            Some(_) => Outcome::Unknown("scripted to lose the answer".into()),
            None => Outcome::Done(Facts::Object(objects.get(&name).map_or(Seen::Absent, |object| object.seen()))),
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

    async fn create(&self, call: Call, volume: VolumeId, size: Bytes, _source: Option<Source>) -> Outcome {
        self.call("create", call.token, (volume, None), |objects| {
            objects.insert((volume, None), Object { size, whole: true });
        })
        .await
    }

    async fn delete(&self, call: Call, volume: VolumeId) -> Outcome {
        self.call("delete", call.token, (volume, None), |objects| {
            objects.remove(&(volume, None));
        })
        .await
    }

    async fn extend(&self, call: Call, volume: VolumeId, size: Bytes) -> Outcome {
        self.call("extend", call.token, (volume, None), |objects| {
            objects.entry((volume, None)).and_modify(|object| object.size = object.size.max(size));
        })
        .await
    }

    async fn snapshot(&self, call: Call, volume: VolumeId, snapshot: SnapshotId) -> Outcome {
        self.call("snapshot", call.token, (volume, Some(snapshot)), |objects| {
            if let Some(object) = objects.get(&(volume, None)).copied() {
                objects.entry((volume, Some(snapshot))).or_insert(object);
            }
        })
        .await
    }

    async fn delete_snapshot(&self, call: Call, volume: VolumeId, snapshot: SnapshotId) -> Outcome {
        let name = (volume, Some(snapshot));
        self.call("delete_snapshot", call.token, name, |objects| {
            objects.remove(&name);
        })
        .await
    }

    async fn backing(&self, volume: VolumeId) -> Result<Backing, Unanswered> {
        self.thawed().await;
        Ok(Backing::File(volume.to_string().into()))
    }

    async fn inspect(&self, volume: VolumeId, fence: Option<Token>) -> Result<Look, Unanswered> {
        if let Some(fault) = self.script.meet("inspect").await {
            return Err(Unanswered(format!("scripted: {fault:?}")));
        }
        self.thawed().await;
        if fence.is_some_and(|token| !self.accept(volume, token)) {
            return Err(Unanswered("superseded by a newer call".into()));
        }
        let objects = lock(&self.objects);
        let of_volume = objects.iter().filter(|((id, _), _)| *id == volume);
        let mut look = Look { volume: Seen::Absent, ..Look::default() };
        for ((_, snapshot), object) in of_volume {
            match snapshot {
                Some(id) => drop(look.snapshots.insert(*id, object.seen())),
                None => look.volume = object.seen(),
            }
        }
        Ok(look)
    }

    async fn list(&self) -> Result<Vec<Listed>, Unanswered> {
        if let Some(fault) = self.script.meet("list").await {
            return Err(Unanswered(format!("scripted: {fault:?}")));
        }
        self.thawed().await;
        let listed =
            |(&(volume, snapshot), object): (&Name, &Object)| Listed { volume, snapshot, seen: object.seen(), is_used: false };
        Ok(lock(&self.objects).iter().map(listed).collect())
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
