//! Who uses a device, as far as this machine tells: for messages, and for the list of clients.
//!
//! Not here: whether it may be released. That the kernel alone knows (`end`): a user can be out of sight in another mount
//! namespace, behind a mount that was taken away lazily, or inside the kernel.
//!
//! Bounded: at most [`LINKS_MAX`] open files are looked at and [`USERS_MAX`] users told. A link is only read; what it points at is
//! looked at only where it may be a device, so that a dead network mount hangs nobody.

use crate::device::{self, Device};
use std::collections::BTreeSet;
use std::fmt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// How many open files of the machine are looked at: about a second of work.
const LINKS_MAX: usize = 500_000;
/// How many users are told: more than anybody reads.
const USERS_MAX: usize = 64;

/// A user of a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum User {
    /// A file system on it is mounted there.
    Mount(String),
    /// It is swapped to.
    Swap,
    /// Another block device stands on it, such as `dm-0`.
    Holder(String),
    /// Another loop device has it as its backing file.
    Loop(Device),
    /// A process has it open.
    Process { id: u32, name: String },
    /// The kernel says that there is one, and nothing shows who.
    Unseen,
}

impl User {
    /// Whether it stays until somebody takes it down, unlike a process, which ends, or a probe that was out of sight.
    pub(crate) const fn stays(&self) -> bool {
        match self {
            Self::Mount(_) | Self::Swap | Self::Holder(_) | Self::Loop(_) => true,
            Self::Process { .. } | Self::Unseen => false,
        }
    }

    /// What makes it leave.
    pub(crate) fn remedy(&self) -> String {
        match self {
            Self::Mount(_) => "unmount it".into(),
            Self::Swap => "swapoff it".into(),
            Self::Holder(name) => format!("take {name} down"),
            Self::Loop(device) => format!("release {device}"),
            Self::Process { .. } => "end that process".into(),
            Self::Unseen => "look for mounts in other namespaces and for lazily unmounted ones".into(),
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount(at) => write!(f, "mounted at {at}"),
            Self::Swap => write!(f, "used as swap"),
            Self::Holder(name) => write!(f, "held by {name}"),
            Self::Loop(device) => write!(f, "the backing of {device}"),
            Self::Process { id, name } => write!(f, "opened by process {id} ({name})"),
            Self::Unseen => write!(f, "held by somebody whom this process cannot see"),
        }
    }
}

/// A device and its partitions, under every name that they are found by.
struct Nodes {
    device: Device,
    /// `loop3`, `loop3p1`.
    names: Vec<String>,
    /// `7:3`, as mountinfo has it.
    numbers: BTreeSet<String>,
}

/// Who uses the device or one of its partitions, this process not counted.
pub(crate) fn of(device: Device) -> Vec<User> {
    let nodes = Nodes::of(device);
    let mut users = nodes.holders();
    users.extend(nodes.swap());
    users.extend(nodes.loops());
    users.extend(nodes.processes());
    users.sort();
    users.dedup();
    users.truncate(USERS_MAX);
    users
}

impl Nodes {
    fn of(device: Device) -> Self {
        let partitions = device.partitions();
        let mut numbers: BTreeSet<_> = partitions.iter().filter_map(|name| device.says(&format!("{name}/dev"))).collect();
        numbers.extend(device.says("dev"));
        let mut names = partitions;
        names.push(format!("loop{}", device.0));
        Self { device, names, numbers }
    }

    fn holders(&self) -> Vec<User> {
        let of_partitions = self.device.partitions().into_iter().map(|name| format!("{name}/holders"));
        let folders = of_partitions.chain(["holders".to_owned()]).map(|folder| self.device.sysfs(&folder));
        folders.flat_map(|folder| entries(&folder)).map(User::Holder).collect()
    }

    fn swap(&self) -> Option<User> {
        let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
        let is_ours = swaps.lines().filter_map(|line| line.split_whitespace().next()).any(|path| self.is_path(path));
        is_ours.then_some(User::Swap)
    }

    fn loops(&self) -> Vec<User> {
        let all = device::devices().unwrap_or_default().into_iter();
        all.filter(|other| other.backing_file().is_some_and(|path| self.is_path(&path))).map(User::Loop).collect()
    }

    /// Whether this is the path of one of them.
    fn is_path(&self, path: &str) -> bool {
        path.strip_prefix("/dev/").is_some_and(|name| self.names.iter().any(|ours| ours == name))
    }

