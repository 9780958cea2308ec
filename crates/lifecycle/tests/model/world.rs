//! The world of the model: the real rules, a backend that may fail in every way its contract allows, users, crashes.
//!
//! What may happen in every state:
//! - a call that is owed starts; it acts, fully or half, and its answer comes later or never; it answers done, refused (having
//!   reached the backend or not), failed, or unknown (then it may act still);
//! - its deadline passes; it is superseded and let go of; the controller crashes: then it is a ghost, which may act at any time
//!   until a newer call of its slot, or a fenced look, has reached the backend;
//! - a user asks for anything;
//! - exports are listed, or lost with their server; the volume is looked at in passing; somebody meddles with the backend.
//!
//! Left out: two ghosts of one slot fence each other by their own tokens, which would only allow less.

use crate::graph::{Kind, System};
use crate::rules::{NONE, Rules};
use crate::state::{Call, State};
use crate::words::{Answer, Ask, Deed, Event, FIRST_SIZE, Fill, Lane, NOW, Object, Sight, Task, Who, source, volume_id};
use lifecycle::{Bytes, Capabilities, ErrorCause, Making, Volume, VolumePhase};

/// What is explored: everything beyond it is left out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scope {
    pub(crate) attachments: u8,
    pub(crate) multi_attach: bool,
    pub(crate) snapshots: u8,
    /// Whether a volume may be created from snapshot 0.
    pub(crate) clones: bool,
    /// The largest size that users ask for.
    pub(crate) largest: u8,
    pub(crate) capabilities: Capabilities,
    /// Whether the pool is retired, so that volumes may be forgotten.
    pub(crate) retired: bool,
    /// Whether somebody changes the backend behind the controller's back.
    pub(crate) meddled: bool,
    /// Whether unfenced looks and losses of the exporter happen.
    pub(crate) watched: bool,
    /// How many kinds of ghost a slot may have at once; 0 for any number.
    pub(crate) ghosts: u32,
}

/// Rules that can be taken away, one at a time, to see that the model notices.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flaws {
    /// Older calls act after newer ones: only looks fence.
    pub(crate) calls_unfenced: bool,
    /// Older calls act after looks: only changing calls fence.
    pub(crate) looks_unfenced: bool,
    /// Creating what is there makes another.
    pub(crate) creates_twice: bool,
    /// A refused export is believed to have exported nothing: no roll-back.
    pub(crate) believes_refusals: bool,
    /// What was owed is forgotten by a crash.
    pub(crate) forgets: bool,
    /// Calls start although what they must wait for is not over.
    pub(crate) never_waits: bool,
    /// A source is let go of as soon as its clone is not `creating` any more.
    pub(crate) unpins_early: bool,
}

/// What happened, for the counterexample.
#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "read by Debug alone")]
pub(crate) enum Step {
    Starts(usize, Task),
    Acts(usize, Task, bool),
    Answers(usize, Task, Answer),
    AnswersUnseen(usize, Task, Answer),
    DeadlinePasses(usize, Task),
    IsLetGo(usize, Task),
    GhostActs(usize, Deed, bool),
    Crashes,
    LooksAtStart(usize),
    LooksInPassing(usize),
    ListsExports,
    ExporterRestarts,
    Meddles(Object),
    MeddlesWithSnapshot(u8, Object),
    StrangerComesOrGoes,
    Unpins,
    Expires,
    Asks(usize, Ask),
}

pub(crate) struct World {
    pub(crate) rules: Rules,
    pub(crate) scope: Scope,
    pub(crate) flaws: Flaws,
    /// The one promise to watch, by a part of its words; otherwise all.
    pub(crate) only: &'static str,
    asks: [Vec<Ask>; 2],
}

type Out = Vec<(Step, Kind, State)>;

impl World {
    pub(crate) fn new(scope: Scope, flaws: Flaws) -> Self {
        let rules = Rules::new(scope.capabilities, scope.retired);
        Self {
            rules,
            scope,
            flaws,
            only: "",
            asks: [asks(&scope), vec![Ask::Retry(Who::Volume), Ask::Recover(Who::Volume), Ask::Delete(false)]],
        }
    }

