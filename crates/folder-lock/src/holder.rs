//! The process that a lock file names, and whether it is dead though it still has the lock.
//!
//! Dead is a process whose every thread has ended, or waits in the kernel where no signal reaches it and has SIGKILL pending: it
//! gets no further than the end of that one system call. (The leader of such a process is shown as a zombie.) A process
//! that was killed a moment ago and is not there yet counts as alive.
//!
//! Its start time tells it from another process that was given its number. One named without it, by an earlier release, counts as alive.
//!
//! Source: proc(5), `/proc/pid/stat` (fields 3 and 22) and `/proc/pid/status` (`SigPnd`).

use rustix::fs::{FlockOperation, flock};
use rustix::net::{Shutdown, shutdown};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How much of a lock file is read: a hundred holders, of which more than one is rare.
const NAME_BYTES_MAX: usize = 4096;
/// SIGKILL's bit among pending signals.
const KILL: u64 = 1 << (9 - 1);
/// Opens a thread, not a process. Source: linux/pidfd.h, `PIDFD_THREAD`, since Linux 6.9; `O_EXCL` on every architecture.
const THREAD: PidfdFlags = PidfdFlags::from_bits_retain(0x80);
/// The first file that a process was not started with: those before are shared with whoever started it.
const OWN_FILES: i32 = 3;

/// A process, as it names itself in its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    /// When it started, in ticks since the machine did.
    started: Option<u64>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pid)?;
        self.started.map_or(Ok(()), |started| write!(f, " {started}"))
    }
}

impl Holder {
    /// This process.
    pub(crate) fn this() -> Self {
        let pid = std::process::id();
        Self { pid, started: Self::of(pid).and_then(|holder| holder.started) }
    }

    /// The process of that number, if there is one.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The program's name comes before, and may hold anything.
        let (_, fields) = stat.rsplit_once(") ")?;
        Some(Self { pid, started: Some(fields.split(' ').nth(22 - 3)?.parse().ok()?) })
    }

    /// Who a lock file says that its holder is.
    pub(crate) fn named_in(file: &File) -> Option<Self> {
        Self::parse(text(file).lines().next()?)
    }

    /// Its holder, and the former ones that it names.
    pub(crate) fn all_named_in(file: &File) -> Vec<Self> {
        text(file).lines().filter_map(Self::parse).collect()
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        Some(Self { pid: words.next()?.parse().ok()?, started: words.next().and_then(|word| word.parse().ok()) })
    }

    /// Whether a thread of it is in a system call on the file. Asks the kernel alone, as the file's file system may hang.
    /// True when in doubt.
    pub(crate) fn is_at_work_on(self, file: &File) -> bool {
        let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
        self.is_there()
            && path.is_ok_and(|path| self.threads().is_ok_and(|all| all.iter().any(|thread| is_thread_on(thread, &path))))
    }

    /// Whether it has not gone, and is not known by its number alone.
    pub(crate) fn is_there(self) -> bool {
        self.started.is_some() && Self::of(self.pid) == Some(self)
    }

    /// Whether it is there, and none of its own code will ever run again. False when in doubt.
    pub(crate) fn is_dead(self) -> bool {
        self.is_there() && self.threads().is_ok_and(|threads| threads.iter().all(|thread| is_beyond(thread)))
    }

    fn threads(self) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(format!("/proc/{}/task", self.pid))?.map(|entry| Ok(entry?.path())).collect()
    }

    /// Ends what a dead one holds, which would last as long as its files: its connections, as its clients would wait for an answer; its
    /// listening, as its addresses would be taken; its locks on files and folders, but for those that a thread of it is at work in.
    /// What cannot be ended (before Linux 6.9, or without the right to) lasts that long.
    pub(crate) fn let_go(self) {
        let threads = self.threads().unwrap_or_default();
        let at_work = threads.iter().filter(|thread| !is_ended(thread)).map(|thread| match Call::of(thread) {
            Call::On(path) => Some(path),
            Call::Elsewhere | Call::Unknown => None,
        });
        let work: Option<Vec<PathBuf>> = at_work.collect();
        for thread in threads.iter().filter(|thread| !is_ended(thread)) {
            if let Err(error) = let_go_of(thread, work.as_deref()) {
                tracing::warn!(thread = %thread.display(), %error, "what a dead process holds stays held until its file system answers");
            }
        }
    }
}

/// Whether a thread has ended, or only has the end of a system call before it.
fn is_beyond(thread: &Path) -> bool {
    let mut status = String::new();
    match File::open(thread.join("status")).and_then(|mut file| file.read_to_string(&mut status)) {
        Ok(_) => is_doomed(&status),
        // It has ended meanwhile.
        Err(error) => {
            error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
        }
    }
}

