//! What the binary is told in its configuration file: apart from it, so that it can be tried alone.
//!
//! Nothing else belongs here: the binary is `main.rs` and what it names.

#![forbid(unsafe_code)]

pub mod config;
pub mod deadlines;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
