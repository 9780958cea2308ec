//! How long an operation may go without progress: a time for each kind, which a pool may set for itself.
//!
//! The pool's own comes first, then the one of its kind, then the default of all shaping, exporting or looking
//! ([`Settings`](crate::Settings)). Not here: what follows when it passes (the rules), and when it begins to count (the worker).

use lifecycle::Work;
use std::time::Duration;

/// How long operations of each kind may go without progress; `None` for what holds more widely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deadlines {
    /// Making a volume, and removing what a failed creation left.
    pub create: Option<Duration>,
    /// Growing a volume.
    pub extend: Option<Duration>,
    /// Taking a snapshot, and removing what a failed one left.
    pub snapshot: Option<Duration>,
    /// Removing a volume or a snapshot.
    pub delete: Option<Duration>,
    /// Exporting a volume to a host.
    pub attach: Option<Duration>,
    /// Ending an export.
    pub detach: Option<Duration>,
    /// Looking at a volume or an export.
    pub look: Option<Duration>,
}

impl Deadlines {
    /// What is set for this work.
    pub(crate) const fn of(&self, work: Work) -> Option<Duration> {
        match work {
            Work::Create | Work::CleanUp => self.create,
            Work::Extend { .. } => self.extend,
            Work::Snapshot(_) | Work::CleanUpSnapshot(_) => self.snapshot,
            Work::Delete | Work::DeleteSnapshot(_) => self.delete,
            Work::Export(_) => self.attach,
            Work::Unexport { .. } => self.detach,
            Work::Look | Work::LookExport(_) => self.look,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    #[test]
    fn the_nearest_setting_wins() {
        let seconds = Duration::from_secs;
        let everywhere = Deadlines { extend: Some(seconds(7)), delete: Some(seconds(8)), ..Deadlines::default() };
        let settings = Settings { deadlines: everywhere, ..Settings::default() };
        let pool = Deadlines { delete: Some(seconds(9)), look: Some(seconds(3)), ..Deadlines::default() };
        let rows = [
            (Work::Create, settings.shape_deadline),
            (Work::Extend { target: lifecycle::Bytes(1) }, seconds(7)),
            (Work::Delete, seconds(9)),
            (Work::Look, seconds(3)),
        ];
        for (work, wanted) in rows {
            assert_eq!(settings.deadline(work, &pool), wanted, "{work:?}");
        }
        assert_eq!(settings.deadline(Work::Delete, &Deadlines::default()), seconds(8));
    }
}
