//! What each call does to the files, step by step. Everything here blocks.
//!
//! - A visible step is taken by [`Files::visible`] alone: under the volume's lock, right after the check of the token.
//! - A call cut off between any two steps leaves a state that [`Files::look`] tells truthfully and that the repeated call
//!   finishes. Only an error that the call itself survives removes its temporary file; nothing is tidied while unwinding.
//! - What an earlier, cut-off call may not have put on the disk is synced before the repeated one says that it is done.
//!
//! Source: architecture page, "File rules".

use crate::copy::{CopyStop, copy, data_bytes};
use crate::folder::Folder;
use crate::lanes::{Held, Ticket};
use crate::names::{FileName, Form, Object};
use crate::points::{COPY_CHUNK, GROW, MakeSteps, Pace, REMOVE_LEFTOVER, RemoveSteps, SYNC_GROWN};
use crate::space::Space;
use crate::stop::{Stop, broken, is_full, is_too_large};
use crate::users;
use engine::ports::{Listed, Progress};
use failpoint::Step;
use lifecycle::{Bytes, Content, Look, Seen, VolumeId};
use rustix::fs::{OFlags, ioctl_ficlone};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;

/// The files of a pool and how they are worked on.
pub(crate) struct Files {
    pub(crate) folder: Folder,
    pub(crate) space: Space,
    pub(crate) pace: Pace,
    /// Whether a file can share another's blocks, as probed.
    pub(crate) reflink: bool,
}

/// What is to be made.
pub(crate) struct Plan {
    /// The object.
    pub(crate) target: Object,
    /// Its exact size; `None` takes the source's.
    pub(crate) size: Option<Bytes>,
    /// Whose content it gets; `None` leaves it empty.
    pub(crate) source: Option<Object>,
    /// What its steps are called.
    pub(crate) steps: &'static MakeSteps,
}

/// A temporary file that is being filled.
struct Draft {
    name: FileName,
    file: File,
    source: Option<File>,
    size: u64,
}

impl Files {
    /// Takes a visible step, unless a newer call was seen or nobody waits any more.
    fn visible<T>(&self, ticket: &Ticket, _held: &Held, step: Step, take: impl FnOnce() -> Result<T, Stop>) -> Result<T, Stop> {
        self.pace.wait_before_step();
        self.pace.step(step, || {
            ticket.check()?;
            take()
        })
    }

    /// Makes an object: prepared and published under the lock, filled without it.
    pub(crate) fn make(&self, ticket: &Ticket, held: Held, plan: &Plan, progress: &Progress) -> Result<Seen, Stop> {
        ticket.check()?;
        if let Some(there) = self.already_there(plan)? {
            return Ok(there);
        }
        let draft = self.prepare(ticket, &held, plan)?;
        drop(held);
        let made = self.fill(ticket, &draft, plan, progress).and_then(|()| {
            let held = ticket.hold_again();
            self.publish(ticket, &held, &draft, plan)
        });
        match made {
            Ok(_) => progress.report(100),
            // Nobody else uses this name, so it needs no lock. If it cannot be removed it stays, and is reported as partial.
            Err(_) => drop(self.folder.unlink(draft.name)),
        }
        made
    }

    /// What is there of the object already, put on the disk once more in case the call that made it was cut off before it did.
    fn already_there(&self, plan: &Plan) -> Result<Option<Seen>, Stop> {
        let live = plan.target.form(Form::Live);
        let Some(facts) = self.folder.look(live).map_err(broken("looking at", live))? else { return Ok(None) };
        if !facts.is_regular {
            return Err(Stop::Refused(format!("{live} is there and is no regular file; move it away")));
        }
        let there = Bytes(facts.size);
        if let Some(size) = plan.size.filter(|size| *size != there) {
            return Err(Stop::Refused(format!("it is there already with {there}, not {size}; delete it first")));
        }
        self.folder.sync(plan.target.volume).map_err(broken("syncing the directory of", live))?;
        Ok(Some(Seen::Present { size: there, content: Content::Whole }))
    }

    /// Makes the temporary file, after everything that can be refused was, and removes leftovers of earlier tries.
    fn prepare(&self, ticket: &Ticket, held: &Held, plan: &Plan) -> Result<Draft, Stop> {
        self.space.admit(self.folder.root())?;
        let (source, size) = self.open_source(plan)?;
        self.remove_leftovers(ticket, held, plan.target)?;
        let (token, sequence) = ticket.name();
        let name = plan.target.form(Form::Temporary(token, sequence));
        ticket.begin_making();
        let file = self.visible(ticket, held, plan.steps.temporary, || {
            self.folder.create(name).map_err(|error| self.full_or_broken("making", name, error))
        })?;
        Ok(Draft { name, file, source, size })
    }