    pub(crate) fn volume(&self, state: &State, at: usize) -> Option<&Volume> {
        self.rules.get(state.volumes[at]).map(|known| &known.volume)
    }

    fn owed(&self, state: &State, at: usize) -> &[(Task, bool)] {
        self.rules.get(state.volumes[at]).map_or(&[], |known| &known.owed)
    }

    fn is_owed(&self, state: &State, at: usize, task: Task) -> bool {
        self.owed(state, at).iter().any(|(owed, _)| *owed == task)
    }

    /// Lets the rules decide; what is no command is never rejected.
    fn hear(&mut self, state: &mut State, at: usize, event: Event) {
        state.volumes[at] = self.rules.decide(state.volumes[at], event).expect("only commands are rejected");
    }

    /// A call has reached the backend: no older one acts from now on.
    fn fence(&self, state: &mut State, at: usize, lane: Lane, is_look: bool) {
        if !(if is_look { self.flaws.looks_unfenced } else { self.flaws.calls_unfenced }) {
            state.slot_mut(at, lane).ghosts = Default::default();
        }
    }

    fn sight(state: &State, at: usize) -> Sight {
        let backend = &state.backends[at];
        Sight { volume: backend.volume, snapshots: backend.snapshots, stranger: at == 0 && state.has_stranger }
    }

    /// What is true now, as the call of `task` would tell it.
    fn truth(state: &State, at: usize, task: Task) -> Answer {
        let backend = &state.backends[at];
        match task {
            Task::Create | Task::CleanUp | Task::Extend(_) | Task::Delete => Answer::Object(backend.volume),
            Task::Snapshot(place) | Task::CleanUpSnapshot(place) | Task::DeleteSnapshot(place) => {
                Answer::Object(backend.snapshots[usize::from(place)])
            }
            Task::Look => Answer::Look(Self::sight(state, at)),
            Task::Export(export) | Task::Unexport(export, _) | Task::LookExport(export) => {
                Answer::Served(state.exports[usize::from(export)].is_served)
            }
        }
    }

    fn starts(&self, state: &State, at: usize, out: &mut Out) {
        if state.is_idle {
            return;
        }
        for (task, must_wait) in self.owed(state, at) {
            if state.slot(at, task.lane()).call.is_none() && (!must_wait || self.flaws.never_waits) {
                let mut next = *state;
                next.slot_mut(at, task.lane()).call = Some(Call { task: *task, has_begun: false });
                out.push((Step::Starts(at, *task), Kind::Calm, next));
            }
        }
    }

    fn call_steps(&mut self, state: &State, at: usize, lane: Lane, out: &mut Out) {
        let Some(call) = state.slot(at, lane).call else { return };
        let task = call.task;
        let is_look = task.deed().is_none();
        let mut reached = *state;
        self.fence(&mut reached, at, lane, is_look);
        if let Some(deed) = task.deed() {
            for is_full in [true, false] {
                let mut next = reached;
                self.act(&mut next, at, deed, is_full, call.has_begun);
                next.slot_mut(at, lane).call = Some(Call { task, has_begun: self.remembers(deed) });
                out.push((Step::Acts(at, task, is_full), Kind::Fault, next));
            }
        }
        self.good_answer(&reached, at, call, out);
        self.bad_answers(state, &reached, at, call, out);
        self.ends_without_answer(state, at, task, out);
    }

    /// Whether it matters that a call has acted: a copy goes on where it was. Elsewhere it is left out, so that even a refusal
    /// by a call that has acted is explored; the flaw that believes refusals is to be found with an honest refusal.
    fn remembers(&self, deed: Deed) -> bool {
        matches!(deed, Deed::Snapshot(_)) || self.flaws.believes_refusals
    }

    /// The answer of a backend that does what it is asked, or refuses what cannot be done.
    fn good_answer(&mut self, reached: &State, at: usize, call: Call, out: &mut Out) {
        let task = call.task;
        let mut next = *reached;
        let can = task.deed().is_none_or(|deed| self.act(&mut next, at, deed, true, call.has_begun));
        let answer = if can { Self::truth(&next, at, task) } else { Answer::Refused };
        next = if can { next } else { *reached };
        self.answer(&mut next, at, task, answer);
        out.push((Step::Answers(at, task, answer), Kind::Calm, next));
    }

