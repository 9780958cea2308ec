//! The slow look at everything: when it happens, and how fast. What one round over a pool does is in `round`.
//!
//! - Each pool is looked at by itself, at a bounded rate, so that a hundred thousand volumes cost a few percent of a processor.
//! - A round is a task of its own: a driver that panics ends that round, and no later one.
//!
//! Source: lifecycle page, "Volume", drift.

use crate::recovery::end_strays;
use crate::round::see;
use crate::shared::{Pool, Shared};
use lifecycle::PoolId;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Begins to look, at each pool by itself: one that hangs delays no other.
pub(crate) fn start(shared: &Arc<Shared>) {
    for pool in shared.pools.keys() {
        tokio::spawn(watch(shared.clone(), *pool));
    }
    tokio::spawn(watch_exports(shared.clone()));
}

/// How fast a round goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As fast as it can: after a start, or as somebody waits for it.
    Full,
    /// At [`crate::Settings::look_rate`].
    Slow,
}

async fn watch(shared: Arc<Shared>, id: PoolId) {
    let Some(pool) = shared.pools.get(&id) else { return };
    let mut pace = Pace::Full;
    loop {
        let begun = Instant::now();
        pool.survey.begin();
        let ended_at = round(&shared, pool, pace).await;
        pool.survey.end();
        let rest = shared.settings.look_interval.max(begun.elapsed());
        // Asked for in the middle of a round is asked for another one: what this one has passed may have changed since.
        let is_asked = pace != ended_at;
        pace = if is_asked || asked_within(pool, rest).await { Pace::Full } else { Pace::Slow };
    }
}

/// Waits this long, or until a look is asked for. Returns whether one was.
pub(crate) async fn asked_within(pool: &Pool, rest: Duration) -> bool {
    tokio::select! {
        biased;
        () = pool.survey.asked() => true,
        () = tokio::time::sleep(rest) => false,
    }
}

/// One round over one pool, which keeps what it shows. Returns the pace it ended at.
async fn round(shared: &Arc<Shared>, pool: &Pool, pace: Pace) -> Pace {
    let at = shared.clock.now();
    let looking = tokio::spawn(see(shared.clone(), pool.id, pace));
    let (seen, ended_at) = looking.await.unwrap_or_else(|error| (Err(format!("looking at it failed: {error}")), pace));
    match seen {
        Ok(shown) => pool.survey.keep(at, shown),
        Err(message) => {
            tracing::warn!(pool = pool.setup.name, message, "what is on the backend is not known");
            pool.survey.fail(at, message);
        }
    }
    ended_at
}

/// Ends what is exported for nobody, again and again.
async fn watch_exports(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(shared.settings.look_interval).await;
        if let Err(error) = tokio::spawn(look_at_exports(shared.clone())).await {
            tracing::error!(%error, "looking at what is exported failed");
        }
    }
}

/// Ends what is exported for nobody.
pub(crate) async fn look_at_exports(shared: Arc<Shared>) {
    let served = shared.exporters.served(shared.settings.look_timeout).await;
    end_strays(&shared, &served).await;
}
