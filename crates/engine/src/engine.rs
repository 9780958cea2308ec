//! The engine as its callers see it: requests in, records out. Work goes on behind.
//!
//! A request loads the aggregate, decides, commits and answers; the volume's worker does the rest. Nothing here decides what is
//! allowed (the rules do), and nothing here sets a status.

use crate::change::{Cause, Step};
use crate::exporters::Exporters;
use crate::ids::Ids;
use crate::memo::Memo;
use crate::news::News;
use crate::places::Places;
use crate::ports::{Client, Clock};
use crate::probes::Watched;
use crate::reach::Reach;
use crate::records::{About, AttachmentAbout, HostRecord, Key, PoolRecord, Record, SnapshotAbout, VolumeRecord};
use crate::rehearsal::rehearsed;
use crate::requests::{Caller, Live, NewAttachment, NewSnapshot, NewVolume, PoolNow, Refusal, Relabel, VolumeNow};
use crate::settings::Settings;
use crate::shared::{Pool, PoolSetup, Shared, lock, refusal, successor, unavailable};
use crate::store::{
    Change, Commit, CommitError, Expected, Idempotent, Item, JournalEntry, JournalQuery, Kind, ListQuery, Mark, Store, StoreError,
    Touched,
};
use crate::survey::Survey;
use crate::turns::{Turns, Whose};
use crate::{admission, probes, recovery, worker};
use lifecycle::{
    AttachmentId, Bytes, Command, Context, Input, PoolId, ProfileId, SnapshotId, Source, Subject, Timestamp, Volume, VolumeId,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, watch};

/// The profile and the zone that a volume gets which asks for none. Source: OpenSDS wire page.
pub const DEFAULT_PROFILE: &str = "default_block";
/// See [`DEFAULT_PROFILE`].
pub const DEFAULT_ZONE: &str = "default";
/// The protocol of an attachment for which neither the request nor the profile names one.
const DEFAULT_PROTOCOL: &str = "nbd";
/// How much of an unknown protocol's name is told back: the names of OpenSDS are shorter than 16 letters.
const PROTOCOL_TOLD_MAX: usize = 64;

/// The engine. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

/// A list, in batches.
pub struct Listed {
    first: Option<Result<Vec<Item>, StoreError>>,
    rest: mpsc::Receiver<Result<Vec<Item>, StoreError>>,
}

impl Listed {
    /// All hosts of it.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn hosts(mut self) -> Result<Vec<HostRecord>, Refusal> {
        let mut hosts = Vec::new();
        while let Some(batch) = self.recv().await {
            hosts.extend(batch.map_err(unavailable)?.into_iter().filter_map(|item| match item {
                Item::Other(record) => match *record {
                    Record::Host(host) => Some(host),
                    Record::Profile(_) | Record::Pool(_) | Record::Volume(_) => None,
                },
                Item::Volume(_) | Item::Snapshot(..) | Item::Attachment(..) => None,
            }));
        }
        Ok(hosts)
    }

    /// The next batch; none behind the last. An error is the last.
    pub async fn recv(&mut self) -> Option<Result<Vec<Item>, StoreError>> {
        match self.first.take() {
            Some(first) => Some(first),
            None => self.rest.recv().await,
        }
    }
}

/// Wakes when a volume's aggregate is committed again.
pub struct Waiter(watch::Receiver<u64>);

impl Waiter {
    /// Returns once anything of the aggregate was committed after this waiter was made, or after the last return.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // The sender lives as long as the engine; without one nothing will ever change.
            std::future::pending::<()>().await;
        }
    }
}

