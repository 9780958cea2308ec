//! A small driver that keeps every promise: copy this crate, and change it step by step into yours.
//!
//! - [`Appliance`] stands for the backend: an array that keeps volumes under names and labels. Replace it by the client of yours.
//! - [`TemplateDriver`] makes volumes and snapshots on it. How it does so is what you keep.
//! - `lanes` is the fence against late calls. Keep it as it is, unless the backend has one of its own.
//!
//! Nothing here is part of the binary. The way from here is in `docs/writing-a-driver.md`.

#![forbid(unsafe_code)]

mod appliance;
mod driver;
mod lanes;
mod name;

pub use appliance::{Appliance, Error, Label, Lun};
pub use driver::{FailPoints, TemplateDriver};
