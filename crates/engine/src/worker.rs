//! A volume's worker: drives what its record owes until it owes nothing, then ends.
//!
//! - The record is read anew after every commit and every bell; what is owed is computed, never remembered.
//! - One call a slot. A call whose work is no longer owed was superseded: it is awaited for a bounded time, then abandoned, its
//!   token void, its slot free for the negation with a newer token.
//! - Tries, deadlines and progress live here, in memory; losing them costs a few tries.
//!
//! Source: lifecycle page, "Work in flight" and "Volume" (superseding).

use crate::admission::needs_backend;
use crate::calls::{self, Message, Running, Told};
use crate::change::Cause;
use crate::patience::within;
use crate::records::VolumeRecord;
use crate::requests::Live;
use crate::settings::work_word;
use crate::shared::{Bell, Pool, Shared, is_creating, lock};
use crate::store::StoreError;
use crate::waits::Waits;
use lifecycle::{Facts, Input, Outcome, Owed, Slot, Subject, Timestamp, VolumeId, VolumePhase, Work};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Makes sure that the volume's owed work is being driven.
pub(crate) fn poke(shared: &Arc<Shared>, id: VolumeId) {
    start(shared, id, None, false);
}

/// The same, where it is known whose it is.
pub(crate) fn poke_for(shared: &Arc<Shared>, id: VolumeId, tenant: &str) {
    start(shared, id, Some(tenant.into()), false);
}

/// The same, and what waits for its next try is tried now.
pub(crate) fn hurry(shared: &Arc<Shared>, id: VolumeId) {
    if let Some(bell) = lock(&shared.workers).get(&id) {
        bell.hurry.store(true, Ordering::Release);
    }
    poke(shared, id);
}

/// The same after a start of the controller: looks at the backend before it acts.
pub(crate) fn resume(shared: &Arc<Shared>, id: VolumeId) {
    start(shared, id, None, true);
}

/// What it does is done in its tenant's turns: without `tenant`, its record is asked whose that is.
fn start(shared: &Arc<Shared>, id: VolumeId, tenant: Option<Arc<str>>, look_first: bool) {
    let Some(bell) = shared.ring(id) else { return };
    let shared = shared.clone();
    tokio::spawn(async move {
        let mut guard = Retire { shared: shared.clone(), id, panicked: true };
        let mut worker = Worker {
            shared,
            id,
            bell,
            running: BTreeMap::new(),
            tries: BTreeMap::new(),
            source: None,
            shown: Vec::new(),
            turn: Instant::now(),
        };
        let (turns, tenant) = (worker.shared.turns.clone(), worker.whose(tenant).await);
        turns
            .take(tenant, async {
                if look_first {
                    worker.look_first().await;
                }
                worker.run().await;
            })
            .await;
        guard.panicked = false;
    });
}

/// Takes the worker off the list if it dies of a panic, so that the next bell starts another.
struct Retire {
    shared: Arc<Shared>,
    id: VolumeId,
    panicked: bool,
}

impl Drop for Retire {
    fn drop(&mut self) {
        if self.panicked {
            lock(&self.shared.workers).remove(&self.id);
        }
    }
}

/// Whose turns are taken for what is nobody's. No tenant's name begins so.
const NOBODY: &str = "-";

/// What is known of one piece of owed work besides that it is owed.
#[derive(Default)]
struct Try {
    attempts: u32,
    /// Not to be tried before this.
    next: Option<Instant>,
    /// When it ends if nothing moves; set when the first call begins.
    deadline: Option<Instant>,
    progress: Option<u8>,
    /// Whom the running call asked.
    asked: Option<String>,
    last_error: Option<String>,
}

impl Try {
    /// Whether it waits for the backend of its pool before it is begun at all.
    fn is_held_back(&self, work: Work, pool: Option<&Pool>) -> bool {
        self.attempts == 0 && needs_backend(work) && pool.is_some_and(|pool| pool.holds_back().is_some())
    }
}

struct Worker {
    shared: Arc<Shared>,
    id: VolumeId,
    bell: Arc<Bell>,
    /// The calls under way, each with the time at which it is abandoned if it was superseded.
    running: BTreeMap<Slot, (Running, Option<Instant>)>,
    tries: BTreeMap<Work, Try>,
    /// The volume that this one is made from, which may wait for this worker to end.
    source: Option<VolumeId>,
    /// The resources whose running operation is shown.
    shown: Vec<Subject>,
    /// When this turn of the loop began: what fell due before it was seen to.
    turn: Instant,
}