impl Engine {
    /// Starts the engine: a new incarnation, records for the pools of the configuration, and recovery in the background.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] if the store or its first commits fail. A backend that does not answer is no error.
    pub async fn start(
        store: Arc<dyn Store>,
        exporters: impl Into<Exporters>,
        clock: Arc<dyn Clock>,
        pools: Vec<PoolSetup>,
        settings: Settings,
    ) -> Result<Self, Refusal> {
        let exporters = exporters.into();
        let incarnation = store.begin_incarnation().await.map_err(refusal)?;
        let mut known = pool_records(&*store).await?;
        let mut held = BTreeMap::new();
        let able = probes::capabilities(&pools, settings.call_timeout).await;
        for (setup, capabilities) in pools.into_iter().zip(able) {
            let record = match known.remove(&setup.name) {
                Some(record) => record,
                None => new_pool(&*store, &setup, &settings.ids, clock.now()).await?,
            };
            let places = Places::new(settings.places_per_pool);
            let pool = Pool {
                id: record.id,
                created_at: record.about.created_at,
                setup,
                places,
                capabilities: Mutex::new(capabilities),
                watched: Watched::new(settings.pace()),
                capacity: Mutex::default(),
                survey: Survey::default(),
            };
            held.insert(record.id, pool);
        }
        let shared = Arc::new(Shared {
            begun: clock.now(),
            unconfigured: known.into_iter().map(|(name, record)| (record.id, name)).collect(),
            store,
            exporters,
            clock,
            commands: Places::new(settings.commands_at_once),
            lists: Places::shared(settings.lists_at_once),
            turns: Turns::of_this_runtime(),
            settings,
            pools: held,
            incarnation,
            counter: AtomicU64::new(0),
            workers: Mutex::default(),
            live: Mutex::default(),
            watchers: Mutex::new(HashMap::new()),
            news: News::default(),
            default_profile: Memo::default(),
            recovering: AtomicBool::new(false),
            compared: watch::Sender::new(false),
            strays: Mutex::default(),
        });
        let engine = Self { shared };
        engine.ensure_default_profile().await?;
        probes::capacities(&engine.shared).await;
        probes::start(&engine.shared);
        recovery::start(&engine.shared);
        Ok(engine)
    }

    /// Turns for a task that does something for `tenant`: none waits behind all that another has under way.
    #[must_use]
    pub fn turns_of(&self, tenant: &str) -> Whose {
        self.shared.turns.of(tenant)
    }

    /// Whether the store answers and recovery has been started.
    ///
    /// # Errors
    /// What stands in the way, in words.
    pub async fn ready(&self) -> Result<(), String> {
        self.shared.store.head().await.map_err(|error| error.to_string())?;
        if self.shared.recovering.load(Ordering::Acquire) { Ok(()) } else { Err("recovery has not been started yet".into()) }
    }

    /// Returns once every record was compared with what the exporters serve since the start. Before that `attached` may be what the
    /// last controller knew.
    pub async fn compared(&self) {
        // The sender is ours, so that waiting for it does not fail.
        let _ = self.shared.compared.subscribe().wait_for(|is_compared| *is_compared).await;
    }

    /// What decides which commands are allowed on volumes of this pool.
    #[must_use]
    pub fn context(&self, pool: PoolId) -> Context {
        self.shared.context(pool)
    }

    /// What is known in memory of the resource's running operation.
    #[must_use]
    pub fn live(&self, subject: Subject) -> Option<Live> {
        lock(&self.shared.live).get(&subject).cloned()
    }

    /// The clients connected to an attachment's export, if the exporter can tell.
    pub async fn clients(&self, record: &VolumeRecord, attachment: AttachmentId) -> Option<Vec<Client>> {
        self.shared.exporters.clients(record, attachment).await
    }

    /// Whether whoever serves an attachment answers, and was asked since the start; until then what is known of the export may be
    /// out of date: its data plane may have died together with the last controller.
    #[must_use]
    pub fn exporter_answers(&self, record: &VolumeRecord, attachment: AttachmentId) -> bool {
        *self.shared.compared.borrow() && self.shared.exporters.answers(record, attachment)
    }

    /// Whether the backend of a pool answers; unknown for one that is not configured.
    #[must_use]
    pub fn reach(&self, pool: PoolId) -> Reach {
        self.shared.pools.get(&pool).map(|pool| pool.watched.reach()).unwrap_or_default()
    }

    /// The availability zones of the configured pools.
    #[must_use]
    pub fn zones(&self) -> Vec<String> {
        let mut zones: Vec<_> = self.shared.pools.values().map(|pool| pool.setup.zone.clone()).collect();
        zones.sort();
        zones.dedup();
        zones
    }

