//! A kill -9 at every step of every call: what is told afterwards is true, and the repeated call succeeds.
//!
//! The call runs in a process of its own, which kills itself at one fail point. Then the pool is opened again here.

use crate::pools::{Ground, Kind, MIB, Pool, Pools, assert_done, files, is_partial, on, snap, token, volume, whole};
use driver_file::{FAIL_POINTS, Options};
use engine::ports::{Call, Driver, Progress};
use lifecycle::{Bytes, Look, Outcome, Seen, Source};
use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// Where the child process finds what it is to do: folder, scenario and fail point, separated by `|`.
const CHILD: &str = "BERTH_TEST_CRASH";

/// The calls that are cut off, each with what has to be there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    Create,
    MakeClone,
    CreateOverLeftover,
    Extend,
    Snapshot,
    DeleteSnapshot,
    Delete,
}

use Scenario::{Create, CreateOverLeftover, Delete, DeleteSnapshot, Extend, MakeClone, Snapshot};

const ALL: [Scenario; 7] = [Create, MakeClone, CreateOverLeftover, Extend, Snapshot, DeleteSnapshot, Delete];
const SIZE: u64 = 6 * MIB;
/// What every volume's content is, beginning at 1 MiB: more than one chunk of a copy.
static CONTENT: [u8; 5 << 20] = [0x42; 5 << 20];

impl Scenario {
    /// Makes what has to be there, with the volume that the call is about last.
    async fn prepare(self, pool: &Pool, folder: &Path) {
        if matches!(self, Create | CreateOverLeftover) {
            if self == CreateOverLeftover {
                let shard = folder.join("000");
                std::fs::create_dir_all(&shard).unwrap();
                std::fs::write(shard.join(format!("{}.trash", volume(1))), b"a leftover").unwrap();
                std::fs::write(shard.join(format!("{}.9-9-9.tmp", volume(1))), b"a leftover").unwrap();
            }
            return;
        }
        let origin = if self == MakeClone { volume(2) } else { volume(1) };
        assert_done(pool.create(origin, SIZE).await, whole(SIZE));
        pool.file(origin).await.write_all_at(&CONTENT, MIB).unwrap();
        if matches!(self, MakeClone | DeleteSnapshot) {
            assert_done(pool.snapshot(origin, snap(1)).await, whole(SIZE));
        }
    }

    /// The call that is cut off.
    async fn call(self, pool: &Pool, counter: u64) -> Outcome {
        let call = Call { token: token(counter), progress: Progress::ignored() };
        let source = Some(Source { volume: volume(2), snapshot: snap(1) });
        match self {
            Create | CreateOverLeftover => pool.driver.create(call, volume(1), Bytes(SIZE), None).await,
            MakeClone => pool.driver.create(call, volume(1), Bytes(2 * SIZE), source).await,
            Extend => pool.driver.extend(call, volume(1), Bytes(2 * SIZE)).await,
            Snapshot => pool.driver.snapshot(call, volume(1), snap(1)).await,
            DeleteSnapshot => pool.driver.delete_snapshot(call, volume(1), snap(1)).await,
            Delete => pool.driver.delete(call, volume(1)).await,
        }
    }

    /// What the call was about, from a look.
    fn of(self, look: &Look) -> Seen {
        match self {
            Snapshot | DeleteSnapshot => look.snapshots.get(&snap(1)).copied().unwrap_or(Seen::Absent),
            Create | MakeClone | CreateOverLeftover | Extend | Delete => look.volume,
        }
    }

    /// What is there once the call is done.
    fn result(self) -> Seen {
        match self {
            Create | CreateOverLeftover | Snapshot => whole(SIZE),
            MakeClone | Extend => whole(2 * SIZE),
            DeleteSnapshot | Delete => Seen::Absent,
        }
    }

    /// Whether what is seen after a crash at this point is the truth.
    fn is_true(self, point: &str, seen: Seen) -> bool {
        let (when, step) = point.split_once(' ').unwrap();
        let past = |name: &str| step.ends_with(name) && when == "after";
        match self {
            Create | MakeClone | CreateOverLeftover | Snapshot if past(": rename") || step.ends_with("sync directory") => {
                seen == self.result()
            }
            Create | MakeClone | Snapshot if when == "before" && step.ends_with("make temporary file") => seen == Seen::Absent,
            CreateOverLeftover if when == "before" && step.ends_with("make temporary file") => seen == Seen::Absent,
            CreateOverLeftover if step.starts_with("leftover") => is_partial(seen) || (when == "after" && seen == Seen::Absent),
            Create | MakeClone | CreateOverLeftover | Snapshot => is_partial(seen),
            Extend if when == "before" && step.ends_with("grow") => seen == whole(SIZE),
            Extend => seen == self.result(),
            Delete | DeleteSnapshot if when == "before" && step.ends_with("rename to trash") => seen == whole(SIZE),
            Delete | DeleteSnapshot if past("unlink") || step.ends_with("sync directory") => seen == Seen::Absent,
            Delete | DeleteSnapshot => is_partial(seen),
        }
    }
}