    /// Opens what is to be copied, and tells the size of what is to be made.
    fn open_source(&self, plan: &Plan) -> Result<(Option<File>, u64), Stop> {
        let Some(source) = plan.source else {
            return Ok((None, plan.size.expect("what has no source is made with a size").0));
        };
        let name = source.form(Form::Live);
        let opened = self.folder.open_file(name, OFlags::RDONLY).map_err(broken("opening", name))?;
        let file = opened.ok_or_else(|| Stop::Refused(format!("{source} is not in this pool")))?;
        let has = file.metadata().map_err(broken("looking at", name))?.len();
        match plan.size {
            Some(size) if size.0 < has => {
                Err(Stop::Refused(format!("{source} has {}, which does not fit in {size}; ask for at least as much", Bytes(has))))
            }
            Some(size) => Ok((Some(file), size.0)),
            None => Ok((Some(file), has)),
        }
    }

    /// Removes what interrupted calls left of the object, except what the same call delivered twice is filling right now.
    fn remove_leftovers(&self, ticket: &Ticket, held: &Held, object: Object) -> Result<bool, Stop> {
        let trash = object.form(Form::Trash);
        let mut any = false;
        for name in self.folder.files_of(object.volume).map_err(broken("looking for leftovers of", trash))? {
            let is_leftover = match name.form {
                Form::Live => false,
                Form::Trash => true,
                Form::Temporary(token, sequence) => !ticket.is_twin(token, sequence),
            };
            if name.object == object && is_leftover {
                self.visible(ticket, held, REMOVE_LEFTOVER, || self.folder.unlink(name).map_err(broken("removing", name)))?;
                any = true;
            }
        }
        Ok(any)
    }

    /// Gives the temporary file its size and content, and puts them on the disk.
    fn fill(&self, ticket: &Ticket, draft: &Draft, plan: &Plan, progress: &Progress) -> Result<(), Stop> {
        let full_or_broken = |doing| move |error| self.full_or_broken(doing, draft.name, error);
        self.pace.step(plan.steps.fill, || {
            match &draft.source {
                Some(source) if self.reflink => {
                    let cloned = ioctl_ficlone(&draft.file, source).map_err(io::Error::from);
                    cloned.map_err(full_or_broken("cloning into"))?;
                }
                Some(source) => {
                    self.resize(draft)?;
                    self.copy(ticket, draft, source, progress)?;
                }
                None => {}
            }
            self.resize(draft)
        })?;
        ticket.check()?;
        self.pace.step(plan.steps.sync_file, || draft.file.sync_data().map_err(full_or_broken("syncing")))
    }

    fn resize(&self, draft: &Draft) -> Result<(), Stop> {
        let has = draft.file.metadata().map_err(broken("looking at", draft.name))?.len();
        if has == draft.size {
            return Ok(());
        }
        draft.file.set_len(draft.size).map_err(|error| self.resize_stop(draft.name, draft.size, error))
    }

    /// Copies what the source has, telling how far it is: up to 99%, as the last bit is the rename.
    fn copy(&self, ticket: &Ticket, draft: &Draft, source: &File, progress: &Progress) -> Result<(), Stop> {
        let root = self.folder.root();
        let reading = |error| broken("reading the source of", draft.name)(error);
        let total = data_bytes(source, draft.size, || ticket.check()).map_err(|stop| match stop {
            CopyStop::Read(error) | CopyStop::Write(error) => reading(error),
            CopyStop::Asked(stop) => stop,
        })?;
        let mut pledge = self.space.pledge(root, total)?;
        let mut copied = 0_u64;
        let ended = copy(source, &draft.file, draft.size, |bytes| {
            self.pace.step(COPY_CHUNK, || {
                pledge.written(bytes);
                copied = copied.saturating_add(bytes);
                progress.report(percent(copied, total));
                self.pace.wait_between_chunks();
                ticket.check()?;
                self.space.check_reserve(root, pledge.left())
            })
        });
        ended.map_err(|stop| match stop {
            CopyStop::Read(error) => reading(error),
            CopyStop::Write(error) if is_full(&error) => self.space.shortage(root, Some(Bytes(pledge.left()))),
            CopyStop::Write(error) => broken("writing", draft.name)(error),
            CopyStop::Asked(stop) => stop,
        })
    }

    /// Gives the finished temporary file its name.
    fn publish(&self, ticket: &Ticket, held: &Held, draft: &Draft, plan: &Plan) -> Result<Seen, Stop> {
        let live = plan.target.form(Form::Live);
        ticket.check()?;
        if let Some(there) = self.already_there(plan)? {
            // The same call, delivered twice, was faster.
            self.folder.unlink(draft.name).map_err(broken("removing", draft.name))?;
            return Ok(there);
        }
        self.visible(ticket, held, plan.steps.rename, || {
            self.folder.rename(draft.name, live).map_err(|error| self.full_or_broken("renaming", draft.name, error))
        })?;
        self.sync_directory(plan.steps.sync_directory, live)?;
        Ok(Seen::Present { size: Bytes(draft.size), content: Content::Whole })
    }