    /// The configured pools as they are now.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] if the store cannot answer.
    pub async fn pools(&self) -> Result<Vec<PoolNow>, Refusal> {
        probes::capacities(&self.shared).await;
        let mut pools = Vec::new();
        for pool in self.shared.pools.values() {
            let capacity = self.shared.capacity(pool).await;
            let reserved = self.shared.store.counted(Key::Pool(pool.id)).await.map_err(unavailable)?;
            pools.push(PoolNow {
                id: pool.id,
                name: pool.setup.name.clone(),
                description: pool.setup.description.clone(),
                zone: pool.setup.zone.clone(),
                driver: pool.setup.driver.name(),
                created_at: pool.created_at,
                capacity,
                reserved: Bytes(reserved),
                reservable: self.shared.reservable(pool).await.map(Bytes),
                retired: pool.setup.retired,
                reach: pool.watched.reach(),
                when_down: pool.setup.when_down,
                protocols: self.shared.exporters.protocols().iter().map(ToString::to_string).collect(),
            });
        }
        Ok(pools)
    }

    /// A volume's aggregate.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] also for another tenant's, unless the caller is an administrator.
    pub async fn volume(&self, caller: &Caller, id: VolumeId) -> Result<VolumeNow, Refusal> {
        self.whole(caller, Subject::Volume(id)).await
    }

    /// What tells of a snapshot: an [excerpt](VolumeRecord::excerpt) of its volume, which costs the same however many others that has.
    ///
    /// # Errors
    /// As [`Engine::volume`].
    pub async fn snapshot(&self, caller: &Caller, id: SnapshotId) -> Result<VolumeRecord, Refusal> {
        self.told(caller, Subject::Snapshot(id)).await
    }

    /// What tells of an attachment: an [excerpt](VolumeRecord::excerpt) of its volume.
    ///
    /// # Errors
    /// As [`Engine::volume`].
    pub async fn attachment(&self, caller: &Caller, id: AttachmentId) -> Result<VolumeRecord, Refusal> {
        self.told(caller, Subject::Attachment(id)).await
    }

    async fn told(&self, caller: &Caller, subject: Subject) -> Result<VolumeRecord, Refusal> {
        let found = self.shared.told(subject).await.map_err(unavailable)?;
        found.filter(|record| sees(caller, record)).ok_or_else(|| Refusal::missing(subject))
    }

    /// The whole aggregate of a resource: what something can be decided from.
    async fn whole(&self, caller: &Caller, subject: Subject) -> Result<VolumeNow, Refusal> {
        let volume = match subject {
            Subject::Volume(id) => id,
            Subject::Snapshot(_) | Subject::Attachment(_) => self.told(caller, subject).await?.state.id(),
        };
        let found = self.shared.read_volume(volume).await.map_err(unavailable)?;
        // A part may have gone in between.
        found
            .filter(|now| sees(caller, &now.record) && now.record.about_of(subject).is_some())
            .ok_or_else(|| Refusal::missing(subject))
    }

    /// Lists resources that the caller may see. As many as have a place are begun at once, and tenants take turns; who reads slowly
    /// holds none, as it is given back with the first batch.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`], also if it is not begun in [`Settings::list_patience`]; a filter that looks at too much is an error in the
    /// stream.
    pub async fn list(&self, caller: &Caller, query: ListQuery) -> Result<Listed, Refusal> {
        let patience = self.shared.settings.list_patience;
        let Ok(_place) = tokio::time::timeout(patience, self.shared.lists.take(&caller.tenant)).await else {
            let message = format!("the list was not begun in {} seconds, as others were asked for before it", patience.as_secs());
            let remedy = "try again later, and ask for less at once: shorter pages, filters that have an index";
            return Err(Refusal::Unavailable(format!("{message}; {remedy}")));
        };
        self.begin_list(caller, query).await
    }

