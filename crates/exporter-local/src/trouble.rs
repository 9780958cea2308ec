//! What stood in the way, and what that means to the engine: refused for good, or failed for now.

use crate::device::Device;
use engine::ports::Unanswered;
use lifecycle::Outcome;
use rustix::io::Errno;
use std::io;
use std::path::PathBuf;

/// Why a call did nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// This process may not.
    #[error("{what} is not permitted ({source}); loop devices need root, or CAP_SYS_ADMIN and a way to /dev/loop*")]
    Forbidden {
        /// What it tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel has no loop devices.
    #[error(
        "this machine has no loop devices: /dev/loop-control is not there; load the module `loop`, or pass /dev into the container"
    )]
    NoDriver,
    /// A device without its node.
    #[error("the kernel has {0}, but there is no such node; mount devtmpfs on /dev, or make the node")]
    NoNode(Device),
    /// Something else under the node's name.
    #[error("{0} is not the loop device of that number; mend /dev")]
    OtherNode(Device),
    /// A device that may be the one asked about.
    #[error("{0} cannot be asked whose it is: it is being released, or the disk below it does not answer")]
    Unclear(Device),
    /// The kernel does not know a call.
    #[error("this kernel cannot set up a loop device in one step; Linux 5.8 or newer is needed")]
    TooOld,
    /// The volume's file.
    #[error("its backing {} cannot be opened: {source}", path.display())]
    Backing {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Anything else.
    #[error("{what} failed: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Trouble {
    /// Names what was tried beside what the system said.
    pub(crate) fn of<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |source| {
            let (what, source) = (what.into(), source.into());
            match source.kind() {
                io::ErrorKind::PermissionDenied => Self::Forbidden { what, source },
                _ => Self::System { what, source },
            }
        }
    }

    /// What the system said, if it is one of its own errors.
    pub(crate) fn errno(&self) -> Option<Errno> {
        match self {
            Self::Forbidden { source, .. } | Self::Backing { source, .. } | Self::System { source, .. } => {
                Errno::from_io_error(source)
            }
            Self::NoDriver | Self::NoNode(_) | Self::OtherNode(_) | Self::Unclear(_) | Self::TooOld => None,
        }
    }

    fn is_for_good(&self) -> bool {
        match self {
            Self::Forbidden { .. } | Self::NoDriver | Self::NoNode(_) | Self::OtherNode(_) | Self::TooOld => true,
            Self::Backing { .. } => !self.errno().is_some_and(is_shortage),
            Self::System { .. } | Self::Unclear(_) => false,
        }
    }
}

/// Whether the machine was short of something, which passes.
fn is_shortage(errno: Errno) -> bool {
    [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN, Errno::INTR].contains(&errno)
}

impl From<Trouble> for Outcome {
    fn from(trouble: Trouble) -> Self {
        if trouble.is_for_good() { Self::Refused(trouble.to_string()) } else { Self::Failed(trouble.to_string()) }
    }
}

impl From<Trouble> for Unanswered {
    fn from(trouble: Trouble) -> Self {
        Self(trouble.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(errno: Errno) -> Outcome {
        Trouble::Backing { path: "/pool/volume".into(), source: errno.into() }.into()
    }

    #[test]
    fn a_shortage_passes_and_an_absent_file_does_not() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN] {
            assert!(matches!(outcome(errno), Outcome::Failed(_)), "{errno:?}");
        }
        for errno in [Errno::NOENT, Errno::ACCESS, Errno::ROFS, Errno::IO] {
            assert!(matches!(outcome(errno), Outcome::Refused(_)), "{errno:?}");
        }
    }

    #[test]
    fn who_may_not_is_told_what_would_help() {
        for errno in [Errno::PERM, Errno::ACCESS] {
            let outcome = Outcome::from(Trouble::of("opening /dev/loop-control")(errno));
            assert!(matches!(&outcome, Outcome::Refused(why) if why.contains("root")), "{outcome:?}");
        }
    }
}
