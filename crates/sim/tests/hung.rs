//! Backends that hang, on a paused clock: what is told of them, what is refused and queued, and that nobody else notices.

use engine::records::VolumeRecord;
use engine::requests::{Caller, HostFields, Live, NewAttachment, NewSnapshot, NewVolume, PoolNow, Refusal};
use engine::store::{Kind, ListQuery, Sort};
use engine::{Deadlines, Engine, PoolSetup, Reach, Settings, WhenDown};
use lifecycle::{AttachmentId, Bytes, Command, HostId, Mode, PoolId, Subject, VolumeId};
use sim::{Fault, MemDriver, MemExporter, MemStore, SteppedClock};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long the API may take to answer while every backend hangs: one wait for what a backend may tell of its capacity, and some.
const BOUNDED: Duration = Duration::from_secs(3);

/// Two pools of one controller: one that will hang, and another.
struct World {
    hung: Arc<MemDriver>,
    other: Arc<MemDriver>,
    exporter: Arc<MemExporter>,
    clock: Arc<SteppedClock>,
    engine: Engine,
    caller: Caller,
    host: HostId,
}

impl World {
    async fn new(when_down: WhenDown) -> Self {
        Self::with(when_down, Settings::default(), |_| {}).await
    }

    /// `before` is what happens to the driver that will hang before the controller starts.
    async fn with(when_down: WhenDown, settings: Settings, before: impl FnOnce(&MemDriver)) -> Self {
        let (hung, other) = (Arc::new(MemDriver::able()), Arc::new(MemDriver::able()));
        before(&hung);
        let deadlines = Deadlines { extend: Some(Duration::from_secs(7)), ..Deadlines::default() };
        let pool = |name, driver: &Arc<MemDriver>| PoolSetup { deadlines, when_down, ..PoolSetup::new(name, driver.clone()) };
        let (exporter, clock) = (Arc::<MemExporter>::default(), Arc::<SteppedClock>::default());
        let pools = vec![pool("hung", &hung), pool("other", &other)];
        let store = Arc::<MemStore>::default();
        let engine = Engine::start(store, exporter.clone(), clock.clone(), pools, settings).await.expect("started");
        let caller = Caller { tenant: "t".into(), actor: "test".into(), ..Caller::default() };
        let fields = HostFields { name: Some("h".into()), ip: Some("127.0.0.1".into()), ..HostFields::default() };
        let host = engine.create_host(&caller, fields).await.expect("made").id;
        Self { hung, other, exporter, clock, engine, caller, host }
    }

    async fn pool(&self, name: &str) -> PoolNow {
        let pools = self.engine.pools().await.expect("told");
        pools.into_iter().find(|pool| pool.name == name).expect("configured")
    }

    async fn create(&self, pool: &str) -> Result<VolumeId, Refusal> {
        let pool = self.pool(pool).await.id;
        self.create_in(Some(pool)).await.map(|record| record.state.id())
    }

    async fn create_in(&self, pool: Option<PoolId>) -> Result<VolumeRecord, Refusal> {
        let new = NewVolume {
            name: "v".into(),
            description: String::new(),
            metadata: Default::default(),
            size: Bytes(Bytes::GIB),
            zone: String::new(),
            profile: None,
            pool,
            source: None,
            multi_attach: false,
        };
        self.engine.create_volume(&self.caller, new).await.map(|now| now.record)
    }

    async fn available(&self, pool: &str) -> VolumeId {
        let id = self.create(pool).await.expect("accepted");
        self.until(id, "available").await;
        id
    }

    async fn attach(&self, volume: VolumeId) -> Result<AttachmentId, Refusal> {
        let (mountpoint, metadata) = (String::new(), Default::default());
        let new = NewAttachment { volume, host: self.host, mode: Mode::ReadWrite, mountpoint, protocol: None, metadata };
        self.engine.create_attachment(&self.caller, new).await.map(|(_, id)| id)
    }

    async fn snapshot(&self, volume: VolumeId) -> Result<(), Refusal> {
        let (name, description) = ("s".into(), String::new());
        let new = NewSnapshot { volume, name, description, metadata: Default::default(), profile: None };
        self.engine.create_snapshot(&self.caller, new).await.map(drop)
    }

