//! Whom an operation waits for, in words that an operator can act on.

use crate::settings::work_word;
use lifecycle::{Timestamp, Waiting, Work};
use std::fmt;

/// Whom an operation waits for.
pub(crate) enum Waits<'a> {
    /// Something else of the same volume.
    Part(Waiting),
    /// A call of this volume that was superseded and has not ended.
    Earlier(Work),
    /// A place for its call. Whoever waits for one finds all taken.
    Place {
        /// Where.
        pool: &'a str,
        /// How many there are.
        places: usize,
    },
    /// The backend of its pool, which is down; it is not asked before that is up again.
    Backend {
        /// Of which pool.
        pool: &'a str,
        /// Since when it does not answer.
        since: Timestamp,
    },
    /// Whoever was asked and has not answered.
    Asked(&'a str),
}

impl fmt::Display for Waits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Part(Waiting::Extend) => f.write_str("the volume's extend"),
            Self::Part(Waiting::Snapshot(id)) => write!(f, "snapshot {id}, which is being copied"),
            Self::Part(Waiting::Snapshots) => f.write_str("the deletion of its snapshots"),
            Self::Earlier(work) => write!(f, "the superseded {}, which has not ended", work_word(*work)),
            Self::Place { pool, places } => write!(f, "a place in pool {pool} ({places} of {places} taken)"),
            Self::Backend { pool, since } => write!(f, "the backend of pool {pool}, unreachable since {since}"),
            Self::Asked(whom) => f.write_str(whom),
        }
    }
}

/// How a pool's driver is called.
pub(crate) fn driver(name: &str, pool: &str) -> String {
    format!("driver {name} of pool {pool}")
}

/// How the exporter for a protocol is called.
pub(crate) fn data_plane(protocol: &str) -> String {
    format!("the data plane for access protocol {protocol}")
}
