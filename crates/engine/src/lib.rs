//! Drives the rules: commands in, driver calls out, retries, deadlines, recovery.
//!
//! Owns the ports ([`store::Store`], [`ports::Driver`], [`ports::Exporter`], [`ports::Clock`]) and the records. Requests come in
//! through [`Engine`]; a worker per volume drives what its record owes (`worker`, `calls`); a start looks first (`recovery`); every
//! pool's backend is watched (`probes`, `reach`).
//!
//! Invariants:
//! - commit before acting, always: a crash leaves a record that says what is owed;
//! - what is owed is computed from the record, never handed over in a message that could be lost;
//! - capacity, use counts and journal rows are the difference of two records (`change`), so no path can forget them;
//! - no lock is held across an await or a driver's call.

#![forbid(unsafe_code)]

mod admission;
mod calls;
mod catalog;
mod change;
mod deadlines;
pub mod doctor;
mod drift;
mod engine;
mod exporters;
mod ids;
mod inventory;
mod listing;
mod memo;
mod news;
mod patience;
mod places;
mod points;
pub mod ports;
mod probes;
mod reach;
pub mod records;
mod recovery;
mod rehearsal;
pub mod requests;
mod round;
mod settings;
mod shared;
pub mod store;
mod survey;
pub mod tokens;
mod turns;
mod waits;
mod worker;

pub use admission::WhenDown;
pub use deadlines::Deadlines;
pub use engine::{DEFAULT_PROFILE, DEFAULT_ZONE, Engine, Listed, Waiter};
pub use exporters::Exporters;
pub use ids::Ids;
pub use news::{Follower, Rung, Told};
pub use points::FAIL_POINTS;
pub use reach::Reach;
pub use settings::Settings;
pub use shared::PoolSetup;
pub use turns::{InTurn, Whose};
