//! A pool whose folder cannot be opened yet: its file system hangs, or another process still works in it.
//!
//! - The controller starts without it, so that one backend that hangs keeps nobody from the other pools. It goes on opening the folder
//!   until it is open; until then every question is left unanswered and every call fails for now, which makes the pool down.
//! - Whatever else stands in the way at a start is a mistake in the configuration, and ends the start: see [`open`].
//! - What it tells names no folder, as tenants read it; the log does.

use anyhow::Result;
use async_trait::async_trait;
use driver_file::{FileDriver, OpenError};
use engine::ports::{Backing, Batches, Call, Capacity, Driver, Unanswered};
use lifecycle::{Bytes, Capabilities, Look, Outcome, SnapshotId, Source, Token, VolumeId};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long a start waits for a folder to open: a few file operations, seconds at worst on a busy disk.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long to pause before a folder is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Opens a folder; may block as long as its file system does.
type Opener = Arc<dyn Fn() -> Result<FileDriver> + Send + Sync>;

/// A driver that is being opened.
pub(crate) struct Opening {
    pool: String,
    opener: Opener,
    opened: JoinHandle<Result<FileDriver>>,
}

impl Opening {
    /// Begins to open a pool's folder, on a thread of its own.
    pub(crate) fn begin(pool: &str, opener: impl Fn() -> Result<FileDriver> + Send + Sync + 'static) -> Self {
        let opener: Opener = Arc::new(opener);
        Self { pool: pool.to_owned(), opened: attempt(&opener), opener }
    }

    /// The driver once the folder is open; or one that is opened later, if it is in use, or not open within `patience`.
    ///
    /// # Errors
    /// The folder cannot be a pool.
    pub(crate) async fn finish(mut self, patience: Duration) -> Result<Arc<dyn Driver>> {
        let why = match tokio::time::timeout(patience, &mut self.opened).await {
            Ok(tried) => match tried? {
                Ok(driver) => return Ok(Arc::new(driver)),
                Err(error) if is_in_use(&error) => {
                    self.opened = attempt(&self.opener);
                    IN_USE
                }
                Err(error) => return Err(error),
            },
            Err(_) => HANGS,
        };
        tracing::warn!(pool = self.pool, why, "the pool cannot be opened yet; going on without it");
        let late = Arc::new(LateDriver { opened: OnceLock::new(), why: Mutex::new(why) });
        tokio::spawn(self.go_on(late.clone()));
        Ok(late)
    }

    async fn go_on(self, late: Arc<LateDriver>) {
        let mut opened = self.opened;
        loop {
            let why = match opened.await {
                Ok(Ok(driver)) => {
                    tracing::info!(pool = self.pool, "the pool is open");
                    // Nobody else fills it.
                    let _ = late.opened.set(driver);
                    return;
                }
                Ok(Err(error)) => {
                    tracing::warn!(pool = self.pool, error = format!("{error:#}"), "the pool cannot be opened; trying again");
                    if is_in_use(&error) { IN_USE } else { BROKEN }
                }
                // The runtime ends.
                Err(error) if error.is_cancelled() => return,
                Err(error) => {
                    tracing::error!(pool = self.pool, %error, "opening the pool panicked; trying again");
                    BROKEN
                }
            };
            *late.why.lock().unwrap_or_else(PoisonError::into_inner) = why;
            tokio::time::sleep(PAUSE).await;
            opened = attempt(&self.opener);
        }
    }
}

const HANGS: &str = "its folder could not be opened yet, as its file system hangs";
const IN_USE: &str = "another process still works in its folder";
const BROKEN: &str = "its folder cannot be opened; the controller's log tells why";

fn attempt(opener: &Opener) -> JoinHandle<Result<FileDriver>> {
    let opener = opener.clone();
    tokio::task::spawn_blocking(move || opener())
}

/// Whether somebody works in the folder. That may be an earlier controller whose threads are stuck in the very file system that hangs,
/// where no signal reaches them; and it may not be worked in before they are gone.
fn is_in_use(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(OpenError::InUse { .. }))
}

/// A driver whose folder is opened later.
struct LateDriver {
    opened: OnceLock<FileDriver>,
    why: Mutex<&'static str>,
}

impl LateDriver {
    fn driver(&self) -> Result<&FileDriver, Unanswered> {
        self.opened.get().ok_or_else(|| Unanswered((*self.why.lock().unwrap_or_else(PoisonError::into_inner)).to_owned()))
    }

