//! The faults: what happens to the controller, its data plane, its disk and its clock while clients ask and write.
//!
//! Each begins with a controller that runs and ends with one that runs, nothing armed and nothing broken.

use super::load::Dice;
use super::place::{Controller, Place, Signal};
use super::points::Point;
use super::report::Totals;
use anyhow::{Context, Result};
use ground::Ground;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// kill -9 of the controller.
    KillController,
    /// kill -9 of the data plane.
    KillDataPlane,
    /// kill -9 of both.
    KillBoth,
    /// SIGTERM under load.
    Terminate,
    /// The data plane does nothing for a while.
    HangDataPlane,
    /// The controller does nothing for a while.
    HangController,
    /// kill -9 at a fail point, at any pass of it.
    KillAtPoint,
    /// EIO, or no room, at a fail point.
    FailAtPoint,
    /// A slow backend, killed in the middle.
    Slow,
    /// The wall clock jumps an hour and back.
    StepClock,
    /// The disk of the records and the pool is full for a while.
    FillDisk,
    /// That disk becomes read-only under everybody, as ext4 does when it finds itself damaged; then it is mended.
    BreakDisk,
}

/// How often each is chosen, of all of them together.
const CHANCES: &[(Fault, usize)] = &[
    (Fault::KillController, 6),
    (Fault::KillDataPlane, 3),
    (Fault::KillBoth, 2),
    (Fault::Terminate, 2),
    (Fault::HangDataPlane, 1),
    (Fault::HangController, 1),
    (Fault::KillAtPoint, 6),
    (Fault::FailAtPoint, 3),
    (Fault::Slow, 2),
    (Fault::StepClock, 1),
    (Fault::FillDisk, 1),
    (Fault::BreakDisk, 1),
];
/// How long an armed process is given to get to its point.
const REACHED_WITHIN: Duration = Duration::from_millis(1500);
/// How far the clock jumps, in milliseconds.
const JUMP: i64 = 60 * 60 * 1000;

/// Where faults happen.
pub(super) struct Arena {
    pub(super) place: Place,
    /// The file system of its data folder; none where mounting is not permitted.
    pub(super) ground: Option<Ground>,
    pub(super) points: Vec<Point>,
    /// Whether a disk is broken that the controller may not have noticed yet.
    pub(super) doubt: Arc<AtomicBool>,
}

impl Fault {
    /// One at random, of those that can be had.
    pub(super) fn choose(dice: &mut Dice, has_disk: bool) -> Self {
        loop {
            let all: usize = CHANCES.iter().map(|(_, chance)| chance).sum();
            let mut at = dice.below(all);
            for (fault, chance) in CHANCES {
                if at < *chance {
                    let is_had = match fault {
                        Self::BreakDisk | Self::FillDisk => has_disk,
                        _ => true,
                    };
                    if is_had {
                        return *fault;
                    }
                    break;
                }
                at -= chance;
            }
        }
    }

    /// Whether only processes fail, so that nothing may end in an error.
    pub(super) const fn is_clean(self) -> bool {
        !matches!(self, Self::FailAtPoint | Self::FillDisk | Self::BreakDisk)
    }
}

impl Arena {
    /// Starts a controller that must start.
    pub(super) fn start(&self) -> Result<Controller> {
        let started = self.place.start(None, &[])?;
        started.with_context(|| format!("the controller did not start: {}", self.place.last_words()))
    }