impl Worker {
    /// Whose the volume is. One whose record is gone, or cannot be read now, is nobody's.
    async fn whose(&self, known: Option<Arc<str>>) -> Arc<str> {
        if let Some(tenant) = known {
            return tenant;
        }
        match self.shared.read_volume(self.id).await {
            Ok(Some(now)) => now.record.tenant.into(),
            Ok(None) | Err(_) => NOBODY.into(),
        }
    }

    async fn look_first(&mut self) {
        let Ok(Some(now)) = self.shared.read_volume(self.id).await else { return };
        // What this look finds may be its end.
        self.source = now.record.state.source().map(|source| source.volume);
        let Some(pool) = self.shared.pools.get(&now.record.pool) else { return };
        let shape = |owed: &Owed| owed.work.slot() == Slot::Shape;
        if !now.record.state.owed(self.shared.context(now.record.pool).capabilities).iter().any(shape) {
            return;
        }
        let looking = pool.setup.driver.inspect(self.id, Some(self.shared.token()));
        if let Ok(Ok(look)) = within(self.shared.deadline(now.record.pool, Work::Look), looking).await {
            let input = Input::Report { work: Work::Look, outcome: Outcome::Done(Facts::Look(look)) };
            self.decide(&input, "look").await;
        }
    }

    async fn run(&mut self) {
        loop {
            self.bell.rung.store(false, Ordering::Release);
            self.turn = Instant::now();
            if self.bell.hurry.swap(false, Ordering::AcqRel) {
                self.tries.values_mut().for_each(|held| held.next = None);
            }
            let record = match self.shared.read_volume(self.id).await {
                Ok(Some(now)) => Some(Arc::new(now.record)),
                Ok(None) => None,
                Err(error) => {
                    tracing::warn!(volume = %self.id, %error, "cannot read what is owed");
                    // A damaged record does not mend by being read again.
                    let is_damaged = matches!(error, StoreError::Corrupt(..));
                    let settings = &self.shared.settings;
                    self.pause(if is_damaged { settings.retry_max } else { settings.retry_min }).await;
                    continue;
                }
            };
            let owed = record.as_ref().map(|record| self.owed(record)).unwrap_or_default();
            self.supersede(&owed);
            if let Some(record) = &record {
                self.source = record.state.source().map(|source| source.volume);
                self.begin(record, &owed);
                self.release_pins(record).await;
                self.expire(record).await;
            }
            self.show(record.as_deref(), &owed);
            if owed.is_empty() && self.running.is_empty() {
                if self.end() {
                    return;
                }
            } else {
                self.wait().await;
            }
        }
    }

    fn owed(&self, record: &VolumeRecord) -> Vec<Owed> {
        record.state.owed(self.shared.context(record.pool).capabilities)
    }

    /// Marks calls whose work is no longer owed, and forgets tries of work that is not owed any more.
    fn supersede(&mut self, owed: &[Owed]) {
        let is_owed = |work: &Work| owed.iter().any(|owed| owed.work == *work);
        self.tries.retain(|work, _| is_owed(work));
        let grace = self.shared.settings.call_timeout;
        for (slot, (running, abandon)) in &mut self.running {
            if abandon.is_none() && !is_owed(&running.work) {
                // Ending an export never waits; its exporter orders the two by their tokens.
                let grace = if matches!(slot, Slot::Export(_)) { Duration::ZERO } else { grace };
                *abandon = Some(Instant::now() + grace);
            }
        }
        let now = Instant::now();
        self.running.retain(|_, (_, abandon)| abandon.is_none_or(|at| at > now));
    }

    fn begin(&mut self, record: &Arc<VolumeRecord>, owed: &[Owed]) {
        let now = self.turn;
        let pool = self.shared.pools.get(&record.pool);
        for Owed { work, waiting } in owed {
            let slot = work.slot();
            let held = self.tries.entry(*work).or_default();
            let held_back = held.is_held_back(*work, pool);
            if held_back && self.running.get(&slot).is_some_and(|(running, _)| running.work == *work) {
                // As far as was heard it has no place yet, and would be called in vain if it got one. If it has, its token is void.
                self.running.remove(&slot);
            }
            let due = held.next.is_none_or(|next| next <= now) && !held_back;
            if waiting.is_none() && due && !self.running.contains_key(&slot) {
                let running = calls::start(&self.shared, record, *work, self.bell.clone());
                self.running.insert(slot, (running, None));
            }
        }
    }

