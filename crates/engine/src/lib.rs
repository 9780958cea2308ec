//! Drives the rules: commands in, driver calls out, retries, deadlines, recovery.
//!
//! Owns the ports: [`store::Store`], [`ports::Driver`], [`ports::Exporter`], [`ports::Clock`].

#![forbid(unsafe_code)]

pub mod ports;
pub mod records;
pub mod store;