    fn bad_answers(&mut self, state: &State, reached: &State, at: usize, Call { task, has_begun }: Call, out: &mut Out) {
        let may_refuse = !(has_begun && self.flaws.believes_refusals);
        let truth = Self::truth(reached, at, task);
        let bad = [truth, Answer::Refused, Answer::Failed, Answer::Blind];
        let fits = |answer: &Answer| match answer {
            Answer::Blind => task.deed().is_none(),
            Answer::Refused => may_refuse,
            _ => true,
        };
        for answer in bad.into_iter().filter(fits) {
            let mut next = *reached;
            self.answer(&mut next, at, task, answer);
            out.push((Step::Answers(at, task, answer), Kind::Fault, next));
        }
        for answer in [Answer::Refused, Answer::Failed].into_iter().filter(fits) {
            let mut next = *state;
            self.answer(&mut next, at, task, answer);
            out.push((Step::AnswersUnseen(at, task, answer), Kind::Fault, next));
        }
        let mut next = *state;
        next.slot_mut(at, task.lane()).let_go();
        self.hear_if_known(&mut next, at, Event::Report(task, Answer::Unknown));
        out.push((Step::Answers(at, task, Answer::Unknown), Kind::Fault, next));
    }

    fn answer(&mut self, next: &mut State, at: usize, task: Task, answer: Answer) {
        next.slot_mut(at, task.lane()).call = None;
        self.hear_if_known(next, at, Event::Report(task, answer));
        if let (true, Task::Export(export), Answer::Refused) = (self.flaws.believes_refusals, task, answer) {
            self.hear_if_known(next, at, Event::Report(Task::Unexport(export, true), Answer::Served(false)));
        }
    }

    fn hear_if_known(&mut self, state: &mut State, at: usize, event: Event) {
        if state.volumes[at] != NONE {
            self.hear(state, at, event);
        }
    }

    fn ends_without_answer(&mut self, state: &State, at: usize, task: Task, out: &mut Out) {
        if !self.is_owed(state, at, task) {
            let mut next = *state;
            next.slot_mut(at, task.lane()).let_go();
            out.push((Step::IsLetGo(at, task), Kind::Calm, next));
        }
    }

    fn deadlines(&mut self, state: &State, at: usize, out: &mut Out) {
        for (task, _) in self.owed(state, at).to_vec() {
            let mut next = *state;
            let slot = next.slot_mut(at, task.lane());
            if slot.call.is_some_and(|call| call.task == task) {
                slot.let_go();
            }
            self.hear(&mut next, at, Event::Deadline(task));
            out.push((Step::DeadlinePasses(at, task), Kind::Fault, next));
        }
    }

    fn ghosts(&self, state: &State, at: usize, lane: Lane, out: &mut Out) {
        for (deed, has_begun) in state.slot(at, lane).ghosts.iter() {
            for is_full in [true, false] {
                let mut next = *state;
                self.act(&mut next, at, deed, is_full, has_begun);
                next.slot_mut(at, lane).ghosts.add(deed, true);
                out.push((Step::GhostActs(at, deed, is_full), Kind::Fault, next));
            }
        }
    }

    fn crash(&self, state: &State, out: &mut Out) {
        let mut next = *state;
        next.backends.iter_mut().for_each(|backend| backend.shape.let_go());
        next.exports.iter_mut().for_each(|export| export.slot.let_go());
        next.is_idle = self.flaws.forgets;
        out.push((Step::Crashes, Kind::Fault, next));
    }

    /// After a crash the controller looks, fenced, before it drives what shapes the volume.
    fn look_at_start(&mut self, state: &State, at: usize, out: &mut Out) {
        let shapes = |(task, _): &(Task, bool)| task.lane() == Lane::Shape;
        if state.backends[at].shape.call.is_none() && self.owed(state, at).iter().any(shapes) {
            let mut next = *state;
            self.fence(&mut next, at, Lane::Shape, true);
            let look = Answer::Look(Self::sight(&next, at));
            self.hear(&mut next, at, Event::Report(Task::Look, look));
            out.push((Step::LooksAtStart(at), Kind::Fault, next));
        }
    }