    fn sync_directory(&self, step: Step, name: FileName) -> Result<(), Stop> {
        let synced =
            self.pace.step(step, || self.folder.sync(name.object.volume).map_err(broken("syncing the directory of", name)));
        self.stop_if_unsynced(synced, name)
    }

    /// After a sync that failed nobody knows what the disk holds, so nothing more is done here.
    fn stop_if_unsynced(&self, synced: Result<(), Stop>, name: FileName) -> Result<(), Stop> {
        if let Err(Stop::Broken { error, .. }) = &synced {
            self.folder.stop(&format!("{name} could not be put on the disk ({error})"));
        }
        synced
    }

    /// Grows a volume. Its clients may use it meanwhile.
    pub(crate) fn extend(&self, ticket: &Ticket, held: &Held, volume: VolumeId, size: Bytes) -> Result<Seen, Stop> {
        ticket.check()?;
        let live = Object::volume(volume).form(Form::Live);
        let opened = self.folder.open_file(live, OFlags::RDWR).map_err(broken("opening", live))?;
        let file = opened.ok_or_else(|| Stop::Refused("it is not in this pool".into()))?;
        let has = file.metadata().map_err(broken("looking at", live))?.len();
        if has < size.0 {
            self.visible(ticket, held, GROW, || file.set_len(size.0).map_err(|error| self.resize_stop(live, size.0, error)))?;
        }
        // Even if it has the size already: the call that grew it may have been cut off before this.
        let synced = self.pace.step(SYNC_GROWN, || file.sync_all().map_err(broken("syncing", live)));
        self.stop_if_unsynced(synced, live)?;
        Ok(Seen::Present { size: Bytes(has).max(size), content: Content::Whole })
    }

    /// Removes a volume, and whatever interrupted calls left of it and its snapshots. Whole snapshots are in the way.
    pub(crate) fn remove_volume(&self, ticket: &Ticket, held: &Held, volume: VolumeId, steps: &RemoveSteps) -> Result<Seen, Stop> {
        ticket.check()?;
        let live = Object::volume(volume).form(Form::Live);
        let files = self.folder.files_of(volume).map_err(broken("looking for snapshots of", live))?;
        let snapshots = files.iter().filter(|name| name.form == Form::Live).filter_map(|name| name.object.snapshot);
        let names: Vec<_> = snapshots.map(|snapshot| snapshot.to_string()).collect();
        if !names.is_empty() {
            return Err(Stop::Refused(format!("it has snapshots: {}; delete them first", names.join(", "))));
        }
        if let Some(who) = self.user(live).map_err(broken("looking at", live))? {
            return Err(Stop::Refused(format!("it is {who}; end that, then delete it again")));
        }
        let objects: BTreeSet<_> = files.iter().map(|name| name.object).filter(|object| object.snapshot.is_some()).collect();
        for object in objects {
            self.remove_leftovers(ticket, held, object)?;
        }
        self.remove(ticket, held, Object::volume(volume), steps)
    }

    /// Removes an object and its leftovers.
    pub(crate) fn remove(&self, ticket: &Ticket, held: &Held, object: Object, steps: &RemoveSteps) -> Result<Seen, Stop> {
        ticket.check()?;
        let (live, trash) = (object.form(Form::Live), object.form(Form::Trash));
        let there = self.folder.look(live).map_err(broken("looking at", live))?.is_some();
        let doomed = if there { self.move_to_trash(ticket, held, object, steps)? } else { trash };
        self.visible(ticket, held, steps.unlink, || self.folder.unlink(doomed).map_err(broken("removing", doomed)))?;
        self.remove_leftovers(ticket, held, object)?;
        // Even if nothing was there: the call that removed it may have been cut off before this.
        self.sync_directory(steps.sync_directory, live)?;
        Ok(Seen::Absent)
    }

    /// Takes the live name away, and tells the name that is to be unlinked.
    fn move_to_trash(&self, ticket: &Ticket, held: &Held, object: Object, steps: &RemoveSteps) -> Result<FileName, Stop> {
        let (live, trash) = (object.form(Form::Live), object.form(Form::Trash));
        let renamed = self.visible(ticket, held, steps.rename, || match self.folder.rename(live, trash) {
            Ok(()) => Ok(true),
            // Even a directory's new entry may need a block. A full disk must not stop the one thing that helps.
            Err(error) if is_full(&error) => Ok(false),
            Err(error) => Err(broken("renaming", live)(error)),
        })?;
        if !renamed {
            return Ok(live);
        }
        self.sync_directory(steps.sync_trash, trash)?;
        Ok(trash)
    }