    /// What every process has mounted or open.
    fn processes(&self) -> BTreeSet<User> {
        let mut users = BTreeSet::new();
        let (mut namespaces, mut links) = (BTreeSet::new(), 0);
        // The own namespace first: its mounts are told without a process.
        namespaces.extend(std::fs::read_link("/proc/self/ns/mnt"));
        users.extend(self.mounts(Path::new("/proc/self"), None));
        for id in entries(Path::new("/proc")).filter_map(|name| name.parse::<u32>().ok()) {
            let folder = PathBuf::from(format!("/proc/{id}"));
            // A process may end meanwhile, or be another user's: then it is passed over.
            if std::fs::read_link(folder.join("ns/mnt")).is_ok_and(|namespace| namespaces.insert(namespace)) {
                users.extend(self.mounts(&folder, Some(id)));
            }
            if id != std::process::id() && self.is_open_in(&folder, &mut links) {
                let name = std::fs::read_to_string(folder.join("comm")).unwrap_or_default().trim_end().to_owned();
                users.insert(User::Process { id, name });
            }
            if links >= LINKS_MAX || users.len() >= USERS_MAX {
                break;
            }
        }
        users
    }

    fn mounts(&self, process: &Path, id: Option<u32>) -> Vec<User> {
        let text = std::fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
        let points = text.lines().filter_map(Mounted::parse);
        let ours = points.filter(|mounted| self.numbers.contains(mounted.number) || self.is_path(mounted.source));
        let told = ours.map(|mounted| match id {
            None => unescaped(mounted.point),
            Some(id) => format!("{} (for process {id})", unescaped(mounted.point)),
        });
        told.map(User::Mount).collect()
    }

    fn is_open_in(&self, process: &Path, links: &mut usize) -> bool {
        let folder = process.join("fd");
        let mut may_be = |link: &Path| {
            *links += 1;
            let Ok(target) = std::fs::read_link(link) else { return false };
            let name = target.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            target.starts_with("/dev") || self.names.iter().any(|ours| ours == name)
        };
        let mut candidates = entries(&folder).map(|name| folder.join(name)).take(LINKS_MAX);
        candidates.any(|link| may_be(&link) && self.is_node(&link))
    }

    fn is_node(&self, path: &Path) -> bool {
        let Ok(facts) = std::fs::metadata(path) else { return false };
        let number = format!("{}:{}", rustix::fs::major(facts.rdev()), rustix::fs::minor(facts.rdev()));
        facts.file_type().is_block_device() && self.numbers.contains(&number)
    }
}

/// A line of mountinfo. Source: `proc(5)`.
struct Mounted<'a> {
    /// Of the file system: `7:3`, or a number of its own where it spans several devices, as btrfs does.
    number: &'a str,
    point: &'a str,
    /// What was mounted, as it was told then.
    source: &'a str,
}

impl<'a> Mounted<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(2);
        Some(Self { number: front.next()?, point: front.nth(1)?, source: back.split(' ').nth(1)? })
    }
}

/// Undoes what mountinfo does to spaces, tabs, line ends and backslashes: `\040`.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((front, back)) = rest.split_once('\\') {
        plain.push_str(front);
        match back.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if byte.is_ascii() => {
                plain.push(char::from(byte));
                rest = &back[3..];
            }
            _ => {
                plain.push('\\');
                rest = back;
            }
        }
    }
    plain + rest
}

/// The names in a folder, as far as it can be read.
fn entries(folder: &Path) -> impl Iterator<Item = String> + use<> {
    let read = std::fs::read_dir(folder).into_iter().flatten().flatten();
    read.filter_map(|entry| entry.file_name().into_string().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_read_with_and_without_optional_fields() {
        for optional in ["", " shared:5 master:2"] {
            let line = format!("61 27 7:3 / /mnt/a\\040b rw,relatime{optional} - xfs /dev/loop3 rw,attr2");
            let mounted = Mounted::parse(&line).expect("it is one");
            assert_eq!((mounted.number, mounted.point, mounted.source), ("7:3", "/mnt/a\\040b", "/dev/loop3"));
        }
        for line in ["", " - ", "61 27 7:3", "61 27 7:3 / - xfs"] {
            assert!(Mounted::parse(line).is_none(), "{line}");
        }
    }

    #[test]
    fn escapes_are_undone_and_others_left() {
        for (text, plain) in
            [("/mnt/a\\040b", "/mnt/a b"), ("\\134040", "\\040"), ("a\\", "a\\"), ("\\9", "\\9"), ("\\777é", "\\777é")]
        {
            assert_eq!(unescaped(text), plain);
        }
    }
}
