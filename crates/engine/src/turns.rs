//! Turns at the processors: who has much under way does not make others wait behind all of it.
//!
//! The runtime polls what is ready in the order in which it became so, whoever's it is. What is done for tenants waits here instead, in
//! its tenant's line, and lines take turns. Few are told at once that it is their turn, so that the runtime's own queue stays
//! short. A turn is one poll: nobody has one while waiting for anything, so that what hangs takes nobody's. For that, who is told must be
//! polled or dropped: what is in turns is a task of its own, or is awaited by one. Inside a turn it is polled as part of that.
//!
//! Not here: places at the store and at the backends, which are held while waiting (`places`).

use pin_project_lite::pin_project;
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// The turns of one engine.
#[derive(Clone)]
pub(crate) struct Turns(Arc<Mutex<State>>);

struct State {
    /// How many more may have a turn, or be told that they are next; none while anybody waits.
    free: usize,
    /// Those who wait, by tenant. There is no line without anybody in it.
    lines: HashMap<Arc<str>, VecDeque<Arc<Ticket>>>,
    /// The tenants that have a line, in the order of their turns.
    order: VecDeque<Arc<str>>,
}

thread_local! {
    /// Whether this thread is in a turn.
    static IN_TURN: Cell<bool> = const { Cell::new(false) };
}

/// One future that takes turns. It is woken through this.
struct Ticket {
    turns: Turns,
    /// Locked before the turns are, and never by who holds them.
    held: Mutex<Held>,
}

struct Held {
    tenant: Arc<str>,
    stage: Stage,
    /// Wakes the task that the future is in.
    task: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It was never polled.
    New,
    /// It waits for something else.
    Asleep,
    /// It waits in its line.
    InLine,
    /// It is its turn, and its task was told so.
    Next,
    /// It is being polled, and was woken meanwhile or not.
    Polled { woken: bool },
    /// It ended, or was dropped.
    Gone,
}

impl Turns {
    /// Of which so many are had at once.
    pub(crate) fn new(at_once: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: at_once.max(1), lines: HashMap::new(), order: VecDeque::new() })))
    }

    /// As many as keep this runtime's threads busy: each has one, and finds another when it is done with that.
    pub(crate) fn of_this_runtime() -> Self {
        Self::new(2 * tokio::runtime::Handle::current().metrics().num_workers())
    }

    /// `future`, polled when it is the turn of `tenant`.
    pub(crate) fn take<F: Future>(&self, tenant: impl Into<Arc<str>>, future: F) -> InTurn<F> {
        self.of(tenant).take(future)
    }

    /// Turns of `tenant`, for one future that is not there yet.
    pub(crate) fn of(&self, tenant: impl Into<Arc<str>>) -> Whose {
        let held = Held { tenant: tenant.into(), stage: Stage::New, task: None };
        Whose(Arc::new(Ticket { turns: self.clone(), held: Mutex::new(held) }))
    }

    /// A turn has ended: the next line's first is told that it is next.
    fn give_back(&self) {
        while let Some(next) = self.call() {
            if next.accept() {
                return;
            }
        }
    }

    /// Who is next; if nobody waits, the turn is free.
    fn call(&self) -> Option<Arc<Ticket>> {
        let mut state = self.lock();
        let State { free, lines, order } = &mut *state;
        while let Some(tenant) = order.pop_front() {
            let Some(line) = lines.get_mut(&tenant) else { continue };
            let next = line.pop_front();
            if line.is_empty() {
                lines.remove(&tenant);
            } else {
                order.push_back(tenant);
            }
            if next.is_some() {
                return next;
            }
        }
        *free += 1;
        None
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Whether the future may be polled now. If not, `task` is woken when it may.
    fn may_begin(self: &Arc<Self>, task: &Waker) -> bool {
        let mut held = self.lock();
        if !held.task.as_ref().is_some_and(|known| known.will_wake(task)) {
            held.task = Some(task.clone());
        }
        match held.stage {
            Stage::New => self.ask(&mut held),
            Stage::Next => {}
            Stage::Asleep | Stage::InLine | Stage::Polled { .. } | Stage::Gone => return false,
        }
        if held.stage != Stage::Next {
            return false;
        }
        held.stage = Stage::Polled { woken: false };
        true
    }

    /// Takes a turn that is free, or waits in line.
    fn ask(self: &Arc<Self>, held: &mut Held) {
        let mut state = self.turns.lock();
        if state.free > 0 {
            state.free -= 1;
            held.stage = Stage::Next;
            return;
        }
        held.stage = Stage::InLine;
        if let Some(line) = state.lines.get_mut(&held.tenant) {
            line.push_back(self.clone());
        } else {
            state.lines.insert(held.tenant.clone(), VecDeque::from([self.clone()]));
            state.order.push_back(held.tenant.clone());
        }
    }

    /// As [`Self::ask`], and tells the task if it is next.
    fn ask_and_tell(self: &Arc<Self>, held: &mut Held) {
        self.ask(held);
        if held.stage == Stage::Next {
            held.tell();
        }
    }

    /// Takes the turn that has come, unless it is gone meanwhile.
    fn accept(&self) -> bool {
        let mut held = self.lock();
        let is_here = held.stage == Stage::InLine;
        if is_here {
            held.stage = Stage::Next;
            held.tell();
        }
        is_here
    }

    /// Leaves the line, and gives back a turn that was not used.
    fn leave(&self) {
        let left = std::mem::replace(&mut self.lock().stage, Stage::New);
        if left == Stage::Next {
            self.turns.give_back();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn tell(&self) {
        if let Some(task) = &self.task {
            task.wake_by_ref();
        }
    }
}

impl Wake for Ticket {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut held = self.lock();
        match held.stage {
            Stage::Asleep => self.ask_and_tell(&mut held),
            Stage::Polled { .. } => held.stage = Stage::Polled { woken: true },
            Stage::New | Stage::InLine | Stage::Next | Stage::Gone => {}
        }
    }
}

/// Whose turns a future takes: of one tenant after the other, if it is a connection.
#[derive(Clone)]
pub struct Whose(Arc<Ticket>);

impl Whose {
    /// From its next turn on it takes those of `tenant`. Returns whether these are others than it has taken.
    pub fn is(&self, tenant: &str) -> bool {
        let mut held = self.0.lock();
        let is_another = *held.tenant != *tenant;
        if is_another {
            held.tenant = tenant.into();
        }
        is_another
    }

    /// `future`, polled when it is its turn. Only one future can take these turns.
    pub fn take<F: Future>(self, future: F) -> InTurn<F> {
        InTurn { waker: self.0.clone().into(), seat: Seat(self.0), future }
    }
}

pin_project! {
    /// A future that takes turns.
    pub struct InTurn<F> {
        seat: Seat,
        waker: Waker,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for InTurn<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if IN_TURN.get() {
            this.seat.0.leave();
            return this.future.poll(context);
        }
        if !this.seat.0.may_begin(context.waker()) {
            return Poll::Pending;
        }
        let mut turn = Turn::begin(&this.seat.0);
        let polled = this.future.poll(&mut Context::from_waker(this.waker));
        turn.is_last = polled.is_ready();
        polled
    }
}

/// A turn under way. It ends also where the future panics.
struct Turn<'a> {
    ticket: &'a Arc<Ticket>,
    is_last: bool,
}