    /// The same, however long it takes to be begun: for streams, which have begun to answer already.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn list_patiently(&self, caller: &Caller, query: ListQuery) -> Result<Listed, Refusal> {
        let _place = self.shared.lists.take(&caller.tenant).await;
        self.begin_list(caller, query).await
    }

    /// Begins a list without a place: for what the controller tells by itself, which waits behind nobody's lists.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn begin_list(&self, caller: &Caller, mut query: ListQuery) -> Result<Listed, Refusal> {
        let shared_by_all = matches!(query.kind, Kind::Profile | Kind::Pool);
        query.tenant = (!caller.is_admin && !shared_by_all).then(|| caller.tenant.clone());
        let mut batches = self.shared.store.list(query).await.map_err(unavailable)?;
        Ok(Listed { first: batches.recv().await, rest: batches })
    }

    /// The journal of one resource, also of one that is gone.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] if the journal knows nothing of it that the caller may see.
    pub async fn journal(&self, caller: &Caller, subject: Subject, since: u64, limit: usize) -> Result<Vec<JournalEntry>, Refusal> {
        let tenant = (!caller.is_admin).then(|| caller.tenant.clone());
        let query =
            |since, limit| JournalQuery { since: Mark::behind(since), subject: Some(subject), tenant: tenant.clone(), limit };
        let entries = self.shared.store.journal(query(since, limit)).await.map_err(unavailable)?;
        if entries.is_empty() && self.shared.store.journal(query(0, 1)).await.map_err(unavailable)?.is_empty() {
            return Err(Refusal::NotFound { kind: "resource", id: subject.to_string() });
        }
        Ok(entries)
    }

    /// A waiter on the aggregate of `volume`. Make it first, then read, then wait: so that no commit falls in between.
    #[must_use]
    pub fn wait(&self, volume: VolumeId) -> Waiter {
        let mut watchers = lock(&self.shared.watchers);
        // Now and then let go of volumes that nobody waits for any more.
        if watchers.len() >= WATCHERS_SWEPT && watchers.len().is_power_of_two() {
            watchers.retain(|_, sender| sender.receiver_count() > 0);
        }
        Waiter(watchers.entry(volume).or_insert_with(|| watch::Sender::new(0)).subscribe())
    }

    /// Accepts a volume: name, id and status `creating` are durable when this returns.
    ///
    /// # Errors
    /// [`Refusal::BadReference`] for an unknown profile, pool, zone or snapshot, or a size below the snapshot's;
    /// [`Refusal::Conflict`] for a full pool, [`Refusal::PoolDown`] for one whose backend is down.
    pub async fn create_volume(&self, caller: &Caller, new: NewVolume) -> Result<VolumeNow, Refusal> {
        self.repeated(caller).await?;
        let now = self.shared.clock.now();
        let id = VolumeId(self.shared.settings.ids.next());
        let profile = self.profile_for(new.profile).await?;
        let about =
            About { name: new.name, description: new.description, metadata: new.metadata, created_at: now, ..About::default() };
        let zone = if new.zone.is_empty() { DEFAULT_ZONE.to_owned() } else { new.zone };
        for _ in 0..STALE_RETRIES {
            let source = self.source_for(caller, new.source).await?;
            let pool = self.pool_for(new.pool, &zone, source.as_ref().map(|(held, _)| held.record.pool)).await?;
            let pinned = source.as_ref().map(|(held, snapshot)| Source { volume: held.record.state.id(), snapshot: *snapshot });
            let record = VolumeRecord {
                state: Volume::create(id, new.size, new.multi_attach, pinned, now),
                tenant: caller.tenant.clone(),
                about: about.clone(),
                zone: zone.clone(),
                profile,
                pool,
                snapshots: BTreeMap::new(),
                attachments: BTreeMap::new(),
            };
            let mut accepted = record.clone();
            let mut steps = vec![Step { before: None, after: record }];
            if let Some((held, snapshot)) = &source {
                steps.push(self.pin(held, *snapshot, id, new.size)?);
            }
            let commit = Commit { idempotent: idempotent(caller, Subject::Volume(id)), ..Commit::default() };
            match self.settle(caller, steps, commit, &cause(caller, "create")).await {
                Ok(revision) => {
                    if !caller.dry_run {
                        worker::poke_for(&self.shared, id, &caller.tenant);
                    }
                    // Nobody has changed it before, so that nothing else of it is set by the commit.
                    accepted.about.revision = revision;
                    return Ok(VolumeNow { record: accepted, version: revision });
                }
                Err(CommitError::Stale(_)) => {}
                Err(error) => return Err(refused(caller, error)),
            }
        }
        Err(Refusal::Unavailable("the source volume is changed too often by others; try again".into()))
    }

    fn pin<'a>(&self, held: &'a VolumeNow, snapshot: SnapshotId, clone: VolumeId, size: Bytes) -> Result<Step<'a>, Refusal> {
        let context = self.shared.context(held.record.pool);
        let input = Input::Command(Command::Clone { snapshot, clone, size });
        let transitions = held.record.state.decide(&input, &context).map_err(|no| Refusal::BadReference(no.to_string()))?;
        let after = successor(&held.record, &transitions, context.now);
        Ok(Step { before: Some((&held.record, held.version)), after })
    }

    async fn source_for(&self, caller: &Caller, source: Option<SnapshotId>) -> Result<Option<(VolumeNow, SnapshotId)>, Refusal> {
        let Some(id) = source else { return Ok(None) };
        match self.whole(caller, Subject::Snapshot(id)).await {
            Ok(held) => Ok(Some((held, id))),
            Err(Refusal::NotFound { .. }) => Err(Refusal::BadReference(format!("snapshot {id} does not exist"))),
            Err(other) => Err(other),
        }
    }

    /// The pool for a new volume: the one asked for, the source's, or of those that fit the one with the most left to promise.
    async fn pool_for(&self, asked: Option<PoolId>, zone: &str, source: Option<PoolId>) -> Result<PoolId, Refusal> {
        if let (Some(asked), Some(source)) = (asked, source)
            && asked != source
        {
            return Err(Refusal::BadReference(format!(
                "the snapshot is in pool {source}; a volume from it cannot be made in pool {asked}"
            )));
        }
        let fits = |pool: &&Pool| asked.or(source).is_none_or(|id| pool.id == id);
        let mut candidates = self.shared.pools.values().filter(fits).peekable();
        if candidates.peek().is_none() {
            let asked = asked.or(source).map(|id| id.to_string()).unwrap_or_default();
            return Err(Refusal::BadReference(format!("pool {asked} does not exist")));
        }
        let usable = candidates.filter(|pool| !pool.setup.retired && pool.setup.zone == zone).collect();
        let usable = admission::taking(usable)?;
        let mut roomiest: Option<(u64, PoolId)> = None;
        for pool in &usable {
            // A lone pool is not asked: whether it has room is found out by the commit.
            let left = if usable.len() > 1 { self.left(pool).await? } else { 0 };
            if roomiest.is_none_or(|(most, _)| left > most) {
                roomiest = Some((left, pool.id));
            }
        }
        roomiest.map(|(_, id)| id).ok_or_else(|| {
            let zones = self.zones().join(", ");
            Refusal::BadReference(format!("no pool that takes new volumes is in availability zone {zone} (there are: {zones})"))
        })
    }

    /// How much the pool may still promise, in bytes; nothing if it does not tell.
    async fn left(&self, pool: &Pool) -> Result<u64, Refusal> {
        let reserved = self.shared.store.counted(Key::Pool(pool.id)).await.map_err(unavailable)?;
        Ok(self.shared.reservable(pool).await.unwrap_or(0).saturating_sub(reserved))
    }

    async fn profile_for(&self, asked: Option<ProfileId>) -> Result<ProfileId, Refusal> {
        let Some(id) = asked else {
            return self.default_profile().await;
        };
        match self.shared.store.read(Key::Profile(id)).await.map_err(unavailable)? {
            Some(_) => Ok(id),
            None => Err(Refusal::BadReference(format!("profile {id} does not exist"))),
        }
    }

    /// Accepts a snapshot of a volume.
    ///
    /// # Errors
    /// [`Refusal::BadReference`] for an unknown volume or profile, [`Refusal::NotAllowed`] by the rules.
    pub async fn create_snapshot(&self, caller: &Caller, new: NewSnapshot) -> Result<(VolumeNow, SnapshotId), Refusal> {
        self.repeated(caller).await?;
        let profile = match new.profile {
            Some(id) => Some(self.profile_for(Some(id)).await?),
            None => None,
        };
        let id = SnapshotId(self.shared.settings.ids.next());
        let now = self.shared.clock.now();
        let add = |record: &mut VolumeRecord| {
            let mut metadata = record.about.metadata.clone();
            metadata.extend(new.metadata.clone());
            let about = About {
                name: new.name.clone(),
                description: new.description.clone(),
                metadata,
                created_at: now,
                ..About::default()
            };
            record.snapshots.insert(id, SnapshotAbout { about, profile: profile.unwrap_or(record.profile) });
        };
        let after = self.add(caller, new.volume, Command::Snapshot { id }, Subject::Snapshot(id), add).await?;
        Ok((after, id))
    }

    /// Accepts an attachment of a volume to a host.
    ///
    /// # Errors
    /// [`Refusal::BadReference`] for an unknown volume, host or protocol, or if they share no zone; [`Refusal::NotAllowed`] by the rules.
    pub async fn create_attachment(&self, caller: &Caller, new: NewAttachment) -> Result<(VolumeNow, AttachmentId), Refusal> {
        self.repeated(caller).await?;
        let host = match self.host(caller, new.host).await {
            Err(Refusal::NotFound { .. }) => return Err(Refusal::BadReference(format!("host {} does not exist", new.host))),
            other => other?,
        };
        let volume = self.reference(caller, new.volume).await?;
        let protocol = self.protocol_for(new.protocol, volume.record.profile).await?;
        if host.zones.as_ref().is_some_and(|zones| !zones.is_empty() && !zones.contains(&volume.record.zone)) {
            let zone = &volume.record.zone;
            return Err(Refusal::BadReference(format!("host {} does not reach availability zone {zone} of the volume", new.host)));
        }
        let id = AttachmentId(self.shared.settings.ids.next());
        let now = self.shared.clock.now();
        let add = |record: &mut VolumeRecord| {
            let about = About { metadata: new.metadata.clone(), created_at: now, ..About::default() };
            let held = AttachmentAbout { about, mountpoint: new.mountpoint.clone(), protocol: protocol.clone() };
            record.attachments.insert(id, held);
        };
        let command = Command::Attach { id, host: new.host, mode: new.mode };
        let after = self.add(caller, new.volume, command, Subject::Attachment(id), add).await?;
        Ok((after, id))
    }

    /// The protocol that was asked for, else the profile's, else [`DEFAULT_PROTOCOL`]; only one that is spoken here.
    async fn protocol_for(&self, asked: Option<String>, profile: ProfileId) -> Result<String, Refusal> {
        let (mut origin, mut way_out) = (String::new(), "");
        let mut protocol = asked;
        if protocol.is_none() {
            let profile = self.profile(profile).await?;
            protocol = profile.access_protocol();
            if protocol.is_some() {
                origin = format!(", which profile {} ({}) asks for,", profile.about.name, profile.id);
                way_out = "; name one in the request, or change the profile";
            }
        }
        let protocol = protocol.unwrap_or_else(|| DEFAULT_PROTOCOL.to_owned());
        let spoken = self.shared.exporters.protocols();
        if spoken.contains(&protocol.as_str()) {
            return Ok(protocol);
        }
        let (told, spoken): (String, _) = (protocol.chars().take(PROTOCOL_TOLD_MAX).collect(), spoken.join(", "));
        Err(Refusal::BadReference(format!("access protocol {told}{origin} is not spoken here (there are: {spoken}){way_out}")))
    }

    async fn reference(&self, caller: &Caller, id: VolumeId) -> Result<VolumeNow, Refusal> {
        match self.volume(caller, id).await {
            Err(Refusal::NotFound { .. }) => Err(Refusal::BadReference(format!("volume {id} does not exist"))),
            other => other,
        }
    }

    /// Adds a part to a volume: the rules decide, `add` notes what it is called.
    async fn add(
        &self,
        caller: &Caller,
        id: VolumeId,
        command: Command,
        made: Subject,
        add: impl Fn(&mut VolumeRecord),
    ) -> Result<VolumeNow, Refusal> {
        for _ in 0..STALE_RETRIES {
            let VolumeNow { record, version } = self.reference(caller, id).await?;
            let context = self.shared.context(record.pool);
            let transitions = record.state.decide(&Input::Command(command), &context).map_err(Refusal::NotAllowed)?;
            self.shared.admit(record.pool, command, &record)?;
            let mut after = successor(&record, &transitions, context.now);
            add(&mut after);
            let accepted = after.clone();
            let step = Step { before: Some((&record, version)), after };
            let commit = Commit { idempotent: idempotent(caller, made), ..Commit::default() };
            match self.settle(caller, vec![step], commit, &cause(caller, command.kind().word())).await {
                Ok(revision) => return self.after(caller, accepted, revision).await,
                Err(CommitError::Stale(_)) => {}
                Err(error) => return Err(refused(caller, error)),
            }
        }
        Err(Refusal::Unavailable(format!("volume {id} is changed too often by others; try again")))
    }

    /// Accepts a command on a volume or one of its parts. Nothing is returned if the volume is gone with it.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`] by the rules, [`Refusal::Changed`] by `If-Match`, [`Refusal::Forbidden`] for `forget` of a tenant.
    pub async fn command(&self, caller: &Caller, volume: VolumeId, command: Command) -> Result<Option<VolumeNow>, Refusal> {
        if command == Command::Forget && !caller.is_admin {
            return Err(Refusal::Forbidden("forgetting a volume"));
        }
        let cause = cause(caller, command.kind().word());
        for _ in 0..STALE_RETRIES {
            let now = self.volume(caller, volume).await?;
            matches_revision(caller, &now.record, command.subject(volume))?;
            let context = self.shared.context(now.record.pool);
            let transitions = now.record.state.decide(&Input::Command(command), &context).map_err(Refusal::NotAllowed)?;
            if transitions.is_empty() {
                return Ok(Some(now));
            }
            self.shared.admit(now.record.pool, command, &now.record)?;
            let after = successor(&now.record, &transitions, context.now);
            let source = self.repinned(caller, &now.record, &after).await?;
            let would_be = after.clone();
            let mut steps = vec![Step { before: Some((&now.record, now.version)), after }];
            if let Some((held, snapshot)) = &source {
                steps.push(self.pin(held, *snapshot, volume, now.record.state.size())?);
            }
            match self.settle(caller, steps, Commit::default(), &cause).await {
                Ok(_) if caller.dry_run => return Ok(rehearsed(would_be, now.version)),
                Ok(_) => {
                    let now = self.shared.read_volume(volume).await.map_err(unavailable);
                    worker::poke_for(&self.shared, volume, &caller.tenant);
                    return now;
                }
                Err(CommitError::Stale(_)) => {}
                Err(error) => return Err(refusal(error)),
            }
        }
        Err(Refusal::Unavailable(format!("volume {volume} is changed too often by others; try again")))
    }

    /// A creation that is retried pins its source again: every guard of the original command holds again.
    async fn repinned(
        &self,
        caller: &Caller,
        before: &VolumeRecord,
        after: &VolumeRecord,
    ) -> Result<Option<(VolumeNow, SnapshotId)>, Refusal> {
        let begins = crate::shared::is_creating(after) && !crate::shared::is_creating(before);
        let source = after.state.source().filter(|_| begins);
        self.source_for(caller, source.map(|source| source.snapshot)).await
    }

    /// Changes names and free words. Never a status, never a size.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`Refusal::Changed`].
    pub async fn relabel(&self, caller: &Caller, subject: Subject, relabel: Relabel) -> Result<VolumeNow, Refusal> {
        for _ in 0..STALE_RETRIES {
            let now = self.whole(caller, subject).await?;
            matches_revision(caller, &now.record, subject)?;
            let mut after = now.record.clone();
            rename(&mut after, subject, &relabel);
            bounded(subject, &after)?;
            let accepted = after.clone();
            let step = Step { before: Some((&now.record, now.version)), after };
            match self.settle(caller, vec![step], Commit::default(), &cause(caller, "update")).await {
                Ok(revision) => return self.after(caller, accepted, revision).await,
                Err(CommitError::Stale(_)) => {}
                Err(error) => return Err(refusal(error)),
            }
        }
        Err(Refusal::Unavailable(format!("{subject} is changed too often by others; try again")))
    }

    async fn after(&self, caller: &Caller, accepted: VolumeRecord, revision: u64) -> Result<VolumeNow, Refusal> {
        if caller.dry_run {
            return Ok(VolumeNow { record: accepted, version: revision });
        }
        let id = accepted.state.id();
        // Read first, so that the answer shows what was accepted and not already what came of it.
        let now = self.volume(caller, id).await;
        worker::poke_for(&self.shared, id, &caller.tenant);
        match now {
            // Somebody has deleted it meanwhile: it was accepted all the same.
            Err(Refusal::NotFound { .. }) => Ok(VolumeNow { record: accepted, version: revision }),
            other => other,
        }
    }

    /// Refuses a request whose idempotency key was used before, telling what it made.
    async fn repeated(&self, caller: &Caller) -> Result<(), Refusal> {
        let Some((key, request)) = &caller.idempotency else { return Ok(()) };
        match self.shared.store.idempotent(&caller.tenant, key).await.map_err(unavailable)? {
            Some(used) if used.request == *request => Err(Refusal::Repeated(used)),
            Some(_) => Err(Refusal::KeyReused),
            None => Ok(()),
        }
    }
}