    /// Lets the fault happen. Gives the controller that runs afterwards.
    pub(super) fn strike(&self, fault: Fault, controller: Controller, dice: &mut Dice, totals: &mut Totals) -> Result<Controller> {
        match fault {
            Fault::KillController | Fault::KillBoth | Fault::KillDataPlane | Fault::KillAtPoint | Fault::Slow => totals.kills += 1,
            Fault::Terminate | Fault::HangDataPlane | Fault::HangController | Fault::FailAtPoint => totals.faults += 1,
            Fault::StepClock | Fault::FillDisk | Fault::BreakDisk => totals.faults += 1,
        }
        let a_while = Duration::from_millis(300 + dice.below(700) as u64);
        match fault {
            Fault::KillController => controller.kill()?,
            Fault::KillDataPlane => {
                self.place.signal_data_plane(Signal::Kill)?;
                return Ok(controller);
            }
            Fault::KillBoth => {
                controller.kill()?;
                totals.kills += 1;
                self.place.signal_data_plane(Signal::Kill)?;
            }
            Fault::Terminate => {
                let ended = controller.terminate()?.context("told to stop under load, it had to be killed")?;
                anyhow::ensure!(ended.success(), "told to stop under load, it ended with {ended}: {}", self.place.last_words());
            }
            Fault::HangDataPlane => {
                self.place.signal_data_plane(Signal::Stop)?;
                std::thread::sleep(a_while);
                self.place.signal_data_plane(Signal::Continue)?;
                return Ok(controller);
            }
            Fault::HangController => {
                controller.signal(Signal::Stop)?;
                std::thread::sleep(a_while);
                controller.signal(Signal::Continue)?;
                return Ok(controller);
            }
            Fault::KillAtPoint | Fault::FailAtPoint => self.at_point(fault, controller, dice, totals)?,
            Fault::Slow => {
                controller.kill()?;
                let slow = self.place.start(None, &["--slow-ms", "150"])?.context("a slow one did not start")?;
                std::thread::sleep(a_while);
                slow.kill()?;
            }
            Fault::StepClock => {
                for jump in [JUMP, -JUMP, 0] {
                    self.place.step_clock(jump)?;
                    std::thread::sleep(a_while);
                }
                return Ok(controller);
            }
            Fault::FillDisk => {
                let filler = self.ground.as_ref().context("there is a disk")?.root().join("filler");
                fill(&filler)?;
                std::thread::sleep(a_while);
                std::fs::remove_file(&filler).context("the disk cannot be emptied again")?;
                return Ok(controller);
            }
            Fault::BreakDisk => self.break_disk(controller, a_while)?,
        }
        self.start()
    }

    fn at_point(&self, fault: Fault, controller: Controller, dice: &mut Dice, totals: &mut Totals) -> Result<()> {
        let fails = |point: &&Point| fault == Fault::KillAtPoint || point.fails().next().is_some();
        let points: Vec<&Point> = self.points.iter().filter(fails).collect();
        let point = dice.pick(&points).context("there are points")?;
        let fails: Vec<&str> = point.fails().collect();
        let action = if fault == Fault::KillAtPoint { "kill" } else { dice.pick(&fails).copied().context("it fails")? };
        let onwards = if fault == Fault::FailAtPoint && dice.below(2) == 0 { "+" } else { "" };
        let armed = format!("{}={action}@{}{onwards}", point.name, 1 + dice.below(8));
        controller.kill()?;
        if point.is_of_data_plane() {
            self.place.end_data_plane()?;
        }
        let before = self.place.hits();
        let armed = self.place.start(Some(&armed), &[])?;
        let deadline = Instant::now() + REACHED_WITHIN;
        while self.place.hits() == before && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        totals.hits += (self.place.hits() - before) as u64;
        if let Some(armed) = armed {
            armed.kill()?;
        }
        if point.is_of_data_plane() {
            self.place.end_data_plane()?;
        }
        Ok(())
    }

    fn break_disk(&self, controller: Controller, a_while: Duration) -> Result<()> {
        let ground = self.ground.as_ref().context("there is a disk")?;
        self.doubt.store(true, Ordering::Release);
        ground.abort();
        std::thread::sleep(a_while);
        controller.kill()?;
        self.doubt.store(false, Ordering::Release);
        anyhow::ensure!(self.place.end_data_plane()?, "the data plane of a broken disk cannot be killed");
        ground.mount_again();
        Ok(())
    }
}

/// Writes a file until nothing more can be written. Others write and free meanwhile: it is as full as it gets.
fn fill(path: &Path) -> Result<()> {
    let file = File::create(path).context("an empty file needs no room")?;
    let (mut at, mut step) = (0, 1 << 20);
    while step >= 512 {
        match file.write_all_at(&vec![7; step], at) {
            Ok(()) => at += step as u64,
            Err(_) => step /= 2,
        }
    }
    Ok(())
}
