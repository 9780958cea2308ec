//! The steps that a crash may fall between, by name, and the pace they are taken at.
//!
//! Tests hook into them to crash there; hidden settings of the binary slow them down, so that a kill lands in the middle.
//! Nothing here changes what a step does.

use crate::options::FailPoints;
use std::time::Duration;

/// A step of a call, named for the hook: once before, once after it was taken.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    before: &'static str,
    after: &'static str,
}

/// Names a step; a macro because only `concat!` joins text at compile time.
macro_rules! step {
    ($name:literal) => {
        Step { before: concat!("before ", $name), after: concat!("after ", $name) }
    };
}

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
    temporary: step!("create: make temporary file"),
    fill: step!("create: fill"),
    sync_file: step!("create: sync file"),
    rename: step!("create: rename"),
    sync_directory: step!("create: sync directory"),
};

pub(crate) const SNAPSHOT: MakeSteps = MakeSteps {
    temporary: step!("snapshot: make temporary file"),
    fill: step!("snapshot: fill"),
    sync_file: step!("snapshot: sync file"),
    rename: step!("snapshot: rename"),
    sync_directory: step!("snapshot: sync directory"),
};

pub(crate) const DELETE: RemoveSteps = RemoveSteps {
    rename: step!("delete: rename to trash"),
    sync_trash: step!("delete: sync trash"),
    unlink: step!("delete: unlink"),
    sync_directory: step!("delete: sync directory"),
};

pub(crate) const DELETE_SNAPSHOT: RemoveSteps = RemoveSteps {
    rename: step!("delete snapshot: rename to trash"),
    sync_trash: step!("delete snapshot: sync trash"),
    unlink: step!("delete snapshot: unlink"),
    sync_directory: step!("delete snapshot: sync directory"),
};

pub(crate) const GROW: Step = step!("extend: grow");
pub(crate) const SYNC_GROWN: Step = step!("extend: sync file");
pub(crate) const COPY_CHUNK: Step = step!("copy: chunk");
pub(crate) const REMOVE_LEFTOVER: Step = step!("leftover: unlink");

const STEPS: [Step; 22] = [
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

/// Every name that the hook of [`Options::fail_points`](crate::Options::fail_points) is called with.
pub const FAIL_POINTS: [&str; 2 * STEPS.len()] = {
    let mut names = [""; 2 * STEPS.len()];
    let mut at = 0;
    while at < STEPS.len() {
        names[2 * at] = STEPS[at].before;
        names[2 * at + 1] = STEPS[at].after;
        at += 1;
    }
    names
};

/// How fast steps are taken, and who is told of them.
pub(crate) struct Pace {
    pub(crate) step_delay: Duration,
    pub(crate) copy_chunk_delay: Duration,
    pub(crate) hook: Option<FailPoints>,
}

impl Pace {
    /// Takes a step, telling the hook before it and, if it succeeded, after it.
    pub(crate) fn step<T, E>(&self, step: Step, take: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.tell(step.before);
        let taken = take()?;
        self.tell(step.after);
        Ok(taken)
    }

    fn tell(&self, name: &str) {
        if let Some(hook) = &self.hook {
            hook(name);
        }
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
