//! Reading what is in the system's memory already, by whoever asks and without handing it to a thread.
//!
//! Most reads find all they need in the system's page cache, and then take less time than waking a [reader](crate::readers) does.
//! Whoever serves requests must not wait for a disk, though, nor read for long, as a volume with thousands of snapshots is: what takes more
//! steps of SQLite's machine than [`STEPS_MAX`] ends as what is not in memory does. SQLite's reads of a file go through [`pread`] here, which for such a
//! read asks the kernel for no more than what is there (`RWF_NOWAIT`); where that is not all, the read ends, and a reader does it anew.
//! Connections of their own do it, as a lock on one that a reader uses would be waited for as long as its disk takes. What else such a read
//! would write, and so wait for, others see to:
//! - files are opened without noting when they were read ([`open`]), which takes the file system's journal;
//! - the writer reads after each commit, so that the mark of who reads up to there is in the log's index: it is mapped memory, and writing
//!   to it waits while the file system is frozen.
//!
//! Source: preadv2(2), "BUGS" too; open(2), `O_NOATIME`; `sqlite3_vfs.xSetSystemCall` in sqlite3.h, which SQLite has for such replacements.

#![expect(unsafe_code, reason = "neither SQLite's table of system calls nor a read that does not wait has a safe interface")]

use crate::schema::{Role, connect};
use engine::store::StoreError;
use libc::{c_char, off_t};
use rusqlite::{Connection, ffi};
use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once};
use std::time::Duration;

/// More are of no use than there are threads that serve requests; each has a page cache.
const CONNECTIONS_MAX: usize = 8;
/// After how many steps of SQLite's machine it is looked at how many there were.
const STEPS_EACH: u32 = 500;
/// How many steps one read may take, about: a volume without snapshots takes some tens, one with three hundred so many.
const STEPS_MAX: u32 = 4_000;

thread_local! {
    /// Whether this thread must not wait for a disk now.
    static MUST_NOT_WAIT: Cell<bool> = const { Cell::new(false) };
    /// Whether something was not there since that was set.
    static MISSED: Cell<bool> = const { Cell::new(false) };
    /// How many steps what this thread reads may still take.
    static STEPS_LEFT: Cell<u32> = const { Cell::new(0) };
    /// Whether this thread's reads come here at all.
    static IS_ASKED: Cell<bool> = const { Cell::new(false) };
    /// Whether this thread met a system that cannot do it.
    static IS_IN_VAIN: Cell<bool> = const { Cell::new(false) };
}

/// The connections.
pub(crate) struct AtOnce {
    connections: Vec<Mutex<Connection>>,
    /// The system, its file system or the SQLite at hand cannot do it: then nobody tries any more.
    is_in_vain: AtomicBool,
}

impl AtOnce {
    /// Opens the connections, and has them read what every read needs.
    pub(crate) fn open(file: &Path) -> rusqlite::Result<Self> {
        IS_ASKED.set(false);
        IS_IN_VAIN.set(false);
        let many = std::thread::available_parallelism().map_or(1, usize::from).min(CONNECTIONS_MAX);
        let open = |_| {
            let mut connection = connect(file, Role::Reader)?;
            connection.progress_handler(STEPS_EACH.cast_signed(), Some(is_long))?;
            // A lock in the log's index that somebody holds is not waited for either.
            connection.busy_timeout(Duration::ZERO)?;
            // Opens the log and its index.
            STEPS_LEFT.set(STEPS_MAX);
            crate::read::meta(&connection, "revision")?;
            Ok(Mutex::new(connection))
        };
        let connections = (0..many).map(open).collect::<rusqlite::Result<_>>()?;
        // A SQLite that reads by another call would wait.
        let is_in_vain = !IS_ASKED.get() || IS_IN_VAIN.get();
        Ok(Self { connections, is_in_vain: is_in_vain.into() })
    }

    /// What `read` finds, if it finds it soon and without waiting for a disk. Its errors are for who reads it anew to tell.
    pub(crate) fn read<T>(&self, read: &impl Fn(&Connection) -> Result<T, StoreError>) -> Option<T> {
        if self.is_in_vain.load(Ordering::Relaxed) {
            return None;
        }
        let connection = self.connections.iter().find_map(|connection| connection.try_lock().ok())?;
        MISSED.set(false);
        IS_IN_VAIN.set(false);
        STEPS_LEFT.set(STEPS_MAX);
        MUST_NOT_WAIT.set(true);
        let found = catch_unwind(AssertUnwindSafe(|| read(&connection)));
        MUST_NOT_WAIT.set(false);
        if IS_IN_VAIN.get() {
            self.is_in_vain.store(true, Ordering::Relaxed);
        }
        // A miss that SQLite did not take for an error is one all the same.
        found.ok()?.ok().filter(|_| !MISSED.get())
    }
}

/// Whether a read has taken all the steps that it may; asked after each few.
fn is_long() -> bool {
    let left = STEPS_LEFT.get().saturating_sub(STEPS_EACH);
    STEPS_LEFT.set(left);
    left == 0
}

type Open = unsafe extern "C" fn(*const c_char, c_int, c_int) -> c_int;
type Pread = unsafe extern "C" fn(c_int, *mut c_void, usize, off_t) -> isize;
type Call = unsafe extern "C" fn();

/// Has SQLite open files by [`open`] and read them by [`pread`]; to be called before there are connections.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    // SQLite is built for files of any length.
    if size_of::<off_t>() == 8 {
        ONCE.call_once(|| {
            // SAFETY: both are of the type of the call that they are set for (`aSyscall` in os_unix.c).
            unsafe {
                set(c"open", std::mem::transmute::<Open, Call>(open));
                set(c"pread", std::mem::transmute::<Pread, Call>(pread));
            }
        });
    }
}

