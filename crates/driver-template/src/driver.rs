//! [`TemplateDriver`]: the port on top of the appliance.
//!
//! The whole idea is in two orders of steps, which hold at a crash between any two of them:
//! - to make: create it labelled *making*, fill it, label it *whole*;
//! - to remove: label it *going*, remove it.
//!
//! So whatever is labelled *whole* is, anything else is partial, and the label is all that a look has to read. Nothing is kept
//! beside the backend, and nothing has to be repaired at a start: what an interrupted call left is removed by the next that needs
//! its name.

use crate::appliance::{Appliance, Error, Label, Lun};
use crate::lanes::{Lanes, Superseded, Turn};
use crate::name::{Name, OURS};
use async_trait::async_trait;
use engine::ports::{Backing, Batches, Call, Capacity, Driver, Listed, Unanswered};
use lifecycle::{Bytes, Capabilities, Content, Facts, Look, Outcome, Seen, SnapshotId, Source, Token, VolumeId};
use std::path::PathBuf;
use std::sync::Arc;

/// How much is copied by one request: small enough that a newer call waits for one only, large enough to be worth it.
const CHUNK: u64 = 4 << 20;

/// Told the name of each step before and after it is taken; for tests, which crash there.
pub type FailPoints = Arc<dyn Fn(&str) + Send + Sync>;

/// A driver for one appliance.
pub struct TemplateDriver {
    appliance: Arc<Appliance>,
    lanes: Lanes,
    fail_points: Option<FailPoints>,
}

/// Why a call ended without being done. Each way to end is another [`Outcome`], and the engine does something else at each.
enum Stop {
    /// It can never be done as asked, and this call did nothing: the user is told, and what earlier tries left is cleaned up.
    Refused(String),
    /// It was not done now: asked again, it may be.
    Failed(String),
    /// Nobody knows: the engine asks again and looks. When in doubt, this one.
    Unknown(String),
}

impl From<Superseded> for Stop {
    fn from(Superseded: Superseded) -> Self {
        Self::Refused("superseded by a newer call".into())
    }
}

impl From<Error> for Stop {
    /// The one place where the backend's errors get their meaning. Every variant is named: a new one makes the compiler ask.
    fn from(error: Error) -> Self {
        match error {
            Error::Full | Error::TooLarge(_) => Self::Refused(error.to_string()),
            // Somebody changed it under us: the next try looks again.
            Error::NoSuch(_) | Error::Exists(_) => Self::Failed(error.to_string()),
            Error::Unreachable(_) => Self::Unknown(error.to_string()),
        }
    }
}

impl TemplateDriver {
    /// Opens the driver. It needs nothing but the appliance: no file of its own, and no repair.
    #[must_use]
    pub fn open(appliance: Arc<Appliance>, fail_points: Option<FailPoints>) -> Self {
        Self { appliance, lanes: Lanes::default(), fail_points }
    }

    /// Takes a step that outlives a crash. Every change of the backend goes through here: named for tests, and not without the
    /// check that no newer call was seen.
    async fn step(&self, turn: &Turn, name: &str, take: impl FnOnce(&Appliance) -> Result<(), Error> + Send) -> Result<(), Stop> {
        self.tell("before", name);
        turn.check()?;
        take(&self.appliance)?;
        self.tell("after", name);
        // Here your client awaits its answer: the call may be dropped at this point.
        tokio::task::yield_now().await;
        Ok(())
    }

    fn tell(&self, when: &str, name: &str) {
        if let Some(hook) = &self.fail_points {
            hook(&format!("{when} {name}"));
        }
    }

    fn lun(&self, name: Name) -> Result<Option<Lun>, Error> {
        let text = name.to_string();
        Ok(self.appliance.luns(&text)?.get(&text).copied())
    }

    fn whole(&self, name: Name) -> Result<Option<Lun>, Error> {
        Ok(self.lun(name)?.filter(|lun| lun.label == Label::Whole))
    }