    /// Waits for a message or the bell, or the next time at which something is due; handles what came.
    async fn wait(&mut self) {
        let tries = self.tries.values().flat_map(|held| [held.next, held.deadline]).flatten();
        let abandons = self.running.values().filter_map(|(_, abandon)| *abandon);
        let now = self.turn;
        let due = tries.chain(abandons).filter(|at| *at > now).min().unwrap_or(now + self.shared.settings.retry_max);
        let bell = self.bell.clone();
        // In this order, so that a simulated run can be repeated. None starves another: each turn reads the record anew and sees
        // to what fell due, whatever woke it.
        tokio::select! {
            biased;
            () = bell.notify.notified() => {}
            () = tokio::time::sleep_until(due) => {}
        }
        // One turn is enough for all that was told until now.
        for message in bell.take_messages() {
            self.hear(message).await;
        }
        self.deadlines().await;
    }

    async fn hear(&mut self, Message { slot, token, told }: Message) {
        let Some((running, _)) = self.running.get(&slot).filter(|(running, _)| running.token == token) else { return };
        let work = running.work;
        let limit = running.limit;
        let held = self.tries.entry(work).or_default();
        match told {
            Told::Began => {
                held.attempts += 1;
                held.deadline.get_or_insert(Instant::now() + limit);
            }
            Told::Asks(whom) => held.asked = Some(whom),
            // Every report tells of more done, also within one percent of something huge.
            Told::Progress(percent) => {
                held.progress = held.progress.max(Some(percent));
                held.deadline = Some(Instant::now() + limit);
            }
            Told::Ended(outcome) => {
                held.asked = None;
                self.running.remove(&slot);
                self.report(work, outcome).await;
            }
        }
    }

    async fn report(&mut self, work: Work, outcome: Outcome) {
        let message = match &outcome {
            Outcome::Done(_) => None,
            Outcome::Refused(message) | Outcome::Failed(message) | Outcome::Unknown(message) => Some(message.clone()),
        };
        if let Some(message) = &message {
            tracing::info!(volume = %self.id, work = work_word(work), %message, "a call did not do its work");
        }
        self.decide(&Input::Report { work, outcome }, work_word(work)).await;
        // If this settled nothing, the work is owed still and is tried again after a pause.
        let dice = self.shared.token().counter.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let held = self.tries.entry(work).or_default();
        held.next = Some(Instant::now() + self.shared.settings.pause(held.attempts, dice));
        held.last_error = message.or_else(|| held.last_error.take());
    }

    /// Ends what got no definite answer in time.
    async fn deadlines(&mut self) {
        let now = Instant::now();
        let passed = |held: &Try| held.deadline.is_some_and(|at| at <= now);
        let late: Vec<Work> = self.tries.iter().filter(|(_, held)| passed(held)).map(|(work, _)| *work).collect();
        for work in late {
            self.give_up(work);
            self.decide(&Input::Deadline(work), "deadline").await;
            let pause = self.shared.settings.retry_max;
            let held = self.tries.entry(work).or_default();
            held.deadline = None;
            held.asked = None;
            held.last_error.get_or_insert_with(|| "there was no answer before the deadline".to_owned());
            held.next = Some(now + pause);
        }
    }

    /// Abandons the call for this work, if one runs. That it hung is a reason to see whether its backend does.
    fn give_up(&mut self, work: Work) {
        let Some((running, _)) = self.running.get(&work.slot()).filter(|(running, _)| running.work == work) else { return };
        if let Some(pool) = self.shared.pools.get(&running.pool) {
            pool.watched.stumbled();
        }
        self.running.remove(&work.slot());
    }

    /// Returns whether what follows is committed.
    async fn decide(&self, input: &Input, what: &'static str) -> bool {
        let cause = Cause { what, ..Cause::default() };
        let decided = self.shared.drive(self.id, input, &cause).await;
        if let Err(error) = &decided {
            tracing::warn!(volume = %self.id, %error, what, "cannot commit what happened; it will be asked for again");
        }
        decided.is_ok()
    }

