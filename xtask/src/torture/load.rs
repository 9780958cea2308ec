//! The clients: many at once, each asking for something at random of few volumes, so that they get into each other's way.

use super::history::{Answer, Ask, History};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How many clients ask at once.
pub(super) const CLIENTS: u64 = 12;
/// How many volumes there are at most, about: fewer than clients would wait for, so that most requests meet another.
const VOLUMES_MAX: usize = 24;
/// The largest size that is asked for.
const SIZE_MAX: usize = 8;
/// How long a client rests when nobody listens.
const REST: Duration = Duration::from_millis(20);

/// xorshift: enough for choosing, and the same from the same seed.
pub(super) struct Dice(u64);

impl Dice {
    /// From a seed and what tells it from others of the same seed.
    pub(super) fn new(seed: u64, of: u64) -> Self {
        let mut dice = Self((seed ^ of.wrapping_mul(0x9E37_79B9_7F4A_7C15)) | 1);
        dice.below(2);
        dice
    }

    /// A number below `many`.
    pub(super) fn below(&mut self, many: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % many.max(1) as u64).unwrap_or(0)
    }

    /// One of them; none of none.
    pub(super) fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.below(all.len()))
    }
}

/// What clients know of: each of each, with the volume it belongs to.
#[derive(Default)]
struct Known {
    volumes: BTreeSet<String>,
    snapshots: BTreeMap<String, String>,
    attachments: BTreeMap<String, String>,
    /// Every volume that there ever was.
    ever: BTreeSet<String>,
}

/// A load.
pub(super) struct Load<'a> {
    history: &'a History,
    host: String,
    known: Mutex<Known>,
    /// Told to stop.
    pub(super) is_over: AtomicBool,
    /// When even what may be repeated is given up.
    until: Instant,
}

impl<'a> Load<'a> {
    /// One that attaches to `host`, and asks nothing of volumes that it did not make.
    pub(super) fn new(history: &'a History, host: &str, until: Instant) -> Self {
        let (known, is_over) = (Mutex::new(Known::default()), AtomicBool::new(false));
        Self { history, host: host.to_owned(), known, is_over, until }
    }

    /// Asks until it is told to stop.
    pub(super) fn run(&self, mut dice: Dice) {
        while !self.is_over.load(Ordering::Relaxed) {
            let ask = self.choose(&mut dice);
            match self.history.ask(ask.clone(), self.until) {
                Some(answer) => self.learn(&ask, &answer),
                None => std::thread::sleep(REST),
            }
        }
    }

    fn choose(&self, dice: &mut Dice) -> Ask {
        let known = self.known.lock().expect("nobody panics while holding it");
        let volumes: Vec<&String> = known.volumes.iter().collect();
        let snapshots: Vec<_> = known.snapshots.iter().collect();
        let attachments: Vec<_> = known.attachments.iter().collect();
        let many = dice.below(SIZE_MAX) as u64 + 1;
        let make = Ask::Create { size: many.min(2), multi: dice.below(3) == 0 };
        let Some(volume) = dice.pick(&volumes).map(|id| (*id).clone()) else { return make };
        if volumes.len() >= VOLUMES_MAX && dice.below(2) == 0 {
            return Ask::Delete { volume, cascade: dice.below(2) == 0 };
        }
        let of = |(part, volume): &(&String, &String)| ((*volume).clone(), (*part).clone());
        let (snapshot, attachment) = (dice.pick(&snapshots).map(of), dice.pick(&attachments).map(of));
        match (dice.below(16), snapshot, attachment) {
            (0 | 1, ..) => make,
            (2 | 3, ..) => Ask::Extend { volume, size: many },
            (4 | 5, ..) => Ask::Attach { volume, host: self.host.clone() },
            (6 | 7, _, Some((volume, attachment))) => Ask::Detach { volume, attachment, force: dice.below(2) == 0 },
            (8, ..) => Ask::Snapshot { volume },
            (9, Some((volume, snapshot)), _) => Ask::DeleteSnapshot { volume, snapshot },
            (10, Some((volume, snapshot)), _) => Ask::Clone { volume, snapshot, size: SIZE_MAX as u64 },
            (11, ..) => Ask::Delete { volume, cascade: dice.below(2) == 0 },
            (12, ..) => Ask::Retry { volume },
            (13, ..) => Ask::Recover { volume },
            _ => Ask::Read { volume },
        }
    }

    fn learn(&self, ask: &Ask, answer: &Answer) {
        let mut known = self.known.lock().expect("nobody panics while holding it");
        match (ask, answer) {
            (Ask::Create { .. } | Ask::Clone { .. }, Answer::Accepted { id: Some(id), .. }) => {
                known.ever.insert(id.clone());
                known.volumes.insert(id.clone());
            }
            (Ask::Snapshot { volume }, Answer::Accepted { id: Some(id), .. }) => {
                known.snapshots.insert(id.clone(), volume.clone());
            }
            (Ask::Attach { volume, .. }, Answer::Accepted { id: Some(id), .. }) => {
                known.attachments.insert(id.clone(), volume.clone());
            }
            // What is gone is asked for once more at most: mostly it is forgotten.
            (Ask::Detach { attachment, .. }, Answer::Refused { code: 404, .. }) => drop(known.attachments.remove(attachment)),
            (Ask::DeleteSnapshot { snapshot, .. }, Answer::Accepted { .. }) => drop(known.snapshots.remove(snapshot)),
            (Ask::Create { .. } | Ask::Clone { .. }, _) => {}
            (ask, Answer::Refused { code: 404, .. }) => {
                let volume = ask.volume().unwrap_or_default().to_owned();
                known.volumes.remove(&volume);
                known.snapshots.retain(|_, of| *of != volume);
                known.attachments.retain(|_, of| *of != volume);
            }
            _ => {}
        }
    }

    /// Takes a volume for one that was made, without ever asking anything of it.
    pub(super) fn remember(&self, volume: &str) {
        self.known.lock().expect("nobody panics while holding it").ever.insert(volume.to_owned());
    }

    /// Every volume that was ever told to be made.
    pub(super) fn ever(&self) -> BTreeSet<String> {
        self.known.lock().expect("nobody panics while holding it").ever.clone()
    }
}
