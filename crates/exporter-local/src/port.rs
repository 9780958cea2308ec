//! The engine's Exporter port on loop devices.

use crate::backing::Backing;
use crate::device::{self, Found};
use crate::end::{self, End, Patience};
use crate::here;
use crate::kernel;
use crate::losses;
use crate::name::Name;
use crate::shared::{Shared, Step, blocking, connection, lock, superseded};
use crate::trouble::Trouble;
use crate::users;
use async_trait::async_trait;
use engine::ports::{self, Client, ExportSpec, Exporter, Unanswered};
use lifecycle::{AttachmentId, Connection, ExportSeen, Facts, Mode, Outcome, Timestamp, Token};
use rustix::fs::OFlags;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// How long a graceful end waits for users to leave. Source: the design of detach.
const GRACE: Duration = Duration::from_secs(5);
/// How long a forced end waits for processes to close the device, and any end for its flush: a healthy disk needs milliseconds.
const DRAIN: Duration = Duration::from_secs(10);
/// How often devices are looked at for having been released by somebody else: a few small reads for each, and a status is wrong no
/// longer than this.
const WATCH: Duration = Duration::from_secs(2);

/// How an exporter works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Tells this controller's devices from those of other controllers on the machine: the same at each of its starts, and no other
    /// controller's.
    pub mark: u64,
    /// Where its volumes lie. A device that cannot be asked whose it is, as its disk is broken, may be this controller's only if its
    /// file lies there; empty for anywhere, so that one broken device keeps every question about absent ones from being answered.
    pub folders: Vec<PathBuf>,
    /// How long a graceful end waits for users to leave.
    pub grace: Duration,
    /// How long a forced end waits for processes to close the device, and any end for its flush.
    pub drain: Duration,
    /// How often devices are looked at for having been released by somebody else.
    pub watch: Duration,
}

impl Options {
    /// The usual times, for the controller with that mark and volumes in those folders.
    #[must_use]
    pub const fn new(mark: u64, folders: Vec<PathBuf>) -> Self {
        Self { mark, folders, grace: GRACE, drain: DRAIN, watch: WATCH }
    }
}

/// Makes volumes loop devices of this machine.
pub struct LocalExporter {
    shared: Arc<Shared>,
    patience: Patience,
}

impl LocalExporter {
    /// An exporter; nothing is asked of the kernel yet, and nothing needs stopping. To be called within a runtime, on which it
    /// watches its devices until it is dropped.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        let shared = Arc::new(Shared::new(options.mark, options.folders.clone()));
        tokio::spawn(losses::watch(Arc::downgrade(&shared), options.watch));
        Self { shared, patience: Patience { grace: options.grace, drain: options.drain } }
    }

    /// Whether this process may make loop devices here.
    ///
    /// # Errors
    /// What stands in the way, and what would help. An exporter that is made all the same refuses every export, and cannot tell
    /// what is exported.
    pub fn available() -> Result<(), String> {
        device::control().map(drop).map_err(|trouble| trouble.to_string())
    }

    /// Opens the backing; this may take as long as its disk does.
    async fn open(&self, spec: &ExportSpec) -> Result<Backing, Outcome> {
        let Some(busy) = self.shared.begin(spec.attachment, Step::Open) else {
            return Err(Outcome::Failed("an earlier try has not yet opened its backing, which may hang".into()));
        };
        let ports::Backing::File(path) = spec.backing.clone();
        let read_only = spec.mode == Mode::ReadOnly;
        let opened = blocking(move || {
            let _busy = busy;
            Backing::open(&path, read_only)
        });
        Ok(opened.await??)
    }
}

/// Makes the export, behind the gate; the answer is what the kernel shows afterwards.
fn export(shared: &Shared, token: Token, spec: &ExportSpec, backing: &Backing) -> Result<Outcome, Trouble> {
    let (name, read_only) = (shared.name(spec.attachment), spec.mode == Mode::ReadOnly);
    let scan = shared.scan()?;
    if !shared.is_newest(spec.attachment, token) {
        return Ok(superseded());
    }
    if let Some(found) = scan.of(name)? {
        if !found.is(backing.identity, read_only) {
            let device = found.device;
            return Ok(Outcome::Refused(format!("it is exported already as {device}, with another mode or of another file")));
        }
        return again(name, found);
    }
    if let Some(other) =
        scan.found.iter().find(|found| found.identity() == Some(backing.identity) && !is_fellow(shared, spec, found))
    {
        // Two devices on one file do not see one another's writes.
        let (device, words) = (other.device, &other.name);
        return Ok(Outcome::Refused(format!("its file is the backing of {device} already ({words:?}); release that one first")));
    }
    let Some(device) = device::bind(backing, name, read_only, || shared.is_newest(spec.attachment, token))? else {
        return Ok(superseded());
    };
    Ok(match shared.scan()?.of(name)? {
        Some(found) if found.is(backing.identity, read_only) => serving(found),
        _ => Outcome::Unknown(format!("{device} was bound, and is not what was asked for")),
    })
}

