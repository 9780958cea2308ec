//! The readers: threads that each have a connection and read one thing after the other, for everybody.
//!
//! Only the first has its connection from the start; a spare opens its own when those who have one are not enough, as each takes memory for
//! the schema and for pages. What waits is left to the others until it has: that it cannot be opened now fails no read.
//!
//! A read takes some ten microseconds, which is less than it takes to wake a thread for it. So whoever has read looks for more before it
//! sleeps, and nobody is woken for what those who are awake will soon have done. That they do it is not relied on: whoever waits longer
//! than [`PATIENCE`] has another woken. So a read that hangs, as the disk under it does, holds up one reader; when all hang, those who
//! wait for a place wait, and nobody else does.

use crate::schema::{Role, connect};
use engine::store::StoreError;
use rusqlite::Connection;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// How many read at once.
const READERS: usize = 4;
/// How many reads may wait; who comes then waits before its turn is counted.
const WAITING_MAX: usize = 1024;
/// How many may wait for each that is awake before another is woken: those who are awake wait for the disk.
const BACKLOG: usize = 8;
/// How long those who are awake are relied on.
const PATIENCE: Duration = Duration::from_millis(2);
/// How long the end of them is waited for.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// Those who have a connection, and those who have none.
const READY: usize = 0;
const SPARE: usize = 1;

/// The threads, for as long as it lives.
pub(crate) struct Readers {
    places: Arc<Semaphore>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// For those who are ready, and for spares.
    bells: [Condvar; 2],
    /// Rung by each that ends.
    ended: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// How many of each sleep and were not woken.
    asleep: [usize; 2],
    /// How many of each were woken and have not noticed yet.
    woken: [usize; 2],
    /// How many have not ended.
    alive: usize,
    is_over: bool,
}

impl Readers {
    /// Starts them.
    pub(crate) fn start(file: &Path) -> rusqlite::Result<Self> {
        let mut first = Some(connect(file, Role::Reader)?);
        let readers = Self { places: Arc::new(Semaphore::new(WAITING_MAX)), shared: Arc::default() };
        for _ in 0..READERS {
            let (shared, file, connection) = (readers.shared.clone(), file.to_owned(), first.take());
            let named = std::thread::Builder::new().name("berth-reader".into());
            shared.lock().alive += 1;
            named.spawn(move || shared.work(&file, connection)).expect("a thread can be started");
        }
        Ok(readers)
    }

    /// Has one of them read.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let place = self.places.clone().acquire_owned().await.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let (answer, mut answered) = oneshot::channel();
        self.shared.ask(Box::new(move |connection| {
            // The place is the queue's: who gave up does not make room for others in a queue that nobody works off.
            let _place = place;
            if answer.is_closed() {
                return;
            }
            let read = catch_unwind(AssertUnwindSafe(|| read(connection)));
            let _ = answer.send(read.unwrap_or_else(|_| Err(StoreError::Unavailable("reading it failed inside".into()))));
        }));
        // Nobody goes to sleep while this waits: so often, and all are awake.
        for _ in 0..READERS {
            tokio::select! {
                biased;
                answer = &mut answered => return told(answer),
                () = tokio::time::sleep(PATIENCE) => self.shared.wake_another(),
            }
        }
        told(answered.await)
    }
}

fn told<T>(answer: Result<Result<T, StoreError>, oneshot::error::RecvError>) -> Result<T, StoreError> {
    answer.unwrap_or_else(|_| Err(StoreError::Unavailable("the readers are gone".into())))
}

