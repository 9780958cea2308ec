//! The data plane as a process of its own, and the controller's end of it.
//!
//! - `server`: the process; `message`: the words between it and its controller; `place`: where the two meet in the data folder;
//! - `link`: one connection to it; `remote`: the engine's port over such connections, one after another; `launch`: starting a process.

mod launch;
mod link;
pub(crate) mod message;
mod operator;
mod place;
mod remote;
mod server;

pub use folder_lock::Lock;
pub use launch::Launch;
pub use message::{ClientWord, ExportStatus, Status};
pub use operator::{OperatorError, Stopped, status, stop};
pub use remote::RemoteExporter;
pub use server::{DataPlane, PlaneError};
