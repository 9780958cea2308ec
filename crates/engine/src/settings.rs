//! The engine's numbers, each with its reason. All can be set; these are the defaults.

use crate::deadlines::Deadlines;
use crate::ids::Ids;
use crate::reach::Pace;
use lifecycle::Work;
use std::time::Duration;

/// The engine's numbers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a create, extend, snapshot or delete may go without progress. A backend that tells nothing for two minutes is
    /// taken to have hung: local file systems and Ceph answer in seconds, and a long copy renews it by its progress.
    pub shape_deadline: Duration,
    /// How long an export may take, and ending one: seconds on every data plane measured, half a minute for a lingering RBD watcher.
    pub export_deadline: Duration,
    /// How long one look may take before it is tried again.
    pub look_timeout: Duration,
    /// Deadlines of single kinds of operation, before the three above.
    pub deadlines: Deadlines,
    /// How long a superseded call is awaited before it is abandoned.
    pub call_timeout: Duration,
    /// The first pause before a call is tried again; it doubles each time, with jitter.
    pub retry_min: Duration,
    /// The longest pause before a call is tried again.
    pub retry_max: Duration,
    /// How long `deleted` snapshots and `detached` attachments stay readable. Source: lifecycle page, "Tombstones".
    pub tombstone_life: Duration,
    /// How often tombstones are swept.
    pub sweep_interval: Duration,
    /// How long to rest between two looks at everything that a pool has; a look that took longer is rested from as long as it took.
    pub look_interval: Duration,
    /// How many records a second such a look compares when nobody waits for it: a hundred thousand take a minute, and a few
    /// percent of a processor. Five times as many objects of a backend are listed before, which takes a quarter of one.
    pub look_rate: u32,
    /// How many commands are on their way to the store at once; further ones wait, and tenants take turns. Enough to share a sync: with
    /// more of them not more is done, and everybody waits longer.
    pub commands_at_once: usize,
    /// How many lists are begun at once, at most half of them for one tenant; further ones wait, and tenants take turns. Each is a thread
    /// until its first rows are there: three for each processor keep these busy, and are few beside who reads one thing.
    pub lists_at_once: usize,
    /// How long a list waits to be begun.
    pub list_patience: Duration,
    /// How many driver calls run at once in one pool.
    pub places_per_pool: usize,
    /// How long what a pool's backend told of its capacity is believed.
    pub capacity_life: Duration,
    /// How long a pool's backend may leave probes unanswered before the pool is called down: longer than a busy disk takes to sync
    /// one block, and short beside the deadlines of what hangs in it.
    pub down_after: Duration,
    /// How often a backend is probed that answers and has nothing to do, and at least how often one that is down.
    pub probe_interval: Duration,
    /// How long a backend may take to tell its capacity before what it told last is used: requests wait for it.
    pub capacity_timeout: Duration,
    /// Where ids of new resources come from.
    pub ids: Ids,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shape_deadline: Duration::from_secs(120),
            export_deadline: Duration::from_secs(60),
            look_timeout: Duration::from_secs(30),
            deadlines: Deadlines::default(),
            call_timeout: Duration::from_secs(10),
            retry_min: Duration::from_millis(200),
            retry_max: Duration::from_secs(30),
            tombstone_life: Duration::from_secs(3600),
            sweep_interval: Duration::from_secs(60),
            look_interval: Duration::from_secs(30),
            look_rate: 2000,
            commands_at_once: 32,
            lists_at_once: 6,
            list_patience: Duration::from_secs(20),
            places_per_pool: 32,
            capacity_life: Duration::from_secs(1),
            capacity_timeout: Duration::from_secs(2),
            down_after: Duration::from_secs(10),
            probe_interval: Duration::from_secs(10),
            ids: Ids::default(),
        }
    }
}

impl Settings {
    /// How long `work` may go without progress in a pool with deadlines of its own.
    pub(crate) fn deadline(&self, work: Work, pool: &Deadlines) -> Duration {
        let of_its_kind = pool.of(work).or_else(|| self.deadlines.of(work));
        of_its_kind.unwrap_or(match work {
            Work::Create | Work::CleanUp | Work::Extend { .. } | Work::Delete => self.shape_deadline,
            Work::Snapshot(_) | Work::CleanUpSnapshot(_) | Work::DeleteSnapshot(_) => self.shape_deadline,
            Work::Export(_) | Work::Unexport { .. } => self.export_deadline,
            Work::Look | Work::LookExport(_) => self.look_timeout,
        })
    }

    /// How backends are probed.
    pub(crate) const fn pace(&self) -> Pace {
        Pace { down_after: self.down_after, interval: self.probe_interval }
    }

    /// The pause before try number `attempt` + 1, jittered by `dice` to between a half and the whole of it.
    pub(crate) fn pause(&self, attempt: u32, dice: u64) -> Duration {
        let full = self.retry_min.saturating_mul(1 << attempt.min(16)).min(self.retry_max);
        let half = full / 2;
        half + Duration::from_nanos(dice % u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1))
    }
}

/// What work is called in the journal and in messages.
pub(crate) const fn work_word(work: Work) -> &'static str {
    match work {
        Work::Create => "create",
        Work::CleanUp | Work::CleanUpSnapshot(_) => "clean up",
        Work::Extend { .. } => "extend",
        Work::Delete => "delete",
        Work::Look | Work::LookExport(_) => "look",
        Work::Snapshot(_) => "snapshot",
        Work::DeleteSnapshot(_) => "delete snapshot",
        Work::Export(_) => "export",
        Work::Unexport { .. } => "end export",
    }
}
