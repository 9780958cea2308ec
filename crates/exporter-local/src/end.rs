//! How an export ends: claim the device, flush it, release it, and look whether it is gone.
//!
//! - *Claim*: `O_EXCL` on a block device fails while a file system, swap or another device stands on it, in whatever namespace, and
//!   keeps any from coming while it is held. What merely has it open is looked for in `/proc`.
//! - *Flush*: what was written is on stable storage before the device goes.
//! - *Release*: the kernel lets go at once only if the claim is the only user. If one was out of sight, it notes to let go later
//!   instead; that is taken back, and the device counts as used.
//!
//! Force waits longer for processes to close the device, does not wait for mounts at all, and lets a device go whose flush fails.
//! It cannot cut anybody: the kernel has no way to take a loop device from its users, and telling so is all that is true.

use crate::device::{Device, Life};
use crate::kernel;
use crate::name::Name;
use crate::shared::{Busy, Shared, Step, blocking, lock, superseded};
use crate::trouble::Trouble;
use crate::users::{self, User};
use lifecycle::{AttachmentId, ExportSeen, Facts, Outcome, Token};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long to wait between two tries while the device is used: short beside the grace, and each try reads all of `/proc`.
const PAUSE: Duration = Duration::from_millis(200);

/// How long an end waits.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// For users to leave, if it is not forced.
    pub(crate) grace: Duration,
    /// For users to leave if it is forced, and for the flush.
    pub(crate) drain: Duration,
}

/// One end of an export, as it was asked for.
#[derive(Clone, Copy)]
pub(crate) struct End {
    pub(crate) token: Token,
    pub(crate) attachment: AttachmentId,
    pub(crate) force: bool,
}

/// What one try came to.
enum Tried {
    Ended(Outcome),
    Used(Device, Vec<User>),
}

/// A device that nobody else stands on while this lives.
struct Claim {
    device: Device,
    file: OwnedFd,
    _busy: Busy,
}

/// Ends the export, or tells who is in the way.
pub(crate) async fn unexport(shared: &Arc<Shared>, end: End, patience: Patience) -> Outcome {
    let late = Instant::now() + if end.force { patience.drain } else { patience.grace };
    loop {
        let is_late = Instant::now() >= late;
        match attempt(shared, end, patience.drain).await {
            Ok(Tried::Ended(outcome)) => return outcome,
            Ok(Tried::Used(device, users)) if is_late || end.force && users.iter().any(User::stays) => {
                return Outcome::Refused(still_used(device, &users, end.force));
            }
            Err(trouble @ Trouble::Unclear(_)) if is_late => return Outcome::Unknown(trouble.to_string()),
            Ok(Tried::Used(..)) | Err(Trouble::Unclear(_)) => tokio::time::sleep(PAUSE).await,
            Err(trouble) => return trouble.into(),
        }
    }
}

fn still_used(device: Device, users: &[User], force: bool) -> String {
    let told: Vec<_> = users.iter().map(User::to_string).collect();
    let remedy = users.first().unwrap_or(&User::Unseen).remedy();
    let force = if force { " (force does not help: the kernel takes no loop device from its users)" } else { "" };
    format!("device {device} is still {}; {remedy}, then detach again{force}", told.join(", "))
}

async fn attempt(shared: &Arc<Shared>, end: End, drain: Duration) -> Result<Tried, Trouble> {
    let claim = match shared.gated(move |shared| claim(shared, end)).await? {
        Ok(claim) => claim,
        Err(tried) => return Ok(tried),
    };
    let flush = blocking(move || {
        let flushed = rustix::fs::fsync(&claim.file);
        (claim, flushed)
    });
    let Ok(flushed) = tokio::time::timeout(drain, flush).await else {
        return Ok(Tried::Ended(Outcome::Unknown("the last flush does not end: the backing hangs".into())));
    };
    let (claim, flushed) = flushed?;
    if let Err(errno) = flushed {
        tracing::error!(device = %claim.device, attachment = %end.attachment, %errno, "what was written could not be made durable");
        lock(&shared.broken).insert(end.attachment);
    }
    if !end.force && lock(&shared.broken).contains(&end.attachment) {
        let why = format!(
            "what was written to {} could not be made durable, and may be lost; look at the disk below, then detach with force",
            claim.device
        );
        return Ok(Tried::Ended(Outcome::Refused(why)));
    }
    shared.gated(move |shared| release(shared, end, claim)).await
}