/// How many waited-for volumes are kept before unused ones are looked for.
const WATCHERS_SWEPT: usize = 1024;

/// How often a request is decided anew because somebody else committed in between.
pub(crate) const STALE_RETRIES: usize = 64;

pub(crate) fn not_found(kind: &'static str, id: impl ToString) -> Refusal {
    Refusal::NotFound { kind, id: id.to_string() }
}

fn sees(caller: &Caller, record: &VolumeRecord) -> bool {
    caller.is_admin || caller.tenant == record.tenant
}

pub(crate) fn cause<'a>(caller: &'a Caller, what: &'static str) -> Cause<'a> {
    Cause { what, actor: &caller.actor, request_id: &caller.request_id, is_command: true }
}

fn idempotent(caller: &Caller, made: Subject) -> Option<(String, String, Idempotent)> {
    let (key, request) = caller.idempotency.clone()?;
    Some((caller.tenant.clone(), key, Idempotent { request, made }))
}

/// A commit's refusal; a key that raced with another request of the same key is told apart by what was asked.
fn refused(caller: &Caller, error: CommitError) -> Refusal {
    match (error, &caller.idempotency) {
        (CommitError::Repeated(used), Some((_, request))) if used.request != *request => Refusal::KeyReused,
        (error, _) => refusal(error),
    }
}