    async fn command(&self, volume: VolumeId, command: Command) -> Result<(), Refusal> {
        self.engine.command(&self.caller, volume, command).await.map(drop)
    }

    async fn delete(&self, volume: VolumeId) {
        self.command(volume, Command::Delete { cascade: false }).await.expect("always accepted");
    }

    async fn until(&self, id: VolumeId, status: &str) {
        let mut waiter = self.engine.wait(id);
        let reached = async {
            loop {
                let now = self.engine.volume(&self.caller, id).await.ok();
                if now.map_or("gone", |now| now.record.state.word(Subject::Volume(id))) == status {
                    return;
                }
                waiter.changed().await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(3600), reached).await.is_err() {
            panic!("never {status}: {:?}", self.engine.volume(&self.caller, id).await);
        }
    }

    /// Waits until what is shown of the volume's operation is as wanted.
    async fn shown(&self, subject: Subject, wanted: impl Fn(&Live) -> bool) -> Live {
        let begun = Instant::now();
        loop {
            let live = self.engine.live(subject).unwrap_or_default();
            if wanted(&live) {
                return live;
            }
            assert!(begun.elapsed() < Duration::from_secs(600), "it shows {live:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the pool that hangs is known to be down, or up; tells how long that took.
    async fn until_down(&self, down: bool) -> Duration {
        let begun = Instant::now();
        while self.pool("hung").await.reach.is_down() != down {
            assert!(begun.elapsed() < Duration::from_secs(600), "never noticed");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        begun.elapsed()
    }
}

fn waits_for<'a>(words: &'a str) -> impl Fn(&Live) -> bool + 'a {
    move |live| live.waiting_for.as_deref() == Some(words)
}

#[tokio::test(start_paused = true)]
async fn a_pool_whose_backend_hangs_is_down_and_the_other_does_not_notice() {
    let world = World::new(WhenDown::Refuse).await;
    world.available("hung").await;
    world.clock.step(5000);
    world.hung.freeze();
    let took = world.until_down(true).await;
    let settings = Settings::default();
    assert!(took <= settings.probe_interval + settings.down_after + BOUNDED, "it took {took:?}");
    let Reach::Down { since, because } = world.pool("hung").await.reach else { panic!("down") };
    assert!(since.0 == 5000 && because.contains("no answer"), "{since:?} {because}");
    assert!(matches!(world.pool("other").await.reach, Reach::Up { .. }));
    let begun = Instant::now();
    world.available("other").await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    world.hung.thaw();
    assert!(world.until_down(false).await < Duration::from_secs(1), "the probe that hung is answered");
    world.available("hung").await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_down_is_found_at_once_and_looked_at_when_it_is_back() {
    let world = World::new(WhenDown::Refuse).await;
    let (lost, administrator) = (world.available("hung").await, Caller { is_admin: true, ..world.caller.clone() });
    let kinds = async || {
        let found = world.engine.diagnose(&administrator).await.expect("told").findings;
        found.iter().map(|finding| finding.kind.word()).collect::<Vec<_>>()
    };
    assert!(kinds().await.is_empty());
    world.hung.freeze();
    world.until_down(true).await;
    assert_eq!(kinds().await, ["poolDown"]);
    let begun = Instant::now();
    world.engine.look(&administrator).await.expect("looked");
    assert!(begun.elapsed() < Settings::default().look_timeout, "who is down is not asked: {:?}", begun.elapsed());
    world.hung.meddle((lost, None), None);
    world.hung.thaw();
    world.until_down(false).await;
    let back = Instant::now();
    world.until(lost, "error").await;
    assert!(back.elapsed() < Duration::from_secs(1), "it took {:?}", back.elapsed());
    world.engine.look(&administrator).await.expect("looked");
    assert_eq!(kinds().await, ["status"]);
}

#[tokio::test(start_paused = true)]
async fn one_volume_that_always_fails_or_hangs_does_not_make_its_pool_down() {
    let world = World::new(WhenDown::Refuse).await;
    for fault in [Fault::Fail, Fault::Hang] {
        (0..1000).for_each(|_| world.hung.script.next("create", fault.clone()));
        let id = world.create("hung").await.expect("accepted");
        world.until(id, "error").await;
        assert!(matches!(world.pool("hung").await.reach, Reach::Up { .. }), "{fault:?}");
    }
    // Each failure has the backend probed, but not each at once.
    assert!(world.hung.script.count("probe") < 300, "{} probes", world.hung.script.count("probe"));
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_refuses_its_probes_is_down_and_says_why() {
    let world = World::new(WhenDown::Refuse).await;
    world.available("hung").await;
    (0..1000).for_each(|_| world.hung.script.next("probe", Fault::Fail));
    world.until_down(true).await;
    let Reach::Down { because, .. } = world.pool("hung").await.reach else { panic!("down") };
    assert!(because.contains("scripted: Fail"), "{because}");
    let probes = world.hung.script.count("probe");
    tokio::time::sleep(Duration::from_secs(600)).await;
    let more = world.hung.script.count("probe") - probes;
    assert!((60..=70).contains(&more), "one in {:?}, not {more}", Settings::default().probe_interval);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_probe_ends_that_probe_and_nothing_else() {
    let world = World::new(WhenDown::Refuse).await;
    world.hung.script.next("probe", Fault::Panic);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.hung.script.count("probe") > 3);
    assert!(matches!(world.pool("hung").await.reach, Reach::Up { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_backend_at_work_is_not_probed() {
    let world = World::new(WhenDown::Refuse).await;
    world.available("hung").await;
    let probes = world.hung.script.count("probe");
    for _ in 0..20 {
        world.available("hung").await;
        tokio::time::sleep(Settings::default().probe_interval / 2).await;
    }
    assert_eq!(world.hung.script.count("probe"), probes, "what it does shows that it works");
}

#[tokio::test(start_paused = true)]
async fn a_lost_probe_is_asked_anew() {
    let world = World::new(WhenDown::Refuse).await;
    world.available("hung").await;
    world.hung.script.next("probe", Fault::Hang);
    world.until_down(true).await;
    assert!(world.until_down(false).await <= Settings::default().look_timeout + BOUNDED);
}

#[tokio::test(start_paused = true)]
async fn new_work_on_a_pool_that_is_down_is_refused_and_what_takes_away_is_not() {
    let world = World::new(WhenDown::Refuse).await;
    let id = world.available("hung").await;
    let attached = world.available("hung").await;
    let attachment = world.attach(attached).await.expect("accepted");
    world.until(attached, "inUse").await;
    world.hung.freeze();
    world.until_down(true).await;
    let refused = |result: Result<(), Refusal>| match result {
        Err(no @ Refusal::PoolDown { .. }) => no.to_string(),
        other => panic!("{other:?}"),
    };
    let why = refused(world.create("hung").await.map(drop));
    assert!(why.starts_with("pool hung takes no new work now: its backend is unreachable since 1970-01-01T00:00:00"), "{why}");
    refused(world.command(id, Command::Extend { size: Bytes(2 * Bytes::GIB) }).await);
    refused(world.snapshot(id).await);
    refused(world.attach(id).await.map(drop));
    // The rules come first: what they refuse is not worth asking again.
    assert!(matches!(world.attach(attached).await, Err(Refusal::NotAllowed(_))));
    world.command(attached, Command::Detach { id: attachment, force: false }).await.expect("always accepted");
    world.until(attached, "available").await;
    assert!(world.exporter.exports().is_empty(), "the data plane is not that backend");
    world.delete(id).await;
    world.until(id, "errorDeleting").await;
    refused(world.command(attached, Command::Extend { size: Bytes(2 * Bytes::GIB) }).await);
    world.command(id, Command::Retry(Subject::Volume(id))).await.expect("it goes on removing");
    world.hung.thaw();
    world.until(id, "gone").await;
}

#[tokio::test(start_paused = true)]
async fn work_that_is_queued_begins_when_the_backend_answers_and_does_not_end_before() {
    let world = World::new(WhenDown::Queue).await;
    let kept = world.available("hung").await;
    world.hung.freeze();
    world.until_down(true).await;
    let (made, unwanted) = (world.create("hung").await.expect("queued"), world.create("hung").await.expect("queued"));
    let calls = world.hung.script.count("create");
    let live = world.shown(Subject::Volume(made), |live| live.waiting_for.is_some()).await;
    let words = live.waiting_for.as_deref().unwrap_or_default();
    assert!(words.starts_with("the backend of pool hung, unreachable since 1970-"), "{words}");
    assert_eq!((live.attempt, live.deadline, live.next_try), (0, None, None));
    world.delete(kept).await;
    world.delete(unwanted).await;
    tokio::time::sleep(Settings::default().shape_deadline * 3).await;
    assert_eq!(world.hung.script.count("create"), calls, "nothing is called in vain");
    let begun = Instant::now();
    world.hung.thaw();
    for (id, status) in [(made, "available"), (kept, "gone"), (unwanted, "gone")] {
        world.until(id, status).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "it took {:?}", begun.elapsed());
    assert_eq!(world.hung.objects().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn work_that_waits_for_a_place_when_the_backend_goes_is_queued_too() {
    let world = World::new(WhenDown::Queue).await;
    let places = Settings::default().places_per_pool;
    world.hung.freeze();
    let (mut begun, mut waiting) = (Vec::new(), Vec::new());
    for _ in 0..places {
        begun.push(world.create("hung").await.expect("accepted"));
    }
    for id in &begun {
        world.shown(Subject::Volume(*id), waits_for("driver memory of pool hung")).await;
    }
    for _ in 0..3 {
        waiting.push(world.create("hung").await.expect("accepted"));
    }
    world.until_down(true).await;
    let noticed = Instant::now();
    for id in &waiting {
        let held = |live: &Live| live.waiting_for.as_ref().is_some_and(|whom| whom.starts_with("the backend of pool hung"));
        world.shown(Subject::Volume(*id), held).await;
    }
    assert!(noticed.elapsed() < Duration::from_secs(1), "it took {:?}", noticed.elapsed());
    for id in &begun {
        world.until(*id, "error").await;
    }
    let calls = world.hung.script.count("create");
    tokio::time::sleep(Settings::default().shape_deadline * 2).await;
    assert_eq!((calls, world.hung.script.count("create")), (places, places), "nothing is called in vain");
    world.hung.thaw();
    for id in waiting {
        world.until(id, "available").await;
    }
}

#[tokio::test(start_paused = true)]
async fn work_that_was_begun_is_tried_on_and_ends_at_its_deadline_also_where_new_work_is_queued() {
    let world = World::new(WhenDown::Queue).await;
    let id = world.available("hung").await;
    for call in ["delete", "probe"] {
        (0..1000).for_each(|_| world.hung.script.next(call, Fault::Fail));
    }
    let begun = Instant::now();
    world.delete(id).await;
    world.until_down(true).await;
    let calls = world.hung.script.count("delete");
    world.until(id, "errorDeleting").await;
    assert!(world.hung.script.count("delete") > calls, "it was tried on");
    assert!(begun.elapsed() <= Settings::default().shape_deadline + BOUNDED, "it took {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_has_the_backend_probed_before_its_time() {
    let hour = Duration::from_secs(3600);
    let deadlines = Deadlines { create: Some(Duration::from_secs(5)), ..Deadlines::default() };
    let settings = Settings { probe_interval: hour, deadlines, ..Settings::default() };
    let world = World::with(WhenDown::Refuse, settings.clone(), |_| {}).await;
    world.available("hung").await;
    for fault in [Fault::Fail, Fault::ActThenUnknown, Fault::Panic, Fault::Hang] {
        // So that it is not too soon after the last.
        tokio::time::sleep(settings.down_after).await;
        let probes = world.hung.script.count("probe");
        world.hung.script.next("create", fault.clone());
        let id = world.create("hung").await.expect("accepted");
        let ends = if fault == Fault::Hang { "error" } else { "available" };
        world.until(id, ends).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(world.hung.script.count("probe") > probes, "{fault:?}");
    }
    // Also if all that is asked is how full it is, as lists of pools do.
    world.hung.freeze();
    let took = world.until_down(true).await;
    assert!(took <= settings.down_after + BOUNDED, "it took {took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_next_try_is_tried_when_the_backend_is_back() {
    let world = World::new(WhenDown::Refuse).await;
    let (here, there) = (world.available("hung").await, world.available("other").await);
    (0..1000).for_each(|_| world.hung.script.next("probe", Fault::Fail));
    // So often that the next try is a quarter of a minute away at the least.
    for driver in [&world.hung, &world.other] {
        (0..8).for_each(|_| driver.script.next("delete", Fault::Fail));
    }
    world.delete(here).await;
    world.delete(there).await;
    let late = |live: &Live| live.attempt == 8 && live.next_try.is_some();
    let live = world.shown(Subject::Volume(here), late).await;
    assert_eq!(live.last_error.as_deref(), Some("scripted to fail"));
    assert_eq!(live.waiting_for, None, "nobody but time is waited for");
    world.shown(Subject::Volume(there), late).await;
    world.until_down(true).await;
    world.hung.script.forget("probe");
    world.until_down(false).await;
    let begun = Instant::now();
    world.until(here, "gone").await;
    assert!(begun.elapsed() < Duration::from_secs(1), "it took {:?}", begun.elapsed());
    let still = world.engine.live(Subject::Volume(there)).expect("it waits on");
    assert_eq!(still.attempt, 8, "another pool is not hurried");
}

#[tokio::test(start_paused = true)]
async fn of_several_pools_one_that_is_down_is_not_taken() {
    for when_down in [WhenDown::Refuse, WhenDown::Queue] {
        let world = World::new(when_down).await;
        // The other has less left to promise.
        world.available("other").await;
        let (hung, other) = (world.pool("hung").await.id, world.pool("other").await.id);
        assert_eq!(world.create_in(None).await.expect("accepted").pool, hung);
        world.hung.freeze();
        world.until_down(true).await;
        for _ in 0..3 {
            assert_eq!(world.create_in(None).await.expect("accepted").pool, other);
        }
        world.other.freeze();
        while !world.pool("other").await.reach.is_down() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        match (when_down, world.create_in(None).await) {
            (WhenDown::Refuse, Err(Refusal::PoolDown { .. })) | (WhenDown::Queue, Ok(_)) => {}
            (_, other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn deletes_of_hung_creations_free_their_places() {
    let world = World::new(WhenDown::Refuse).await;
    let places = Settings::default().places_per_pool;
    (0..places).for_each(|_| world.hung.script.next("create", Fault::Hang));
    let mut stuck = Vec::new();
    for _ in 0..places {
        stuck.push(world.create("hung").await.expect("accepted"));
    }
    for id in &stuck {
        world.shown(Subject::Volume(*id), waits_for("driver memory of pool hung")).await;
    }
    let waiting = world.create("hung").await.expect("accepted");
    let live = world.shown(Subject::Volume(waiting), waits_for("a place in pool hung (32 of 32 taken)")).await;
    assert_eq!((live.attempt, live.deadline), (0, None), "its deadline does not run before its call");
    world.available("other").await;
    for id in &stuck {
        world.delete(*id).await;
    }
    world.shown(Subject::Volume(stuck[0]), waits_for("the superseded create, which has not ended")).await;
    let begun = Instant::now();
    for id in stuck {
        world.until(id, "gone").await;
    }
    world.until(waiting, "available").await;
    assert!(begun.elapsed() <= Settings::default().call_timeout + BOUNDED, "it took {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn deleting_while_creating_and_detaching_while_attaching_work_while_everything_hangs() {
    let world = World::new(WhenDown::Refuse).await;
    let volume = world.available("hung").await;
    world.hung.freeze();
    let (creating, attachment) = (world.create("hung").await.expect("accepted"), world.attach(volume).await.expect("accepted"));
    world.shown(Subject::Attachment(attachment), waits_for("driver memory of pool hung")).await;
    world.delete(creating).await;
    world.until(creating, "deleting").await;
    world.command(volume, Command::Detach { id: attachment, force: false }).await.expect("accepted");
    world.until(volume, "available").await;
    assert!(world.exporter.exports().is_empty());
    world.until_down(true).await;
    world.hung.thaw();
    world.until(creating, "gone").await;
    assert!(world.exporter.exports().is_empty(), "the old call exports nothing any more");
    assert_eq!(world.hung.objects().len(), 1, "and makes nothing");
}

#[tokio::test(start_paused = true)]
async fn the_api_answers_while_every_backend_hangs() {
    let world = World::new(WhenDown::Refuse).await;
    let id = world.available("hung").await;
    world.hung.freeze();
    world.other.freeze();
    // Before they are known to be down, and after: then nobody is asked any more.
    for bound in [BOUNDED, Duration::from_millis(10)] {
        let begun = Instant::now();
        assert_eq!(world.engine.pools().await.expect("told").len(), 2);
        assert!(begun.elapsed() < bound, "pools: {:?}", begun.elapsed());
        let begun = Instant::now();
        world.engine.volume(&world.caller, id).await.expect("there");
        let (marker, filters) = (None, Vec::new());
        let query =
            ListQuery { kind: Kind::Volume, tenant: None, filters, sort: Sort::Id, descending: false, marker, offset: 0, limit: 9 };
        world.engine.list(&world.caller, query).await.expect("listed");
        assert!(begun.elapsed() < Duration::from_millis(10), "records: {:?}", begun.elapsed());
        let begun = Instant::now();
        drop(world.create_in(None).await);
        assert!(begun.elapsed() < BOUNDED * 2, "a create: {:?}", begun.elapsed());
        while world.engine.pools().await.expect("told").iter().any(|pool| !pool.reach.is_down()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // What they told last is old by then.
        tokio::time::sleep(Settings::default().capacity_life * 2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_on_a_hung_backend_is_bounded_and_learns_later_what_it_can_do() {
    let begun = Instant::now();
    let world = World::with(WhenDown::Refuse, Settings::default(), MemDriver::freeze).await;
    let settings = Settings::default();
    assert!(begun.elapsed() <= settings.call_timeout + settings.capacity_timeout + BOUNDED, "it took {:?}", begun.elapsed());
    let pool = world.pool("hung").await;
    assert!(!world.engine.context(pool.id).capabilities.attached_snapshot, "it has not told");
    world.available("other").await;
    world.hung.thaw();
    while world.pool("hung").await.reach == Reach::Unknown || world.pool("hung").await.reach.is_down() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(world.engine.context(pool.id).capabilities.attached_snapshot);
    world.available("hung").await;
}

#[tokio::test(start_paused = true)]
async fn each_kind_of_operation_has_its_deadline_and_the_pools_own_comes_first() {
    let deadlines = Deadlines {
        create: Some(Duration::from_secs(3)),
        extend: Some(Duration::from_secs(1000)),
        attach: Some(Duration::from_secs(5)),
        ..Deadlines::default()
    };
    let world = World::with(WhenDown::Refuse, Settings { deadlines, ..Settings::default() }, |_| {}).await;
    let (grown, attached) = (world.available("hung").await, world.available("hung").await);
    for (call, fault) in [("create", Fault::Hang), ("extend", Fault::Hang)] {
        world.hung.script.next(call, fault);
    }
    world.exporter.script.next("export", Fault::Hang);
    let begun = Instant::now();
    let made = world.create("hung").await.expect("accepted");
    let live = world.shown(Subject::Volume(made), |live| live.deadline.is_some()).await;
    assert!(live.deadline.is_some_and(|at| (2900..=3000).contains(&at.0)), "{live:?}");
    world.until(made, "error").await;
    assert!(begun.elapsed().abs_diff(Duration::from_secs(3)) < Duration::from_secs(1), "create: {:?}", begun.elapsed());
    let begun = Instant::now();
    world.command(grown, Command::Extend { size: Bytes(2 * Bytes::GIB) }).await.expect("accepted");
    world.until(grown, "errorExtending").await;
    assert!(begun.elapsed().abs_diff(Duration::from_secs(7)) < Duration::from_secs(1), "extend: {:?}", begun.elapsed());
    let begun = Instant::now();
    let attachment = world.attach(attached).await.expect("accepted");
    world.shown(Subject::Attachment(attachment), waits_for("the data plane for access protocol nbd")).await;
    let ended = || async {
        let now = world.engine.volume(&world.caller, attached).await.expect("there").record;
        now.state.word(Subject::Attachment(attachment)) != "attaching"
    };
    while !ended().await {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(begun.elapsed().abs_diff(Duration::from_secs(5)) < Duration::from_secs(1), "attach: {:?}", begun.elapsed());
}
