//! The backend of the template: an appliance that keeps volumes (it calls them LUNs) in memory, each with a name and a label.
//!
//! Replace this file by the client of your backend. What the driver needs of it is little: to make, label, copy, grow and remove
//! things by names that we choose, and to list them. Each request happens at once or not at all, as one over HTTP should; where
//! yours may lose an answer, that is [`Error::Unreachable`].

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many bytes are kept, copied and counted together.
const BLOCK: u64 = 4096;

/// How far a thing is, written on the thing itself: so that whoever looks after a crash needs no other memory than the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// It is being made, or what an interrupted creation left.
    Making,
    /// All of it is there.
    Whole,
    /// It is being removed, or what an interrupted removal left.
    Going,
}

/// What is told of a LUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lun {
    /// Its size in bytes.
    pub size: u64,
    /// How far it is.
    pub label: Label,
}

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is nothing of that name.
    #[error("there is no LUN {0}")]
    NoSuch(String),
    /// There is something of that name.
    #[error("there is a LUN {0} already")]
    Exists(String),
    /// No room is left.
    #[error("the appliance is full; delete something")]
    Full,
    /// No LUN is that large.
    #[error("no LUN has {0} bytes; ask for less")]
    TooLarge(u64),
    /// Nobody knows whether it was done.
    #[error("the appliance does not answer: {0}")]
    Unreachable(String),
}

/// An appliance. It lives on when a driver is dropped, as a real one does.
pub struct Appliance {
    total: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    luns: BTreeMap<String, Stored>,
    /// What others take of the room, in bytes.
    others: u64,
}

struct Stored {
    lun: Lun,
    /// The blocks that were written, by their place.
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl State {
    fn free(&self, total: u64) -> u64 {
        let taken: u64 = self.luns.values().map(|stored| stored.blocks.len() as u64 * BLOCK).sum();
        total.saturating_sub(self.others).saturating_sub(taken)
    }

    fn find(&mut self, name: &str) -> Result<&mut Stored, Error> {
        self.luns.get_mut(name).ok_or_else(|| Error::NoSuch(name.to_owned()))
    }
}

impl Appliance {
    /// An empty appliance with room for `total` bytes. Blocks that were never written take none.
    #[must_use]
    pub fn with_room(total: u64) -> Self {
        Self { total, state: Mutex::default() }
    }

    /// Makes a LUN that reads as zeroes.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::TooLarge`], and [`Error::Full`] if there is no room for a block of it.
    pub fn create(&self, name: &str, size: u64, label: Label) -> Result<(), Error> {
        let mut state = self.lock();
        if state.luns.contains_key(name) {
            return Err(Error::Exists(name.to_owned()));
        }
        fits(size)?;
        if state.free(self.total) < BLOCK {
            return Err(Error::Full);
        }
        state.luns.insert(name.to_owned(), Stored { lun: Lun { size, label }, blocks: BTreeMap::new() });
        Ok(())
    }

    /// Gives a LUN another label.
    ///
    /// # Errors
    /// [`Error::NoSuch`].
    pub fn relabel(&self, name: &str, label: Label) -> Result<(), Error> {
        self.lock().find(name)?.lun.label = label;
        Ok(())
    }

    /// Makes a LUN larger; the new bytes read as zeroes.
    ///
    /// # Errors
    /// [`Error::NoSuch`], [`Error::TooLarge`].
    pub fn grow(&self, name: &str, size: u64) -> Result<(), Error> {
        fits(size)?;
        let mut state = self.lock();
        let stored = state.find(name)?;
        stored.lun.size = stored.lun.size.max(size);
        Ok(())
    }

    /// Copies the bytes from `from` up to `to` of one LUN to the same place in another.
    ///
    /// # Errors
    /// [`Error::NoSuch`], [`Error::Full`].
    pub fn copy(&self, source: &str, target: &str, from: u64, to: u64) -> Result<(), Error> {
        let mut state = self.lock();
        let places = from / BLOCK..to.div_ceil(BLOCK);
        let copied: Vec<_> = state.find(source)?.blocks.range(places).map(|(place, block)| (*place, block.clone())).collect();
        if state.free(self.total) < copied.len() as u64 * BLOCK {
            return Err(Error::Full);
        }
        state.find(target)?.blocks.extend(copied);
        Ok(())
    }

    /// Removes a LUN; nothing there is fine.
    ///
    /// # Errors
    /// None here; yours may not be reached.
    pub fn delete(&self, name: &str) -> Result<(), Error> {
        self.lock().luns.remove(name);
        Ok(())
    }

    /// Every LUN whose name begins like this.
    ///
    /// # Errors
    /// None here; yours may not be reached.
    pub fn luns(&self, beginning: &str) -> Result<BTreeMap<String, Lun>, Error> {
        let state = self.lock();
        let found = state.luns.iter().filter(|(name, _)| name.starts_with(beginning));
        Ok(found.map(|(name, stored)| (name.clone(), stored.lun)).collect())
    }

    /// The room in all and what is left of it, in bytes.
    ///
    /// # Errors
    /// None here; yours may not be reached.
    pub fn room(&self) -> Result<(u64, u64), Error> {
        Ok((self.total, self.lock().free(self.total)))
    }

    /// Others take all the room that is left, or give it back.
    pub fn others_take_all(&self, taken: bool) {
        let mut state = self.lock();
        state.others = 0;
        state.others = if taken { state.free(self.total) } else { 0 };
    }

    /// Writes as a client does that has the LUN as a disk.
    ///
    /// # Errors
    /// [`Error::NoSuch`].
    pub fn write(&self, name: &str, at: u64, bytes: &[u8]) -> Result<(), Error> {
        let mut state = self.lock();
        let blocks = &mut state.find(name)?.blocks;
        let (mut at, mut rest) = (at, bytes);
        while !rest.is_empty() {
            let within = (at % BLOCK) as usize;
            let (now, later) = rest.split_at(rest.len().min(BLOCK as usize - within));
            let block = blocks.entry(at / BLOCK).or_insert_with(|| vec![0; BLOCK as usize]);
            block[within..within + now.len()].copy_from_slice(now);
            (at, rest) = (at + now.len() as u64, later);
        }
        Ok(())
    }

    /// Reads as such a client does.
    ///
    /// # Errors
    /// [`Error::NoSuch`].
    pub fn read(&self, name: &str, at: u64, length: usize) -> Result<Vec<u8>, Error> {
        let mut state = self.lock();
        let blocks = &state.find(name)?.blocks;
        let byte = |at: u64| blocks.get(&(at / BLOCK)).map_or(0, |block| block[(at % BLOCK) as usize]);
        Ok((at..).take(length).map(byte).collect())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No LUN has more than 2^63 - 1 bytes.
fn fits(size: u64) -> Result<(), Error> {
    if i64::try_from(size).is_ok() { Ok(()) } else { Err(Error::TooLarge(size)) }
}