/// Whether the device is another attachment's of this controller, for a volume that may be attached many times.
fn is_fellow(shared: &Shared, spec: &ExportSpec, found: &Found) -> bool {
    spec.shared && shared.ours(found).is_some()
}

/// It is exported already, as asked for; but somebody may have told the kernel to release it with its last user.
fn again(name: Name, found: &Found) -> Result<Outcome, Trouble> {
    if found.told.is_some_and(|told| told.is_autoclear) {
        let device = found.device;
        let file = device.open(OFlags::RDONLY)?;
        kernel::keep(&file, name).map_err(Trouble::of(format!("keeping {device}, which was to go with its last user")))?;
    }
    Ok(serving(found))
}

fn serving(found: &Found) -> Outcome {
    Outcome::Done(Facts::Export(ExportSeen::Serving(connection(found))))
}

/// Who uses the attachment's device.
fn clients(shared: &Shared, attachment: AttachmentId) -> Result<Vec<Client>, Trouble> {
    let scan = shared.scan()?;
    let before = lock(&shared.since).remove(&attachment).unwrap_or_default();
    let Some(found) = scan.of(shared.name(attachment))? else { return Ok(vec![]) };
    let (now, size) = (now(), found.device.size());
    let mut seen = BTreeMap::new();
    let clients = users::of(found.device).into_iter().map(|user| {
        let words = user.to_string();
        let first = *seen.entry(words.clone()).or_insert_with(|| before.get(&words).copied().unwrap_or(now));
        // The kernel counts the bytes of a device, not those of each of its users.
        Client {
            address: words.clone(),
            identity: words,
            since: first,
            last_seen: now,
            size_seen: size,
            bytes_read: 0,
            bytes_written: 0,
            in_flight: 0,
        }
    });
    let clients = clients.collect();
    lock(&shared.since).insert(attachment, seen);
    Ok(clients)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[async_trait]
impl Exporter for LocalExporter {
    fn protocols(&self) -> &'static [&'static str] {
        &["local"]
    }

    async fn export(&self, token: Token, spec: ExportSpec) -> Outcome {
        if let Err(why) = self.shared.see(spec.attachment, token) {
            return Outcome::Refused(why);
        }
        if spec.protocol != "local" {
            return Outcome::Refused(format!("protocol {} is not spoken here (there is: local)", spec.protocol));
        }
        if let Err(why) = here::require(&spec.address) {
            return Outcome::Refused(why);
        }
        let backing = match self.open(&spec).await {
            Ok(backing) => backing,
            Err(outcome) => return outcome,
        };
        self.shared.gated(move |shared| export(shared, token, &spec, &backing)).await.unwrap_or_else(Outcome::from)
    }

    async fn unexport(&self, token: Token, attachment: AttachmentId, force: bool) -> Outcome {
        match self.shared.see(attachment, token) {
            Ok(()) => end::unexport(&self.shared, End { token, attachment, force }, self.patience).await,
            Err(why) => Outcome::Refused(why),
        }
    }

    async fn inspect(&self, attachment: AttachmentId, fence: Option<Token>) -> Result<ExportSeen, Unanswered> {
        if let Some(token) = fence {
            self.shared.see(attachment, token).map_err(Unanswered)?;
        }
        let name = self.shared.name(attachment);
        let scan = self.shared.gated(|shared| shared.scan()).await?;
        Ok(scan.of(name)?.map_or(ExportSeen::Absent, |found| ExportSeen::Serving(connection(found))))
    }

    async fn list(&self) -> Result<BTreeMap<AttachmentId, Connection>, Unanswered> {
        let scan = self.shared.gated(|shared| shared.scan()).await?;
        let ours = scan.found.iter().filter_map(|found| Some((self.shared.ours(found)?.attachment, connection(found))));
        Ok(ours.collect())
    }

    async fn clients(&self, attachment: AttachmentId) -> Result<Vec<Client>, Unanswered> {
        Ok(self.shared.gated(move |shared| clients(shared, attachment)).await?)
    }

    async fn refresh(&self, attachment: AttachmentId) -> Result<(), Unanswered> {
        let grow = move |shared: &Arc<Shared>| match shared.scan()?.of(shared.name(attachment))? {
            Some(found) => found.device.grow(),
            None => Ok(()),
        };
        Ok(self.shared.gated(grow).await?)
    }

    fn losses(&self) -> Option<watch::Receiver<u64>> {
        Some(self.shared.losses.subscribe())
    }
}
