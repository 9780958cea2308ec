//! A call that is superseded takes no visible step any more. That older calls are refused is in `promises`, as for every driver.

use crate::pools::{Ground, MIB, Pool, Pools, assert_done, assert_refused, files, on_both, snap, token, volume, whole};
use driver_file::Options;
use engine::ports::Driver;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Waker};

/// A newer call, from the moment it arrives: its token is seen before it waits for anything.
fn supersede(pool: &Pool) {
    let mut newer = pin!(pool.driver.inspect(volume(1), Some(token(1000))));
    let polled = newer.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending(), "it has to wait for the lock that the older call holds, or for its thread");
}

/// Whatever is there with its size, but for temporary files: a call that stops removes its own.
fn state(folder: &Path) -> Vec<(String, u64)> {
    let size = |name: &String| std::fs::metadata(folder.join("000").join(name)).unwrap().len();
    let lasting = files(folder).into_iter().filter(|name| !name.ends_with(".tmp"));
    lasting.map(|name| (name.clone(), size(&name))).collect()
}

/// Makes a call that is superseded right before the step, and checks that the step was not taken.
async fn check_step(ground: &Ground, index: usize, step: &'static str) {
    let folder = ground.folder().join(step.replace([' ', ':'], "-"));
    let pool = Arc::new(OnceLock::<Pool>::new());
    let before = Arc::new(Mutex::new(None));
    let (hook_pool, hook_before, hook_folder) = (Arc::downgrade(&pool), Arc::clone(&before), folder.clone());
    let hook = move |name: &str| {
        if name == step {
            *hook_before.lock().unwrap() = Some(state(&hook_folder));
            supersede(hook_pool.upgrade().unwrap().get().unwrap());
        }
    };
    let opened = Pool::open(&folder, Options { fail_points: Some(Arc::new(hook)), ..Options::default() });
    let pool = pool.get_or_init(|| opened);
    if index > 1 {
        assert_done(pool.create(volume(1), MIB).await, whole(MIB));
        if step.contains("delete snapshot") {
            assert_done(pool.snapshot(volume(1), snap(1)).await, whole(MIB));
        }
    }
    let outcome = match step.trim_start_matches("before ").split(':').next().unwrap() {
        "create" => pool.create(volume(1), MIB).await,
        "extend" => pool.extend(volume(1), 2 * MIB).await,
        "snapshot" => pool.snapshot(volume(1), snap(1)).await,
        "delete snapshot" => pool.delete_snapshot(volume(1), snap(1)).await,
        _ => pool.delete(volume(1)).await,
    };
    assert_refused(outcome, &["superseded by a newer call"]);
    let before = before.lock().unwrap().take().expect("the step was come to");
    assert_eq!(state(&folder), before, "{step}");
    assert!(files(&folder).iter().all(|name| !name.ends_with(".tmp")), "{step}");
}

#[test]
fn a_call_superseded_right_before_a_visible_step_does_not_take_it() {
    // All visible steps there are. The first two need no volume.
    let steps = [
        "before create: make temporary file",
        "before create: rename",
        "before snapshot: make temporary file",
        "before snapshot: rename",
        "before extend: grow",
        "before delete: rename to trash",
        "before delete: unlink",
        "before delete snapshot: rename to trash",
        "before delete snapshot: unlink",
    ];
    on_both(async |ground| {
        for (index, step) in steps.into_iter().enumerate() {
            check_step(ground, index, step).await;
        }
    });
}