impl Drop for Readers {
    /// Waits for them, so that their connections are closed; not for long, as one may hang with its disk.
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.is_over = true;
        self.shared.bells.iter().for_each(Condvar::notify_all);
        let ended = self.shared.ended.wait_timeout_while(queue, FAREWELL, |queue| queue.alive > 0);
        drop(ended);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, job: Job) {
        let mut queue = self.lock();
        queue.jobs.push_back(job);
        let awake = queue.alive.saturating_sub(queue.asleep.iter().sum());
        if queue.jobs.len() > awake * BACKLOG {
            self.wake(queue);
        }
    }

    /// Somebody has waited for long: those who are awake may hang.
    fn wake_another(&self) {
        let queue = self.lock();
        if !queue.jobs.is_empty() {
            self.wake(queue);
        }
    }

    /// Wakes one that is ready, or else a spare.
    fn wake(&self, mut queue: MutexGuard<'_, Queue>) {
        if let Some(which) = [READY, SPARE].into_iter().find(|which| queue.asleep[*which] > 0) {
            queue.asleep[which] -= 1;
            queue.woken[which] += 1;
            drop(queue);
            self.bells[which].notify_one();
        }
    }

    fn work(&self, file: &Path, connection: Option<Connection>) {
        if let Some(connection) = connection.or_else(|| self.needed(file)) {
            self.read(&connection);
        }
        self.lock().alive -= 1;
        self.ended.notify_all();
    }

    /// A spare sleeps until it is needed and has a connection; none at the end.
    fn needed(&self, file: &Path) -> Option<Connection> {
        loop {
            let queue = self.sleep(self.lock(), SPARE);
            if queue.is_over {
                return None;
            }
            drop(queue);
            match connect(file, Role::Reader) {
                Ok(connection) => return Some(connection),
                Err(error) => tracing::warn!(%error, "one more reader cannot be had; reads are left to the others"),
            }
        }
    }

    fn read(&self, connection: &Connection) {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                job(connection);
                queue = self.lock();
            } else if queue.is_over {
                return;
            } else {
                queue = self.sleep(queue, READY);
            }
        }
    }

    /// Sleeps until one of these is woken, or all is over.
    fn sleep<'a>(&self, mut queue: MutexGuard<'a, Queue>, which: usize) -> MutexGuard<'a, Queue> {
        queue.asleep[which] += 1;
        let sleeps = |queue: &mut Queue| queue.woken[which] == 0 && !queue.is_over;
        queue = self.bells[which].wait_while(queue, sleeps).unwrap_or_else(PoisonError::into_inner);
        queue.woken[which] = queue.woken[which].saturating_sub(1);
        queue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread::ThreadId;

    fn readers(folder: &Path) -> Readers {
        let file = folder.join("readers.db");
        crate::schema::create(&file, "epoch").unwrap();
        Readers::start(&file).unwrap()
    }

    #[tokio::test]
    async fn a_read_that_panics_is_an_error_and_ends_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let readers = readers(folder.path());
        for _ in 0..2 * READERS {
            let read = readers.read(|_| -> Result<(), StoreError> { panic!("in the middle") }).await;
            assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
        }
        let read = readers.read(|connection| Ok(crate::read::meta(connection, "revision").unwrap())).await;
        assert_eq!(read, Ok(0), "those who read go on");
    }

    /// Has one of them hang until what is returned is dropped; it hangs when this returns.
    async fn hang(readers: &Arc<Readers>) -> mpsc::Sender<()> {
        let (go, waits) = mpsc::channel::<()>();
        let (begun, begins) = oneshot::channel();
        let readers = readers.clone();
        tokio::spawn(async move {
            let wait = move |_: &Connection| {
                begun.send(()).expect("somebody waits");
                Ok(waits.recv().is_ok())
            };
            readers.read(wait).await
        });
        soon(begins).await.expect("it is read");
        go
    }

    async fn soon<T>(what: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(20), what).await.expect("it does not hang")
    }

    fn who(_: &Connection) -> Result<ThreadId, StoreError> {
        Ok(std::thread::current().id())
    }

    #[tokio::test]
    async fn a_spare_that_cannot_read_fails_no_read_and_reads_once_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let readers = Arc::new(readers(folder.path()));
        std::fs::rename(folder.path().join("readers.db"), folder.path().join("aside")).unwrap();
        let first = soon(readers.read(who)).await.unwrap();
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..3 * BACKLOG {
            let readers = readers.clone();
            let slow = |connection: &Connection| {
                std::thread::sleep(PATIENCE);
                who(connection)
            };
            all.spawn(async move { readers.read(slow).await });
        }
        assert_eq!(soon(all.join_all()).await, vec![Ok(first); 3 * BACKLOG]);
        std::fs::rename(folder.path().join("aside"), folder.path().join("readers.db")).unwrap();
        let go = hang(&readers).await;
        assert_ne!(soon(readers.read(who)).await.unwrap(), first, "a spare can now");
        drop(go);
    }

    #[tokio::test]
    async fn while_some_hang_others_read_and_once_they_go_on_all_is_read_but_for_whom_nobody_waits() {
        let folder = tempfile::tempdir().unwrap();
        let readers = Arc::new(readers(folder.path()));
        let mut go = Vec::new();
        for _ in 1..READERS {
            go.push(hang(&readers).await);
            assert_eq!(soon(readers.read(|_| Ok(1))).await, Ok(1), "another is free");
        }
        go.push(hang(&readers).await);
        let (told, was_read) = mpsc::channel();
        let given_up = readers.read(move |_| Ok(told.send(()).is_ok()));
        assert!(tokio::time::timeout(10 * PATIENCE, given_up).await.is_err(), "all hang");
        assert_eq!(readers.places.available_permits(), WAITING_MAX - READERS - 1, "what waits has its place, whoever waits for it");
        let mut late = std::pin::pin!(readers.read(|_| Ok(2)));
        assert!(tokio::time::timeout(10 * PATIENCE, &mut late).await.is_err());
        drop(go);
        assert_eq!(soon(late).await, Ok(2));
        assert!(was_read.try_recv().is_err(), "nothing is read for nobody");
    }
}