    /// Makes a volume or a snapshot, with the content of `source`. Without a size it gets that of its source.
    async fn make(&self, call: Call, name: Name, size: Option<Bytes>, source: Option<Name>) -> Result<Seen, Stop> {
        let turn = self.lanes.enter(name.volume, call.token).await?;
        // Done before? Then it is done now, and not touched.
        if let Some(there) = self.whole(name)? {
            return match size {
                Some(size) if size.0 != there.size => {
                    Err(Stop::Refused(format!("it is there with {}, not {size}; delete it first", Bytes(there.size))))
                }
                Some(_) | None => Ok(seen(there)),
            };
        }
        // Everything that can be refused is refused before the first step.
        let from = match source {
            Some(source) => Some(self.whole(source)?.ok_or_else(|| Stop::Refused("what it is made from is not there".into()))?),
            None => None,
        };
        let size = size.map_or_else(|| from.map_or(0, |lun| lun.size), |size| size.0);
        if let Some(from) = from.filter(|from| from.size > size) {
            return Err(Stop::Refused(format!("its source has {}, which does not fit in {}", Bytes(from.size), Bytes(size))));
        }
        let text = name.to_string();
        if self.lun(name)?.is_some() {
            self.step(&turn, "remove a leftover", |appliance| appliance.delete(&text)).await?;
        }
        self.step(&turn, "create", |appliance| appliance.create(&text, size, Label::Making)).await?;
        if let (Some(source), Some(from)) = (source, from)
            && let Err(stop) = self.copy(&turn, &call, source, name, from.size).await
        {
            if let Stop::Refused(_) = stop {
                // A refusal says that nothing was done: so nothing may stay. If this fails, it is not refused but unknown.
                self.step(&turn, "take back", |appliance| appliance.delete(&text)).await?;
            }
            return Err(stop);
        }
        self.step(&turn, "call it whole", |appliance| appliance.relabel(&text, Label::Whole)).await?;
        Ok(seen(Lun { size, label: Label::Whole }))
    }

    /// Copies in chunks: each is a sign of life, and a place where a newer call is noticed.
    async fn copy(&self, turn: &Turn, call: &Call, source: Name, target: Name, size: u64) -> Result<(), Stop> {
        let (source, target) = (source.to_string(), target.to_string());
        let mut at = 0;
        while at < size {
            let to = size.min(at + CHUNK);
            self.step(turn, "copy a chunk", |appliance| appliance.copy(&source, &target, at, to)).await?;
            at = to;
            // A hundred is for when it is whole, which it is not yet.
            call.progress.report(u8::try_from(u128::from(at) * 99 / u128::from(size)).expect("at most 99"));
        }
        Ok(())
    }

    /// Removes a volume or a snapshot, and what interrupted calls left of it.
    async fn remove(&self, turn: &Turn, name: Name) -> Result<Seen, Stop> {
        let text = name.to_string();
        let Some(there) = self.lun(name)? else { return Ok(Seen::Absent) };
        if there.label == Label::Whole {
            self.step(turn, "call it going", |appliance| appliance.relabel(&text, Label::Going)).await?;
        }
        self.step(turn, "remove", |appliance| appliance.delete(&text)).await?;
        Ok(Seen::Absent)
    }

    async fn remove_volume(&self, token: Token, volume: VolumeId) -> Result<Seen, Stop> {
        let turn = self.lanes.enter(volume, token).await?;
        let ours = self.appliance.luns(&Name::beginning(volume))?;
        let snapshots =
            ours.iter().filter_map(|(text, lun)| Some((Name::parse(text).filter(|name| name.snapshot.is_some())?, lun)));
        let (whole, leftovers): (Vec<_>, Vec<_>) = snapshots.partition(|(_, lun)| lun.label == Label::Whole);
        if !whole.is_empty() {
            let names: Vec<_> = whole.iter().filter_map(|(name, _)| name.snapshot).map(|id| id.to_string()).collect();
            return Err(Stop::Refused(format!("it has snapshots: {}; delete them first", names.join(", "))));
        }
        for (name, _) in leftovers {
            self.remove(&turn, name).await?;
        }
        self.remove(&turn, Name::volume(volume)).await
    }

    async fn remove_snapshot(&self, token: Token, name: Name) -> Result<Seen, Stop> {
        let turn = self.lanes.enter(name.volume, token).await?;
        self.remove(&turn, name).await
    }

    async fn grow(&self, token: Token, volume: VolumeId, size: Bytes) -> Result<Seen, Stop> {
        let turn = self.lanes.enter(volume, token).await?;
        let name = Name::volume(volume);
        let there = self.whole(name)?.ok_or_else(|| Stop::Refused("it is not there".into()))?;
        if there.size < size.0 {
            self.step(&turn, "grow", |appliance| appliance.grow(&name.to_string(), size.0)).await?;
        }
        Ok(seen(Lun { size: there.size.max(size.0), ..there }))
    }
}

