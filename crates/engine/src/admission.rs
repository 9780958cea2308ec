//! What is done with new work for a pool whose backend is down: refused or queued, as the pool's setting says.
//!
//! - New is what makes or changes something: a volume, a snapshot, an attachment, a growth, and a retry of these. What takes away
//!   (delete, detach) is always accepted, as it supersedes what hangs; so is what only looks.
//! - Queued work is accepted as ever, and not begun before the backend answers: so its deadline does not run meanwhile.
//!
//! Not here: whether a backend is down (`reach`).

use crate::reach::Reach;
use crate::records::VolumeRecord;
use crate::requests::Refusal;
use crate::shared::{Pool, Shared};
use lifecycle::{AttachmentPhase, Command, PoolId, SnapshotPhase, Subject, Timestamp, VolumePhase, Work};

/// What is done with new work for a pool whose backend is down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenDown {
    /// It is refused: whoever asks can turn to another pool, and nothing piles up.
    #[default]
    Refuse,
    /// It is accepted, and begun when the backend answers.
    Queue,
}

impl WhenDown {
    /// The word of the configuration.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Queue => "queue",
        }
    }
}

impl Pool {
    /// Refuses new work if the backend is down and the setting says so.
    pub(crate) fn admit(&self) -> Result<(), Refusal> {
        match (self.watched.reach(), self.setup.when_down) {
            (Reach::Down { since, because }, WhenDown::Refuse) => {
                Err(Refusal::PoolDown { pool: self.setup.name.clone(), since, because })
            }
            (Reach::Down { .. }, WhenDown::Queue) | (Reach::Unknown | Reach::Up { .. }, _) => Ok(()),
        }
    }

    /// Since when work that was not begun yet waits for the backend, if it does.
    pub(crate) fn holds_back(&self) -> Option<Timestamp> {
        match (self.watched.reach(), self.setup.when_down) {
            (Reach::Down { since, .. }, WhenDown::Queue) => Some(since),
            (Reach::Down { .. }, WhenDown::Refuse) | (Reach::Unknown | Reach::Up { .. }, _) => None,
        }
    }
}

impl Shared {
    /// Refuses a command that is new work for a pool that takes none now. A pool that is not configured has no backend to be down.
    pub(crate) fn admit(&self, pool: PoolId, command: Command, record: &VolumeRecord) -> Result<(), Refusal> {
        match self.pools.get(&pool) {
            Some(pool) if is_new_work(command, record) => pool.admit(),
            Some(_) | None => Ok(()),
        }
    }
}

/// Of these pools the ones that take new work now: those whose backends are not known to be down, else those that queue it.
pub(crate) fn taking(pools: Vec<&Pool>) -> Result<Vec<&Pool>, Refusal> {
    let up: Vec<&Pool> = pools.iter().copied().filter(|pool| !pool.watched.is_down()).collect();
    if !up.is_empty() {
        return Ok(up);
    }
    let queueing: Vec<&Pool> = pools.iter().copied().filter(|pool| pool.admit().is_ok()).collect();
    match pools.first() {
        Some(first) if queueing.is_empty() => first.admit().map(|()| vec![*first]),
        Some(_) | None => Ok(queueing),
    }
}

fn is_new_work(command: Command, record: &VolumeRecord) -> bool {
    match command {
        Command::Extend { .. } | Command::Attach { .. } | Command::Snapshot { .. } | Command::Clone { .. } => true,
        Command::Retry(subject) => !is_being_removed(subject, record),
        Command::Recover(_) | Command::Forget => false,
        Command::Delete { .. } | Command::Detach { .. } | Command::DeleteSnapshot { .. } => false,
    }
}

/// Whether a retry of it would go on removing it.
fn is_being_removed(subject: Subject, record: &VolumeRecord) -> bool {
    match subject {
        Subject::Volume(_) => matches!(record.state.phase(), VolumePhase::ErrorDeleting { .. }),
        Subject::Snapshot(id) => {
            let phase = record.state.snapshots().get(&id).map(|held| &held.phase);
            matches!(phase, Some(SnapshotPhase::ErrorDeleting { .. }))
        }
        Subject::Attachment(id) => {
            let phase = record.state.attachments().get(&id).map(|held| &held.phase);
            matches!(phase, Some(AttachmentPhase::ErrorDetaching { .. }))
        }
    }
}

/// Whether this work changes something on the backend, or needs it for that.
pub(crate) const fn needs_backend(work: Work) -> bool {
    match work {
        Work::Create | Work::CleanUp | Work::Extend { .. } | Work::Delete | Work::Export(_) => true,
        Work::Snapshot(_) | Work::CleanUpSnapshot(_) | Work::DeleteSnapshot(_) => true,
        Work::Look | Work::LookExport(_) | Work::Unexport { .. } => false,
    }
}
