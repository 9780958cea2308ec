//! The commits that creating a volume makes, for whatever measures them: the process `bench`, and the benches under criterion.

pub mod records;

/// The default tenant, who is the administrator. Source: OpenSDS' default.
pub const TENANT: &str = "e93b4c0934da416eb9c8d120c5d04d96";
