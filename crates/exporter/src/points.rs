//! The steps of the data plane, and of having one, that can be made to fail from outside.

use failpoint::{Fails, Step, step};

/// The controller starts a process.
pub(crate) const LAUNCH: Step = step!("data plane: launch", Fails::Io);
/// A controller is welcomed.
pub(crate) const WELCOME: Step = step!("data plane: welcome", Fails::Never);
/// An export begins to be served.
pub(crate) const EXPORT: Step = step!("data plane: export", Fails::Never);
/// An export is fenced by force.
pub(crate) const FENCE: Step = step!("data plane: fence", Fails::Never);
/// Clients of an export are cut.
pub(crate) const CUT: Step = step!("data plane: cut", Fails::Never);
/// An export ends.
pub(crate) const UNEXPORT: Step = step!("data plane: unexport", Fails::Never);
/// A controller's question is answered.
pub(crate) const ANSWER: Step = step!("data plane: answer", Fails::Never);
/// A client's bytes are written.
pub(crate) const WRITE: Step = step!("data plane: write", Fails::IoOrFull);
/// What clients wrote is put on the disk.
pub(crate) const FLUSH: Step = step!("data plane: flush", Fails::Io);

/// Every step of the data plane that can be made to fail.
pub const FAIL_POINTS: [Step; 9] = [LAUNCH, WELCOME, EXPORT, FENCE, CUT, UNEXPORT, ANSWER, WRITE, FLUSH];
