//! The points of all rooms at which this binary can be made to fail: listed, and armed, for whoever tortures it.
//!
//! A room that has points and is missing here would be tortured at none of them; a test over the repository holds the list.

use failpoint::{Fails, Point, Step, step};

/// Everything is opened, and nobody can connect yet.
pub(crate) const LISTEN: Step = step!("serve: listen", Fails::Never);
/// The controller was told to stop, and lets go of the data plane.
pub(crate) const STOP: Step = step!("serve: stop", Fails::Never);

/// The steps of joining the rooms.
const FAIL_POINTS: [Step; 2] = [LISTEN, STOP];

/// Every point that there is.
pub(crate) fn all() -> Vec<Point> {
    let rooms: [&[Step]; 5] =
        [&FAIL_POINTS, &engine::FAIL_POINTS, &store_sqlite::FAIL_POINTS, &driver_file::FAIL_POINTS, &exporter::FAIL_POINTS];
    rooms.into_iter().flatten().flat_map(|step| [step.before, step.after]).collect()
}

/// Every point with what it can be armed with, one a line.
pub(crate) fn listed() -> String {
    all().iter().map(|point| format!("{}\t{}\n", point.name(), point.actions().join(","))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_points_have_one_name() {
        let names: BTreeSet<_> = all().iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), all().len());
        assert!(names.iter().all(|name| !name.contains(['=', ';', '@', '\t'])), "they are armed by name");
    }
}