fn is_thread_on(thread: &Path, path: &Path) -> bool {
    !is_ended(thread)
        && match Call::of(thread) {
            Call::On(of) => of == path,
            Call::Elsewhere => false,
            Call::Unknown => true,
        }
}

/// The system call that a thread is in, as far as it matters.
#[derive(Debug, PartialEq, Eq)]
enum Call {
    /// On this open file or folder. Every call that writes to an open file has it as its first argument.
    On(PathBuf),
    /// On no open file: it may open, make or remove one by its path.
    Elsewhere,
    /// It cannot be told, or just comes out of it.
    Unknown,
}

impl Call {
    fn of(thread: &Path) -> Self {
        let Ok(call) = std::fs::read_to_string(thread.join("syscall")) else { return Self::Unknown };
        if call.starts_with("running") {
            return Self::Unknown;
        }
        let first = call.split(' ').nth(1).and_then(|word| u32::from_str_radix(word.strip_prefix("0x")?, 16).ok());
        let path = first.and_then(|number| std::fs::read_link(thread.join(format!("fd/{number}"))).ok());
        path.map_or(Self::Elsewhere, Self::On)
    }
}

fn is_ended(thread: &Path) -> bool {
    std::fs::read_to_string(thread.join("status")).is_ok_and(|status| status.contains("State:\tZ")) || !thread.exists()
}

fn text(file: &File) -> String {
    let mut bytes = vec![0; NAME_BYTES_MAX];
    let length = file.read_at(&mut bytes, 0).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

fn is_doomed(status: &str) -> bool {
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let pending = field("SigPnd").and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0);
    match field("State").and_then(|state| state.chars().next()) {
        Some('Z' | 'X') => true,
        Some('D') => pending & KILL != 0,
        Some(_) | None => false,
    }
}

/// Ends what one of its threads holds, knowing what they all are at work on; nothing if that cannot be told.
fn let_go_of(thread: &Path, work: Option<&[PathBuf]>) -> io::Result<()> {
    let number = thread.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
    let pidfd = pidfd_open(number.ok_or(io::ErrorKind::InvalidData)?, THREAD)?;
    for entry in std::fs::read_dir(thread.join("fd"))? {
        let entry = entry?;
        let path = std::fs::read_link(entry.path())?;
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok()).filter(|number| *number >= OWN_FILES);
        let Some(number) = number else { continue };
        let is_idle = work.is_some_and(|work| work.iter().all(|at| !at.starts_with(&path)));
        // The errors there are say that nobody is connected, or nothing locked.
        if path.to_str().is_some_and(|path| path.starts_with("socket:")) {
            let _ = shutdown(pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty())?, Shutdown::Both);
        } else if path.is_absolute() && is_idle {
            let _ = flock(pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty())?, FlockOperation::NonBlockingUnlock);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_thread_that_never_returns_to_its_program_is_doomed() {
        let rows = [
            ("State:\tZ (zombie)\nSigPnd:\t0000000000000000\n", true),
            ("State:\tD (disk sleep)\nSigPnd:\t0000000000000100\n", true),
            ("State:\tD (disk sleep)\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000100\n", false),
            ("State:\tR (running)\nSigPnd:\t0000000000000100\n", false),
            ("State:\tS (sleeping)\nSigPnd:\t0000000000000000\n", false),
            ("", false),
        ];
        for (status, is) in rows {
            assert_eq!(is_doomed(status), is, "{status}");
        }
    }

    #[test]
    fn a_call_is_told_by_its_first_argument() {
        let thread = tempfile::tempdir().unwrap();
        std::fs::create_dir(thread.path().join("fd")).unwrap();
        std::os::unix::fs::symlink("/volume", thread.path().join("fd/10")).unwrap();
        let is = |call: &str| {
            std::fs::write(thread.path().join("syscall"), call).unwrap();
            Call::of(thread.path())
        };
        assert_eq!(Call::of(thread.path()), Call::Unknown);
        assert_eq!(is("running"), Call::Unknown);
        assert_eq!(is("18 0xa 0x7f 0x1000 0x0"), Call::On("/volume".into()));
        assert_eq!(is("257 0xffffff9c 0x7f 0x0"), Call::Elsewhere);
        assert_eq!(is("202 0x55567e774198 0x89"), Call::Elsewhere);
    }

    #[test]
    fn this_process_knows_itself_and_lives() {
        let this = Holder::this();
        assert!(this.started.is_some() && Holder::of(this.pid) == Some(this) && !this.is_dead());
        assert!(!Holder { started: None, ..this }.is_dead());
        assert!(!Holder { started: Some(1), ..this }.is_dead(), "another had its number");
    }
}
