//! Exit codes, and the failure that carries one.
//!
//! - A code means one thing, and scripts may rely on it: the list is part of the manual (`docs/cli.md`).
//! - 130 is not given here: an interrupt ends the process by the signal, and the shell reports 130.
//! - A reader that leaves early (`berth volume list | head -1`) is no failure and gets no message.
//!
//! Source: architecture page, "Command line".

use std::fmt;
use std::io;

/// How a command ended, as scripts see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was asked is done, or accepted where nobody waits.
    Ok = 0,
    /// It failed in a way that no other code names.
    Failed = 1,
    /// It cannot be asked like that; asking again the same way cannot help.
    Usage = 2,
    /// There is no such resource.
    NotFound = 3,
    /// The server does not know who asks, or does not let them.
    NotAuthorised = 4,
    /// Its present status, or something that uses it, does not allow it now.
    NotAllowed = 5,
    /// What was waited for ended in an error status.
    ErrorStatus = 6,
    /// What was asked for goes on, and nobody waits for it any more; what was told is of before.
    Unfinished = 7,
    /// The server is in trouble or overloaded; asking later may help.
    Server = 10,
    /// No server answers there.
    CannotConnect = 20,
    /// It did not end in the time given.
    TimedOut = 124,
}

impl Exit {
    /// The number that the process ends with.
    #[must_use]
    pub(crate) const fn code(self) -> i32 {
        self as i32
    }

    /// The meaning of an HTTP status that is not a success.
    #[must_use]
    pub(crate) const fn of_status(status: u16) -> Self {
        match status {
            400 | 413..=415 => Self::Usage,
            404 => Self::NotFound,
            401 | 403 => Self::NotAuthorised,
            409 | 412 => Self::NotAllowed,
            408 | 429 | 500..=599 => Self::Server,
            _ => Self::Failed,
        }
    }
}

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// How the process ends.
    pub(crate) exit: Exit,
    /// What to say on standard error; empty says nothing.
    pub(crate) message: String,
}

/// What every part of a client command returns.
pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// A failure that ends with `exit` and says `message`.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// A mistake in what was typed.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<io::Error> for Failure {
    /// Output that could not be written. A reader that left early ends the command quietly.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::Ok, ""),
            _ => Self::new(Exit::Failed, format!("cannot write the output: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_statuses_have_exit_codes() {
        let rows = [
            (400, 2),
            (401, 4),
            (403, 4),
            (404, 3),
            (409, 5),
            (412, 5),
            (413, 2),
            (414, 2),
            (415, 2),
            (422, 1),
            (429, 10),
            (503, 10),
            (302, 1),
        ];
        for (status, code) in rows {
            assert_eq!(Exit::of_status(status).code(), code, "{status}");
        }
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.exit.code(), failure.message.as_str()), (0, ""));
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::StorageFull)).exit.code(), 1);
    }
}
