//! The readers: threads that each have a connection and read one thing after the other, for everybody. Only the first has it from the
//! start; the others open theirs when they are needed, as each takes a tenth of what the controller's own memory is then.
//!
//! A read takes some ten microseconds, which is less than it takes to wake a thread for it. So whoever has read looks for more before it
//! sleeps, and nobody is woken for what those who are awake will soon have done. That they do it is not relied on: whoever waits longer
//! than [`PATIENCE`] has another woken. So a read that hangs, as the disk under it does, holds up one reader; when all hang, those who
//! wait for a place wait, and nobody else does.

use crate::read::trouble;
use crate::schema::{Role, connect};
use engine::store::StoreError;
use rusqlite::Connection;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
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
const FAREWELL: Duration = Duration::from_secs(1);

type Job = Box<dyn FnOnce(Result<&Connection, StoreError>) + Send>;

/// The threads, for as long as it lives.
pub(crate) struct Readers {
    places: Arc<Semaphore>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    bell: Condvar,
    /// Rung by each that ends.
    ended: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// How many sleep and were not woken.
    asleep: usize,
    /// How many were woken and have not noticed yet.
    woken: usize,
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
            let (shared, own) = (readers.shared.clone(), Own { file: file.to_owned(), connection: first.take() });
            let named = std::thread::Builder::new().name("berth-reader".into());
            shared.lock().alive += 1;
            named.spawn(move || shared.work(own)).expect("a thread can be started");
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
            let read = catch_unwind(AssertUnwindSafe(|| connection.and_then(read)));
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
        self.shared.bell.notify_all();
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
        let awake = queue.alive.saturating_sub(queue.asleep);
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

    fn wake(&self, mut queue: MutexGuard<'_, Queue>) {
        if queue.asleep > 0 {
            queue.asleep -= 1;
            queue.woken += 1;
            drop(queue);
            self.bell.notify_one();
        }
    }

    fn work(&self, mut own: Own) {
        self.read(&mut own);
        drop(own);
        self.lock().alive -= 1;
        self.ended.notify_all();
    }

    fn read(&self, own: &mut Own) {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                job(own.connection());
                queue = self.lock();
            } else if queue.is_over {
                return;
            } else {
                queue.asleep += 1;
                let sleeps = |queue: &mut Queue| queue.woken == 0 && !queue.is_over;
                queue = self.bell.wait_while(queue, sleeps).unwrap_or_else(PoisonError::into_inner);
                queue.woken = queue.woken.saturating_sub(1);
            }
        }
    }
}

/// What a reader reads with.
struct Own {
    file: PathBuf,
    /// Once it was needed.
    connection: Option<Connection>,
}

impl Own {
    /// # Errors
    /// It cannot be opened now; it is tried again when it is needed next.
    fn connection(&mut self) -> Result<&Connection, StoreError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.file, Role::Reader).map_err(|error| trouble(&error))?,
        };
        Ok(self.connection.insert(connection))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

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

    #[test]
    fn what_cannot_be_opened_when_it_is_needed_is_an_error_until_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("readers.db");
        let mut own = Own { file: file.clone(), connection: None };
        for _ in 0..2 {
            assert!(matches!(own.connection(), Err(StoreError::Unavailable(_))));
        }
        crate::schema::create(&file, "epoch").unwrap();
        for _ in 0..2 {
            assert_eq!(crate::read::meta(own.connection().unwrap(), "revision"), Ok(0));
        }
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
