//! The exporter for access protocol `local`: a volume's file becomes a loop device of this machine.
//!
//! - `port`: the engine's port; `shared`: what its calls share, and how they block without blocking the runtime;
//! - `end`: how an export ends; `losses`: how one that somebody else ended is noticed;
//! - `device`: loop devices as the kernel shows them; `users`: who uses one; `kernel`: the ioctls, all unsafe code there is;
//! - `name`: how a device tells whose it is; `backing`: the file behind it; `here`: which addresses are this machine's;
//! - `trouble`: what stood in the way, and what that means to the engine.
//!
//! Nothing is stored: loop devices outlive the controller, and each carries the name of its attachment and of its controller.
//! A reboot takes them; the engine then exports again, and the number of the device may be another.
//!
//! Invariants:
//! - a device that does not carry this controller's mark is never changed;
//! - success is what the kernel shows afterwards, never what a call returned: the kernel answers "done" to the release of a device
//!   that is mounted, and only notes to release it when its last user leaves;
//! - a device is released only while it is claimed (`O_EXCL`), so that nobody can mount it meanwhile, and seen to have no user; if
//!   one turns up all the same, the kernel's note is taken back and the export serves on;
//! - a newer call is looked for under the gate that every look and every step holds, so that no older one acts after its answer.

mod backing;
mod device;
mod end;
mod here;
mod kernel;
mod losses;
mod name;
mod port;
mod shared;
mod trouble;
mod users;

pub use port::{LocalExporter, Options};