fn matches_revision(caller: &Caller, record: &VolumeRecord, subject: Subject) -> Result<(), Refusal> {
    match (caller.if_match, record.about_of(subject).map(|about| about.revision)) {
        (Some(wanted), Some(revision)) if wanted != revision => Err(Refusal::Changed(revision)),
        (Some(_) | None, Some(_) | None) => Ok(()),
    }
}

/// How many words of metadata or custom properties one resource may hold: as many as one request may bring. Updates merge, so
/// that without a bound a record would grow for ever.
pub(crate) const WORDS_MAX: usize = 256;

fn bounded(subject: Subject, record: &VolumeRecord) -> Result<(), Refusal> {
    match record.about_of(subject).map_or(0, |about| about.metadata.len()) {
        0..=WORDS_MAX => Ok(()),
        many => Err(Refusal::BadReference(format!("metadata would hold {many} words; at most {WORDS_MAX} are kept"))),
    }
}

fn rename(record: &mut VolumeRecord, subject: Subject, relabel: &Relabel) {
    let about = match subject {
        Subject::Volume(_) => Some(&mut record.about),
        Subject::Snapshot(id) => record.snapshots.get_mut(&id).map(|held| &mut held.about),
        Subject::Attachment(id) => record.attachments.get_mut(&id).map(|held| {
            held.mountpoint = relabel.mountpoint.clone().unwrap_or_else(|| held.mountpoint.clone());
            &mut held.about
        }),
    };
    let Some(about) = about else { return };
    about.name = relabel.name.clone().unwrap_or_else(|| about.name.clone());
    about.description = relabel.description.clone().unwrap_or_else(|| about.description.clone());
    about.metadata.extend(relabel.metadata.clone().unwrap_or_default());
}

async fn pool_records(store: &dyn Store) -> Result<HashMap<String, PoolRecord>, Refusal> {
    let mut batches = store.list(ListQuery::all(Kind::Pool)).await.map_err(unavailable)?;
    let mut found = HashMap::new();
    while let Some(batch) = batches.recv().await {
        for item in batch.map_err(unavailable)? {
            if let Item::Other(record) = item
                && let Record::Pool(record) = *record
            {
                found.insert(record.about.name.clone(), record);
            }
        }
    }
    Ok(found)
}

async fn new_pool(store: &dyn Store, setup: &PoolSetup, ids: &Ids, now: Timestamp) -> Result<PoolRecord, Refusal> {
    let id = PoolId(ids.next());
    let about = About { name: setup.name.clone(), created_at: now, ..About::default() };
    let record = PoolRecord { id, about };
    let change = Change {
        key: Key::Pool(id),
        expected: Expected::Absent,
        record: Some(Record::Pool(record.clone())),
        touched: Touched::default(),
        unused: false,
    };
    store.commit(Commit { changes: vec![change], ..Commit::default() }).await.map_err(refusal)?;
    Ok(record)
}
