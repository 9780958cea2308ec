//! One connection to a data plane: questions go out, answers come back in any order.
//!
//! Invariants:
//! - a question whose asker stops waiting is given up at the other side too;
//! - once the connection is lost every asker is told so, and [`Link::closed`] returns.

use super::message::{ANSWER_MAX, Answer, Answered, Ask, Asked, Hello, PROTOCOL, Role, Welcome, frame, read, write};
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// How long a data plane may take to say welcome: it is on this machine, and its control thread does nothing slow.
const WELCOME_PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// It cannot be reached.
    #[error("the data plane cannot be reached")]
    Io(#[from] io::Error),
    /// It speaks another version.
    #[error(
        "the data plane (process {pid}, release {release}) speaks version {theirs} of the control protocol and this is version {PROTOCOL}; \
         end it with the `berth data stop` of its own release"
    )]
    Version {
        /// Its process.
        pid: u32,
        /// Its release.
        release: String,
        /// Its version.
        theirs: u32,
    },
    /// The connection was lost while the answer was awaited.
    #[error("the connection to the data plane was lost")]
    Lost,
}

/// A connection that has been welcomed.
pub(crate) struct Link {
    pub(crate) welcome: Welcome,
    next: AtomicU64,
    send: mpsc::UnboundedSender<Vec<u8>>,
    waiting: Arc<Mutex<Waiting>>,
    closed: watch::Receiver<bool>,
    writer: JoinHandle<()>,
    reader: JoinHandle<()>,
}

/// Who waits for which answer; nothing once the connection is lost.
type Waiting = Option<HashMap<u64, oneshot::Sender<Answer>>>;

impl Link {
    /// Connects to the socket and says hello.
    pub(crate) async fn open(socket: &Path, role: Role) -> Result<Self, LinkError> {
        let welcomed = async {
            let (mut from, mut to) = UnixStream::connect(socket).await?.into_split();
            write(&mut to, &Hello { protocol: PROTOCOL, role }).await?;
            let welcome: Option<Welcome> = read(&mut from, ANSWER_MAX).await?;
            io::Result::Ok((welcome.ok_or(io::ErrorKind::UnexpectedEof)?, from, to))
        };
        let (welcome, from, to) = tokio::time::timeout(WELCOME_PATIENCE, welcomed).await.map_err(|_| silent())??;
        if welcome.protocol != PROTOCOL {
            return Err(LinkError::Version { pid: welcome.pid, release: welcome.release, theirs: welcome.protocol });
        }
        Ok(Self::run(welcome, from, to))
    }

    fn run(welcome: Welcome, from: OwnedReadHalf, to: OwnedWriteHalf) -> Self {
        // Not bounded here: each sender waits for its answer, and the engine bounds how many there are.
        let (send, frames) = mpsc::unbounded_channel();
        let waiting: Arc<Mutex<Waiting>> = Arc::new(Mutex::new(Some(HashMap::new())));
        let (close, closed) = watch::channel(false);
        let reader = tokio::spawn(hear(from, waiting.clone(), close));
        let writer = tokio::spawn(tell(frames, to));
        Self { welcome, next: AtomicU64::new(1), send, waiting, closed, writer, reader }
    }

    /// Puts a question, in order with the others. The connection need not be there any more; waiting for the answer tells.
    pub(crate) fn put(&self, ask: Ask) -> Result<Pending<'_>, LinkError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let bytes = frame(&Asked { number, ask })?;
        let (sender, answer) = oneshot::channel();
        lock(&self.waiting).as_mut().ok_or(LinkError::Lost)?.insert(number, sender);
        let pending = Pending { link: self, number, answer };
        self.send.send(bytes).map_err(|_| LinkError::Lost)?;
        Ok(pending)
    }

    /// Asks and waits for the answer.
    pub(crate) async fn ask(&self, ask: Ask) -> Result<Answer, LinkError> {
        self.put(ask)?.answer().await
    }

    /// Returns once the connection is lost.
    pub(crate) async fn closed(&self) {
        // An error says that the reader is gone, and the connection with it.
        let _ = self.closed.clone().wait_for(|closed| *closed).await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.writer.abort();
        self.reader.abort();
    }
}

/// A question that was put. Dropping it before the answer came gives it up.
pub(crate) struct Pending<'a> {
    link: &'a Link,
    number: u64,
    answer: oneshot::Receiver<Answer>,
}

impl Pending<'_> {
    pub(crate) async fn answer(mut self) -> Result<Answer, LinkError> {
        (&mut self.answer).await.map_err(|_| LinkError::Lost)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let was_waiting = lock(&self.link.waiting).as_mut().is_some_and(|waiting| waiting.remove(&self.number).is_some());
        if was_waiting && let Ok(bytes) = frame(&Asked { number: self.number, ask: Ask::Cancel }) {
            // A connection that is lost has given everything up already.
            let _ = self.link.send.send(bytes);
        }
    }
}

async fn hear(mut from: OwnedReadHalf, waiting: Arc<Mutex<Waiting>>, close: watch::Sender<bool>) {
    loop {
        match read(&mut from, ANSWER_MAX).await {
            Ok(Some(Answered { number, answer })) => {
                let asker = lock(&waiting).as_mut().and_then(|waiting| waiting.remove(&number));
                // One that stopped waiting has given it up.
                let _ = asker.map(|asker| asker.send(answer));
            }
            Ok(None) => break,
            Err(error) => {
                tracing::warn!(%error, "the data plane's answers make no sense");
                break;
            }
        }
    }
    // Dropping the senders tells every asker.
    *lock(&waiting) = None;
    close.send_replace(true);
}

async fn tell(mut frames: mpsc::UnboundedReceiver<Vec<u8>>, mut to: OwnedWriteHalf) {
    use tokio::io::AsyncWriteExt;
    while let Some(bytes) = frames.recv().await {
        if to.write_all(&bytes).await.is_err() {
            // The reader sees the end of the connection and tells everybody.
            return;
        }
    }
}

fn silent() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("it did not answer within {} s", WELCOME_PATIENCE.as_secs()))
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}