    /// Looks at a volume and its snapshots. `is_final`: what is told must also hold after a power cut.
    pub(crate) fn look(&self, volume: VolumeId, is_final: bool) -> Result<Look, Stop> {
        let live = Object::volume(volume).form(Form::Live);
        if is_final {
            self.folder.sync(volume).map_err(broken("syncing the directory of", live))?;
        }
        let names = self.folder.files_of(volume).map_err(broken("looking for", live))?;
        let mut seen = self.see(names).map_err(broken("looking at", live))?;
        let own = seen.remove(&Object::volume(volume)).unwrap_or(Seen::Absent);
        let snapshots = seen.into_iter().filter_map(|(object, seen)| object.snapshot.map(|snapshot| (snapshot, seen))).collect();
        let stranger = self.user(live).map_err(broken("looking at", live))?;
        Ok(Look { volume: own, snapshots, stranger })
    }

    /// Who goes on using a file, if it is there.
    fn user(&self, live: FileName) -> io::Result<Option<String>> {
        let Some(facts) = self.folder.look(live)? else { return Ok(None) };
        if !facts.is_regular {
            return Ok(None);
        }
        let file = self.folder.open_file(live, OFlags::RDONLY)?;
        Ok(file.and_then(|file| users::user(&file, &live.to_string())))
    }

    /// Whether somebody seems to use a file. One that cannot be opened will be told of by a look.
    fn is_used(&self, object: Object, seen: Seen) -> bool {
        let is_whole_volume = object.snapshot.is_none() && seen.whole().is_some();
        let open = || self.folder.open_file(object.form(Form::Live), OFlags::RDONLY).ok().flatten();
        is_whole_volume && open().is_some_and(|file| users::is_used(&file))
    }

    /// Looks at everything, and tells it a directory at a time: of a million volumes some hundreds of objects, of an empty one none, which
    /// is a sign of life. Ends early once `tell` returns false.
    ///
    /// Errors: a directory could not be read, or a file not looked at; what was told before is no list then.
    ///
    /// Volumes are worked on meanwhile, and a file renamed while its directory is read may be missed: so each directory is read
    /// twice, and a file has to be renamed during both to be missed still.
    pub(crate) fn list(&self, mut tell: impl FnMut(Vec<Listed>) -> bool) -> io::Result<()> {
        for shard in self.folder.shards()? {
            let mut names = self.folder.read_shard(&shard)?;
            names.extend(self.folder.read_shard(&shard)?);
            let seen = self.see(names)?;
            let listed = seen.into_iter().map(|(object, seen)| {
                let is_used = self.is_used(object, seen);
                Listed { volume: object.volume, snapshot: object.snapshot, seen, is_used }
            });
            if !tell(listed.collect()) {
                break;
            }
        }
        Ok(())
    }

    /// What the files say of their objects: whole if there is one with its final name, else partial.
    fn see(&self, names: BTreeSet<FileName>) -> io::Result<BTreeMap<Object, Seen>> {
        let mut seen = BTreeMap::new();
        for name in names {
            let Some(facts) = self.folder.look(name)? else { continue };
            let now = match name.form {
                Form::Live if facts.is_regular => Seen::Present { size: Bytes(facts.size), content: Content::Whole },
                Form::Live => Seen::Unknown,
                Form::Temporary(..) | Form::Trash => Seen::Present { size: Bytes(facts.size), content: Content::Partial },
            };
            // Names are in the order live, temporary, trash: the first one decides.
            seen.entry(name.object).or_insert(now);
        }
        Ok(seen)
    }

    /// No room is a refusal with figures, a vanished file the work of a newer call; anything else is not understood.
    fn full_or_broken(&self, doing: &'static str, name: FileName, error: io::Error) -> Stop {
        if is_full(&error) {
            return self.space.shortage(self.folder.root(), None);
        }
        if Errno::from_io_error(&error) == Some(Errno::NOENT) {
            return Stop::Failed(format!("{name} was taken away meanwhile; ask again"));
        }
        broken(doing, name)(error)
    }

    fn resize_stop(&self, name: FileName, size: u64, error: io::Error) -> Stop {
        if is_too_large(&error) {
            return Stop::Refused(format!("the file system holds no file of {}; ask for less", Bytes(size)));
        }
        self.full_or_broken("resizing", name, error)
    }
}

/// How far a copy is, 0 to 99.
fn percent(copied: u64, total: u64) -> u8 {
    let share = u128::from(copied) * 100 / u128::from(total.max(1));
    u8::try_from(share.min(99)).expect("at most 99")
}