impl<'a> Turn<'a> {
    fn begin(ticket: &'a Arc<Ticket>) -> Self {
        IN_TURN.set(true);
        Self { ticket, is_last: true }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        IN_TURN.set(false);
        // First, so that who is polled again stands behind those who wait.
        self.ticket.turns.give_back();
        let mut held = self.ticket.lock();
        match held.stage {
            _ if self.is_last => held.stage = Stage::Gone,
            Stage::Polled { woken: true } => self.ticket.ask_and_tell(&mut held),
            _ => held.stage = Stage::Asleep,
        }
    }
}

/// Leaves when it is dropped.
struct Seat(Arc<Ticket>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.leave();
        let mut held = self.0.lock();
        held.stage = Stage::Gone;
        // The task's waker keeps the task, which keeps this.
        held.task = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::pin::pin;
    use std::time::Duration;
    use tokio::sync::{Notify, Semaphore};

    impl Turns {
        fn is_idle(&self, at_once: usize) -> bool {
            let state = self.lock();
            state.free == at_once && state.lines.is_empty() && state.order.is_empty()
        }
    }

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    /// A future that has the only turn, as it was told to be next and was not polled yet.
    async fn told<F: Future>(turns: &Turns, future: F) -> Pin<Box<InTurn<F>>> {
        let mut future = Box::pin(turns.take("holder", future));
        assert!(poll(future.as_mut()).is_pending());
        tokio::task::yield_now().await;
        assert!(!turns.is_idle(1), "it was woken, and holds what it was given");
        future
    }

    /// Is woken by itself once, at once, and ends.
    async fn twice() {
        let mut is_second = false;
        poll_fn(|context| {
            context.waker().wake_by_ref();
            if std::mem::replace(&mut is_second, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    #[tokio::test]
    async fn tenants_take_turns() {
        let turns = Turns::new(1);
        let order = Arc::new(Mutex::new(Vec::new()));
        let start = Arc::new(Notify::new());
        let mut tasks = Vec::new();
        for tenant in ["noisy", "noisy", "noisy", "quiet"] {
            let (order, start) = (order.clone(), start.clone());
            tasks.push(tokio::spawn(turns.take(tenant, async move {
                start.notified().await;
                for _ in 0..2 {
                    order.lock().unwrap().push(tenant);
                    twice().await;
                }
            })));
        }
        tokio::task::yield_now().await;
        start.notify_waiters();
        for task in tasks {
            task.await.unwrap();
        }
        let order = order.lock().unwrap();
        // However many of the noisy one are ready. Of two turns in between, one was called as quiet's ended, before it lined up again.
        assert_eq!(*order, ["noisy", "noisy", "quiet", "noisy", "noisy", "quiet", "noisy", "noisy"]);
        assert!(turns.is_idle(1));
    }

    #[tokio::test]
    async fn who_is_dropped_when_it_is_next_gives_its_turn_back() {
        let turns = Turns::new(1);
        let holder = told(&turns, twice()).await;
        let mut other = pin!(turns.take("other", async {}));
        assert!(poll(other.as_mut()).is_pending());
        drop(holder);
        assert!(poll(other.as_mut()).is_ready());
        assert!(turns.is_idle(1));
    }

    #[tokio::test]
    async fn who_is_dropped_in_line_is_passed_over() {
        let turns = Turns::new(1);
        let mut holder = told(&turns, twice()).await;
        let mut gone = Box::pin(turns.take("gone", async {}));
        let mut other = pin!(turns.take("other", async {}));
        assert!(poll(gone.as_mut()).is_pending());
        assert!(poll(other.as_mut()).is_pending());
        drop(gone);
        assert!(poll(holder.as_mut()).is_ready());
        assert!(poll(other.as_mut()).is_ready());
        assert!(turns.is_idle(1));
    }

    #[tokio::test]
    async fn what_is_polled_inside_a_turn_is_part_of_it() {
        let turns = Turns::new(1);
        let inner = turns.take("a", async {
            twice().await;
            tokio::task::yield_now().await;
        });
        let outer = tokio::spawn(turns.take("a", inner));
        tokio::time::timeout(Duration::from_secs(10), outer).await.expect("it ends").unwrap();
        assert!(turns.is_idle(1));
    }

    #[tokio::test]
    async fn whose_turns_are_taken_may_change() {
        let turns = Turns::new(1);
        let holder = told(&turns, twice()).await;
        let whose = turns.of("");
        assert!(whose.is("a") && !whose.is("a"));
        let mut future = pin!(whose.clone().take(async {}));
        assert!(poll(future.as_mut()).is_pending());
        assert_eq!(turns.lock().order, [Arc::from("a")]);
        // It stays in the line that it is in.
        assert!(whose.is("b"));
        drop(holder);
        assert!(poll(future.as_mut()).is_ready());
        assert!(turns.is_idle(1));
    }

    #[test]
    fn a_panic_gives_the_turn_back() {
        let turns = Turns::new(1);
        let mut future = Box::pin(turns.take("a", async { std::panic::resume_unwind(Box::new("inside")) }));
        assert!(catch_unwind(AssertUnwindSafe(|| poll::<InTurn<_>>(future.as_mut()))).is_err());
        assert!(turns.is_idle(1));
    }

    /// Nobody who is woken is forgotten, and no turn is lost, whatever comes together: what wakes comes from other threads and from
    /// itself, while it is polled, in line, or being dropped.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nobody_is_forgotten() {
        const TASKS: usize = 200;
        let turns = Turns::new(2);
        let bells: Arc<Vec<Semaphore>> = Arc::new((0..TASKS).map(|_| Semaphore::new(0)).collect());
        let mut tasks = Vec::new();
        for at in 0..TASKS {
            let bells = bells.clone();
            let work = async move {
                for round in 0..50 {
                    // The ring goes round; each lets its neighbour go on.
                    bells[(at + 1) % TASKS].add_permits(1);
                    bells[at].acquire().await.unwrap().forget();
                    match round % 3 {
                        0 => tokio::task::yield_now().await,
                        1 => tokio::time::sleep(Duration::from_micros(50)).await,
                        _ => {
                            poll_fn(|context| {
                                context.waker().wake_by_ref();
                                Poll::Ready(())
                            })
                            .await
                        }
                    }
                }
            };
            tasks.push(tokio::spawn(turns.take(["a", "b", "c"][at % 3], work)));
        }
        let dropped: Vec<_> = (0..TASKS)
            .map(|_| {
                tokio::spawn(turns.take("d", async {
                    loop {
                        twice().await
                    }
                }))
            })
            .collect();
        for (at, task) in dropped.iter().enumerate() {
            if at % 7 == 0 {
                tokio::task::yield_now().await;
            }
            task.abort();
        }
        for task in tasks {
            tokio::time::timeout(Duration::from_secs(60), task).await.expect("it ends").unwrap();
        }
        for task in dropped {
            assert!(task.await.unwrap_err().is_cancelled());
        }
        assert!(turns.is_idle(2));
    }
}
