//! The ioctls of loop devices. All unsafe code of this crate is here.
//!
//! Not here: what they are used for (`device`, `end`). No library is used: the maintained ones set a device up in two steps
//! (`LOOP_SET_FD`, then `LOOP_SET_STATUS64`), between which it carries no name, and generate the structures below at build time with
//! a C compiler's library. `LOOP_CONFIGURE` does it in one step since Linux 5.8; older kernels are refused.
//!
//! Source: `linux/loop.h`, `linux/blkpg.h`, and `loop(4)`.

#![expect(unsafe_code, reason = "ioctls have no safe interface: the kernel reads and writes memory by the opcode alone")]

use crate::name::{NAME_SIZE, Name};
use rustix::fd::{AsFd, AsRawFd};
use rustix::io::{Errno, Result};
use rustix::ioctl::{Getter, Ioctl, IoctlOutput, NoArg, Opcode, Setter, ioctl};
use std::ffi::{c_int, c_void};

const LOOP_CLR_FD: Opcode = 0x4C01;
const LOOP_SET_STATUS64: Opcode = 0x4C04;
const LOOP_GET_STATUS64: Opcode = 0x4C05;
const LOOP_SET_CAPACITY: Opcode = 0x4C07;
const LOOP_CONFIGURE: Opcode = 0x4C0A;
const LOOP_CTL_GET_FREE: Opcode = 0x4C82;

const BLKPG: Opcode = 0x1269;
const BLKPG_DEL_PARTITION: c_int = 2;

const READ_ONLY: u32 = 1;
const AUTOCLEAR: u32 = 4;
const DIRECT_IO: u32 = 16;

/// `struct loop_info64`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Info {
    /// The device that the backing file's inode is on, as `stat` tells it.
    pub(crate) backing_device: u64,
    /// The backing file's inode.
    pub(crate) backing_inode: u64,
    _rdevice: u64,
    /// Where in the backing file the device begins.
    pub(crate) offset: u64,
    /// How many bytes of it the device has; 0 for all.
    pub(crate) size_limit: u64,
    _number: u32,
    _encrypt_type: u32,
    _encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; NAME_SIZE],
    _crypt_name: [u8; NAME_SIZE],
    _encrypt_key: [u8; 32],
    _init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct Config {
    backing: u32,
    block_size: u32,
    info: Info,
    _reserved: [u64; 8],
}

/// `struct blkpg_partition`.
#[repr(C)]
struct Partition {
    _start: i64,
    _length: i64,
    number: c_int,
    _names: [u8; 128],
}

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
struct PartitionCall {
    operation: c_int,
    _flags: c_int,
    length: c_int,
    partition: *mut c_void,
}

const _: () = assert!(size_of::<Info>() == 232 && size_of::<Config>() == 304, "the layout of linux/loop.h");
const PARTITION_LENGTH: c_int = 152;
const _: () = assert!(size_of::<Partition>() == 152, "the layout of linux/blkpg.h");

/// How a device is set up.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) name: Name,
    pub(crate) read_only: bool,
    pub(crate) direct_io: bool,
    /// Its logical sector size.
    pub(crate) block_size: u32,
}

impl Info {
    /// Of a device of ours: all of its file.
    const fn new(file_name: [u8; NAME_SIZE], flags: u32) -> Self {
        Self {
            backing_device: 0,
            backing_inode: 0,
            _rdevice: 0,
            offset: 0,
            size_limit: 0,
            _number: 0,
            _encrypt_type: 0,
            _encrypt_key_size: 0,
            flags,
            file_name,
            _crypt_name: [0; NAME_SIZE],
            _encrypt_key: [0; 32],
            _init: [0; 2],
        }
    }

    /// Its name, as far as it is text.
    pub(crate) fn name(&self) -> String {
        let end = self.file_name.iter().position(|byte| *byte == 0).unwrap_or(NAME_SIZE);
        String::from_utf8_lossy(&self.file_name[..end]).into_owned()
    }

