//! What is measured by more than one: by the process `bench`, the benches under criterion, and the tests that count.
//!
//! - `records`: the commits that creating a volume makes;
//! - `readers`: readers of the stream of events, thousands in one process.

pub mod readers;
pub mod records;

/// The default tenant, who is the administrator. Source: OpenSDS' default.
pub const TENANT: &str = "e93b4c0934da416eb9c8d120c5d04d96";