    fn watch(&mut self, state: &State, out: &mut Out) {
        let mut next = *state;
        self.hear(&mut next, 0, Event::Drift(Self::sight(state, 0)));
        out.push((Step::LooksInPassing(0), Kind::Fault, next));
        if self.scope.attachments == 0 {
            return;
        }
        let mut next = *state;
        self.hear(&mut next, 0, Event::Exports(state.served()));
        out.push((Step::ListsExports, Kind::Fault, next));
        let mut next = *state;
        next.exports.iter_mut().for_each(|export| export.is_served = false);
        let none = next.served();
        self.hear(&mut next, 0, Event::Exports(none));
        out.push((Step::ExporterRestarts, Kind::Fault, next));
    }

    /// Somebody changes the backend, and a passing look sees it before anybody relies on what was.
    fn meddle(&mut self, state: &State, out: &mut Out) {
        let Some(volume) = self.volume(state, 0) else { return };
        let size = crate::rules::small(volume.size());
        // While a recover runs passing looks tell nothing: what is meddled with then is seen by the look that is owed.
        let is_calm = volume.operation(lifecycle::Subject::Volume(volume.id())).is_none();
        let fills = match volume.phase() {
            VolumePhase::Ready if is_calm => {
                [Object::ABSENT, Object { fill: Fill::Part, size }, whole(size - 1), whole(size + 1)].to_vec()
            }
            VolumePhase::Error { cause: ErrorCause::Missing | ErrorCause::Damaged, .. } => vec![whole(size)],
            _ => vec![],
        };
        let present: Vec<u8> = (0..self.scope.snapshots)
            .filter(|place| {
                let snapshot = volume.snapshots().get(&crate::words::snapshot_id(*place));
                snapshot.is_some_and(|snapshot| snapshot.phase == lifecycle::SnapshotPhase::Available)
            })
            .collect();
        let sizes = 1..=self.scope.largest;
        let is_sane = |object: &Object| object.fill != Fill::Whole || sizes.contains(&object.size);
        for object in fills.into_iter().filter(is_sane).filter(|object| *object != state.backends[0].volume) {
            let mut next = *state;
            next.backends[0].volume = object;
            self.seen_in_passing(&mut next, Step::Meddles(object), out);
        }
        for place in present {
            let mut next = *state;
            next.backends[0].snapshots[usize::from(place)] = Object::ABSENT;
            self.seen_in_passing(&mut next, Step::MeddlesWithSnapshot(place, Object::ABSENT), out);
        }
        let mut next = *state;
        next.has_stranger = !state.has_stranger;
        self.seen_in_passing(&mut next, Step::StrangerComesOrGoes, out);
        // Ending a use that is none of ours is up to people, as the rejection tells them.
        if let Some((_, kind, _)) = out.last_mut().filter(|_| state.has_stranger) {
            *kind = Kind::User;
        }
    }

    fn seen_in_passing(&mut self, next: &mut State, step: Step, out: &mut Out) {
        let sight = Self::sight(next, 0);
        self.hear(next, 0, Event::Drift(sight));
        out.push((step, Kind::Fault, *next));
    }

    /// A source is let go of once nothing of its clone's creation is owed or running.
    fn unpin(&mut self, state: &State, out: &mut Out) {
        let is_pinned = self.volume(state, 0).is_some_and(|volume| !volume.pins().is_empty());
        let has_ended = self.volume(state, 1).is_none_or(|clone| match clone.phase() {
            VolumePhase::Creating(_) | VolumePhase::Deleting => false,
            _ => self.flaws.unpins_early || (self.owed(state, 1).is_empty() && state.backends[1].shape.call.is_none()),
        });
        if is_pinned && has_ended {
            let mut next = *state;
            self.hear(&mut next, 0, Event::Unpin);
            out.push((Step::Unpins, Kind::Calm, next));
        }
    }

