//! The steps that a crash may fall between, by name, and the pace they are taken at.
//!
//! Tests hook into them to crash there, the environment arms them in the binary, and hidden settings slow them down, so that a kill
//! lands in the middle. Nothing here changes what a step does.

use crate::options::FailPoints;
use crate::stop::{Shortage, Stop, is_full};
use failpoint::{Fails, Point, Step, step};
use lifecycle::Bytes;
use std::io;
use std::time::Duration;

/// The steps of making an object.
pub(crate) struct MakeSteps {
    pub(crate) temporary: Step,
    pub(crate) fill: Step,
    pub(crate) sync_file: Step,
    pub(crate) rename: Step,
    pub(crate) sync_directory: Step,
}

/// The steps of removing an object.
pub(crate) struct RemoveSteps {
    pub(crate) rename: Step,
    pub(crate) sync_trash: Step,
    pub(crate) unlink: Step,
    pub(crate) sync_directory: Step,
}

pub(crate) const CREATE: MakeSteps = MakeSteps {
    temporary: step!("create: make temporary file", Fails::IoOrFull),
    fill: step!("create: fill", Fails::IoOrFull),
    sync_file: step!("create: sync file", Fails::IoOrFull),
    rename: step!("create: rename", Fails::IoOrFull),
    sync_directory: step!("create: sync directory", Fails::Io),
};

pub(crate) const SNAPSHOT: MakeSteps = MakeSteps {
    temporary: step!("snapshot: make temporary file", Fails::IoOrFull),
    fill: step!("snapshot: fill", Fails::IoOrFull),
    sync_file: step!("snapshot: sync file", Fails::IoOrFull),
    rename: step!("snapshot: rename", Fails::IoOrFull),
    sync_directory: step!("snapshot: sync directory", Fails::Io),
};

pub(crate) const DELETE: RemoveSteps = RemoveSteps {
    rename: step!("delete: rename to trash", Fails::Io),
    sync_trash: step!("delete: sync trash", Fails::Io),
    unlink: step!("delete: unlink", Fails::Io),
    sync_directory: step!("delete: sync directory", Fails::Io),
};

pub(crate) const DELETE_SNAPSHOT: RemoveSteps = RemoveSteps {
    rename: step!("delete snapshot: rename to trash", Fails::Io),
    sync_trash: step!("delete snapshot: sync trash", Fails::Io),
    unlink: step!("delete snapshot: unlink", Fails::Io),
    sync_directory: step!("delete snapshot: sync directory", Fails::Io),
};

pub(crate) const GROW: Step = step!("extend: grow", Fails::IoOrFull);
pub(crate) const SYNC_GROWN: Step = step!("extend: sync file", Fails::Io);
pub(crate) const COPY_CHUNK: Step = step!("copy: chunk", Fails::IoOrFull);
pub(crate) const REMOVE_LEFTOVER: Step = step!("leftover: unlink", Fails::Io);

/// Every step whose points the hook of [`Options::fail_points`](crate::Options::fail_points) is called with.
pub const FAIL_POINTS: [Step; 22] = [
    CREATE.temporary,
    CREATE.fill,
    CREATE.sync_file,
    CREATE.rename,
    CREATE.sync_directory,
    SNAPSHOT.temporary,
    SNAPSHOT.fill,
    SNAPSHOT.sync_file,
    SNAPSHOT.rename,
    SNAPSHOT.sync_directory,
    DELETE.rename,
    DELETE.sync_trash,
    DELETE.unlink,
    DELETE.sync_directory,
    DELETE_SNAPSHOT.rename,
    DELETE_SNAPSHOT.sync_trash,
    DELETE_SNAPSHOT.unlink,
    DELETE_SNAPSHOT.sync_directory,
    GROW,
    SYNC_GROWN,
    COPY_CHUNK,
    REMOVE_LEFTOVER,
];

/// How fast steps are taken, and who is told of them.
pub(crate) struct Pace {
    pub(crate) step_delay: Duration,
    pub(crate) copy_chunk_delay: Duration,
    pub(crate) hook: Option<FailPoints>,
}

impl Pace {
    /// Takes a step, passing the points before it and, if it succeeded, after it.
    pub(crate) fn step<T>(&self, step: Step, take: impl FnOnce() -> Result<T, Stop>) -> Result<T, Stop> {
        self.pass(step.before)?;
        let taken = take()?;
        self.pass(step.after)?;
        Ok(taken)
    }

    fn pass(&self, point: Point) -> Result<(), Stop> {
        if let Some(hook) = &self.hook {
            hook(point.name());
        }
        point.try_pass().map_err(injected)
    }

    /// Waits as long as the settings ask for before a visible step. Blocks the thread: for blocking work only.
    pub(crate) fn wait_before_step(&self) {
        wait(self.step_delay);
    }

    /// Waits as long as the settings ask for between two chunks of a copy. Blocks the thread: for blocking work only.
    pub(crate) fn wait_between_chunks(&self) {
        wait(self.copy_chunk_delay);
    }
}

fn wait(delay: Duration) {
    if !delay.is_zero() {
        std::thread::sleep(delay);
    }
}

/// What an injected error means: what the system's own would.
fn injected(error: io::Error) -> Stop {
    if is_full(&error) {
        return Stop::Full(Shortage { needed: None, free: Bytes::ZERO, reserved: Bytes::ZERO });
    }
    Stop::Broken { doing: "writing to", file: "the pool's disk".into(), error }
}
