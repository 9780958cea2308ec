//! What changes behind the controller's back is seen while it runs, committed as the rules say, and told by the diagnosis.

use engine::doctor::{Diagnosis, FindingKind, Mend, Target};
use engine::requests::{Caller, HostFields, NewAttachment, NewSnapshot, NewVolume, Refusal};
use engine::{Engine, PoolSetup, Settings};
use lifecycle::{AttachmentId, Bytes, Command, CommandKind, Connection, Mode, PoolId, ReasonCode, SnapshotId, Subject, VolumeId};
use sim::{Fault, MemDriver, MemExporter, MemStore, Object, SteppedClock};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

struct World {
    driver: Arc<MemDriver>,
    exporter: Arc<MemExporter>,
    clock: Arc<SteppedClock>,
    engine: Engine,
    caller: Caller,
    admin: Caller,
}

impl World {
    async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    async fn with(settings: Settings) -> Self {
        let (driver, exporter) = (Arc::new(MemDriver::able()), Arc::new(MemExporter::default()));
        let clock = Arc::new(SteppedClock::default());
        let pool = PoolSetup::new("default", driver.clone());
        clock.step(1000);
        let store = Arc::new(MemStore::default());
        let engine = Engine::start(store, exporter.clone(), clock.clone(), vec![pool], settings).await.expect("started");
        let caller = Caller { tenant: "t".into(), actor: "test".into(), ..Caller::default() };
        let admin = Caller { tenant: "a".into(), is_admin: true, ..Caller::default() };
        Self { driver, exporter, clock, engine, caller, admin }
    }

    async fn volume(&self) -> VolumeId {
        let new = NewVolume {
            name: "v".into(),
            description: String::new(),
            metadata: Default::default(),
            size: Bytes(Bytes::GIB),
            zone: String::new(),
            profile: None,
            pool: None,
            source: None,
            multi_attach: false,
        };
        let id = self.engine.create_volume(&self.caller, new).await.expect("accepted").record.state.id();
        self.until(id, Subject::Volume(id), "available").await;
        id
    }

    async fn snapshot(&self, volume: VolumeId) -> SnapshotId {
        let new = NewSnapshot { volume, name: "s".into(), description: String::new(), metadata: Default::default(), profile: None };
        let (_, id) = self.engine.create_snapshot(&self.caller, new).await.expect("accepted");
        self.until(volume, Subject::Snapshot(id), "available").await;
        id
    }

    async fn attached(&self, volume: VolumeId) -> AttachmentId {
        let fields = HostFields { name: Some("h".into()), ip: Some("127.0.0.1".into()), ..HostFields::default() };
        let host = self.engine.create_host(&self.caller, fields).await.expect("made").id;
        let (mountpoint, metadata) = (String::new(), Default::default());
        let new = NewAttachment { volume, host, mode: Mode::ReadWrite, mountpoint, protocol: None, metadata };
        let (_, id) = self.engine.create_attachment(&self.caller, new).await.expect("accepted");
        self.until(volume, Subject::Attachment(id), "attached").await;
        id
    }

    async fn word(&self, volume: VolumeId, subject: Subject) -> &'static str {
        self.engine.volume(&self.admin, volume).await.map_or("gone", |now| now.record.state.word(subject))
    }

    async fn code(&self, volume: VolumeId, subject: Subject) -> Option<ReasonCode> {
        let now = self.engine.volume(&self.admin, volume).await.expect("there");
        now.record.state.reason(subject).map(|reason| reason.code)
    }

    async fn until(&self, volume: VolumeId, subject: Subject, status: &str) {
        let mut waiter = self.engine.wait(volume);
        let reached = async {
            while self.word(volume, subject).await != status {
                waiter.changed().await;
            }
        };
        if tokio::time::timeout(Settings::default().look_interval * 3, reached).await.is_err() {
            panic!("{subject} is never {status} but {}", self.word(volume, subject).await);
        }
    }

    fn meddle(&self, volume: VolumeId, gib: u64, whole: bool) {
        self.driver.meddle((volume, None), Some(Object { size: Bytes(gib * Bytes::GIB), whole }));
    }

    async fn diagnosis(&self) -> Diagnosis {
        self.engine.look(&self.admin).await.expect("looked");
        self.engine.diagnose(&self.admin).await.expect("told")
    }

    /// When the volume was last looked at, and whether it could not be.
    async fn looked(&self, volume: VolumeId) -> (Option<i64>, bool) {
        let now = self.engine.volume(&self.admin, volume).await.expect("there");
        (
            self.engine.checked_at(&now.record, Subject::Volume(now.record.state.id())).map(|at| at.0),
            self.engine.unseen(&now.record).is_some(),
        )
    }
}

