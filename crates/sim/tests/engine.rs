//! The engine on the ports in memory: whole lives, faults, races, and crashes, on a paused clock.

use async_trait::async_trait;
use engine::ports::Clock;
use engine::records::{Key, Record, VolumeRecord};
use engine::requests::{Caller, HostFields, NewAttachment, NewSnapshot, NewVolume, ProfileFields, Refusal};
use engine::store::{
    Child, Commit, CommitError, Committed, Ending, Head, Idempotent, Item, JournalEntry, JournalQuery, Kind, ListQuery, Store,
    StoreError, Versioned,
};
use engine::{Engine, PoolSetup, Settings};
use lifecycle::{AttachmentId, Bytes, Command, HostId, Mode, OperationKind, SnapshotId, Subject, VolumeId};
use sim::{Fault, MemDriver, MemExporter, MemStore, SteppedClock};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

struct World {
    store: Arc<MemStore>,
    driver: Arc<MemDriver>,
    exporter: Arc<MemExporter>,
    clock: Arc<SteppedClock>,
    engine: Engine,
    caller: Caller,
}

impl World {
    async fn new() -> Self {
        Self::with(MemDriver::able()).await
    }

    async fn with(driver: MemDriver) -> Self {
        let (store, driver, exporter, clock) = (Arc::default(), Arc::new(driver), Arc::default(), Arc::default());
        let engine = start(&store, &driver, &exporter, &clock).await;
        let caller = Caller { tenant: "t".into(), actor: "test".into(), ..Caller::default() };
        Self { store, driver, exporter, clock, engine, caller }
    }

    /// The controller dies and another takes its place. Its workers end with the runtime's tasks; here they are left without
    /// anybody who would hear them, and their tokens are older than the new ones'.
    async fn restart(&mut self) {
        self.engine = start(&self.store, &self.driver, &self.exporter, &self.clock).await;
    }

    async fn create(&self, gib: u64) -> VolumeId {
        let now = self.engine.create_volume(&self.caller, new_volume(gib)).await.expect("accepted");
        assert_eq!(word(&now.record), "creating");
        now.record.state.id()
    }

    async fn host(&self) -> HostId {
        let fields = HostFields { name: Some("h".into()), ip: Some("127.0.0.1".into()), ..HostFields::default() };
        self.engine.create_host(&self.caller, fields).await.expect("made").id
    }

    async fn attach(&self, volume: VolumeId, host: HostId) -> Result<AttachmentId, Refusal> {
        self.attach_over(volume, host, None).await
    }

    async fn attach_over(&self, volume: VolumeId, host: HostId, protocol: Option<String>) -> Result<AttachmentId, Refusal> {
        let (mountpoint, metadata) = (String::new(), Default::default());
        let new = NewAttachment { volume, host, mode: Mode::ReadWrite, mountpoint, protocol, metadata };
        self.engine.create_attachment(&self.caller, new).await.map(|(_, id)| id)
    }

    async fn snapshot(&self, volume: VolumeId) -> SnapshotId {
        let (name, description) = ("s".into(), String::new());
        let new = NewSnapshot { volume, name, description, metadata: Default::default(), profile: None };
        self.engine.create_snapshot(&self.caller, new).await.expect("accepted").1
    }

    async fn command(&self, volume: VolumeId, command: Command) -> Result<(), Refusal> {
        self.engine.command(&self.caller, volume, command).await.map(drop)
    }