/// What a LUN's label says of it.
const fn seen(lun: Lun) -> Seen {
    let content = match lun.label {
        Label::Whole => Content::Whole,
        Label::Making | Label::Going => Content::Partial,
    };
    Seen::Present { size: Bytes(lun.size), content }
}

fn outcome(done: Result<Seen, Stop>) -> Outcome {
    match done {
        Ok(seen) => Outcome::Done(Facts::Object(seen)),
        Err(Stop::Refused(why)) => Outcome::Refused(why),
        Err(Stop::Failed(why)) => Outcome::Failed(why),
        Err(Stop::Unknown(why)) => Outcome::Unknown(why),
    }
}

fn unanswered(error: Error) -> Unanswered {
    Unanswered(error.to_string())
}

#[async_trait]
impl Driver for TemplateDriver {
    fn name(&self) -> &'static str {
        "template"
    }

    async fn capabilities(&self) -> Result<Capabilities, Unanswered> {
        // A copy is no point in time while somebody writes. Claim only what holds: the engine refuses the rest with a remedy.
        Ok(Capabilities { attached_snapshot: false, online_extend: true })
    }

    async fn create(&self, call: Call, volume: VolumeId, size: Bytes, source: Option<Source>) -> Outcome {
        let source = source.map(|source| Name::snapshot(source.volume, source.snapshot));
        outcome(self.make(call, Name::volume(volume), Some(size), source).await)
    }

    async fn delete(&self, call: Call, volume: VolumeId) -> Outcome {
        outcome(self.remove_volume(call.token, volume).await)
    }

    async fn extend(&self, call: Call, volume: VolumeId, size: Bytes) -> Outcome {
        outcome(self.grow(call.token, volume, size).await)
    }

    async fn snapshot(&self, call: Call, volume: VolumeId, snapshot: SnapshotId) -> Outcome {
        outcome(self.make(call, Name::snapshot(volume, snapshot), None, Some(Name::volume(volume))).await)
    }

    async fn delete_snapshot(&self, call: Call, volume: VolumeId, snapshot: SnapshotId) -> Outcome {
        outcome(self.remove_snapshot(call.token, Name::snapshot(volume, snapshot)).await)
    }

    async fn backing(&self, volume: VolumeId) -> Result<Backing, Unanswered> {
        let name = Name::volume(volume);
        match self.whole(name).map_err(unanswered)? {
            Some(_) => Ok(Backing::File(PathBuf::from(format!("/dev/disk/by-id/{name}")))),
            None => Err(Unanswered(format!("volume {volume} is not there"))),
        }
    }

    async fn inspect(&self, volume: VolumeId, fence: Option<Token>) -> Result<Look, Unanswered> {
        // A fenced look takes its turn, so that no older call is between its check and its step when it answers.
        let _turn = match fence {
            Some(token) => {
                let turn = self.lanes.enter(volume, token).await;
                Some(turn.map_err(|Superseded| Unanswered("superseded by a newer call".into()))?)
            }
            None => None,
        };
        let mut look = Look { volume: Seen::Absent, ..Look::default() };
        for (text, lun) in self.appliance.luns(&Name::beginning(volume)).map_err(unanswered)? {
            match Name::parse(&text).map(|name| name.snapshot) {
                Some(Some(snapshot)) => drop(look.snapshots.insert(snapshot, seen(lun))),
                Some(None) => look.volume = seen(lun),
                None => {}
            }
        }
        Ok(look)
    }

    async fn list(&self, batches: Batches) -> Result<(), Unanswered> {
        let all = self.appliance.luns(OURS).map_err(unanswered)?;
        let listed = |(text, lun): (&String, &Lun)| {
            // An appliance that knows its initiators says here who has the LUN, and in `inspect` by what name.
            Name::parse(text).map(|Name { volume, snapshot }| Listed { volume, snapshot, seen: seen(*lun), is_used: false })
        };
        // An appliance that answers page by page is told on page by page: see `Driver::list`. Nobody hears any more? Then nobody misses it.
        let batch = all.iter().filter_map(listed).collect();
        drop(all);
        let _ = batches.send(batch).await;
        Ok(())
    }

    async fn capacity(&self) -> Result<Capacity, Unanswered> {
        let (total, free) = self.appliance.room().map_err(unanswered)?;
        Ok(Capacity { total: Bytes(total), free: Bytes(free) })
    }

    // `probe` is as the port has it, and asks how full the appliance is. Do better where reads can work and changes not, as on a
    // file system that became read-only.
}