/// Claims the device, if nobody uses it.
fn claim(shared: &Arc<Shared>, end: End) -> Result<Result<Claim, Tried>, Trouble> {
    if !shared.is_newest(end.attachment, end.token) {
        return Ok(Err(Tried::Ended(superseded())));
    }
    let scan = shared.scan()?;
    let Some(found) = scan.of(shared.name(end.attachment))? else { return Ok(Err(Tried::Ended(ended(shared, end)))) };
    let device = found.device;
    let Some(busy) = shared.begin(end.attachment, Step::Flush) else {
        let hangs = Outcome::Unknown(format!("the flush of {device} by an earlier try has not ended: its backing may hang"));
        return Ok(Err(Tried::Ended(hangs)));
    };
    let users = users::of(device);
    if !users.is_empty() {
        return Ok(Err(Tried::Used(device, users)));
    }
    match device.open(OFlags::RDONLY | OFlags::EXCL) {
        Ok(file) => Ok(Ok(Claim { device, file, _busy: busy })),
        Err(trouble) if trouble.errno() == Some(Errno::BUSY) => Ok(Err(Tried::Used(device, vec![User::Unseen]))),
        // Released by somebody else since the look.
        Err(trouble) if trouble.errno() == Some(Errno::NXIO) => Err(Trouble::Unclear(device)),
        Err(trouble) => Err(trouble),
    }
}

/// Releases the claimed device, and looks whether it is gone.
fn release(shared: &Arc<Shared>, end: End, claim: Claim) -> Result<Tried, Trouble> {
    if !shared.is_newest(end.attachment, end.token) {
        return Ok(Tried::Ended(superseded()));
    }
    let device = claim.device;
    // From here on its end is no loss.
    let life = lock(&shared.lives).remove(&end.attachment);
    // If somebody released the device while the flush ran, its number may be another's by now.
    let let_go = if life.as_ref().is_some_and(Life::goes_on) { let_go(shared.name(end.attachment), &claim) } else { Ok(true) };
    // The kernel lets go when the claim is closed.
    drop(claim);
    let lives_on = life.filter(Life::goes_on);
    let is_free = lives_on.is_none();
    lock(&shared.lives).extend(lives_on.map(|life| (end.attachment, life)));
    match let_go? {
        true if is_free => Ok(Tried::Ended(ended(shared, end))),
        true => Err(Trouble::Unclear(device)),
        false => {
            let mut users = users::of(device);
            users.extend(users.is_empty().then_some(User::Unseen));
            Ok(Tried::Used(device, users))
        }
    }
}

/// Tells the kernel to let go of the claimed device; false if it has a user all the same, and lives on.
fn let_go(name: Name, claim: &Claim) -> Result<bool, Trouble> {
    let device = claim.device;
    match device.forget_partitions(&claim.file) {
        Ok(()) => {}
        Err(Errno::BUSY) => return Ok(false),
        Err(errno) => return Err(Trouble::of(format!("taking away the partitions of {device}"))(errno)),
    }
    match kernel::clear(&claim.file) {
        Ok(()) | Err(Errno::NXIO) => {}
        Err(errno) => return Err(Trouble::of(format!("releasing {device}"))(errno)),
    }
    // A broken disk answers with another error.
    if kernel::info(&claim.file).err() == Some(Errno::NXIO) {
        return Ok(true);
    }
    kernel::keep(&claim.file, name).map_err(Trouble::of(format!("keeping {device}, which is used")))?;
    Ok(false)
}

fn ended(shared: &Shared, end: End) -> Outcome {
    lock(&shared.lives).remove(&end.attachment);
    lock(&shared.broken).remove(&end.attachment);
    lock(&shared.since).remove(&end.attachment);
    Outcome::Done(Facts::Export(ExportSeen::Absent))
}
