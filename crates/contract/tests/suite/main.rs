//! The ports in memory keep every promise, and the suites notice who does not.

mod driver;
mod flawed;
mod store;