    /// Lets go of snapshots whose clone's creation has really ended.
    async fn release_pins(&self, record: &VolumeRecord) {
        for (snapshot, clone) in record.state.pins() {
            let ended = match self.shared.read_volume(clone).await {
                Ok(Some(now)) => !is_creating(&now.record) && now.record.state.phase() != &VolumePhase::Deleting,
                Ok(None) => true,
                Err(_) => false,
            };
            let may_let_go = ended && !lock(&self.shared.workers).contains_key(&clone);
            // A store that takes no commit now takes none for the others either.
            if may_let_go && !self.decide(&Input::Unpin { snapshot, clone }, "clone ended").await {
                return;
            }
        }
    }

    async fn expire(&self, record: &VolumeRecord) {
        let now = self.shared.clock.now();
        let life = i64::try_from(self.shared.settings.tombstone_life.as_millis()).unwrap_or(i64::MAX);
        if record.state.tombstone_ends(life).is_some_and(|ends| ends <= now) {
            let before = Timestamp(now.0.saturating_sub(life));
            self.decide(&Input::Expire(before), "expiry").await;
        }
    }

    /// Shows what is known of running operations.
    fn show(&mut self, record: Option<&VolumeRecord>, owed: &[Owed]) {
        let mut live = lock(&self.shared.live);
        for subject in self.shown.drain(..) {
            live.remove(&subject);
        }
        let pool = record.and_then(|record| self.shared.pools.get(&record.pool));
        let none = Try::default();
        for owed in owed {
            let held = self.tries.get(&owed.work).unwrap_or(&none);
            let waits = self.waits(held, pool, owed);
            let is_paused = waits.is_none() && !self.running.contains_key(&owed.work.slot());
            let shown = Live {
                attempt: held.attempts,
                next_try: held.next.filter(|at| is_paused && *at > self.turn).map(|at| self.wall(at)),
                deadline: held.deadline.map(|at| self.wall(at)),
                progress: held.progress,
                waiting_for: waits.map(|waits| waits.to_string()),
                last_error: held.last_error.clone(),
            };
            let subject = self.subject(owed.work);
            live.insert(subject, shown);
            self.shown.push(subject);
        }
    }

    /// Whom owed work waits for; nobody if it is a matter of time alone.
    fn waits<'a>(&self, held: &'a Try, pool: Option<&'a Pool>, owed: &Owed) -> Option<Waits<'a>> {
        if let Some(part) = owed.waiting {
            return Some(Waits::Part(part));
        }
        match self.running.get(&owed.work.slot()) {
            Some((running, _)) if running.work != owed.work => Some(Waits::Earlier(running.work)),
            Some(_) => match (&held.asked, pool) {
                (Some(whom), _) => Some(Waits::Asked(whom)),
                (None, Some(pool)) if needs_backend(owed.work) && pool.places.are_taken() => {
                    Some(Waits::Place { pool: &pool.setup.name, places: self.shared.settings.places_per_pool })
                }
                (None, Some(_) | None) => None,
            },
            None if held.is_held_back(owed.work, pool) => {
                pool.and_then(|pool| Some(Waits::Backend { pool: &pool.setup.name, since: pool.holds_back()? }))
            }
            None => None,
        }
    }

    fn wall(&self, at: Instant) -> Timestamp {
        let ahead = at.saturating_duration_since(Instant::now());
        Timestamp(self.shared.clock.now().0.saturating_add(i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX)))
    }

    const fn subject(&self, work: Work) -> Subject {
        match work {
            Work::Create | Work::CleanUp | Work::Extend { .. } | Work::Delete | Work::Look => Subject::Volume(self.id),
            Work::Snapshot(id) | Work::CleanUpSnapshot(id) | Work::DeleteSnapshot(id) => Subject::Snapshot(id),
            Work::Export(id) | Work::Unexport { attachment: id, .. } | Work::LookExport(id) => Subject::Attachment(id),
        }
    }

    /// Ends the worker unless its bell was rung meanwhile. Returns whether it ended.
    fn end(&self) -> bool {
        {
            let mut workers = lock(&self.shared.workers);
            if self.bell.rung.load(Ordering::Acquire) {
                return false;
            }
            workers.remove(&self.id);
        }
        // Nothing is owed, so `show` has taken everything off already.
        // A source volume waits for this worker to end before it lets go of the pin, also where the clone is gone with its record.
        if let Some(source) = self.source {
            poke(&self.shared, source);
        }
        true
    }

    async fn pause(&self, length: Duration) {
        tokio::time::sleep(length).await;
    }
}
