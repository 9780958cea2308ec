//! The ports in memory keep every promise, and the suites notice who does not.

mod broken_driver;
mod broken_store;
mod driver;
mod store;
