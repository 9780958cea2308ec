//! Loop devices as the kernel shows them: `/sys/block/loopN` tells which are bound, the device itself whose it is.
//!
//! Not here: who uses one (`users`). A device is opened for reading unless it is bound, as closing one that was open for writing
//! makes udev probe it, and that probe would then be a user.
//!
//! Source: `Documentation/ABI/testing/sysfs-block-loop` and `loop(4)`.

use crate::backing::{Backing, Identity};
use crate::kernel::{self, Info, Setup};
use crate::name::Name;
use crate::trouble::Trouble;
use lifecycle::Bytes;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// How often a free device is looked for: each try can lose it to another program that asked at the same moment.
const TRIES: usize = 32;
/// The logical sector size of every device, whatever its backing would like: partition tables and file systems are laid out in
/// sectors, and a volume must read the same wherever, and over whichever protocol, it is attached.
const SECTOR: u32 = 512;
/// The unit of `/sys/block/*/size`, whatever the device's sector size.
const SYSFS_UNIT: u64 = 512;

/// A loop device, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Device(pub(crate) u32);

/// A bound device, as it was seen.
pub(crate) struct Found {
    pub(crate) device: Device,
    /// The name that the kernel keeps with it; another program's own words if it is not ours.
    pub(crate) name: String,
    /// What else it told, unless its disk is broken.
    pub(crate) told: Option<Told>,
    pub(crate) read_only: bool,
    pub(crate) direct_io: bool,
}

/// What a device tells of itself.
#[derive(Clone, Copy)]
pub(crate) struct Told {
    /// The file behind it.
    pub(crate) identity: Identity,
    /// Whether it shows all of that file.
    pub(crate) is_all: bool,
    /// Whether the kernel releases it when its last user closes it.
    pub(crate) is_autoclear: bool,
}

impl From<&Info> for Told {
    fn from(info: &Info) -> Self {
        let identity = Identity { device: info.backing_device, inode: info.backing_inode };
        Self { identity, is_all: info.offset == 0 && info.size_limit == 0, is_autoclear: info.is_autoclear() }
    }
}

/// One look at one device.
pub(crate) enum Looked {
    Free,
    Bound(Found),
    /// It is bound, and does not tell whose it is: it is being released, or the disk below does not answer.
    Unclear,
}

/// One life of a device, from its being bound to its release, told without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    device: Device,
    /// The kernel's number of it, which no other life of any disk has; before Linux 5.15, which has none, the backing file's path.
    told: String,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/dev/loop{}", self.0)
    }
}

impl Device {
    fn parse(name: &str) -> Option<Self> {
        name.strip_prefix("loop")?.parse().ok().map(Self)
    }

    /// A file of its folder in sysfs.
    pub(crate) fn sysfs(self, file: &str) -> PathBuf {
        PathBuf::from(format!("/sys/block/loop{}/{file}", self.0))
    }

    /// What that file says; nothing if it is not there.
    pub(crate) fn says(self, file: &str) -> Option<String> {
        std::fs::read_to_string(self.sysfs(file)).ok().map(|text| text.trim_end_matches('\n').to_owned())
    }

    /// The path of its backing file as the kernel remembers it; nothing if it is not bound.
    pub(crate) fn backing_file(self) -> Option<String> {
        self.says("loop/backing_file")
    }

    /// The life that it has now, if it is bound.
    pub(crate) fn life(self) -> Option<Life> {
        let backing_file = self.backing_file()?;
        Some(Life { device: self, told: self.says("diskseq").unwrap_or(backing_file) })
    }