/// The names that the scenario's call tells the hook, on a pool of its own.
async fn points_of(scenario: Scenario, folder: &Path) -> BTreeSet<String> {
    let told = Arc::new(Mutex::new(None::<BTreeSet<String>>));
    let sink = Arc::clone(&told);
    let hook = move |name: &str| {
        if let Some(told) = sink.lock().unwrap().as_mut() {
            told.insert(name.to_owned());
        }
    };
    let pool = Pool::open(folder, Options { fail_points: Some(Arc::new(hook)), ..Options::default() });
    scenario.prepare(&pool, folder).await;
    *told.lock().unwrap() = Some(BTreeSet::new());
    assert_done(scenario.call(&pool, 100).await, scenario.result());
    told.lock().unwrap().take().unwrap()
}

/// Runs the scenario's call in a process that kills itself at `point`.
fn crash(scenario: Scenario, folder: &Path, point: &str) {
    let task = format!("{}|{scenario:?}|{point}", folder.display());
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.args(["crash::child_process", "--exact", "--nocapture"]).env(CHILD, task).output().unwrap();
    let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
    assert_eq!(signal, Some(9), "{scenario:?} was not killed {point}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Every name that the hook is called with.
fn all_points() -> BTreeSet<String> {
    FAIL_POINTS.iter().flat_map(|step| [step.before, step.after]).map(|point| point.name().to_owned()).collect()
}

/// What [`crash`] starts. Does nothing when the tests are run by hand.
#[test]
fn child_process() {
    let Ok(task) = std::env::var(CHILD) else { return };
    let mut parts = task.split('|');
    let [folder, scenario, point] = std::array::from_fn(|_| parts.next().unwrap().to_owned());
    let scenario = ALL.into_iter().find(|known| format!("{known:?}") == scenario).unwrap();
    let hook = move |name: &str| {
        if name == point {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        }
    };
    let pool = Pool::open(Path::new(&folder), Options { fail_points: Some(Arc::new(hook)), ..Options::default() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(scenario.call(&pool, 100));
    panic!("not killed: {outcome:?}");
}

async fn check(ground: &Ground, scenario: Scenario, point: &str, number: usize) {
    let folder = ground.folder().join(format!("{scenario:?}-{number}"));
    let pool = Pool::open(&folder, Options::default());
    scenario.prepare(&pool, &folder).await;
    let unhurt = files(&folder).len();
    drop(pool);
    crash(scenario, &folder, point);

    let after = files(&folder);
    let pool = Pool::open(&folder, Options::default());
    assert_eq!(files(&folder), after, "a start removes nothing");
    let look = pool.driver.inspect(volume(1), Some(token(200))).await.unwrap();
    let seen = scenario.of(&look);
    assert!(scenario.is_true(point, seen), "{:?}, {scenario:?}, killed {point}: {seen:?} with {after:?}", ground.kind);
    let listed = pool.list().await;
    let wanted = matches!(scenario, Snapshot | DeleteSnapshot).then_some(snap(1));
    let found = listed.iter().find(|listed| listed.volume == volume(1) && listed.snapshot == wanted);
    assert_eq!(found.map_or(Seen::Absent, |listed| listed.seen), seen, "a list tells what a look tells");

    assert_done(scenario.call(&pool, 201).await, scenario.result());
    assert_eq!(scenario.of(&pool.look(volume(1)).await), scenario.result());
    let names = files(&folder);
    assert!(names.iter().all(|name| name.ends_with(".raw")), "leftovers after the repeat: {names:?}");
    assert!(names.len() <= unhurt + 1);
    check_content(scenario, &pool, &folder).await;
}

/// Whatever the scenario had to keep or copy is there to the byte.
async fn check_content(scenario: Scenario, pool: &Pool, folder: &Path) {
    let mut read = vec![0; CONTENT.len()];
    match scenario {
        MakeClone | Extend | DeleteSnapshot => pool.file(volume(1)).await.read_exact_at(&mut read, MIB).unwrap(),
        Snapshot => {
            let path = folder.join("000").join(format!("{}@{}.raw", volume(1), snap(1)));
            std::fs::File::open(path).unwrap().read_exact_at(&mut read, MIB).unwrap();
        }
        Create | CreateOverLeftover | Delete => return,
    }
    assert!(read == CONTENT, "{scenario:?}: the content differs");
}

async fn crash_everywhere(ground: &Ground) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for scenario in ALL {
        let points = points_of(scenario, &ground.folder().join(format!("{scenario:?}"))).await;
        for (number, point) in points.iter().enumerate() {
            check(ground, scenario, point, number).await;
        }
        all.extend(points);
        std::fs::read_dir(ground.folder()).unwrap().for_each(|entry| std::fs::remove_dir_all(entry.unwrap().path()).unwrap());
    }
    all
}

#[test]
fn a_kill_at_any_step_leaves_the_truth_and_the_repeat_succeeds_with_reflinks() {
    on(Kind::Xfs, async |ground| {
        let hit = crash_everywhere(ground).await;
        let expected = all_points().into_iter().filter(|name| !name.contains("copy")).collect();
        assert_eq!(hit, expected, "every step was crashed at");
    });
}

#[test]
fn a_kill_at_any_step_leaves_the_truth_and_the_repeat_succeeds_with_copies() {
    on(Kind::Ext4, async |ground| {
        let hit = crash_everywhere(ground).await;
        assert_eq!(hit, all_points(), "every step was crashed at");
    });
}