    /// Whether the kernel releases the device when its last user closes it.
    pub(crate) const fn is_autoclear(&self) -> bool {
        self.flags & AUTOCLEAR != 0
    }
}

/// Asks the control device for the number of a device that is free now; the kernel makes one if none is.
struct GetFree;

// SAFETY: the opcode takes no argument and returns the number, or an error; it touches no memory of ours.
unsafe impl Ioctl for GetFree {
    type Output = u32;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        LOOP_CTL_GET_FREE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> Result<u32> {
        u32::try_from(output).map_err(|_| Errno::INVAL)
    }
}

/// The number of a free device. Somebody else may be told the same one.
pub(crate) fn free(control: impl AsFd) -> Result<u32> {
    // SAFETY: see `GetFree`.
    unsafe { ioctl(control, GetFree) }
}

/// What the device is bound to. `NXIO` if it is not bound, or about to be no longer; any other error is its backing's.
pub(crate) fn info(device: impl AsFd) -> Result<Info> {
    // SAFETY: the opcode fills one `struct loop_info64`, for which every bit pattern is valid.
    unsafe { ioctl(device, Getter::<LOOP_GET_STATUS64, Info>::new()) }
}

/// Binds a free device. `BUSY` if it is bound already.
pub(crate) fn configure(device: impl AsFd, backing: impl AsFd, setup: Setup) -> Result<()> {
    let flags = if setup.read_only { READ_ONLY } else { 0 } | if setup.direct_io { DIRECT_IO } else { 0 };
    let info = Info::new(setup.name.bytes(), flags);
    let backing = backing.as_fd();
    let descriptor = u32::try_from(backing.as_raw_fd()).map_err(|_| Errno::BADF)?;
    let config = Config { backing: descriptor, block_size: setup.block_size, info, _reserved: [0; 8] };
    // SAFETY: the opcode reads one `struct loop_config`; the descriptor in it is borrowed until the call returns.
    unsafe { ioctl(device, Setter::<LOOP_CONFIGURE, Config>::new(config)) }
}

/// Asks for the device's release: at once if nobody else has it open, else when its last user closes it, which the answer does
/// not tell apart.
pub(crate) fn clear(device: impl AsFd) -> Result<()> {
    // SAFETY: the opcode takes no argument.
    unsafe { ioctl(device, NoArg::<LOOP_CLR_FD>::new()) }
}

/// Takes the wish back that a device of ours be released when its last user closes it. Whether it can be written, and how its
/// backing is read, stay as they are.
pub(crate) fn keep(device: impl AsFd, name: Name) -> Result<()> {
    let info = Info::new(name.bytes(), 0);
    // SAFETY: the opcode reads one `struct loop_info64`.
    unsafe { ioctl(device, Setter::<LOOP_SET_STATUS64, Info>::new(info)) }
}

/// Makes the device as large as its backing file is now.
pub(crate) fn grow(device: impl AsFd) -> Result<()> {
    // SAFETY: the opcode takes no argument.
    unsafe { ioctl(device, NoArg::<LOOP_SET_CAPACITY>::new()) }
}

/// Takes away a partition that somebody told the kernel of; the content is not touched. `BUSY` if the partition is used.
pub(crate) fn forget_partition(device: impl AsFd, number: c_int) -> Result<()> {
    let mut partition = Partition { _start: 0, _length: 0, number, _names: [0; 128] };
    let data = std::ptr::from_mut(&mut partition).cast();
    let call = PartitionCall { operation: BLKPG_DEL_PARTITION, _flags: 0, length: PARTITION_LENGTH, partition: data };
    // SAFETY: the opcode reads one `struct blkpg_ioctl_arg`, and by it one `struct blkpg_partition`, which outlives the call.
    unsafe { ioctl(device, Setter::<BLKPG, PartitionCall>::new(call)) }
}
