//! The steps of the engine at which a process can be made to die: around commits, calls and recovery.
//!
//! None returns an error: what can go wrong there is told by stores, drivers and exporters, which have points of their own.

use failpoint::{Fails, Step, step};
use lifecycle::Work;

/// A user's command becomes durable.
pub(crate) const INTENT: Step = step!("engine: intent commit", Fails::Never);
/// What happened becomes durable.
pub(crate) const OUTCOME: Step = step!("engine: outcome commit", Fails::Never);
/// A driver is asked to change something.
pub(crate) const DRIVER_CALL: Step = step!("engine: driver call", Fails::Never);
/// An exporter is asked to serve.
pub(crate) const EXPORT_CALL: Step = step!("engine: export call", Fails::Never);
/// An exporter is asked to stop serving.
pub(crate) const UNEXPORT_CALL: Step = step!("engine: unexport call", Fails::Never);
/// A backend or an exporter is asked what is there.
pub(crate) const LOOK_CALL: Step = step!("engine: look call", Fails::Never);
/// After a start, exports that no record names are ended.
pub(crate) const RECOVER_STRAYS: Step = step!("engine: recovery of strays", Fails::Never);
/// After a start, everything that is owed is driven again.
pub(crate) const RECOVER_OWED: Step = step!("engine: recovery of what is owed", Fails::Never);

/// Every step of the engine at which a process can be made to die.
pub const FAIL_POINTS: [Step; 8] =
    [INTENT, OUTCOME, DRIVER_CALL, EXPORT_CALL, UNEXPORT_CALL, LOOK_CALL, RECOVER_STRAYS, RECOVER_OWED];

/// The step that a call is.
pub(crate) const fn call(work: Work) -> Step {
    match work {
        Work::Create | Work::CleanUp | Work::Extend { .. } | Work::Delete => DRIVER_CALL,
        Work::Snapshot(_) | Work::CleanUpSnapshot(_) | Work::DeleteSnapshot(_) => DRIVER_CALL,
        Work::Export(_) => EXPORT_CALL,
        Work::Unexport { .. } => UNEXPORT_CALL,
        Work::Look | Work::LookExport(_) => LOOK_CALL,
    }
}
