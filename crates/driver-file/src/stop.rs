//! Why a call stops before it is done, and what the engine is told then.
//!
//! - A refusal is definite: this call did nothing that lasts. What nobody can know is told as unknown, never as a refusal.
//! - Texts name files, never folders: they reach users.
//!
//! Source: lifecycle page, "Work in flight"; house style, "Errors".

use crate::names::FileName;
use lifecycle::{Bytes, Outcome};
use rustix::io::Errno;
use std::io;

/// Why a call stops before it is done.
#[derive(Debug)]
pub(crate) enum Stop {
    /// A newer call for the same volume was seen.
    Superseded,
    /// Nobody waits for the answer any more.
    Abandoned,
    /// What was asked cannot be done; the text says what stands in the way and what to do.
    Refused(String),
    /// It does not fit.
    Full(Shortage),
    /// It cannot be done now and may succeed later.
    Failed(String),
    /// The system refused a step. Nobody knows what is there now.
    Broken {
        /// What was being done, for example `renaming`.
        doing: &'static str,
        /// The file it was done to.
        file: String,
        /// What the system said.
        error: io::Error,
    },
}

/// The figures of a pool that is too full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shortage {
    /// What still had to be written, if known.
    pub(crate) needed: Option<Bytes>,
    /// What can still be written.
    pub(crate) free: Bytes,
    /// What is kept free.
    pub(crate) reserved: Bytes,
}

impl Stop {
    /// What the engine is told: `asked` is for example `create volume 7f3a...`.
    pub(crate) fn into_outcome(self, asked: &str) -> Outcome {
        match self {
            Self::Superseded => Outcome::Refused(format!("cannot {asked}: superseded by a newer call")),
            Self::Abandoned => Outcome::Failed(format!("cannot {asked}: nobody waited for it any more; ask again")),
            Self::Refused(why) => Outcome::Refused(format!("cannot {asked}: {why}")),
            Self::Full(shortage) => Outcome::Refused(format!("cannot {asked}: {shortage}")),
            Self::Failed(why) => Outcome::Failed(format!("cannot {asked}: {why}")),
            Self::Broken { doing, file, error } => {
                Outcome::Unknown(format!("cannot tell whether to {asked} worked: {doing} {file} failed: {error}"))
            }
        }
    }

    /// The stop as text, for questions that could not be answered.
    pub(crate) fn into_text(self, asked: &str) -> String {
        match self.into_outcome(asked) {
            Outcome::Refused(text) | Outcome::Failed(text) | Outcome::Unknown(text) => text,
            Outcome::Done(_) => format!("cannot {asked}"),
        }
    }
}

impl std::fmt::Display for Shortage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { needed, free, reserved } = self;
        match needed {
            Some(needed) => write!(f, "{needed} must be written, and {free} can be")?,
            None => write!(f, "the pool is full: {free} can still be written")?,
        }
        write!(f, " ({reserved} are kept free); delete something, or use another pool")
    }
}

/// Turns the system's error while `doing` something to a file into a stop.
pub(crate) fn broken<E: Into<io::Error>>(doing: &'static str, file: FileName) -> impl FnOnce(E) -> Stop {
    move |error| Stop::Broken { doing, file: file.to_string(), error: error.into() }
}

/// Whether the system says that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT))
}

/// Whether the system says that no file can be that large.
pub(crate) fn is_too_large(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::FileTooLarge)
}
