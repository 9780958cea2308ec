//! Asking the kernel whether a file is open for writing. All unsafe code of this crate is here.
//!
//! A read lease is granted on a file that nobody on this machine has open for writing, or mapped to write to. It is asked for and given
//! back at once; who opens the file in between waits for that, some microseconds. Source: `fcntl(2)`, "Leases".

#![expect(unsafe_code, reason = "no crate of ours asks for leases; the calls take numbers alone")]

use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Chooses the signal that tells of a lease that is in somebody's way. Source: Linux, `asm-generic/fcntl.h`.
const F_SETSIG: i32 = 10;

/// Whether anybody, this process included, has it open for writing, or a loop device writes to it.
///
/// # Errors
/// The file system has no leases, or the file is another user's.
pub(crate) fn is_written(file: &File) -> io::Result<bool> {
    // Who opens it meanwhile makes the kernel signal us. Unasked that is SIGIO, which would end the process; this one is ignored.
    command(file, F_SETSIG, libc::SIGURG)?;
    match command(file, libc::F_SETLEASE, libc::F_RDLCK) {
        Ok(()) => {
            command(file, libc::F_SETLEASE, libc::F_UNLCK)?;
            Ok(false)
        }
        Err(error) if Errno::from_io_error(&error) == Some(Errno::AGAIN) => Ok(true),
        Err(error) => Err(error),
    }
}

fn command(file: &File, command: i32, argument: i32) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as the file is borrowed, and these commands take a number and touch no memory of ours.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_as_long_as_somebody_may() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let writer = File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert!(is_written(&reader).unwrap());
        drop(writer);
        assert!(!is_written(&reader).unwrap());
        // The lease is given back: opening does not wait.
        File::options().write(true).open(&path).unwrap();
    }
}
