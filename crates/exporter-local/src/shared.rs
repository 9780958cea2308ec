//! What the calls of an exporter share: the gate, the tokens, and what is known of devices between two looks.
//!
//! Everything that asks the kernel blocks, and may block as long as the disk below does. So it runs on threads of its own, and
//! - looks and steps run one at a time behind the gate: a look of ours that has a device open must not be taken for a user of it
//!   by a step of ours, and a step that checked its token must be over before a newer call looks. An abandoned call keeps the gate
//!   until what it began has ended;
//! - what can hang for long (opening a backing, flushing a device) runs outside the gate, one at a time for each attachment, so
//!   that a dead disk costs a thread and not one more with every try.

use crate::device::{self, Device, Found, Looked};
use crate::losses::Lives;
use crate::name::Name;
use crate::trouble::Trouble;
use engine::tokens::Tokens;
use lifecycle::{AttachmentId, Connection, Outcome, Timestamp, Token};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::watch;

/// What all calls share.
pub(crate) struct Shared {
    /// Which controller this is, among those of the machine.
    pub(crate) mark: u64,
    /// Where its volumes lie; empty for anywhere.
    folders: Vec<PathBuf>,
    real_folders: OnceLock<Vec<PathBuf>>,
    gate: Arc<tokio::sync::Mutex<()>>,
    tokens: Mutex<Tokens>,
    busy: Mutex<BTreeSet<(AttachmentId, Step)>>,
    /// Exports of which a flush failed, until they have ended: the kernel would call the next flush a success.
    pub(crate) broken: Mutex<BTreeSet<AttachmentId>>,
    /// Since when each user of an export is seen.
    pub(crate) since: Mutex<BTreeMap<AttachmentId, BTreeMap<String, Timestamp>>>,
    pub(crate) lives: Mutex<Lives>,
    pub(crate) losses: watch::Sender<u64>,
}

/// Every bound device that could be this controller's.
#[derive(Default)]
pub(crate) struct Scan {
    pub(crate) found: Vec<Found>,
    /// Those that do not tell whose they are, and may be this controller's.
    unclear: Vec<Device>,
}

impl Scan {
    /// The device of that name, if there is one.
    pub(crate) fn of(&self, name: Name) -> Result<Option<&Found>, Trouble> {
        let text = name.to_string();
        match (self.found.iter().find(|found| found.name == text), self.unclear.first()) {
            (Some(found), _) => Ok(Some(found)),
            (None, Some(device)) => Err(Trouble::Unclear(*device)),
            (None, None) => Ok(None),
        }
    }
}

/// What may hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Open,
    Flush,
}

/// A step that may hang is under way for an attachment until this is dropped.
pub(crate) struct Busy {
    shared: Arc<Shared>,
    what: (AttachmentId, Step),
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(mark: u64, folders: Vec<PathBuf>) -> Self {
        Self {
            mark,
            folders,
            real_folders: OnceLock::new(),
            gate: Arc::default(),
            tokens: Mutex::default(),
            busy: Mutex::default(),
            broken: Mutex::default(),
            since: Mutex::default(),
            lives: Mutex::default(),
            losses: watch::Sender::new(0),
        }
    }

    /// What a device is called that is the export of this attachment.
    pub(crate) const fn name(&self, attachment: AttachmentId) -> Name {
        Name { mark: self.mark, attachment }
    }

    /// Notes that a call with `token` came. Errors with the answer to give if a newer one came before.
    pub(crate) fn see(&self, attachment: AttachmentId, token: Token) -> Result<(), String> {
        let seen = lock(&self.tokens).see(attachment, token);
        seen.map_err(|newer| format!("superseded by a newer call ({}.{})", newer.incarnation, newer.counter))
    }

    /// Whether no newer call came. To be asked behind the gate, just before a step.
    pub(crate) fn is_newest(&self, attachment: AttachmentId, token: Token) -> bool {
        lock(&self.tokens).is_newest(attachment, token)
    }

    /// Runs `work` behind the gate, on a thread that may block.
    pub(crate) async fn gated<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        let (shared, gate) = (self.clone(), self.gate.clone().lock_owned().await);
        blocking(move || {
            let _gate = gate;
            work(&shared)
        })
        .await?
    }

    /// Begins a step that may hang; nothing if an earlier one of the same attachment has not come back.
    pub(crate) fn begin(self: &Arc<Self>, attachment: AttachmentId, step: Step) -> Option<Busy> {
        let what = (attachment, step);
        lock(&self.busy).insert(what).then(|| Busy { shared: self.clone(), what })
    }

    /// Looks at every bound device of this machine, and notes which lives this controller's have.
    pub(crate) fn scan(&self) -> Result<Scan, Trouble> {
        let mut scan = Scan::default();
        for device in device::devices()? {
            match device.look()? {
                Looked::Bound(found) => {
                    if let (Some(name), Some(life)) = (self.ours(&found), device.life()) {
                        lock(&self.lives).insert(name.attachment, life);
                    }
                    scan.found.push(found);
                }
                Looked::Unclear => self.clear_up(device, &mut scan),
                Looked::Free => {}
            }
        }
        Ok(scan)
    }

    /// What is known of a device that does not tell whose it is: it may have told before, and a file elsewhere is not ours.
    fn clear_up(&self, device: Device, scan: &mut Scan) {
        let (Some(life), Some(path)) = (device.life(), device.backing_file()) else { return };
        let known = lock(&self.lives).iter().find(|(_, known)| **known == life).map(|(attachment, _)| self.name(*attachment));
        match known {
            Some(name) => scan.found.push(device.found(name.to_string(), None)),
            None if self.may_be_ours(Path::new(&path)) => {
                scan.unclear.push(device);
            }
            None => {}
        }
    }

    /// Whether a file lies where this controller's volumes do.
    ///
    /// Its folders are asked for their paths without links, as the kernel tells them, when that is first needed: that may take as long
    /// as their file systems do, and one that hangs must not keep a controller from starting. One that is not there has no volumes.
    fn may_be_ours(&self, file: &Path) -> bool {
        let real = |folder: &PathBuf| std::fs::canonicalize(folder).unwrap_or_else(|_| folder.clone());
        let folders = self.real_folders.get_or_init(|| self.folders.iter().map(real).collect());
        folders.is_empty() || folders.iter().any(|folder| file.starts_with(folder))
    }

    /// The name of a device that this controller made.
    pub(crate) fn ours(&self, found: &Found) -> Option<Name> {
        Name::parse(&found.name).filter(|name| name.mark == self.mark)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        lock(&self.shared.busy).remove(&self.what);
    }
}

/// Runs `work` on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Trouble> {
    tokio::task::spawn_blocking(work).await.map_err(Trouble::of("asking the kernel"))
}

/// How a client on this machine reaches a device.
pub(crate) fn connection(found: &Found) -> Connection {
    let data = [
        ("device", found.device.to_string()),
        ("mode", if found.read_only { "ro" } else { "rw" }.to_owned()),
        ("directIo", if found.direct_io { "yes" } else { "no" }.to_owned()),
    ];
    Connection { protocol: "local".to_owned(), data: data.map(|(word, value)| (word.to_owned(), value)).into() }
}

pub(crate) fn superseded() -> Outcome {
    Outcome::Refused("superseded by a newer call".into())
}
