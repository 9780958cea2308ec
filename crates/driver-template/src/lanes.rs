//! The fence against late calls: one lane for each volume, with the newest token that was seen and a lock.
//!
//! - A token is seen the moment its call arrives, before the call waits for anything: so a newer call stops an older one that is
//!   under way, at its next check.
//! - The lock is held for a whole call and is the volume's own: a call that hangs keeps no other volume waiting. A call whose
//!   future is dropped lets go of it.
//! - The newest tokens are in memory only. That is enough while one process works on the backend; if two can, the backend must
//!   compare tokens itself.

use lifecycle::{Token, VolumeId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many volumes are remembered: some 10 MiB. Beyond it those that are idle are forgotten, and with them who was late for them.
const REMEMBERED_MAX: usize = 65_536;

/// All lanes.
#[derive(Default)]
pub(crate) struct Lanes(Mutex<BTreeMap<VolumeId, Arc<Lane>>>);

/// One volume's lane.
#[derive(Default)]
struct Lane {
    newest: Mutex<Token>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// A newer call was seen.
pub(crate) struct Superseded;

/// A call's turn on its volume, until dropped.
pub(crate) struct Turn {
    lane: Arc<Lane>,
    token: Token,
    _held: tokio::sync::OwnedMutexGuard<()>,
}

impl Lanes {
    /// Sees the token, and waits for the volume's turn.
    ///
    /// # Errors
    /// A newer call was seen, before or while it waited.
    pub(crate) async fn enter(&self, volume: VolumeId, token: Token) -> Result<Turn, Superseded> {
        let lane = self.lane(volume);
        {
            let mut newest = lock(&lane.newest);
            *newest = token.max(*newest);
        }
        let held = Arc::clone(&lane.turn).lock_owned().await;
        let turn = Turn { lane, token, _held: held };
        turn.check()?;
        Ok(turn)
    }

    fn lane(&self, volume: VolumeId) -> Arc<Lane> {
        let mut lanes = lock(&self.0);
        if lanes.len() >= REMEMBERED_MAX {
            lanes.retain(|_, lane| Arc::strong_count(lane) > 1);
        }
        Arc::clone(lanes.entry(volume).or_default())
    }
}

impl Turn {
    /// To be asked right before each step that others can see.
    ///
    /// # Errors
    /// A newer call was seen: the step must not be taken.
    pub(crate) fn check(&self) -> Result<(), Superseded> {
        if *lock(&self.lane.newest) > self.token { Err(Superseded) } else { Ok(()) }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
