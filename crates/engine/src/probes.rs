//! Watches each pool's backend: probes it, one probe at a time, and does what follows when it goes or comes back.
//!
//! - A probe that hangs is not joined by others: it is waited for on and on, each wait being one more sign of silence, and asked anew
//!   only once it must be lost. So a backend that hangs holds one probe, and is known to be back the moment that one is answered.
//! - A backend that comes back is asked anew what it can do and how full it is, what waits for its next try is tried, and all that it
//!   has is looked at.
//!
//! Not here: what counts as down (`reach`), and what is refused meanwhile (`admission`).

use crate::ports::{Driver, Unanswered};
use crate::reach::{Begun, Machine, Pace, Reach};
use crate::shared::{Pool, PoolSetup, Shared, lock};
use crate::worker;
use lifecycle::{Capabilities, PoolId, VolumeId};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// What is known of a pool's backend, and how its watcher is woken.
pub(crate) struct Watched {
    machine: Mutex<Machine>,
    sooner: Notify,
    pace: Pace,
}

impl Watched {
    pub(crate) fn new(pace: Pace) -> Self {
        Self { machine: Mutex::new(Machine::new(Instant::now())), sooner: Notify::new(), pace }
    }

    pub(crate) fn reach(&self) -> Reach {
        lock(&self.machine).reach().clone()
    }

    pub(crate) fn is_down(&self) -> bool {
        lock(&self.machine).reach().is_down()
    }

    /// A call changed something on the backend.
    pub(crate) fn worked(&self) {
        self.heard(Machine::worked);
    }

    /// A call got no answer, or one that is no refusal.
    pub(crate) fn stumbled(&self) {
        self.heard(Machine::stumbled);
    }

    fn heard(&self, hear: impl FnOnce(&mut Machine, Instant, Pace)) {
        let is_sooner = {
            let mut machine = lock(&self.machine);
            let before = machine.due();
            hear(&mut machine, Instant::now(), self.pace);
            machine.due() < before
        };
        if is_sooner {
            self.sooner.notify_one();
        }
    }

    /// Returns when the next probe is due.
    async fn due(&self) {
        loop {
            let due = lock(&self.machine).due();
            if due <= Instant::now() {
                return;
            }
            // Woken or not, what is due is read again.
            let _ = tokio::time::timeout_at(due, self.sooner.notified()).await;
        }
    }
}

/// What all backends can do; one that does not answer in time is taken to be able to do the least.
pub(crate) async fn capabilities(setups: &[PoolSetup], patience: Duration) -> Vec<Capabilities> {
    let ask = |setup: &PoolSetup| {
        let driver = setup.driver.clone();
        tokio::spawn(async move { timeout(patience, driver.capabilities()).await })
    };
    // Beside each other: ten backends that hang must not make a start take ten times as long.
    let asked: Vec<_> = setups.iter().map(ask).collect();
    let mut told = Vec::with_capacity(asked.len());
    for task in asked {
        told.push(task.await.ok().and_then(Result::ok).and_then(Result::ok).unwrap_or_default());
    }
    told
}

/// Has every backend tell how full it is, if what it told last is old: beside each other, so that those that hang take no longer
/// together than one of them.
pub(crate) async fn capacities(shared: &Arc<Shared>) {
    let ask = |id: &PoolId| {
        let (shared, id) = (shared.clone(), *id);
        tokio::spawn(async move {
            if let Some(pool) = shared.pools.get(&id) {
                shared.capacity(pool).await;
            }
        })
    };
    let asked: Vec<_> = shared.pools.keys().map(ask).collect();
    for task in asked {
        if let Err(error) = task.await
            && error.is_panic()
        {
            tracing::error!(%error, "a driver that was asked how full it is failed inside");
        }
    }
}

/// Watches every backend for as long as the engine lives.
pub(crate) fn start(shared: &Arc<Shared>) {
    for id in shared.pools.keys() {
        let (shared, id) = (shared.clone(), *id);
        tokio::spawn(async move {
            let Some(pool) = shared.pools.get(&id) else { return };
            loop {
                pool.watched.due().await;
                probe(&shared, pool).await;
            }
        });
    }
}

/// Aborts a probe when it is dropped.
struct Probe(JoinHandle<Result<(), Unanswered>>);

impl Probe {
    fn begin(driver: Arc<dyn Driver>) -> Self {
        Self(tokio::spawn(async move { driver.probe().await }))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Probes once, and notes what came of it.
async fn probe(shared: &Arc<Shared>, pool: &Pool) {
    let (watched, pace) = (&pool.watched, pool.watched.pace);
    let begun = Begun { at: Instant::now(), wall: shared.clock.now() };
    let mut probe = Probe::begin(pool.setup.driver.clone());
    loop {
        let because = match timeout(pace.patience(), &mut probe.0).await {
            Ok(Ok(Ok(()))) => {
                if lock(&watched.machine).answered(begun, Instant::now(), pace) {
                    came(shared, pool).await;
                }
                return;
            }
            Ok(Ok(Err(Unanswered(why)))) => Some(why),
            // The runtime ends, and what was not answered says nothing of the backend.
            Ok(Err(error)) if error.is_cancelled() => return,
            Ok(Err(error)) => {
                tracing::error!(pool = pool.setup.name, %error, "a driver's probe panicked");
                Some("the driver failed inside; its log tells more".to_owned())
            }
            Err(_) => None,
        };
        let hangs = because.is_none();
        let because = because.unwrap_or_else(|| format!("a probe has had no answer for {} s", begun.at.elapsed().as_secs()));
        if lock(&watched.machine).unanswered(begun, Instant::now(), because.clone(), pace) {
            went(shared, pool, &because).await;
        }
        if !hangs || begun.at.elapsed() >= shared.settings.look_timeout.max(pace.down_after) {
            return;
        }
    }
}

/// The backend does not answer any more. Work that still waits for a place is held back from now on, if the pool queues it.
async fn went(shared: &Arc<Shared>, pool: &Pool, because: &str) {
    tracing::warn!(pool = pool.setup.name, because, "the backend does not answer; the pool is down");
    send_workers(shared, pool, worker::poke).await;
}

/// The backend answers, and did not before.
async fn came(shared: &Arc<Shared>, pool: &Pool) {
    tracing::info!(pool = pool.setup.name, "the backend answers");
    if let Ok(Ok(told)) = timeout(shared.settings.call_timeout, pool.setup.driver.capabilities()).await {
        *lock(&pool.capabilities) = told;
    }
    lock(&pool.capacity).0 = None;
    pool.survey.ask();
    send_workers(shared, pool, worker::hurry).await;
}

/// Sends the workers that are at work on volumes of this pool.
async fn send_workers(shared: &Arc<Shared>, pool: &Pool, send: fn(&Arc<Shared>, VolumeId)) {
    let at_work: Vec<VolumeId> = lock(&shared.workers).keys().copied().collect();
    for id in at_work {
        // One that cannot be read now goes on at its time.
        if let Ok(Some(now)) = shared.read_volume(id).await
            && now.record.pool == pool.id
        {
            send(shared, id);
        }
    }
}