    /// Waits until the volume has this status; `gone` once it answers 404.
    async fn until(&self, id: VolumeId, status: &str) -> Option<VolumeRecord> {
        let mut waiter = self.engine.wait(id);
        let reached = async {
            loop {
                let now = self.engine.volume(&self.caller, id).await.ok().map(|now| now.record);
                if now.as_ref().map_or("gone", word) == status {
                    return now;
                }
                waiter.changed().await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(3600), reached).await {
            Ok(now) => now,
            Err(_) => panic!("never {status}: {:?}", self.engine.volume(&self.caller, id).await),
        }
    }

    async fn reason(&self, id: VolumeId) -> String {
        let now = self.engine.volume(&self.caller, id).await.expect("there");
        let reason = now.record.state.reason(Subject::Volume(id)).expect("a reason");
        format!("{:?}: {}", reason.code, reason.message)
    }
}

async fn start(store: &Arc<MemStore>, driver: &Arc<MemDriver>, exporter: &Arc<MemExporter>, clock: &Arc<SteppedClock>) -> Engine {
    let pool = PoolSetup::new("default", driver.clone());
    Engine::start(store.clone(), exporter.clone(), clock.clone(), vec![pool], Settings::default()).await.expect("started")
}

fn new_volume(gib: u64) -> NewVolume {
    NewVolume {
        name: "v".into(),
        description: String::new(),
        metadata: Default::default(),
        size: Bytes::from_gib(gib).expect("small"),
        zone: String::new(),
        profile: None,
        pool: None,
        source: None,
        multi_attach: false,
    }
}

fn word(record: &VolumeRecord) -> &'static str {
    record.state.word(Subject::Volume(record.state.id()))
}

#[tokio::test(start_paused = true)]
async fn a_creation_is_answered_with_what_a_read_tells() {
    let world = World::new().await;
    world.driver.script.next("create", Fault::Hang);
    let answered = world.engine.create_volume(&world.caller, new_volume(1)).await.expect("accepted");
    let read = world.engine.volume(&world.caller, answered.record.state.id()).await.expect("it is there");
    assert_eq!(answered, read);
}

