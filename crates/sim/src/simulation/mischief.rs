//! What goes wrong unasked, between any two steps: the controller dies, clocks jump, somebody meddles with a backend or a data plane.
//!
//! What is changed behind the controller's back is noted as such: a promise about it holds as of the last look.

use super::dice::Dice;
use super::faults::{Fault, Place};
use super::truth::{Name, Object};
use super::world::{Outage, State, World};
use lifecycle::{Bytes, SnapshotId, VolumeId};
use uuid::Uuid;

/// The wall clock jumps by up to this, in milliseconds.
const JUMP_MAX: u64 = 2 * 3600 * 1000;

/// One step of the world: at most one thing goes wrong, and what was wrong may be mended.
pub(crate) fn strike(world: &World) {
    let mut state = world.lock();
    let state = &mut *state;
    for pool in 0..state.pools() {
        if state.outage(pool).is_some() && state.dice.chance(120) {
            state.note("backend is back", 0, pool as u64);
            state.fail_backend(pool, None);
        }
    }
    if let Some(fault) = state.strike(Place::World) {
        state.befall(fault);
    }
}

impl State {
    fn befall(&mut self, fault: Fault) {
        let mut dice = self.dice.fork();
        match fault {
            Fault::Crashes => self.kill_in(dice.between(1, 200)),
            Fault::CrashesInRecovery => {
                self.crashes_again = true;
                self.kill_in(dice.between(1, 200));
            }
            Fault::ClockAhead => self.skew += jump(&mut dice),
            Fault::ClockBack => self.skew -= jump(&mut dice),
            Fault::Vanishes | Fault::Shrinks | Fault::Grows | Fault::Damaged => self.meddle(fault, &mut dice),
            Fault::Returns => {
                if let Some((name, object)) = self.vanished.pop()
                    && !self.truth.objects.contains_key(&name)
                {
                    self.change(name, Some(object));
                }
            }
            Fault::Appears => self.appear(&mut dice),
            Fault::StrayComes => {
                if let Some((volume, _)) = self.any_object(&mut dice) {
                    self.truth.strangers.insert(volume, "10.9.9.9".into());
                }
            }
            Fault::StrayGoes => {
                let at = dice.index(self.truth.strangers.len()).unwrap_or_default();
                if let Some(volume) = self.truth.strangers.keys().nth(at).copied() {
                    self.truth.strangers.remove(&volume);
                }
            }
            Fault::DataPlaneDies => self.lose_exports(0),
            Fault::ToldLate => self.lose_exports(dice.between(1, 60_000)),
            Fault::BackendHangs | Fault::BackendFails => {
                let pool = dice.index(self.pools()).unwrap_or_default();
                let outage = if fault == Fault::BackendHangs { Outage::Hangs } else { Outage::Fails };
                self.fail_backend(pool, Some(outage));
            }
            _ => {}
        }
    }

    fn any_object(&self, dice: &mut Dice) -> Option<Name> {
        let at = dice.index(self.truth.objects.len())?;
        self.truth.objects.keys().nth(at).copied()
    }

    fn meddle(&mut self, fault: Fault, dice: &mut Dice) {
        let Some(name) = self.any_object(dice) else { return };
        let Some(object) = self.truth.objects.get(&name).copied() else { return };
        let changed = match fault {
            Fault::Vanishes => {
                self.vanished.push((name, object));
                None
            }
            Fault::Shrinks => Some(Object { size: Bytes(object.size.0 / 2), ..object }),
            Fault::Grows => Some(Object { size: Bytes(object.size.0 + Bytes::GIB), ..object }),
            _ => Some(Object { whole: false, ..object }),
        };
        self.change(name, changed);
    }

    /// Changes an object behind the controller's back.
    fn change(&mut self, name: Name, object: Option<Object>) {
        self.drifted.insert(name);
        match object {
            Some(object) => drop(self.truth.objects.insert(name, object)),
            None => drop(self.truth.objects.remove(&name)),
        }
        self.say(|| format!("  {name:?} is now {object:?}"));
    }

    /// An object appears that nobody asked for: a volume, or a snapshot of one that is there.
    fn appear(&mut self, dice: &mut Dice) {
        let id = Uuid::from_u64_pair(dice.draw(), dice.draw());
        let known = self.any_object(dice).filter(|_| dice.chance(500));
        let name = known.map_or((VolumeId(id), None), |(volume, _)| (volume, Some(SnapshotId(id))));
        let pool = self
            .truth
            .objects
            .get(&known.unwrap_or(name))
            .map_or_else(|| dice.index(self.pools()).unwrap_or_default(), |held| held.pool);
        self.nobodys.insert(name);
        self.truth.objects.insert(name, Object { pool, size: Bytes(Bytes::GIB), whole: dice.chance(700), data: 0, torn: false });
        self.say(|| format!("  {name:?} appears in pool {pool}"));
    }

    /// The data plane dies; the controller is told so much later.
    fn lose_exports(&mut self, told_in: u64) {
        let lost = std::mem::take(&mut self.truth.exports);
        self.lost.extend(lost.into_keys());
        self.told_at = Some(self.now() + told_in);
        self.run_late();
    }
}

fn jump(dice: &mut Dice) -> i64 {
    i64::try_from(dice.below(JUMP_MAX)).unwrap_or_default()
}
