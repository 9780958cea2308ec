//! The one task that follows the journal, as long as anybody reads: what it finds is offered at the desk.
//!
//! Hosts and pools have no journal: they are looked at when the hosts change, and now and then, and told where they differ.

use super::desk::Desk;
use super::event::{Event, host_event, host_gone, pool_event};
use crate::Api;
use engine::records::HostRecord;
use engine::requests::{Caller, Live};
use engine::store::{Kind, ListQuery, Mark, StoreError};
use engine::{Follower, Rung};
use lifecycle::{HostId, PoolId, Subject};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// How many entries of the journal are read at once.
const PAGE: usize = 512;
/// How often the progress of what runs is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// How many that moved are told at once: each is read from the store.
const PROGRESS_MAX: usize = 256;
/// How many looks at what runs lie between two at the pools, whose capacity is asked for once a second at most.
const POOLS_EVERY: u32 = 4;
/// How long to wait before a store that could not answer is asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// Starts it.
pub(super) fn start(api: &Api) {
    let (api, desk) = (api.clone(), api.hub.desk.clone());
    tokio::spawn(async move {
        let ended = api.engine.clone();
        tokio::select! {
            () = follow(&api, &desk) => {}
            () = ended.ended() => {}
        }
    });
}

async fn follow(api: &Api, desk: &Arc<Desk>) {
    loop {
        desk.opened.notified().await;
        while desk.offered().is_some() {
            let feed = Feed::new(api, desk);
            match tokio::spawn(feed.run()).await {
                Ok(()) => {}
                // The runtime ends.
                Err(error) if error.is_cancelled() => return,
                Err(error) => {
                    // Whoever reads goes on with the next one, which begins where this one was.
                    tracing::error!(%error, "who follows the journal failed inside; it begins again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

struct Feed {
    api: Api,
    desk: Arc<Desk>,
    follower: Follower,
    running: HashMap<Subject, Live>,
    hosts: HashMap<HostId, HostRecord>,
    /// Whether the hosts have changed since they were told.
    hosts_are_stale: bool,
    pools: HashMap<PoolId, Arc<Event>>,
}

impl Feed {
    fn new(api: &Api, desk: &Arc<Desk>) -> Self {
        Self {
            api: api.clone(),
            desk: desk.clone(),
            follower: api.engine.follow(),
            running: HashMap::new(),
            hosts: HashMap::new(),
            hosts_are_stale: true,
            pools: HashMap::new(),
        }
    }

    /// Returns when nobody reads any more.
    async fn run(mut self) {
        let mut ticks = tokio::time::interval(PROGRESS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ticked = 0_u32;
        while let Some(since) = self.desk.offered() {
            self.tell_journal(since).await;
            tokio::select! {
                rung = self.follower.rung() => match rung {
                    Rung::Commit => {}
                    Rung::Hosts => self.hosts_are_stale = true,
                },
                _ = ticks.tick() => {
                    self.tell_progress().await;
                    if ticked.is_multiple_of(POOLS_EVERY) {
                        self.tell_pools().await;
                    }
                    ticked = ticked.wrapping_add(1);
                }
            }
            if self.hosts_are_stale {
                self.tell_hosts().await;
            }
        }
    }

    /// Offers everything behind `since`.
    async fn tell_journal(&self, mut since: Mark) {
        loop {
            match self.page(since).await {
                Ok(events) => {
                    let Some(last) = events.last().and_then(|event| event.mark) else { return };
                    since = last;
                    self.desk.publish(&events, last);
                }
                Err(error @ StoreError::Corrupt(..)) => {
                    // What is damaged hides nothing else: everybody begins anew behind it.
                    tracing::error!(%error, "the journal cannot be followed here; streams begin anew");
                    match self.api.engine.head().await {
                        Ok(head) => return self.desk.overflow(Mark::behind(head.revision)),
                        Err(_) => tokio::time::sleep(PAUSE).await,
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "the journal cannot be read now; trying again");
                    return tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn page(&self, since: Mark) -> Result<Vec<Arc<Event>>, StoreError> {
        let entries = self.follower.read(since, None, PAGE).await?;
        let mut events = Vec::with_capacity(entries.len());
        for entry in &entries {
            events.push(Arc::new(self.api.change(&self.follower, entry).await?));
        }
        Ok(events)
    }

    /// Tells of operations of which something else is known than the last time.
    async fn tell_progress(&mut self) {
        let now: HashMap<_, _> = self.follower.running().into_iter().collect();
        let moved: Vec<_> =
            now.iter().filter(|(subject, live)| self.running.get(subject) != Some(live)).map(|(subject, _)| *subject).collect();
        for subject in moved.into_iter().take(PROGRESS_MAX) {
            // One that cannot be read now is told the next time that it moves.
            if let Ok(Some(record)) = self.follower.told(subject).await
                && let Some(event) = self.api.progress(&record, subject)
            {
                self.desk.tell(&Arc::new(event));
            }
        }
        self.running = now;
    }

    /// Where they cannot be listed now, the next tick tries again.
    async fn tell_hosts(&mut self) {
        let everybody = Caller { is_admin: true, ..Caller::default() };
        let Ok(listed) = self.api.engine.begin_list(&everybody, ListQuery::all(Kind::Host)).await else { return };
        let Ok(now) = listed.hosts().await else { return };
        let now: HashMap<_, _> = now.into_iter().map(|host| (host.id, host)).collect();
        for host in now.values().filter(|host| self.hosts.get(&host.id) != Some(host)) {
            self.desk.tell(&Arc::new(host_event("change", host)));
        }
        for host in self.hosts.values().filter(|host| !now.contains_key(&host.id)) {
            self.desk.tell(&Arc::new(host_gone(host)));
        }
        (self.hosts, self.hosts_are_stale) = (now, false);
    }

    async fn tell_pools(&mut self) {
        let Ok(pools) = self.api.engine.pools().await else { return };
        for pool in &pools {
            let event = Arc::new(pool_event("change", pool));
            if self.pools.get(&pool.id).is_none_or(|before| !before.says_the_same(&event)) {
                self.desk.tell(&event);
                self.pools.insert(pool.id, event);
            }
        }
    }
}
