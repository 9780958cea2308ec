//! The names of the files: the only thing that says what a file is.
//!
//! - Reading is strict: a name is ours only if writing what was read gives the same name again, so that no two names mean the
//!   same file (`7F3A...` is not ours, `7f3a...` is).
//! - A file counts only in the directory that its volume's id points to.
//!
//! Source: data plane page, section 1, "Crash-safety rule for files".

use lifecycle::{SnapshotId, Token, VolumeId};
use std::fmt;

/// How many digits of a volume's id name its directory. Three: a million volumes make 4,096 directories of some 250 files, so
/// that looking at one volume reads a short directory; a pool of ten volumes has ten directories at most.
const SHARD_DIGITS: usize = 3;

/// A volume or one of its snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Object {
    /// The volume it is, or belongs to.
    pub(crate) volume: VolumeId,
    /// The snapshot it is, unless it is the volume itself.
    pub(crate) snapshot: Option<SnapshotId>,
}

impl Object {
    /// The volume itself.
    pub(crate) const fn volume(volume: VolumeId) -> Self {
        Self { volume, snapshot: None }
    }

    /// A snapshot of the volume.
    pub(crate) const fn snapshot(volume: VolumeId, snapshot: SnapshotId) -> Self {
        Self { volume, snapshot: Some(snapshot) }
    }

    /// The name of its file in this form.
    pub(crate) const fn form(self, form: Form) -> FileName {
        FileName { object: self, form }
    }
}

impl fmt::Display for Object {
    /// As people read it in messages: `volume 7f3a...`, `snapshot 1b2c...`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.snapshot {
            Some(snapshot) => write!(f, "snapshot {snapshot}"),
            None => write!(f, "volume {}", self.volume),
        }
    }
}

/// What a name promises of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Form {
    /// Whole, on the disk.
    Live,
    /// Being made by the call with this token. The sequence number is unique in this process, so that the same call delivered
    /// twice does not write to one file.
    Temporary(Token, u64),
    /// Being removed.
    Trash,
}

/// The name of a file of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileName {
    /// Whose file it is.
    pub(crate) object: Object,
    /// What the name promises.
    pub(crate) form: Form,
}

impl FileName {
    /// Reads a name; nothing if it is not one of ours.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (object, form) = split(name)?;
        let object = match object.split_once('@') {
            Some((volume, snapshot)) => Object::snapshot(volume.parse().ok()?, snapshot.parse().ok()?),
            None => Object::volume(object.parse().ok()?),
        };
        Some(object.form(form)).filter(|read| read.to_string() == name)
    }

    /// The file's path below the pool's folder.
    pub(crate) fn path(self) -> String {
        format!("{}/{self}", shard(self.object.volume))
    }
}

/// The directory that a volume's files are in: the last digits of an id that begins with the time of its making (version 7), as the first
/// ones are the same for years; the first ones of any other.
pub(crate) fn shard(volume: VolumeId) -> String {
    let mut digits = volume.to_string();
    if volume.0.get_version_num() == 7 {
        return digits.split_off(digits.len() - SHARD_DIGITS);
    }
    digits.truncate(SHARD_DIGITS);
    digits
}

/// Whether a directory's name is one of those that [`shard`] gives.
pub(crate) fn is_shard(name: &str) -> bool {
    name.len() == SHARD_DIGITS && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Splits a file name into what it is about and what it promises.
fn split(name: &str) -> Option<(&str, Form)> {
    if let Some(object) = name.strip_suffix(".raw") {
        return Some((object, Form::Live));
    }
    if let Some(object) = name.strip_suffix(".trash") {
        return Some((object, Form::Trash));
    }
    let (object, unique) = name.strip_suffix(".tmp")?.split_once('.')?;
    let mut numbers = unique.split('-').map(|number| number.parse().ok());
    let token = Token { incarnation: numbers.next()??, counter: numbers.next()?? };
    Some((object, Form::Temporary(token, numbers.next()??)))
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.object.volume)?;
        if let Some(snapshot) = self.object.snapshot {
            write!(f, "@{snapshot}")?;
        }
        match self.form {
            Form::Live => f.write_str(".raw"),
            Form::Trash => f.write_str(".trash"),
            Form::Temporary(token, sequence) => write!(f, ".{}-{}-{sequence}.tmp", token.incarnation, token.counter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const VOLUME: &str = "7f3a0000-0000-4000-8000-000000000001";
    const SNAPSHOT: &str = "1b2c0000-0000-4000-8000-000000000002";

    #[test]
    fn every_name_reads_back_as_what_wrote_it() {
        let volume = Object::volume(VOLUME.parse().unwrap());
        let snapshot = Object::snapshot(volume.volume, SNAPSHOT.parse().unwrap());
        let token = Token { incarnation: u64::MAX, counter: 7 };
        for object in [volume, snapshot] {
            for form in [Form::Live, Form::Trash, Form::Temporary(token, 3)] {
                let name = object.form(form);
                assert_eq!(FileName::parse(&name.to_string()), Some(name));
            }
        }
        assert_eq!(volume.form(Form::Live).path(), format!("7f3/{VOLUME}.raw"));
        let timed = "019a0000-0000-7000-8000-0000000000ab";
        assert_eq!(Object::volume(timed.parse().unwrap()).form(Form::Live).path(), format!("0ab/{timed}.raw"));
    }

    #[test]
    fn what_is_not_exactly_our_name_is_not_ours() {
        let upper = VOLUME.to_uppercase();
        let simple = VOLUME.replace('-', "");
        let rows = [
            String::new(),
            ".raw".into(),
            "lost+found".into(),
            VOLUME.into(),
            format!("{upper}.raw"),
            format!("{simple}.raw"),
            format!("{{{VOLUME}}}.raw"),
            format!("urn:uuid:{VOLUME}.raw"),
            format!("{VOLUME}@.raw"),
            format!("{VOLUME}@{SNAPSHOT}@{SNAPSHOT}.raw"),
            format!("{VOLUME}.raw.bak"),
            format!("{VOLUME}.tmp"),
            format!("{VOLUME}.1-2.tmp"),
            format!("{VOLUME}.1-2-3-4.tmp"),
            format!("{VOLUME}.01-2-3.tmp"),
            format!("{VOLUME}.+1-2-3.tmp"),
            format!("{VOLUME}.1-2-99999999999999999999.tmp"),
        ];
        for name in rows {
            assert_eq!(FileName::parse(&name), None, "{name}");
        }
    }

    #[test]
    fn every_volume_has_a_directory_with_a_valid_name() {
        for id in [0, 1, u128::MAX, 0x7f3a << 112] {
            assert!(is_shard(&shard(VolumeId(Uuid::from_u128(id)))));
        }
        for name in ["", "7f", "7f3a", "7F3", "../", "zzz"] {
            assert!(!is_shard(name), "{name}");
        }
    }
}