#[tokio::test(start_paused = true)]
async fn a_whole_life() {
    let world = World::new().await;
    let id = world.create(1).await;
    world.until(id, "available").await;
    let host = world.host().await;
    let attachment = world.attach(id, host).await.expect("accepted");
    world.until(id, "inUse").await;
    assert!(world.exporter.exports().contains_key(&attachment));
    let snapshot = world.snapshot(id).await;
    world.command(id, Command::Extend { size: Bytes(2 << 30) }).await.expect_err("a snapshot is being taken");
    world.command(id, Command::Detach { id: attachment, force: false }).await.expect("accepted");
    world.until(id, "available").await;
    assert!(world.exporter.exports().is_empty());
    world.command(id, Command::Extend { size: Bytes(2 << 30) }).await.expect("accepted");
    let record = world.until(id, "available").await.expect("there");
    assert_eq!(record.state.size(), Bytes(2 << 30));
    let clone = NewVolume { source: Some(snapshot), ..new_volume(3) };
    let clone = world.engine.create_volume(&world.caller, clone).await.expect("accepted").record.state.id();
    world.until(clone, "available").await;
    world.command(id, Command::Delete { cascade: false }).await.expect_err("it has a snapshot");
    world.command(id, Command::Delete { cascade: true }).await.expect("accepted");
    world.until(id, "gone").await;
    world.command(clone, Command::Delete { cascade: false }).await.expect("accepted");
    world.until(clone, "gone").await;
    assert!(world.driver.objects().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_create_is_two_commits() {
    let world = World::new().await;
    let before = world.store.head().await.expect("answers").revision;
    let id = world.create(1).await;
    world.until(id, "available").await;
    assert_eq!(world.store.head().await.expect("answers").revision - before, 2);
    assert_eq!(world.driver.script.count("create"), 1);
}

/// Runs to its end in a runtime of its own: whatever else was begun in it dies with it.
fn lives<T>(life: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime").block_on(life)
}

#[test]
fn a_clone_whose_end_is_found_by_the_look_after_a_start_lets_go_of_its_source() {
    let (mut world, id, clone) = lives(async {
        let world = World::new().await;
        let id = world.create(1).await;
        world.until(id, "available").await;
        let snapshot = world.snapshot(id).await;
        while world.engine.volume(&world.caller, id).await.expect("there").record.state.word(Subject::Snapshot(snapshot))
            != "available"
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        world.driver.freeze();
        let clone = NewVolume { source: Some(snapshot), ..new_volume(1) };
        let clone = world.engine.create_volume(&world.caller, clone).await.expect("accepted").record.state.id();
        world.command(clone, Command::Delete { cascade: false }).await.expect("accepted");
        (world, id, clone)
    });
    lives(async {
        world.restart().await;
        // The source is seen to first, and has to wait.
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.driver.thaw();
        world.until(clone, "gone").await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(world.engine.volume(&world.caller, id).await.expect("there").record.state.pins().is_empty());
    });
}

#[tokio::test(start_paused = true)]
async fn a_clone_is_two_commits_and_lets_go_of_its_source() {
    let world = World::new().await;
    let id = world.create(1).await;
    world.until(id, "available").await;
    let snapshot = world.snapshot(id).await;
    while world.engine.volume(&world.caller, id).await.expect("there").record.state.word(Subject::Snapshot(snapshot)) != "available"
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let before = world.store.head().await.expect("answers").revision;
    let clone = NewVolume { source: Some(snapshot), ..new_volume(1) };
    let clone = world.engine.create_volume(&world.caller, clone).await.expect("accepted").record.state.id();
    assert_eq!(world.engine.volume(&world.caller, id).await.expect("there").record.state.pins().len(), 1);
    world.until(clone, "available").await;
    assert_eq!(world.store.head().await.expect("answers").revision - before, 2);
    assert!(world.engine.volume(&world.caller, id).await.expect("there").record.state.pins().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_no_error() {
    let world = World::new().await;
    for fault in [Fault::Fail, Fault::ActThenUnknown, Fault::HalfThenUnknown, Fault::Panic] {
        world.driver.script.next("create", fault);
    }
    let id = world.create(1).await;
    world.until(id, "available").await;
    assert_eq!(world.driver.script.count("create"), 5);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_driver_ends_that_call_and_nothing_else() {
    let world = World::new().await;
    world.driver.script.next("create", Fault::Panic);
    let (first, second) = (world.create(1).await, world.create(1).await);
    world.until(second, "available").await;
    world.until(first, "available").await;
    world.driver.script.next("delete", Fault::Panic);
    world.command(first, Command::Delete { cascade: false }).await.expect("accepted");
    world.until(first, "gone").await;
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_always_panics_ends_truthfully() {
    let world = World::new().await;
    (0..1000).for_each(|_| world.driver.script.next("create", Fault::Panic));
    let id = world.create(1).await;
    let ended = world.until(id, "error").await.expect("it is there");
    let reason = ended.state.reason(Subject::Volume(id)).expect("it says why");
    // The look that follows may have come already.
    use lifecycle::ReasonCode::{OutcomeUnknown, ProvenAbsent};
    assert!([OutcomeUnknown, ProvenAbsent].contains(&reason.code), "{reason:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_create_cleans_up_and_can_be_retried() {
    let world = World::new().await;
    world.driver.script.next("create", Fault::HalfThenUnknown);
    world.driver.script.next("create", Fault::Refuse);
    let id = world.create(1).await;
    world.until(id, "error").await;
    assert!(world.driver.objects().is_empty(), "an earlier try left something");
    assert!(world.reason(id).await.contains("scripted to refuse"));
    world.command(id, Command::Retry(Subject::Volume(id))).await.expect("allowed");
    world.until(id, "available").await;
}

#[tokio::test(start_paused = true)]
async fn a_hung_create_ends_truthfully_and_can_be_deleted() {
    let world = World::new().await;
    world.driver.script.next("create", Fault::Hang);
    let id = world.create(1).await;
    world.until(id, "error").await;
    while !world.reason(id).await.starts_with("ProvenAbsent") {
        assert!(world.reason(id).await.starts_with("OutcomeUnknown"));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world.command(id, Command::Delete { cascade: false }).await.expect("allowed");
    world.until(id, "gone").await;
}

#[tokio::test(start_paused = true)]
async fn delete_supersedes_a_hung_create() {
    let world = World::new().await;
    world.driver.script.next("create", Fault::Hang);
    let id = world.create(1).await;
    world.command(id, Command::Delete { cascade: false }).await.expect("allowed");
    world.command(id, Command::Delete { cascade: false }).await.expect("again is the same");
    world.until(id, "gone").await;
    assert_eq!(world.driver.script.count("delete"), 1);
    let journal = world.engine.journal(&world.caller, Subject::Volume(id), 0, 100).await.expect("known");
    let told: Vec<_> = journal.iter().map(|entry| (entry.to.as_str(), entry.ended.map(|ended| ended.how.word()))).collect();
    assert_eq!(told, [("creating", None), ("deleting", Some("superseded")), ("deleted", Some("done"))]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_attach_is_taken_back_before_it_is_told() {
    let world = World::new().await;
    let id = world.create(1).await;
    world.until(id, "available").await;
    world.exporter.script.next("export", Fault::ActThenUnknown);
    world.exporter.script.next("export", Fault::Refuse);
    let host = world.host().await;
    let attachment = world.attach(id, host).await.expect("accepted");
    let record = world.until(id, "available").await.expect("there");
    assert_eq!(record.state.word(Subject::Attachment(attachment)), "errorAttaching");
    assert!(world.exporter.exports().is_empty(), "an earlier try exported it");
}

#[tokio::test(start_paused = true)]
async fn the_profile_of_the_volume_names_the_protocol_unless_the_request_does() {
    let world = World::new().await;
    let administrator = Caller { is_admin: true, ..world.caller.clone() };
    let host = world.host().await;
    let rows = [
        (r#"{"ioConnectivity":{"accessProtocol":"nbd"}}"#, None),
        (r#"{"ioConnectivity":{"accessProtocol":""}}"#, None),
        (r#"{"ioConnectivity":{}}"#, None),
        (r#"{"ioConnectivity":[{}]}"#, None),
        (r#"{"ioConnectivity":{"accessProtocol":"iscsi"}}"#, Some("iscsi")),
        (r#"{"ioConnectivity":{"accessProtocol":["nbd"]}}"#, Some(r#"["nbd"]"#)),
    ];
    for (number, (group, refused)) in rows.into_iter().enumerate() {
        let name = format!("profile-{number}");
        let properties = Some([("provisioningProperties".to_owned(), group.to_owned())].into());
        let fields =
            ProfileFields { name: Some(name.clone()), storage_type: Some("block".into()), properties, ..ProfileFields::default() };
        let profile = world.engine.create_profile(&administrator, fields).await.expect("made").id;
        let new = NewVolume { profile: Some(profile), ..new_volume(1) };
        let id = world.engine.create_volume(&world.caller, new).await.expect("accepted").record.state.id();
        world.until(id, "available").await;
        match (world.attach(id, host).await, refused) {
            (Ok(_), None) => {}
            (Err(Refusal::BadReference(why)), Some(protocol)) => {
                let told = format!("access protocol {protocol}, which profile {name} ({profile}) asks for, is not spoken here");
                assert!(why.starts_with(&told) && why.contains("(there are: nbd)"), "{why}");
                world.attach_over(id, host, Some("nbd".into())).await.expect("the request wins");
            }
            (other, _) => panic!("{group}: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_finishes_what_was_owed() {
    let mut world = World::new().await;
    let id = world.create(1).await;
    world.until(id, "available").await;
    world.driver.script.next("extend", Fault::Hang);
    world.driver.script.next("create", Fault::Hang);
    world.command(id, Command::Extend { size: Bytes(2 << 30) }).await.expect("accepted");
    let other = world.create(1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.restart().await;
    world.until(id, "available").await;
    world.until(other, "available").await;
    assert_eq!(world.driver.objects().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lost_export_is_made_again_after_a_restart() {
    let mut world = World::new().await;
    let id = world.create(1).await;
    world.until(id, "available").await;
    let host = world.host().await;
    let attachment = world.attach(id, host).await.expect("accepted");
    world.until(id, "inUse").await;
    world.exporter = Arc::default();
    world.restart().await;
    while !world.exporter.exports().contains_key(&attachment) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world.until(id, "inUse").await;
}

#[tokio::test(start_paused = true)]
async fn right_after_a_start_no_export_is_called_proven() {
    let mut world = World::new().await;
    let id = world.create(1).await;
    world.until(id, "available").await;
    let host = world.host().await;
    let attachment = world.attach(id, host).await.expect("accepted");
    let record = world.until(id, "inUse").await.expect("there");
    // As when the whole machine was restarted: the record says attached, and nothing is served.
    world.exporter = Arc::default();
    world.restart().await;
    assert!(!world.engine.exporter_answers(&record, attachment), "nobody was asked yet");
    while !world.engine.exporter_answers(&record, attachment) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let entries = world.engine.journal(&world.caller, Subject::Attachment(attachment), 0, 100).await.expect("a journal");
    assert!(entries.iter().any(|entry| entry.cause == "look at exports"), "what is not served was noted before");
}

#[tokio::test(start_paused = true)]
async fn exports_lost_under_a_running_controller_are_made_again_and_the_journal_tells() {
    let world = World::new().await;
    let id = world.create(1).await;
    world.until(id, "available").await;
    let host = world.host().await;
    let attachment = world.attach(id, host).await.expect("accepted");
    world.until(id, "inUse").await;
    world.exporter.lose();
    while !world.exporter.exports().contains_key(&attachment) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world.until(id, "inUse").await;
    assert!(world.exporter.exports().contains_key(&attachment));
    let entries = world.engine.journal(&world.caller, Subject::Attachment(attachment), 0, 100).await.expect("a journal");
    let words: Vec<_> = entries.iter().map(|entry| entry.to.as_str()).collect();
    assert!(words.ends_with(&["attached", "attaching", "attached"]), "{words:?}");
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_next_try_is_tried_when_the_data_plane_is_back() {
    let world = World::new().await;
    let id = world.create(1).await;
    world.until(id, "available").await;
    let host = world.host().await;
    world.attach(id, host).await.expect("accepted");
    world.until(id, "inUse").await;
    // So often that the next try is a quarter of a minute away at the least.
    (0..8).for_each(|_| world.exporter.script.next("export", Fault::Fail));
    world.exporter.lose();
    while world.exporter.script.count("export") < 9 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let begun = tokio::time::Instant::now();
    world.exporter.lose();
    world.until(id, "inUse").await;
    assert!(begun.elapsed() < Duration::from_secs(1), "it took {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_export_made_while_others_are_looked_at_is_not_called_lost() {
    let world = World::new().await;
    let shared = NewVolume { multi_attach: true, ..new_volume(1) };
    let id = world.engine.create_volume(&world.caller, shared).await.expect("accepted").record.state.id();
    world.until(id, "available").await;
    let host = world.host().await;
    world.attach(id, host).await.expect("accepted");
    world.until(id, "inUse").await;
    // The second is exported at the second try, while the look at the first takes its time.
    world.exporter.script.next("export", Fault::Fail);
    world.exporter.script.next("inspect", Fault::Hang);
    let second = world.attach(id, host).await.expect("accepted");
    world.exporter.lose();
    world.until(id, "inUse").await;
    tokio::time::sleep(Settings::default().look_timeout * 2).await;
    let entries = world.engine.journal(&world.caller, Subject::Attachment(second), 0, 100).await.expect("a journal");
    let words: Vec<_> = entries.iter().map(|entry| entry.to.as_str()).collect();
    assert_eq!(words, ["attaching", "attached"]);
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_grew_is_done_once_its_exports_offer_the_new_size() {
    let world = World::new().await;
    let id = world.create(1).await;
    world.until(id, "available").await;
    let host = world.host().await;
    let attachment = world.attach(id, host).await.expect("accepted");
    world.until(id, "inUse").await;
    world.exporter.script.next("refresh", Fault::Fail);
    world.command(id, Command::Extend { size: Bytes(2 << 30) }).await.expect("accepted");
    let grown = world.until(id, "inUse").await.expect("there");
    assert_eq!(grown.state.size(), Bytes(2 << 30));
    assert_eq!(world.exporter.refreshed(), [attachment]);
}

#[tokio::test(start_paused = true)]
async fn a_missing_volume_is_told_and_never_made_anew() {
    let mut world = World::new().await;
    let id = world.create(1).await;
    world.until(id, "available").await;
    world.driver.meddle((id, None), None);
    world.restart().await;
    world.until(id, "error").await;
    assert!(world.reason(id).await.starts_with("BackendMissing"));
    world.command(id, Command::Retry(Subject::Volume(id))).await.expect_err("would pass off an empty volume as the lost one");
    world.command(id, Command::Recover(Subject::Volume(id))).await.expect("allowed");
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.until(id, "error").await;
    world.driver.meddle((id, None), Some(sim::Object { size: Bytes(1 << 30), whole: true }));
    world.command(id, Command::Recover(Subject::Volume(id))).await.expect("allowed");
    world.until(id, "available").await;
}

#[tokio::test(start_paused = true)]
async fn one_of_eight_wins() {
    for _ in 0..100 {
        let world = Arc::new(World::new().await);
        let id = world.create(1).await;
        world.until(id, "available").await;
        let host = world.host().await;
        let attaches: Vec<_> = (0..8)
            .map(|_| {
                tokio::spawn({
                    let world = world.clone();
                    async move { world.attach(id, host).await }
                })
            })
            .collect();
        let mut won = 0;
        for attach in attaches {
            won += usize::from(attach.await.expect("no panic").is_ok());
        }
        assert_eq!(won, 1);
        world.until(id, "inUse").await;
        assert_eq!(world.exporter.script.count("export"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn twenty_creates_cannot_overshoot_the_pool() {
    let world = Arc::new(World::new().await);
    let creates: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn({
                let world = world.clone();
                async move { world.engine.create_volume(&world.caller, new_volume(30)).await.is_ok() }
            })
        })
        .collect();
    let mut won = 0;
    for create in creates {
        won += usize::from(create.await.expect("no panic"));
    }
    assert_eq!(won, 3, "three of 30 GiB fit into 100");
}

#[tokio::test(start_paused = true)]
async fn of_two_pools_the_one_with_more_left_is_taken() {
    let pool = |name, overcommit, driver: &Arc<MemDriver>| PoolSetup { overcommit, ..PoolSetup::new(name, driver.clone()) };
    let (small, large) = (Arc::new(MemDriver::able()), Arc::new(MemDriver::able()));
    let setups = vec![pool("small", 0.5, &small), pool("large", 1.0, &large)];
    let (store, exporter, clock) = (Arc::<MemStore>::default(), Arc::<MemExporter>::default(), Arc::<SteppedClock>::default());
    let engine = Engine::start(store, exporter, clock, setups, Settings::default()).await.expect("started");
    let caller = Caller { tenant: "t".into(), ..Caller::default() };
    let make = async |gib| engine.create_volume(&caller, new_volume(gib)).await.expect("accepted").record.pool;
    // 100 GiB each: 50 and 100 may be promised.
    let (first, second, third) = (make(60).await, make(45).await, make(39).await);
    let named = engine.pools().await.expect("told");
    let name = |id| named.iter().find(|pool| pool.id == id).map(|pool| pool.name.as_str());
    assert_eq!([first, second, third].map(name), [Some("large"), Some("small"), Some("large")]);
}

#[tokio::test(start_paused = true)]
async fn tenants_do_not_see_one_another() {
    let world = World::new().await;
    let id = world.create(1).await;
    let other = Caller { tenant: "u".into(), ..Caller::default() };
    assert!(matches!(world.engine.volume(&other, id).await, Err(Refusal::NotFound { .. })));
    let deleted = world.engine.command(&other, id, Command::Delete { cascade: false }).await;
    assert!(matches!(deleted, Err(Refusal::NotFound { .. })));
    assert!(world.engine.journal(&other, Subject::Volume(id), 0, 10).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_store_in_trouble_is_told_as_such() {
    let world = World::new().await;
    world.store.refuse_next(CommitError::Unavailable("gone fishing".into()));
    let refused = world.engine.create_volume(&world.caller, new_volume(1)).await;
    assert!(matches!(refused, Err(Refusal::Unavailable(_))));
    assert!(world.driver.objects().is_empty());
}

#[tokio::test(start_paused = true)]
async fn tombstones_expire() {
    let world = World::new().await;
    let id = world.create(1).await;
    world.until(id, "available").await;
    let snapshot = world.snapshot(id).await;
    world.command(id, Command::DeleteSnapshot { id: snapshot }).await.expect("allowed");
    let word =
        || async { world.engine.volume(&world.caller, id).await.expect("there").record.state.word(Subject::Snapshot(snapshot)) };
    while word().await != "deleted" {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world.clock.step(2 * 3600 * 1000);
    assert!(world.clock.now().0 > 0);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(world.engine.snapshot(&world.caller, snapshot).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_runs_on_a_part_of_a_forgotten_volume_ends_in_its_journal() {
    let mut world = World::new().await;
    let id = world.create(1).await;
    world.until(id, "available").await;
    world.driver.script.next("snapshot", Fault::Hang);
    let snapshot = world.snapshot(id).await;
    // A pool that is not configured any more: its volumes may be forgotten.
    let (store, exporter, clock) = (world.store.clone(), world.exporter.clone(), world.clock.clone());
    world.engine = Engine::start(store, exporter, clock, vec![], Settings::default()).await.expect("started");
    let operator = Caller { is_admin: true, ..world.caller.clone() };
    world.engine.command(&operator, id, Command::Forget).await.expect("allowed");
    let told = world.engine.journal(&operator, Subject::Snapshot(snapshot), 0, 10).await.expect("known");
    let last = told.last().expect("entries");
    assert_eq!((last.from.as_deref(), last.to.as_str()), (Some("creating"), "forgotten, may have left data"));
    assert_eq!(last.ended.map(|ended| (ended.operation, ended.how)), Some((OperationKind::Create, Ending::Superseded)));
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_answer_was_lost_is_told_to_who_waits() {
    let world = World::new().await;
    let id = world.create(1).await;
    world.until(id, "available").await;
    let mut waiter = world.engine.wait(id);
    world.store.lose_next_answer();
    let answered = world.command(id, Command::Delete { cascade: false }).await;
    assert!(matches!(answered, Err(Refusal::Unavailable(_))), "{answered:?}");
    tokio::time::timeout(Duration::from_secs(1), waiter.changed()).await.expect("told at once, as no later commit may tell");
    assert_eq!(word(&world.engine.volume(&world.caller, id).await.expect("there").record), "deleting");
}

/// A store whose commits, and tenants' lists, wait at a gate, in the order in which they came.
#[derive(Default)]
struct Gate {
    inner: MemStore,
    is_shut: AtomicBool,
    opened: Notify,
    /// Whose commands and lists came to the gate.
    came: Mutex<Vec<String>>,
}

impl Gate {
    async fn pass(&self) {
        while self.is_shut.load(Ordering::Relaxed) {
            self.opened.notified().await;
        }
    }
}

#[async_trait]
impl Store for Gate {
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        if let Some(entry) = commit.journal.first().filter(|entry| !entry.actor.is_empty()) {
            self.came.lock().unwrap().push(entry.tenant.clone());
        }
        self.pass().await;
        self.inner.commit(commit).await
    }

    async fn read(&self, key: Key) -> Result<Option<Versioned<Record>>, StoreError> {
        self.inner.read(key).await
    }

    async fn find(&self, child: Child) -> Result<Option<VolumeRecord>, StoreError> {
        self.inner.find(child).await
    }

    async fn counted(&self, key: Key) -> Result<u64, StoreError> {
        self.inner.counted(key).await
    }

    async fn list(&self, query: ListQuery) -> Result<mpsc::Receiver<Result<Vec<Item>, StoreError>>, StoreError> {
        if let Some(tenant) = &query.tenant {
            self.came.lock().unwrap().push(tenant.clone());
            self.pass().await;
        }
        self.inner.list(query).await
    }

    async fn owes_work(&self, after: Option<VolumeId>, limit: usize) -> Result<Vec<VolumeId>, StoreError> {
        self.inner.owes_work(after, limit).await
    }

    async fn journal(&self, query: JournalQuery) -> Result<Vec<JournalEntry>, StoreError> {
        self.inner.journal(query).await
    }

    async fn idempotent(&self, tenant: &str, key: &str) -> Result<Option<Idempotent>, StoreError> {
        self.inner.idempotent(tenant, key).await
    }

    async fn head(&self) -> Result<Head, StoreError> {
        self.inner.head().await
    }

    async fn begin_incarnation(&self) -> Result<u64, CommitError> {
        self.inner.begin_incarnation().await
    }
}

#[tokio::test(start_paused = true)]
async fn commands_on_their_way_to_the_store_are_bounded_and_tenants_take_turns() {
    let store = Arc::new(Gate::default());
    let (exporter, clock): (Arc<MemExporter>, Arc<SteppedClock>) = (Arc::default(), Arc::default());
    let pool = PoolSetup { overcommit: 100.0, ..PoolSetup::new("default", Arc::new(MemDriver::able())) };
    let settings = Settings { commands_at_once: 2, ..Settings::default() };
    let engine = Engine::start(store.clone(), exporter, clock, vec![pool], settings).await.expect("started");
    store.is_shut.store(true, Ordering::Relaxed);
    let mut asked = Vec::new();
    for tenant in ["noisy", "noisy", "noisy", "noisy", "noisy", "quiet"] {
        let (engine, caller) = (engine.clone(), Caller { tenant: tenant.into(), actor: tenant.into(), ..Caller::default() });
        asked.push(tokio::spawn(async move { engine.create_volume(&caller, new_volume(1)).await }));
        // Until it waits, at the gate or for its turn.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(*store.came.lock().unwrap(), ["noisy", "noisy"], "no more are on their way");
    store.is_shut.store(false, Ordering::Relaxed);
    store.opened.notify_waiters();
    for asked in asked {
        asked.await.expect("no panic").expect("accepted");
    }
    assert_eq!(*store.came.lock().unwrap(), ["noisy", "noisy", "noisy", "quiet", "noisy", "noisy"]);
}

#[tokio::test(start_paused = true)]
async fn lists_are_bounded_and_shared_among_tenants() {
    let store = Arc::new(Gate::default());
    let (exporter, clock): (Arc<MemExporter>, Arc<SteppedClock>) = (Arc::default(), Arc::default());
    let settings = Settings { lists_at_once: 4, ..Settings::default() };
    let patience = settings.list_patience;
    let engine = Engine::start(store.clone(), exporter, clock, Vec::new(), settings).await.expect("started");
    let ask = |tenant: &str| {
        let (engine, caller) = (engine.clone(), Caller { tenant: tenant.into(), ..Caller::default() });
        tokio::spawn(async move { engine.list(&caller, ListQuery::all(Kind::Volume)).await.map(|_| ()) })
    };
    let breathe = || tokio::time::sleep(Duration::from_millis(10));
    store.is_shut.store(true, Ordering::Relaxed);
    let mut asked = Vec::new();
    for tenant in ["noisy", "noisy", "noisy", "noisy", "quiet"] {
        asked.push(ask(tenant));
        breathe().await;
    }
    assert_eq!(*store.came.lock().unwrap(), ["noisy", "noisy", "quiet"], "half for one, and others are not behind it");
    // Who gives up while its list hangs makes room.
    asked.remove(0).abort();
    breathe().await;
    assert_eq!(*store.came.lock().unwrap(), ["noisy", "noisy", "quiet", "noisy"]);
    // Who waits is told in the end why, though all that it waits for hangs. What the controller tells by itself does not wait.
    let everybody = Caller { is_admin: true, ..Caller::default() };
    engine.begin_list(&everybody, ListQuery::all(Kind::Host)).await.expect("begun").hosts().await.expect("listed");
    tokio::time::sleep(patience).await;
    let told = asked.remove(2).await.expect("no panic").expect_err("not begun").to_string();
    assert!(told.contains("20 seconds"), "{told}");
    store.is_shut.store(false, Ordering::Relaxed);
    store.opened.notify_waiters();
    for asked in asked {
        asked.await.expect("no panic").expect("listed");
    }
    ask("noisy").await.expect("no panic").expect("listed");
}