    fn commands(&mut self, state: &State, at: usize, out: &mut Out) {
        for index in 0..self.asks[at].len() {
            let ask = self.asks[at][index];
            let Some(next) = self.ask(state, at, ask) else { continue };
            if next != *state {
                out.push((Step::Asks(at, ask), Kind::User, State { is_idle: false, ..next }));
            }
        }
        let mut next = *state;
        self.hear(&mut next, at, Event::Expire);
        out.push((Step::Expires, Kind::Fault, next));
    }

    fn ask(&mut self, state: &State, at: usize, ask: Ask) -> Option<State> {
        if self.volume(state, at)?.is_gone() {
            return None;
        }
        let mut next = *state;
        if ask == Ask::Clone {
            if state.volumes[1] != NONE {
                return None;
            }
            let size = Bytes(u64::from(FIRST_SIZE));
            next.volumes[1] = self.rules.number(Volume::create(volume_id(1), size, false, Some(source()), NOW));
        }
        next.volumes[at] = self.rules.decide(state.volumes[at], Event::Command(ask))?;
        let creates_again = at == 1 && self.volume(&next, 1)?.phase() == &VolumePhase::Creating(Making::Make);
        if creates_again && next.volumes[1] != state.volumes[1] {
            // A creation that is retried pins its source again, in the same commit.
            next.volumes[0] = self.rules.decide(state.volumes[0], Event::Command(Ask::Clone))?;
        }
        Some(next)
    }
}

const fn whole(size: u8) -> Object {
    Object { fill: Fill::Whole, size }
}

fn asks(scope: &Scope) -> Vec<Ask> {
    let mut asks = vec![Ask::Retry(Who::Volume), Ask::Recover(Who::Volume), Ask::Delete(true), Ask::Delete(false), Ask::Forget];
    asks.extend((FIRST_SIZE + 1..=scope.largest).map(Ask::Extend));
    for place in 0..scope.attachments {
        let who = Who::Attachment(place);
        asks.extend([Ask::Attach(place), Ask::Detach(place, false), Ask::Detach(place, true), Ask::Retry(who), Ask::Recover(who)]);
    }
    for place in 0..scope.snapshots {
        let who = Who::Snapshot(place);
        asks.extend([Ask::Snapshot(place), Ask::DeleteSnapshot(place), Ask::Retry(who), Ask::Recover(who)]);
    }
    asks.extend(scope.clones.then_some(Ask::Clone));
    asks
}

impl System for World {
    type State = State;
    type Step = Step;

    fn start(&mut self) -> State {
        let volume = Volume::create(volume_id(0), Bytes(u64::from(FIRST_SIZE)), self.scope.multi_attach, None, NOW);
        State::new(self.rules.number(volume))
    }

    fn steps(&mut self, state: &State, out: &mut Out) {
        for at in (0..2).filter(|at| state.volumes[*at] != NONE) {
            let exports = if at == 0 { self.scope.attachments } else { 0 };
            let lanes = [Lane::Shape].into_iter().chain((0..exports).map(Lane::Export));
            self.starts(state, at, out);
            for lane in lanes {
                self.call_steps(state, at, lane, out);
                self.ghosts(state, at, lane, out);
            }
            self.deadlines(state, at, out);
            self.look_at_start(state, at, out);
            self.commands(state, at, out);
        }
        self.crash(state, out);
        self.unpin(state, out);
        if self.scope.watched {
            self.watch(state, out);
        }
        if self.scope.meddled {
            self.meddle(state, out);
        }
        let most = if self.scope.ghosts == 0 { u32::MAX } else { self.scope.ghosts };
        out.retain(|(_, _, next)| next != state && next.most_ghosts() <= most);
    }

    fn broken(&mut self, state: &State) -> Option<String> {
        self.rules.broken.take().or_else(|| self.promises(state).err()).filter(|promise| promise.contains(self.only))
    }

    fn is_settled(&self, state: &State) -> bool {
        let no_pins = self.volume(state, 0).is_none_or(|volume| volume.pins().is_empty());
        state.is_quiet() && no_pins && (0..2).all(|at| self.owed(state, at).is_empty())
    }

    fn is_gone(&self, state: &State) -> bool {
        (0..2).filter_map(|at| self.volume(state, at)).all(Volume::is_gone)
    }

    fn show(&self, state: &State) -> String {
        self.describe(state)
    }
}