#[tokio::test(start_paused = true)]
async fn what_vanishes_shrinks_grows_or_breaks_is_seen_while_it_runs() {
    let world = World::new().await;
    let [missing, partial, grown, shrunk] =
        [world.volume().await, world.volume().await, world.volume().await, world.volume().await];
    world.driver.meddle((missing, None), None);
    world.meddle(partial, 1, false);
    world.meddle(grown, 2, true);
    world.driver.meddle((shrunk, None), Some(Object { size: Bytes(Bytes::GIB / 2), whole: true }));
    for (id, status, code) in [
        (missing, "error", ReasonCode::BackendMissing),
        (partial, "error", ReasonCode::BackendDamaged),
        (grown, "errorExtending", ReasonCode::SizeDiffers),
        (shrunk, "error", ReasonCode::BackendDamaged),
    ] {
        world.until(id, Subject::Volume(id), status).await;
        assert_eq!(world.code(id, Subject::Volume(id)).await, Some(code));
    }
    let found = world.diagnosis().await.findings;
    let mends = |id: VolumeId| {
        let about = |finding: &&engine::doctor::Finding| matches!(finding.about, Target::Resource { subject: Subject::Volume(held), .. } if held == id);
        found.iter().find(about).expect("told").mend.clone()
    };
    assert_eq!(mends(missing), [Mend::Command(CommandKind::Recover), Mend::Command(CommandKind::Delete)]);
    assert_eq!(found.len(), 4, "{found:?}");
    // It is brought back, and recover follows the evidence.
    world.meddle(missing, 1, true);
    world.engine.command(&world.caller, missing, Command::Recover(Subject::Volume(missing))).await.expect("accepted");
    world.until(missing, Subject::Volume(missing), "available").await;
    world.engine.command(&world.caller, grown, Command::Recover(Subject::Volume(grown))).await.expect("accepted");
    world.until(grown, Subject::Volume(grown), "available").await;
    assert_eq!(world.diagnosis().await.findings.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_was_looked_at_before_it_was_there() {
    let world = World::new().await;
    let volume = world.volume().await;
    world.clock.step(5);
    let snapshot = Subject::Snapshot(world.snapshot(volume).await);
    world.clock.step(5);
    let attachment = Subject::Attachment(world.attached(volume).await);
    let now = world.engine.volume(&world.admin, volume).await.expect("there");
    let checked = |subject| world.engine.checked_at(&now.record, subject).map(|at| at.0);
    let first = checked(Subject::Volume(volume)).expect("looked at");
    assert_eq!((checked(snapshot), checked(attachment)), (Some(first + 5), Some(first + 10)));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_vanishes_is_seen() {
    let world = World::new().await;
    let volume = world.volume().await;
    let snapshot = world.snapshot(volume).await;
    world.driver.meddle((volume, Some(snapshot)), None);
    world.until(volume, Subject::Snapshot(snapshot), "error").await;
    assert_eq!(world.code(volume, Subject::Snapshot(snapshot)).await, Some(ReasonCode::BackendMissing));
    assert_eq!(world.word(volume, Subject::Volume(volume)).await, "available");
}

#[tokio::test(start_paused = true)]
async fn an_export_that_vanishes_unheard_is_made_again() {
    let world = World::new().await;
    let volume = world.volume().await;
    let attachment = world.attached(volume).await;
    world.exporter.meddle(attachment, None);
    tokio::time::sleep(Settings::default().look_interval * 2).await;
    assert!(world.exporter.exports().contains_key(&attachment));
    assert_eq!(world.word(volume, Subject::Attachment(attachment)).await, "attached");
    let journal = world.engine.journal(&world.caller, Subject::Attachment(attachment), 0, 100).await.expect("told");
    let gap =
        |entry: &&engine::store::JournalEntry| entry.reason.as_ref().is_some_and(|reason| reason.code == ReasonCode::NotExported);
    assert_eq!(journal.iter().filter(gap).count(), 1, "{journal:?}");
}

#[tokio::test(start_paused = true)]
async fn an_export_for_nobody_is_ended_and_one_that_cannot_be_is_told() {
    let world = World::new().await;
    let volume = world.volume().await;
    let attachment = world.attached(volume).await;
    let stray = AttachmentId(Uuid::from_u128(7));
    world.exporter.meddle(stray, Some(Connection::default()));
    // Past the second look, not at it.
    tokio::time::sleep(Settings::default().look_interval * 2 + Duration::from_secs(1)).await;
    assert_eq!(world.exporter.exports().into_keys().collect::<Vec<_>>(), [attachment], "what a record names goes on");
    world.exporter.meddle(stray, Some(Connection::default()));
    world.exporter.script.next("unexport", Fault::Refuse);
    tokio::time::sleep(Settings::default().look_interval).await;
    let found = world.engine.diagnose(&world.admin).await.expect("told").findings;
    assert_eq!(found.iter().map(|finding| finding.kind).collect::<Vec<_>>(), [FindingKind::UnknownExport]);
    tokio::time::sleep(Settings::default().look_interval * 2).await;
    assert!(world.engine.diagnose(&world.admin).await.expect("told").findings.is_empty(), "it was tried again");
}

/// A panic while an unknown export was ended took the whole look at exports with it, for as long as the controller lived.
#[tokio::test(start_paused = true)]
async fn an_exporter_that_panics_ends_no_look() {
    let world = World::new().await;
    let stray = AttachmentId(Uuid::from_u128(7));
    world.exporter.meddle(stray, Some(Connection::default()));
    world.exporter.script.next("unexport", Fault::Panic);
    tokio::time::sleep(Settings::default().look_interval * 3).await;
    assert!(world.exporter.exports().is_empty(), "it was tried again");
}

#[tokio::test(start_paused = true)]
async fn what_no_record_names_is_told_and_removed_on_demand_alone() {
    let world = World::new().await;
    let volume = world.volume().await;
    let (orphan, snapshot) = (VolumeId(Uuid::from_u128(1)), SnapshotId(Uuid::from_u128(2)));
    let object = Object { size: Bytes(Bytes::GIB), whole: false };
    world.driver.meddle((orphan, None), Some(object));
    world.driver.meddle((volume, Some(snapshot)), Some(object));
    let told = world.diagnosis().await;
    let about: Vec<_> = told.findings.iter().map(|finding| finding.about.clone()).collect();
    let pool = told.pools[0].pool;
    let named = |volume, snapshot| Target::Object { pool, volume, snapshot };
    assert_eq!(about.len(), 2, "{told:?}");
    assert!(about.contains(&named(orphan, None)) && about.contains(&named(volume, Some(snapshot))), "{about:?}");
    assert_eq!(world.driver.objects().len(), 3, "looking removes nothing");

    let remove = |caller: Caller, pool: PoolId, volume, snapshot| {
        let engine = world.engine.clone();
        async move { engine.remove_object(&caller, pool, volume, snapshot).await }
    };
    assert!(matches!(remove(world.caller.clone(), pool, orphan, None).await, Err(Refusal::Forbidden(_))));
    assert!(matches!(remove(world.admin.clone(), pool, volume, None).await, Err(Refusal::Conflict(_))), "a record names it");
    let other = PoolId(Uuid::from_u128(9));
    assert!(matches!(remove(world.admin.clone(), other, orphan, None).await, Err(Refusal::NotFound { .. })));
    for _ in 0..2 {
        assert_eq!(remove(world.admin.clone(), pool, orphan, None).await, Ok(()));
        assert_eq!(remove(world.admin.clone(), pool, volume, Some(snapshot)).await, Ok(()));
    }
    assert_eq!(world.driver.objects().into_keys().collect::<Vec<_>>(), [(volume, None)]);
    assert!(world.diagnosis().await.findings.is_empty());
    assert!(matches!(world.engine.diagnose(&world.caller).await, Err(Refusal::Forbidden(_))));
}

#[tokio::test(start_paused = true)]
async fn a_backend_is_listed_again_only_for_unknown_names() {
    let world = World::with(Settings { look_interval: Duration::from_secs(3600), ..Settings::default() }).await;
    let [volume, other] = [world.volume().await, world.volume().await];
    world.snapshot(volume).await;
    let lists = async |looks: Option<FindingKind>| {
        let before = world.driver.script.count("list");
        let found = world.diagnosis().await.findings;
        assert_eq!(found.iter().map(|finding| finding.kind).collect::<Vec<_>>(), Vec::from_iter(looks));
        world.driver.script.count("list") - before
    };
    assert_eq!(lists(None).await, 1);
    let orphan = VolumeId(Uuid::from_u128(1));
    world.meddle(orphan, 1, true);
    assert_eq!(lists(Some(FindingKind::UnknownObject)).await, 2);
    assert_eq!(lists(Some(FindingKind::UnknownObject)).await, 1, "its name is known from then on");
    world.driver.meddle((orphan, None), None);
    assert_eq!(lists(None).await, 1);
    assert_eq!(world.word(other, Subject::Volume(other)).await, "available");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_ends_in_the_middle_is_no_look() {
    let world = World::with(Settings { look_interval: Duration::from_secs(3600), ..Settings::default() }).await;
    for _ in 0..3 {
        world.volume().await;
    }
    let volume = world.volume().await;
    assert!(world.diagnosis().await.findings.is_empty());
    for fault in [Fault::Hang, Fault::Fail, Fault::Panic] {
        // What it would have told next is not missing for that.
        let begun = tokio::time::Instant::now();
        world.driver.script.next("batch", fault.clone());
        let told = world.diagnosis().await;
        assert_eq!(told.findings.iter().map(|finding| finding.kind).collect::<Vec<_>>(), [FindingKind::PoolUnseen], "{fault:?}");
        assert_eq!(world.word(volume, Subject::Volume(volume)).await, "available");
        assert!(begun.elapsed() < Settings::default().shape_deadline * 2);
        assert!(world.diagnosis().await.findings.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn more_unknown_objects_than_are_kept_are_counted() {
    let world = World::with(Settings { look_interval: Duration::from_secs(36000), ..Settings::default() }).await;
    // As many as are kept, as are looked at, and more.
    for (many, more) in [(1000, 0), (1500, 500), (10_500, 9500)] {
        (1..=many).for_each(|number| world.meddle(VolumeId(Uuid::from_u128(number)), 1, true));
        let told = world.diagnosis().await;
        let unknown = told.findings.iter().filter(|finding| finding.kind == FindingKind::UnknownObject).count();
        assert_eq!((unknown + told.more, told.more >= more), (many as usize, true));
    }
    (1..=10_500).for_each(|number| world.driver.meddle((VolumeId(Uuid::from_u128(number)), None), None));
    assert!(world.diagnosis().await.findings.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_look_that_is_asked_for_waits_for_no_slow_one() {
    // At this rate a slow round rests for a minute and a half after its first page, with so many volumes; with so many objects for longer in the
    // middle of its list.
    for (volumes, objects) in [(90, 0), (1, 5000)] {
        let world = World::with(Settings { look_rate: 1, look_interval: Duration::from_secs(600), ..Settings::default() }).await;
        for _ in 0..volumes {
            world.volume().await;
        }
        // The first round, which goes as fast as it can, is over by then, and the second begins later.
        tokio::time::sleep(Duration::from_secs(300)).await;
        (1..=objects).for_each(|number| world.meddle(VolumeId(Uuid::from_u128(number)), 1, true));
        tokio::time::sleep(Duration::from_secs(360)).await;
        let told = world.engine.diagnose(&world.admin).await.expect("told").findings.len();
        assert_eq!(told, 0, "it rests while it lists");
        let begun = tokio::time::Instant::now();
        tokio::time::timeout(Duration::from_secs(60), world.engine.look(&world.admin))
            .await
            .expect("in time")
            .expect("an administrator");
        assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn health_tells_when_it_was_looked_at_and_that_it_cannot_be() {
    let world = World::new().await;
    let volume = world.volume().await;
    world.clock.step(5000);
    world.diagnosis().await;
    assert_eq!(world.looked(volume).await, (Some(6000), false));
    world.clock.step(1000);
    world.driver.script.next("list", Fault::Hang);
    let told = world.diagnosis().await;
    assert_eq!(told.findings.iter().map(|finding| finding.kind).collect::<Vec<_>>(), [FindingKind::PoolUnseen]);
    assert_eq!(world.looked(volume).await, (Some(6000), true));
    // It answers again, but not about a volume that seems to differ.
    world.driver.meddle((volume, None), None);
    world.driver.script.next("inspect", Fault::Fail);
    let told = world.diagnosis().await;
    assert_eq!(told.findings.iter().map(|finding| finding.kind).collect::<Vec<_>>(), [FindingKind::Unseen]);
    assert_eq!(world.looked(volume).await, (Some(6000), true));
    assert_eq!(world.word(volume, Subject::Volume(volume)).await, "available");
    world.diagnosis().await;
    assert_eq!(world.word(volume, Subject::Volume(volume)).await, "error");
    assert!(!world.looked(volume).await.1);
}
