//! How many connections there may be, and what is said when there are as many.
//!
//! Connections in their handshake and those that are served are counted apart: whoever opens sockets and says nothing takes
//! places of the former alone, each for the handshake's deadline at most.
//!
//! Source of the headroom: a process that is out of files cannot open a backing, accept a connection or log to a new file.

use crate::seldom::Seldom;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// How many handshakes may be under way: a hundred a second arriving for ten seconds, which is more than hosts do that come back
/// all at once, and 256 MiB of address space for their stacks.
const HANDSHAKES_MAX: usize = 1024;
/// How many files are left to everything else: backings (one an export), listeners, records, the log.
const HEADROOM: usize = 1024;

/// Raises the number of files that this process may open to the most it may have, and gives that. Where it cannot be raised it
/// stays as it is.
pub fn raise_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the number of files that this process may open could not be raised");
    }
    files()
}

/// How many files this process may open.
fn files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Something of which there is a bounded number.
pub(crate) struct Limit {
    max: usize,
    taken: AtomicUsize,
    complaint: Complaint,
}

/// One of them, until dropped.
pub(crate) struct Place(Arc<Limit>);

impl Limit {
    pub(crate) fn new(max: usize, complaint: Complaint) -> Arc<Self> {
        Arc::new(Self { max, taken: AtomicUsize::new(0), complaint })
    }

    /// Takes one, unless all are taken; then `who` is told of in the log.
    pub(crate) fn take(self: &Arc<Self>, who: &impl fmt::Display) -> Option<Place> {
        let place = Place(self.clone());
        if self.taken.fetch_add(1, Ordering::AcqRel) < self.max {
            return Some(place);
        }
        self.complaint.tell(self.max, who);
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Tells in the log that a limit is reached, and how to move it, seldom.
#[derive(Debug)]
pub(crate) struct Complaint {
    what: &'static str,
    setting: &'static str,
    seldom: Seldom,
}

impl Complaint {
    pub(crate) fn new(what: &'static str, setting: &'static str) -> Self {
        Self { what, setting, seldom: Seldom::default() }
    }

    pub(crate) fn tell(&self, limit: usize, who: &impl fmt::Display) {
        if let Some(refused) = self.seldom.due(Instant::now()) {
            let (what, setting) = (self.what, self.setting);
            tracing::warn!(peer = %who, limit, setting, refused, "an NBD client was refused: there are as many {what} as there may be");
        }
    }
}

/// The limits on connections.
pub(crate) struct Limits {
    pub(crate) handshakes: Arc<Limit>,
    pub(crate) connections: Arc<Limit>,
}

impl Limits {
    /// As many connections as wanted, or as the process has files for.
    pub(crate) fn new(wanted: usize) -> Self {
        let files = files();
        let (handshakes, connections) = within(wanted, usize::try_from(files).unwrap_or(usize::MAX));
        if connections < wanted {
            tracing::warn!(
                wanted,
                connections,
                files,
                "fewer NBD connections are accepted than set: raise the limit of open files"
            );
        }
        Self {
            handshakes: Limit::new(handshakes, Complaint::new("handshakes", "none: it is fixed, or by the limit of open files")),
            connections: Limit::new(connections, Complaint::new("connections", "max-connections")),
        }
    }
}

/// How many handshakes and how many connections fit in that many files beside the headroom; of very few files half are kept.
fn within(wanted: usize, files: usize) -> (usize, usize) {
    let room = files.saturating_sub(HEADROOM).max(files / 2);
    let handshakes = HANDSHAKES_MAX.min(room / 4);
    (handshakes, wanted.min(room - handshakes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_rest() {
        let rows = [
            ((4096, 1 << 20), (1024, 4096)),
            ((4096, 20_000), (1024, 4096)),
            ((4096, 6144), (1024, 4096)),
            ((4096, 6143), (1024, 4095)),
            ((4096, 1024), (128, 384)),
            ((4096, 8), (1, 3)),
            ((1 << 30, usize::MAX), (1024, 1 << 30)),
        ];
        for ((wanted, files), expected) in rows {
            assert_eq!(within(wanted, files), expected, "{wanted} of {files}");
        }
    }

    #[test]
    fn places_come_back_and_none_is_given_twice() {
        let limit = Limit::new(2, Complaint::new("things", "things_max"));
        let first = limit.take(&"a").expect("the first");
        let _second = limit.take(&"b").expect("the second");
        assert!(limit.take(&"c").is_none() && limit.take(&"c").is_none());
        drop(first);
        let _third = limit.take(&"c").expect("one came back");
        assert!(limit.take(&"d").is_none());
    }

    #[test]
    fn the_file_limit_is_raised_to_the_most_there_may_be() {
        let raised = raise_file_limit();
        assert_eq!(getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX), raised);
    }
}
