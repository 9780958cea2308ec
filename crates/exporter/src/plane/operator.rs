//! What a person's commands ask of a data plane: to tell what it serves, and to end.

use super::link::{Link, LinkError};
use super::message::{Answer, Ask, Role, Status};
use super::place::Place;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long an end may take: changes in flight are awaited for a while.
const END_PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Why a person's command was not done.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// There is none.
    #[error("no data plane of {0} is running")]
    Absent(PathBuf),
    /// It does not want to.
    #[error("the data plane does not stop: {0}")]
    Refused(String),
    /// It runs and does not answer.
    #[error("the data plane of {folder} does not answer")]
    Unanswered {
        /// The data folder.
        folder: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// How an end went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// The process that ended.
    pub pid: u32,
}

/// What the data plane of `folder` is and serves.
///
/// # Errors
/// [`OperatorError`].
pub async fn status(folder: &Path) -> Result<Status, OperatorError> {
    let link = open(folder).await?;
    match link.ask(Ask::Status).await {
        Ok(Answer::Status(status)) => Ok(status),
        Ok(other) => Err(unanswered(folder, io::Error::other(format!("it answered {other:?}")))),
        Err(error) => Err(unanswered(folder, error)),
    }
}

/// Ends the data plane of `folder` and waits until its process has let go of everything. Without `force` it refuses while clients
/// are connected; with `only_if_idle` also while anything is exported.
///
/// # Errors
/// [`OperatorError`].
pub async fn stop(folder: &Path, force: bool, only_if_idle: bool) -> Result<Stopped, OperatorError> {
    let link = open(folder).await?;
    let pid = link.welcome.pid;
    match link.ask(Ask::Stop { force, only_if_idle }).await {
        // It may be gone before its answer is.
        Ok(Answer::Stopping) | Err(LinkError::Lost) => {}
        Ok(Answer::Refused(why)) => return Err(OperatorError::Refused(why)),
        Ok(other) => return Err(unanswered(folder, io::Error::other(format!("it answered {other:?}")))),
        Err(error) => return Err(unanswered(folder, error)),
    }
    ended(folder, pid).await?;
    Ok(Stopped { pid })
}

/// Waits until that process has ended. Another may have taken its place at once: a controller starts one.
async fn ended(folder: &Path, pid: u32) -> Result<(), OperatorError> {
    let begun = Instant::now();
    while !Place::new(folder).is_vacant() {
        if open(folder).await.is_ok_and(|link| link.welcome.pid != pid) {
            return Ok(());
        }
        if begun.elapsed() > END_PATIENCE {
            let told = format!("it said that it ends, and process {pid} is still there after {} s", END_PATIENCE.as_secs());
            return Err(unanswered(folder, io::Error::new(io::ErrorKind::TimedOut, told)));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

async fn open(folder: &Path) -> Result<Link, OperatorError> {
    let place = Place::new(folder);
    match Link::open(&place.socket(), Role::Operator).await {
        Ok(link) => Ok(link),
        Err(_) if place.is_vacant() => Err(OperatorError::Absent(folder.to_owned())),
        Err(error) => Err(unanswered(folder, error)),
    }
}

fn unanswered(folder: &Path, source: impl std::error::Error + Send + Sync + 'static) -> OperatorError {
    OperatorError::Unanswered { folder: folder.to_owned(), source: Box::new(source) }
}