    fn caller(&self) -> Result<&FileDriver, Outcome> {
        self.driver().map_err(|Unanswered(why)| Outcome::Failed(why))
    }
}

#[async_trait]
impl Driver for LateDriver {
    fn name(&self) -> &'static str {
        "file"
    }

    async fn capabilities(&self) -> Result<Capabilities, Unanswered> {
        self.driver()?.capabilities().await
    }

    async fn create(&self, call: Call, volume: VolumeId, size: Bytes, source: Option<Source>) -> Outcome {
        match self.caller() {
            Ok(driver) => driver.create(call, volume, size, source).await,
            Err(failed) => failed,
        }
    }

    async fn delete(&self, call: Call, volume: VolumeId) -> Outcome {
        match self.caller() {
            Ok(driver) => driver.delete(call, volume).await,
            Err(failed) => failed,
        }
    }

    async fn extend(&self, call: Call, volume: VolumeId, size: Bytes) -> Outcome {
        match self.caller() {
            Ok(driver) => driver.extend(call, volume, size).await,
            Err(failed) => failed,
        }
    }

    async fn snapshot(&self, call: Call, volume: VolumeId, snapshot: SnapshotId) -> Outcome {
        match self.caller() {
            Ok(driver) => driver.snapshot(call, volume, snapshot).await,
            Err(failed) => failed,
        }
    }

    async fn delete_snapshot(&self, call: Call, volume: VolumeId, snapshot: SnapshotId) -> Outcome {
        match self.caller() {
            Ok(driver) => driver.delete_snapshot(call, volume, snapshot).await,
            Err(failed) => failed,
        }
    }

    async fn backing(&self, volume: VolumeId) -> Result<Backing, Unanswered> {
        self.driver()?.backing(volume).await
    }

    async fn inspect(&self, volume: VolumeId, fence: Option<Token>) -> Result<Look, Unanswered> {
        self.driver()?.inspect(volume, fence).await
    }

    async fn list(&self, batches: Batches) -> Result<(), Unanswered> {
        self.driver()?.list(batches).await
    }

    async fn capacity(&self) -> Result<Capacity, Unanswered> {
        self.driver()?.capacity().await
    }

    async fn probe(&self) -> Result<(), Unanswered> {
        self.driver()?.probe().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use driver_file::Options;
    use std::path::Path;
    use std::sync::mpsc;

    fn open(folder: &Path) -> Result<FileDriver> {
        Ok(FileDriver::open(folder, Options::default())?)
    }

    async fn until_it_answers(driver: &dyn Driver) {
        let answers = async {
            while driver.probe().await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), answers).await.expect("it is opened in the end");
    }

    #[tokio::test]
    async fn a_folder_that_opens_is_open_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let driver = Opening::begin("p", move || open(&path)).finish(PATIENCE).await.unwrap();
        driver.probe().await.expect("it is open");
    }

    #[tokio::test]
    async fn a_folder_in_use_is_opened_when_it_is_let_go_of() {
        let folder = tempfile::tempdir().unwrap();
        let holder = open(folder.path()).unwrap();
        let path = folder.path().to_owned();
        let driver = Opening::begin("p", move || open(&path)).finish(PATIENCE).await.unwrap();
        let told = driver.probe().await.expect_err("it is in use").to_string();
        assert!(told.contains("another process") && !told.contains(folder.path().to_str().unwrap()), "{told}");
        assert!(matches!(driver.delete(call(), VolumeId(uuid::Uuid::nil())).await, Outcome::Failed(_)), "for now");
        drop(holder);
        until_it_answers(&*driver).await;
        assert!(matches!(driver.delete(call(), VolumeId(uuid::Uuid::nil())).await, Outcome::Done(_)));
    }

    fn call() -> Call {
        Call { token: Token { incarnation: 1, counter: 1 }, progress: engine::ports::Progress::ignored() }
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_a_pool_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_owned();
        assert!(Opening::begin("p", move || open(&path)).finish(PATIENCE).await.is_err());
    }

    #[tokio::test]
    async fn a_folder_that_hangs_is_waited_for_and_opened_when_it_answers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let (go, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let opening = Opening::begin("p", move || {
            // Until the test lets it go on.
            let _ = gate.lock().unwrap().recv();
            open(&path)
        });
        let driver = opening.finish(Duration::from_millis(10)).await.unwrap();
        let told = driver.capabilities().await.expect_err("nobody knows").to_string();
        assert!(told.contains("hangs"), "{told}");
        drop(go);
        until_it_answers(&*driver).await;
    }
}
