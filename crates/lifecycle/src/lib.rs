//! What every status means, and which transitions exist.
//!
//! One idea: a status is derived, never assigned. [`Volume`] is the aggregate (the volume with its attachments and snapshots);
//! [`Volume::decide`] is the one entry that turns a command, a driver's report or an observation into [`Transition`]s or a
//! [`Rejection`]; [`Volume::status`] and its siblings compute the public status from the record.
//!
//! Invariants of this crate:
//! - no I/O, no async, no clock, no randomness, no serialisation: time enters as a value, ids are made outside;
//! - a [`Transition`] can only be made by `decide`, so nobody else can change a phase;
//! - every `match` over phases is complete, with no catch-all arm, so a new variant makes the compiler ask every question again.
//!
//! Deliberately not here: names, descriptions, tenants, pools and their capacity (the engine's records); driving the calls
//! (the engine); words of a wire (the API crates).

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod aggregate;
mod backend;
mod command;
mod decide;
mod owed;
mod status;
pub mod table;
mod units;
mod volume;

pub use aggregate::{
    Attachment, AttachmentPhase, ErrorCause, ExportLook, Making, Mode, Reason, ReasonCode, Snapshot, SnapshotPhase, Source, Volume,
    VolumeParts, VolumePhase,
};
pub use backend::{Capabilities, Connection, Content, ExportSeen, Facts, Look, Outcome, Seen, Slot, Work};
pub use command::{Command, CommandKind, Obstacle, Rejection};
pub use decide::{Context, Input, MAX_ATTACHMENTS, MAX_SNAPSHOTS, Transition};
pub use owed::{MAX_TOMBSTONES, Owed, Waiting};
pub use status::{AttachmentStatus, SnapshotStatus, VolumeStatus};
pub use table::{Edge, Resource, edges};
pub use units::{AttachmentId, Bytes, HostId, PoolId, ProfileId, SnapshotId, Timestamp, Token, VolumeId};
pub use volume::{Operation, OperationKind, Subject};