/// # Safety
/// `call` is a function of the type of the system call of this name, and does what that does: who reads meanwhile may call either.
unsafe fn set(name: &CStr, call: Call) {
    // SAFETY: the default VFS lives as long as the process, and this is what its function takes.
    unsafe {
        let vfs = ffi::sqlite3_vfs_find(std::ptr::null());
        if let Some(set) = vfs.as_ref().and_then(|vfs| vfs.xSetSystemCall) {
            set(vfs, name.as_ptr(), Some(call));
        }
    }
}

/// open(2), without the file's time of reading where that may be left out: of one's own files.
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: what SQLite passes is passed on.
    let opened = unsafe { libc::open(path, flags | libc::O_NOATIME, mode) };
    if opened >= 0 || error() != libc::EPERM {
        return opened;
    }
    IS_IN_VAIN.set(true);
    // SAFETY: as above.
    unsafe { libc::open(path, flags, mode) }
}

/// pread(2), but for a thread that must not wait.
unsafe extern "C" fn pread(file: c_int, into: *mut c_void, len: usize, offset: off_t) -> isize {
    IS_ASKED.set(true);
    if !MUST_NOT_WAIT.get() {
        // SAFETY: what SQLite passes is passed on.
        return unsafe { libc::pread(file, into, len, offset) };
    }
    let part = libc::iovec { iov_base: into, iov_len: len };
    // SAFETY: one part, which is what SQLite passed.
    let got = unsafe { libc::preadv2(file, &raw const part, 1, offset, libc::RWF_NOWAIT) };
    if got > 0 {
        return got;
    }
    MISSED.set(true);
    if got == 0 {
        // The end of the file, or Linux 5.9 or 5.10 where nothing is there.
        // SAFETY: the thread's own.
        unsafe { *libc::__errno_location() = libc::EAGAIN };
    } else if !matches!(error(), libc::EAGAIN | libc::EINTR | libc::EIO) {
        IS_IN_VAIN.set(true);
    }
    -1
}

fn error() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store's file and its connections.
    fn at_once(ground: &ground::Ground) -> (std::path::PathBuf, AtOnce) {
        install();
        let file = ground.root().join("at-once.db");
        crate::schema::create(&file, "epoch").unwrap();
        let at_once = AtOnce::open(&file).unwrap();
        (file, at_once)
    }

    /// Something that the connection has not in its own cache, long enough to be read in several calls.
    fn long(connection: &Connection) -> Result<i64, StoreError> {
        connection.release_memory().map_err(|error| crate::read::trouble(&error))?;
        connection
            .query_row("SELECT sum(length(hex(value))) FROM meta", [], |row| row.get(0))
            .map_err(|error| crate::read::trouble(&error))
    }

    #[test]
    fn what_is_in_memory_is_read_at_once_and_what_is_not_is_left_to_who_may_wait() {
        let Some(ground) = ground::Ground::new(ground::Kind::Ext4, 64) else { return };
        let (file, at_once) = at_once(&ground);
        let writer = connect(&file, Role::Writer).unwrap();
        writer.execute("INSERT INTO meta(key, value) VALUES('long', randomblob(1000000))", []).unwrap();
        writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        let there = long(&writer).unwrap();
        assert!(there > 2_000_000);
        assert_eq!(at_once.read(&long), Some(there));
        let cold = || {
            let opened = std::fs::File::open(&file).unwrap();
            opened.sync_all().unwrap();
            rustix::fs::fadvise(&opened, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            // Closing it lets go of the locks that this process has on the file, which nobody else looks at here.
        };
        cold();
        assert_eq!(at_once.read(&long), None, "the disk would be waited for");
        assert!(!at_once.is_in_vain.load(Ordering::Relaxed));
        assert_eq!(long(&connect(&file, Role::Reader).unwrap()), Ok(there), "who may wait reads it");
        assert_eq!(at_once.read(&long), Some(there), "now it is there");
    }

    #[test]
    fn what_takes_long_is_left_to_who_may() {
        let Some(ground) = ground::Ground::new(ground::Kind::Ext4, 64) else { return };
        let (_, at_once) = at_once(&ground);
        let count = |to: u32| {
            move |connection: &Connection| {
                let sql = "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < ?1) SELECT count(*) FROM n";
                connection.query_row(sql, [to], |row| row.get::<_, u32>(0)).map_err(|error| crate::read::trouble(&error))
            }
        };
        for _ in 0..3 {
            assert_eq!(at_once.read(&count(STEPS_MAX)), None);
            assert_eq!(at_once.read(&count(100)), Some(100), "each read has its own");
        }
    }

    #[test]
    fn a_read_that_fails_or_panics_is_left_to_others_and_the_connection_goes_on() {
        let Some(ground) = ground::Ground::new(ground::Kind::Ext4, 64) else { return };
        let (_, at_once) = at_once(&ground);
        for _ in 0..2 * CONNECTIONS_MAX {
            assert_eq!(at_once.read(&|_| -> Result<(), StoreError> { panic!("in the middle") }), None);
            assert_eq!(at_once.read(&|_| -> Result<(), StoreError> { Err(StoreError::Unavailable("not now".into())) }), None);
        }
        assert_eq!(at_once.read(&|connection| crate::read::head(connection).map(|head| head.revision)), Some(0));
        // While all connections are used, nobody waits for one.
        let held: Vec<_> = at_once.connections.iter().map(|connection| connection.lock().unwrap()).collect();
        assert_eq!(at_once.read(&|_| Ok(())), None);
        drop(held);
        assert_eq!(at_once.read(&|_| Ok(())), Some(()));
    }
}
