//! Copying a sparse file: data is read and written, holes stay holes.
//!
//! - Between two chunks the caller is asked whether to go on, so that a copy nobody wants any more ends within one chunk.
//! - Written data is put on the disk every [`SYNC_EVERY`] bytes, so that progress tells of bytes that are really there and the
//!   last sync is short. A copy into memory alone would be at 99% at once and then silent for as long as the disk takes.
//! - Plain reads and writes rather than `copy_file_range`: one path for every file system and kernel, and where a file system
//!   could do better (reflinks) this module is not used.

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// How much is copied at once: large enough that the disk is the limit, small enough that a copy is given up quickly
/// (80 ms at 50 MB/s).
pub(crate) const CHUNK: usize = 4 << 20;
/// After how many bytes written data is put on the disk: about a second's worth on a slow disk.
const SYNC_EVERY: u64 = 64 << 20;

/// Why a copy ended early.
pub(crate) enum CopyStop<S> {
    /// Reading the source failed.
    Read(io::Error),
    /// Writing or syncing the target failed.
    Write(io::Error),
    /// The caller did not want to go on.
    Asked(S),
}

/// How many bytes of data the first `size` bytes of `file` hold; the rest are holes. `go_on` is asked after each stretch: a
/// file may have millions.
pub(crate) fn data_bytes<S>(file: &File, size: u64, mut go_on: impl FnMut() -> Result<(), S>) -> Result<u64, CopyStop<S>> {
    let (mut sum, mut at) = (0, 0);
    while let Some(data) = next_data(file, at, size).map_err(CopyStop::Read)? {
        sum += data.end - data.start;
        at = data.end;
        go_on().map_err(CopyStop::Asked)?;
    }
    Ok(sum)
}

/// Copies the data of the first `size` bytes of `from` to the same places of `to`, which must be empty and at least as long.
///
/// After each chunk `go_on` is told how many bytes that was, and may end the copy. The last bytes are written but not synced.
pub(crate) fn copy<S>(from: &File, to: &File, size: u64, mut go_on: impl FnMut(u64) -> Result<(), S>) -> Result<(), CopyStop<S>> {
    let mut buffer = vec![0; CHUNK];
    let (mut at, mut unsynced) = (0, 0);
    while let Some(data) = next_data(from, at, size).map_err(CopyStop::Read)? {
        at = data.start;
        while at < data.end {
            let length = (data.end - at).min(CHUNK as u64);
            let chunk = &mut buffer[..usize::try_from(length).expect("a chunk is no longer than the buffer")];
            from.read_exact_at(chunk, at).map_err(CopyStop::Read)?;
            to.write_all_at(chunk, at).map_err(CopyStop::Write)?;
            at += length;
            unsynced += length;
            if unsynced >= SYNC_EVERY {
                to.sync_data().map_err(CopyStop::Write)?;
                unsynced = 0;
            }
            go_on(length).map_err(CopyStop::Asked)?;
        }
    }
    Ok(())
}

/// The next stretch of data at or after `at`, within the first `size` bytes.
fn next_data(file: &File, at: u64, size: u64) -> io::Result<Option<Range<u64>>> {
    if at >= size {
        return Ok(None);
    }
    let start = match seek(file, SeekFrom::Data(at)) {
        Ok(start) if start < size => start,
        Ok(_) | Err(Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let end = seek(file, SeekFrom::Hole(start))?;
    // A file that changes meanwhile could answer with an empty stretch, which must not become an endless loop.
    Ok(Some(start..end.clamp(start + 1, size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(file: &File, size: u64) -> u64 {
        data_bytes(file, size, || Ok::<_, ()>(())).ok().expect("the file can be read")
    }

    #[test]
    fn data_and_holes_are_told_apart_and_the_copy_has_both() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let size = 64 * 1024 * 1024 + 17;
        from.set_len(size).unwrap();
        to.set_len(size).unwrap();
        from.write_all_at(&[1; 4096], 0).unwrap();
        from.write_all_at(&vec![2; CHUNK + 4096], 16 << 20).unwrap();
        from.write_all_at(&[3; 17], 64 << 20).unwrap();
        let expected = data(&from, size);
        assert!((CHUNK as u64..(CHUNK as u64) * 2).contains(&expected), "{expected}");
        let mut copied = 0;
        let copy = copy(&from, &to, size, |bytes| {
            copied += bytes;
            Ok::<_, ()>(())
        });
        assert!(copy.is_ok());
        assert_eq!(copied, expected);
        assert_eq!(data(&to, size), expected);
        let mut last = [0; 17];
        to.read_exact_at(&mut last, 64 << 20).unwrap();
        assert_eq!(last, [3; 17]);
    }

    #[test]
    fn a_copy_ends_at_the_chunk_that_it_is_asked_to_end_at() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let size = 3 * CHUNK as u64;
        from.write_all_at(&vec![1; 3 * CHUNK], 0).unwrap();
        let mut asked = 0;
        let ended = copy(&from, &to, size, |_| {
            asked += 1;
            if asked == 2 { Err("enough") } else { Ok(()) }
        });
        assert!(matches!(ended, Err(CopyStop::Asked("enough"))));
        assert_eq!(data(&to, size), 2 * CHUNK as u64);
    }

    #[test]
    fn a_source_that_shrinks_meanwhile_is_an_error() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let size = 2 * CHUNK as u64;
        from.write_all_at(&vec![1; 2 * CHUNK], 0).unwrap();
        let ended = copy(&from, &to, size, |_| from.set_len(0));
        assert!(matches!(ended, Err(CopyStop::Read(_))));
    }
}