    /// The names of its partitions: `loop3p1`. None are made by us, but anybody may tell the kernel of some (`partx`).
    pub(crate) fn partitions(self) -> Vec<String> {
        let begin = format!("loop{}p", self.0);
        let read = std::fs::read_dir(self.sysfs("")).into_iter().flatten().flatten();
        read.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name.starts_with(&begin)).collect()
    }

    /// Takes its partitions away. The kernel leaves them when a device is released, and they would show parts of the next file.
    pub(crate) fn forget_partitions(self, file: &OwnedFd) -> rustix::io::Result<()> {
        for name in self.partitions() {
            let number = self.says(&format!("{name}/partition")).and_then(|number| number.parse().ok());
            match number.map(|number| kernel::forget_partition(file, number)) {
                // It is gone.
                None | Some(Ok(()) | Err(Errno::NXIO)) => {}
                Some(Err(errno)) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Its size in bytes.
    pub(crate) fn size(self) -> Option<Bytes> {
        let units: u64 = self.says("size")?.parse().ok()?;
        units.checked_mul(SYSFS_UNIT).map(Bytes)
    }

    /// Opens its node, and makes sure that it is this device's.
    pub(crate) fn open(self, flags: OFlags) -> Result<OwnedFd, Trouble> {
        let opened = rustix::fs::open(self.to_string(), flags | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty());
        let file = opened.map_err(|errno| match errno {
            Errno::NOENT => Trouble::NoNode(self),
            other => Trouble::of(format!("opening {self}"))(other),
        })?;
        let facts = rustix::fs::fstat(&file).map_err(Trouble::of(format!("looking at {self}")))?;
        let number = format!("{}:{}", rustix::fs::major(facts.st_rdev), rustix::fs::minor(facts.st_rdev));
        let is_it = FileType::from_raw_mode(facts.st_mode) == FileType::BlockDevice && self.says("dev") == Some(number);
        if is_it { Ok(file) } else { Err(Trouble::OtherNode(self)) }
    }

    /// Looks at it.
    pub(crate) fn look(self) -> Result<Looked, Trouble> {
        let file = match self.open(OFlags::RDONLY) {
            Ok(file) => file,
            Err(trouble) if trouble.errno() == Some(Errno::NXIO) => return Ok(self.mute()),
            Err(trouble) => return Err(trouble),
        };
        Ok(match kernel::info(&file) {
            Ok(info) => Looked::Bound(self.found(info.name(), Some(Told::from(&info)))),
            Err(_) => self.mute(),
        })
    }

    /// It does not tell what it is bound to.
    fn mute(self) -> Looked {
        if self.backing_file().is_some() { Looked::Unclear } else { Looked::Free }
    }

    /// As it is seen now, under the name that it told, or that it is known by.
    pub(crate) fn found(self, name: String, told: Option<Told>) -> Found {
        let is_set = |file| self.says(file).as_deref() == Some("1");
        Found { device: self, name, told, read_only: is_set("ro"), direct_io: is_set("loop/dio") }
    }

    /// Offers the size that its backing file has now.
    pub(crate) fn grow(self) -> Result<(), Trouble> {
        let file = self.open(OFlags::RDONLY)?;
        kernel::grow(&file).map_err(Trouble::of(format!("telling {self} its new size")))?;
        let info = kernel::info(&file).map_err(Trouble::of(format!("asking {self} what it is bound to")))?;
        let expected = self.backing_file().and_then(|path| std::fs::metadata(path).ok()).filter(|facts| is_same(facts, &info));
        match (expected, self.size()) {
            (Some(facts), Some(size)) if facts.len() - facts.len() % SYSFS_UNIT != size.0 => {
                let short = io::Error::other(format!("it has {size}, and its backing file {}", Bytes(facts.len())));
                Err(Trouble::of(format!("telling {self} its new size"))(short))
            }
            _ => Ok(()),
        }
    }
}

fn is_same(facts: &std::fs::Metadata, info: &Info) -> bool {
    use std::os::unix::fs::MetadataExt;
    facts.is_file() && (facts.dev(), facts.ino()) == (info.backing_device, info.backing_inode)
}

impl Life {
    /// Whether it has not ended.
    pub(crate) fn goes_on(&self) -> bool {
        self.device.life().as_ref() == Some(self)
    }
}

impl Found {
    /// The file behind it, if it can be told.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.told.map(|told| told.identity)
    }

    /// Whether it shows this file, all of it, and may be written or not as wanted.
    pub(crate) fn is(&self, backing: Identity, read_only: bool) -> bool {
        self.told.is_some_and(|told| told.is_all) && self.identity() == Some(backing) && self.read_only == read_only
    }
}

/// Every device that is bound now.
pub(crate) fn devices() -> Result<Vec<Device>, Trouble> {
    let mut devices = Vec::new();
    for entry in std::fs::read_dir("/sys/block").map_err(Trouble::of("reading /sys/block"))? {
        let entry = entry.map_err(Trouble::of("reading /sys/block"))?;
        devices.extend(entry.file_name().to_str().and_then(Device::parse).filter(|device| device.backing_file().is_some()));
    }
    devices.sort();
    Ok(devices)
}

/// The device through which others are asked for.
pub(crate) fn control() -> Result<OwnedFd, Trouble> {
    let opened = rustix::fs::open("/dev/loop-control", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    opened.map_err(|errno| match errno {
        Errno::NOENT | Errno::NXIO | Errno::NODEV => Trouble::NoDriver,
        other => Trouble::of("opening /dev/loop-control")(other),
    })
}

/// Binds a free device to the backing. `may_go_on` is asked before each try.
pub(crate) fn bind(
    backing: &Backing,
    name: Name,
    read_only: bool,
    may_go_on: impl Fn() -> bool,
) -> Result<Option<Device>, Trouble> {
    let control = control()?;
    for _ in 0..TRIES {
        if !may_go_on() {
            return Ok(None);
        }
        let device = Device(kernel::free(&control).map_err(Trouble::of("asking for a free loop device"))?);
        let file = match open_free(device) {
            Ok(file) => file,
            // It is being removed, or somebody else took it.
            Err(trouble) if matches!(trouble.errno(), Some(Errno::NXIO | Errno::BUSY)) => continue,
            Err(trouble) => return Err(trouble),
        };
        match configure(&file, backing, name, read_only) {
            Ok(()) => return Ok(Some(device)),
            Err(Errno::BUSY) => {}
            Err(Errno::INVAL | Errno::NOTTY) => return Err(Trouble::TooOld),
            Err(errno) => return Err(Trouble::of(format!("binding {device}"))(errno)),
        }
    }
    let taken = io::Error::other(format!("{TRIES} in a row were taken by somebody else meanwhile"));
    Err(Trouble::of("binding a free loop device")(taken))
}

/// Opens a free device, without partitions of an earlier life. `BUSY` if it is not free any more.
fn open_free(device: Device) -> Result<OwnedFd, Trouble> {
    // Open for writing, or it would be bound for reading only.
    let is_clean = device.partitions().is_empty();
    let file = device.open(if is_clean { OFlags::RDWR } else { OFlags::RDWR | OFlags::EXCL })?;
    if !is_clean {
        // While it is claimed nobody can bind it, so that no partition of somebody else's life goes.
        let is_bound = kernel::info(&file).is_ok();
        let forgotten = if is_bound { Err(Errno::BUSY) } else { device.forget_partitions(&file) };
        forgotten.map_err(Trouble::of(format!("taking away old partitions of {device}")))?;
    }
    Ok(file)
}

/// With direct I/O if the kernel takes it; where only the backing's file system cannot, most kernels take it and do without, which
/// `loop/dio` then tells.
fn configure(file: &OwnedFd, backing: &Backing, name: Name, read_only: bool) -> rustix::io::Result<()> {
    let setup = |direct_io| Setup { name, read_only, direct_io, block_size: SECTOR };
    match kernel::configure(file, &backing.file, setup(true)) {
        Err(Errno::INVAL) => kernel::configure(file, &backing.file, setup(false)),
        other => other,
    }
}
