//! Threads that read lists, each over a connection of its own.
//!
//! A slow reader of a long list must not take a place from single reads, so each list has a thread to itself: as many as are wanted at once. A few
//! wait for the next list when they are done: to start a thread, and to open a connection, takes a good part of what a page of a list
//! does, and on busy processors a thread that is woken runs sooner than a new one.

use crate::list;
use crate::readers::FAREWELL;
use engine::store::{ListQuery, StoreError};
use std::path::Path;
use std::sync::mpsc::{self, SendError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

/// How many wait for the next list.
const KEPT: usize = 4;

/// A list, and to whom it is sent.
type Job = (ListQuery, list::Sender);

/// See the module.
#[derive(Default)]
pub(crate) struct Listers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    idle: Mutex<Idle>,
    /// Rung by each that ends when all are to.
    ended: Condvar,
}

/// Those who wait.
#[derive(Default)]
struct Idle {
    waiting: Vec<mpsc::Sender<Job>>,
    /// How many have not ended, of those who were told nothing.
    many: usize,
    is_over: bool,
}

impl Listers {
    /// Has the list read from `file`, and sent.
    pub(crate) fn list(&self, file: &Path, query: ListQuery, sender: list::Sender) -> Result<(), StoreError> {
        let mut job = (query, sender);
        while let Some(waiting) = self.0.call() {
            match waiting.send(job) {
                Ok(()) => return Ok(()),
                Err(SendError(back)) => job = back,
            }
        }
        let (file, shared) = (file.to_owned(), Arc::downgrade(&self.0));
        let named = std::thread::Builder::new().name("berth-list".into());
        let started = named.spawn(move || work(&file, job, &shared));
        started.map(drop).map_err(|error| StoreError::Unavailable(format!("no thread for the list: {error}")))
    }
}

impl Drop for Listers {
    /// Waits for those who wait, so that their connections are closed; not for long. Those who read end with who reads their list.
    fn drop(&mut self) {
        let mut idle = self.0.lock();
        idle.is_over = true;
        idle.waiting.clear();
        let ended = self.0.ended.wait_timeout_while(idle, FAREWELL, |idle| idle.many > 0);
        drop(ended);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of those who wait: it was the last to begin to, and is the first that has everything at hand.
    fn call(&self) -> Option<mpsc::Sender<Job>> {
        let mut idle = self.lock();
        let waiting = idle.waiting.pop()?;
        idle.many -= 1;
        Some(waiting)
    }

    /// Where to hear of the next list; nowhere if there are enough who wait.
    fn wait(&self) -> Option<mpsc::Receiver<Job>> {
        let mut idle = self.lock();
        if idle.is_over || idle.waiting.len() >= KEPT {
            return None;
        }
        let (sender, next) = mpsc::channel();
        idle.waiting.push(sender);
        idle.many += 1;
        Some(next)
    }

    fn end(&self) {
        self.lock().many -= 1;
        self.ended.notify_all();
    }
}

/// Reads one list after the other.
fn work(file: &Path, mut job: Job, shared: &Weak<Shared>) {
    let mut kept = None;
    loop {
        kept = list::run(file, kept, &job.0, &job.1);
        // Who reads the list sees its end by the end of its channel.
        drop(job);
        let Some(next) = shared.upgrade().and_then(|shared| shared.wait()) else { return };
        match next.recv() {
            Ok(next) => job = next,
            Err(_) => {
                drop(kept);
                shared.upgrade().iter().for_each(|shared| shared.end());
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::store::Kind;
    use tokio::sync::mpsc as lists;

    /// A store with nothing in it: its folder and its file.
    fn store() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("listers.db");
        crate::schema::create(&file, "epoch").unwrap();
        (folder, file)
    }

    fn waiting(listers: &Listers) -> usize {
        listers.0.lock().waiting.len()
    }

    /// Begins a list that is not read before it is asked for: of nothing, as nothing is in the store.
    fn begin(listers: &Listers, file: &Path) -> lists::Receiver<Result<Vec<engine::store::Item>, StoreError>> {
        let (sender, receiver) = lists::channel(1);
        listers.list(file, ListQuery::all(Kind::Volume), sender).unwrap();
        receiver
    }

    #[test]
    fn few_wait_for_the_next_list_and_those_who_wait_read_it() {
        let (_folder, file) = store();
        let listers = Listers::default();
        for _ in 0..3 {
            assert!(begin(&listers, &file).blocking_recv().is_none(), "it has an end, and nothing before it");
            ground::wait_until("the one that read it waits", || waiting(&listers) == 1);
        }
        let many: Vec<_> = (0..5 * KEPT).map(|_| begin(&listers, &file)).collect();
        for mut list in many {
            assert!(list.blocking_recv().is_none());
        }
        ground::wait_until("all have ended or wait", || Arc::weak_count(&listers.0) == waiting(&listers));
        assert!((1..=KEPT).contains(&waiting(&listers)));
        let shared = listers.0.clone();
        drop(listers);
        assert_eq!(shared.lock().many, 0, "all who waited have ended");
    }

    #[test]
    fn one_that_has_died_is_passed_over() {
        let (_folder, file) = store();
        let listers = Listers::default();
        drop(listers.0.wait().expect("there is room"));
        assert_eq!(waiting(&listers), 1);
        assert!(begin(&listers, &file).blocking_recv().is_none());
    }
}
