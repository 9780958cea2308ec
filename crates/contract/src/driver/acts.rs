//! The calls that change something, as values: so that each can be tried with every other, at every step.

use engine::ports::{Call, Driver, Progress};
use lifecycle::{Bytes, Content, Look, Outcome, Seen, SnapshotId, Source, Token, VolumeId};
use uuid::Uuid;

/// 1,048,576 bytes.
pub(super) const MIB: u64 = 1 << 20;

/// A volume's or a snapshot's name.
pub(super) type Name = (VolumeId, Option<SnapshotId>);

/// One call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Create(VolumeId, u64),
    Clone(VolumeId, u64, Source),
    Extend(VolumeId, u64),
    Snapshot(VolumeId, SnapshotId),
    DeleteSnapshot(VolumeId, SnapshotId),
    Delete(VolumeId),
}

impl Act {
    /// Makes the call.
    pub(super) async fn perform(self, driver: &dyn Driver, token: Token) -> Outcome {
        self.with(driver, Call { token, progress: Progress::ignored() }).await
    }

    /// Makes the call, telling how far it is.
    pub(super) async fn with(self, driver: &dyn Driver, call: Call) -> Outcome {
        match self {
            Self::Create(volume, size) => driver.create(call, volume, Bytes(size), None).await,
            Self::Clone(volume, size, source) => driver.create(call, volume, Bytes(size), Some(source)).await,
            Self::Extend(volume, size) => driver.extend(call, volume, Bytes(size)).await,
            Self::Snapshot(volume, snapshot) => driver.snapshot(call, volume, snapshot).await,
            Self::DeleteSnapshot(volume, snapshot) => driver.delete_snapshot(call, volume, snapshot).await,
            Self::Delete(volume) => driver.delete(call, volume).await,
        }
    }

    /// What it makes, changes or removes.
    pub(super) const fn object(self) -> Name {
        match self {
            Self::Create(volume, _) | Self::Clone(volume, ..) | Self::Extend(volume, _) | Self::Delete(volume) => (volume, None),
            Self::Snapshot(volume, snapshot) | Self::DeleteSnapshot(volume, snapshot) => (volume, Some(snapshot)),
        }
    }

    /// The call that removes what this one makes or changes.
    pub(super) const fn undone(self) -> Self {
        match self.object() {
            (volume, Some(snapshot)) => Self::DeleteSnapshot(volume, snapshot),
            (volume, None) => Self::Delete(volume),
        }
    }
}

/// What a look tells of an object.
pub(super) fn seen_in(look: &Look, snapshot: Option<SnapshotId>) -> Seen {
    match snapshot {
        None => look.volume,
        Some(snapshot) => look.snapshots.get(&snapshot).copied().unwrap_or(Seen::Absent),
    }
}

/// Whether what a fenced look told is still so. What was partial may be tidied up by the very call that left it, but never grow whole.
pub(super) fn still_holds(look: &Look, now: &Look) -> bool {
    let names = look.snapshots.keys().chain(now.snapshots.keys()).map(|snapshot| Some(*snapshot)).chain([None]);
    names.into_iter().all(|snapshot| {
        let (then, now) = (seen_in(look, snapshot), seen_in(now, snapshot));
        then == now || (is_partial(then) && (is_partial(now) || now == Seen::Absent))
    })
}

pub(super) const fn whole(size: u64) -> Seen {
    Seen::Present { size: Bytes(size), content: Content::Whole }
}

pub(super) const fn is_partial(seen: Seen) -> bool {
    matches!(seen, Seen::Present { content: Content::Partial, .. })
}

/// An id for each number, spread over all there are: an odd factor makes no two the same.
const fn id(number: u128) -> Uuid {
    Uuid::from_u128(number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}

pub(super) const fn volume(number: u128) -> VolumeId {
    VolumeId(id(number))
}

pub(super) const fn snap(number: u128) -> SnapshotId {
    SnapshotId(id(number | 1 << 100))
}
