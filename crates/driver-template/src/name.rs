//! What our things are called on the backend. The names carry the ids, so that a list of the backend alone tells what is ours.

use lifecycle::{SnapshotId, VolumeId};

/// What all our names begin with. Whatever is called otherwise is somebody else's, and is left alone.
pub(crate) const OURS: &str = "berth-";

/// A volume's or a snapshot's name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) volume: VolumeId,
    pub(crate) snapshot: Option<SnapshotId>,
}

impl Name {
    pub(crate) const fn volume(volume: VolumeId) -> Self {
        Self { volume, snapshot: None }
    }

    pub(crate) const fn snapshot(volume: VolumeId, snapshot: SnapshotId) -> Self {
        Self { volume, snapshot: Some(snapshot) }
    }

    /// What the names of a volume and its snapshots begin with. All ids have one length, so that none is the beginning of another.
    pub(crate) fn beginning(volume: VolumeId) -> String {
        format!("{OURS}{volume}")
    }

    /// Reads a name; nothing if it is none of ours, to the letter.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let ids = text.strip_prefix(OURS)?;
        let name = match ids.split_once('.') {
            Some((volume, snapshot)) => Self::snapshot(volume.parse().ok()?, snapshot.parse().ok()?),
            None => Self::volume(ids.parse().ok()?),
        };
        (name.to_string() == text).then_some(name)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.snapshot {
            Some(snapshot) => write!(f, "{OURS}{}.{snapshot}", self.volume),
            None => write!(f, "{OURS}{}", self.volume),
        }
    }
}
