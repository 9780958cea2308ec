//! Who else uses a volume's file: whether, the kernel says (`lease`); who, is looked for where the machine tells it, for the message.
//!
//! Only those who may write count: a reader, such as a backup, harms nobody. Whoever comes from another machine, over a network file
//! system, is not seen.

use crate::lease;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long is waited for who is just closing it: an exporter that was told to end has answered, and its last thread ends.
const PATIENCE: Duration = Duration::from_millis(300);
/// How often is looked meanwhile.
const PAUSE: Duration = Duration::from_millis(10);
/// How many open files of the machine are looked at for the message: about a second of work.
const LINKS_MAX: usize = 500_000;

/// Whether anybody may write to it now, one of our exporters included. False where that cannot be told.
pub(crate) fn is_used(file: &File) -> bool {
    lease::is_written(file).unwrap_or(false)
}

/// Who goes on using it, in words. `name` is the file's own, which no other file has.
pub(crate) fn user(file: &File, name: &str) -> Option<String> {
    let begun = Instant::now();
    while is_used(file) {
        if begun.elapsed() >= PATIENCE {
            let who = loop_device(name).or_else(|| process(name)).unwrap_or_else(|| "somebody whom this process cannot see".into());
            return Some(format!("open for writing by {who}"));
        }
        std::thread::sleep(PAUSE);
    }
    None
}

fn is_named(path: &Path, name: &str) -> bool {
    path.file_name().and_then(|own| own.to_str()) == Some(name)
}

fn loop_device(name: &str) -> Option<String> {
    entries(Path::new("/sys/block")).find_map(|device| {
        let backing = std::fs::read_to_string(format!("/sys/block/{device}/loop/backing_file")).ok()?;
        is_named(Path::new(backing.trim_end()), name).then(|| format!("/dev/{device}"))
    })
}

fn process(name: &str) -> Option<String> {
    let mut links = 0;
    entries(Path::new("/proc")).filter(|id| id.bytes().all(|byte| byte.is_ascii_digit())).find_map(|id| {
        let folder = PathBuf::from(format!("/proc/{id}"));
        // A process may end meanwhile, or be another user's: then it is passed over.
        let has_it = entries(&folder.join("fd")).any(|number| {
            links += 1;
            if links > LINKS_MAX {
                return false;
            }
            let target = std::fs::read_link(folder.join("fd").join(&number));
            target.is_ok_and(|path| is_named(&path, name)) && is_for_writing(&folder.join("fdinfo").join(&number))
        });
        let command = || std::fs::read_to_string(folder.join("comm")).unwrap_or_default();
        has_it.then(|| format!("process {id} ({})", command().trim_end()))
    })
}

/// Whether an open file's flags say so. Source: `proc(5)`, "fdinfo": octal, the lowest two bits as in `open(2)`.
fn is_for_writing(info: &Path) -> bool {
    let text = std::fs::read_to_string(info).unwrap_or_default();
    let flags = text.lines().find_map(|line| u32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
    flags.is_some_and(|flags| flags & 0b11 != 0)
}

/// The names in a folder, as far as it can be read.
fn entries(folder: &Path) -> impl Iterator<Item = String> + use<> {
    let read = std::fs::read_dir(folder).into_iter().flatten().flatten();
    read.filter_map(|entry| entry.file_name().into_string().ok())
}
