//! The data plane's process: serves NBD, and answers its controller over a socket in the data folder.
//!
//! It keeps nothing: what it serves it was asked to serve, and when it ends that is gone, which its controller notices at once.
//! It outlives its controller, and serves on; the next one finds it by the socket.
//!
//! Invariants:
//! - at most one controller is heard: a newer one ends the session of an older, and with it what that had under way, before its own
//!   first question. So its calls are the newest, also if its records are older than what an earlier controller called with;
//! - a question that is given up, or whose asker is gone, goes no further than the next check of its token;
//! - only root and the user that it runs as may ask.
//!
//! Source: architecture page, "Life of a crash"; lifecycle page, "Fencing".

use super::message::{
    ANSWER_MAX, ASK_MAX, Answer, Answered, Ask, Asked, Hello, OutcomeWord, PROTOCOL, Role, SeenWord, Status, Welcome, frame, read,
    write,
};
use super::place::Place;
use crate::points::{ANSWER, WELCOME};
use crate::port::{NbdExporter, Options, StartError};
use crate::socket_file::SocketFile;
use engine::ports::Exporter;
use folder_lock::Lock;
use lifecycle::AttachmentId;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

/// How long a connection may take to say hello.
const HELLO_PATIENCE: Duration = Duration::from_secs(5);
/// How many connections are held at once: a controller, the one it replaces, and some people who look.
const CONNECTIONS_MAX: usize = 32;
/// How many questions of a connection are worked on at once; the next ones wait in the socket. A controller asks once an attachment
/// at a time, and a graceful end takes seconds.
const QUESTIONS_MAX: usize = 1024;
/// How many answers wait for a reader that is slow.
const ANSWERS_MAX: usize = 64;
/// How long an address may be taken before that is an error.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(1);
/// Between two tries.
const ADDRESS_PAUSE: Duration = Duration::from_millis(20);
/// How often it is looked whether the data folder is still there.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Why a data plane could not be started or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum PlaneError {
    /// Another one holds the folder, or it cannot be written.
    #[error("cannot be the data plane of {folder}")]
    Lock {
        /// The data folder.
        folder: PathBuf,
        /// What stands in the way.
        source: io::Error,
    },
    /// The control socket cannot be made.
    #[error("cannot listen on {socket} (a path of over 107 bytes is too long for a socket)")]
    Control {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot serve NBD.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// A data plane that serves, until it is told to stop.
pub struct DataPlane {
    shared: Arc<Shared>,
    listener: UnixListener,
    socket: SocketFile,
    lock: Lock,
    stopped: oneshot::Receiver<()>,
}

struct Shared {
    exporter: NbdExporter,
    /// The present controller's time, which ends when another says hello.
    controller: tokio::sync::Mutex<Option<Successor>>,
    stop: Mutex<Option<oneshot::Sender<()>>>,
}

impl DataPlane {
    /// Takes the folder's lock, listens for NBD and for a controller.
    ///
    /// # Errors
    /// [`PlaneError`]; nothing is left listening.
    pub async fn start(folder: &Path, options: Options) -> Result<Self, PlaneError> {
        let place = Place::new(folder);
        let lock = place.lock().map_err(|source| PlaneError::Lock { folder: folder.to_owned(), source })?;
        let exporter = listen(Options { former: lock.former(), ..options }).await?;
        let socket = place.socket();
        let (listener, socket) = bind(&socket).map_err(|source| PlaneError::Control { socket, source })?;
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::new(Shared { exporter, controller: tokio::sync::Mutex::default(), stop: Mutex::new(Some(stop)) });
        Ok(Self { shared, listener, socket, lock, stopped })
    }

    /// Where it serves NBD over TCP.
    #[must_use]
    pub fn tcp_address(&self) -> std::net::SocketAddr {
        self.shared.exporter.tcp_address()
    }

    /// Serves until `stop` resolves, somebody asks it to stop, or the data folder is gone and nobody is connected any more.
    /// Then no change is accepted any more, those in flight are awaited for a bounded time, and clients are cut.
    ///
    /// Returns the folder's lock, to be held for as long as anything of it may still act: until the process ends.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Lock {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut look = tokio::time::interval(LOOK_EVERY);
        // Ended with this: whoever is connected then sees the end of the connection.
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                _ = &mut self.stopped => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => self.admit(stream, &places, &mut connections),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a control connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(_) = connections.join_next() => {}
                _ = look.tick() => if !self.lock.is_in_place() && self.shared.exporter.counts().1 == 0 {
                    tracing::warn!("the data folder is gone, and no client is connected; ending");
                    break;
                },
            }
        }
        // Nothing more is asked for, and what was under way goes no further.
        connections.shutdown().await;
        self.shared.exporter.shutdown().await;
        self.socket.remove();
        self.lock
    }

    fn admit(&self, stream: UnixStream, places: &Arc<Semaphore>, connections: &mut JoinSet<()>) {
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::warn!(limit = CONNECTIONS_MAX, "a control connection was refused: there are as many as there may be");
            return;
        };
        let allowed = stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == rustix::process::geteuid().as_raw());
        if !allowed {
            tracing::warn!("a control connection of another user was refused");
            return;
        }
        let shared = self.shared.clone();
        connections.spawn(async move {
            let _place = place;
            if let Err(error) = serve(&shared, stream).await {
                tracing::debug!(%error, "a control connection ended");
            }
        });
    }
}

/// Starts serving NBD. A process that has just ended lets go of its lock a moment before it lets go of its address.
async fn listen(options: Options) -> Result<NbdExporter, StartError> {
    let begun = Instant::now();
    loop {
        match NbdExporter::start(options.clone()).await {
            Err(StartError::Listen { source, .. })
                if source.kind() == io::ErrorKind::AddrInUse && begun.elapsed() < ADDRESS_PATIENCE =>
            {
                tokio::time::sleep(ADDRESS_PAUSE).await;
            }
            other => return other,
        }
    }
}

fn bind(socket: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let (listener, file) = SocketFile::bind(socket)?;
    listener.set_nonblocking(true)?;
    Ok((UnixListener::from_std(listener)?, file))
}

async fn serve(shared: &Arc<Shared>, stream: UnixStream) -> io::Result<()> {
    let (mut from, mut to) = stream.into_split();
    let hello: Option<Hello> =
        tokio::time::timeout(HELLO_PATIENCE, read(&mut from, ASK_MAX)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let Some(hello) = hello else { return Ok(()) };
    // Taken before the welcome, so that a controller that was welcomed is the only one.
    let reign = if hello.role == Role::Controller && hello.protocol == PROTOCOL { Some(shared.succeed().await) } else { None };
    WELCOME.before.pass();
    write(&mut to, &shared.welcome()).await?;
    WELCOME.after.pass();
    // What an operator may ask is the same in every version.
    if hello.protocol != PROTOCOL && hello.role == Role::Controller {
        return Ok(());
    }
    let session = Session { shared: shared.clone(), questions: JoinSet::new(), open: HashMap::new() }.run(from, to);
    match reign {
        None => session.await,
        Some(mut reign) => tokio::select! {
            ended = session => ended,
            () = reign.is_over() => Ok(()),
        },
    }
}

/// The time of one controller: until the next one comes. Dropping it tells the next that it is over.
struct Reign {
    over: oneshot::Receiver<()>,
    _left: oneshot::Sender<()>,
}

/// What ends a controller's time, and tells when it has ended.
struct Successor {
    end: oneshot::Sender<()>,
    left: oneshot::Receiver<()>,
}

impl Reign {
    async fn is_over(&mut self) {
        // Also if nobody holds the other end: then another controller has it.
        let _ = (&mut self.over).await;
    }
}

/// One connection after its hello. Dropping it gives up all its questions.
struct Session {
    shared: Arc<Shared>,
    questions: JoinSet<()>,
    open: HashMap<u64, AbortHandle>,
}

impl Session {
    async fn run(mut self, mut from: OwnedReadHalf, to: OwnedWriteHalf) -> io::Result<()> {
        let (answers, waiting) = mpsc::channel(ANSWERS_MAX);
        let writer = tokio::spawn(tell(waiting, to));
        let _writer = AbortOnDrop(writer.abort_handle());
        // Reading a frame must not be given up half-way, so it has a task of its own.
        let (asked, mut questions) = mpsc::channel(1);
        let reader = tokio::spawn(async move { hear(&mut from, &asked).await });
        let _reader = AbortOnDrop(reader.abort_handle());
        loop {
            tokio::select! {
                question = questions.recv(), if self.has_room() => match question {
                    Some(asked) => self.take(asked, &answers),
                    None => break,
                },
                Some(_) = self.questions.join_next() => self.open.retain(|_, open| !open.is_finished()),
            }
        }
        // Whatever is under way goes with the session: nobody hears its answer any more.
        reader.await.map_err(io::Error::other)?
    }

    /// Counts what is worked on and not the numbers: an asker may use one for many questions.
    fn has_room(&self) -> bool {
        self.questions.len() < QUESTIONS_MAX
    }

    fn take(&mut self, Asked { number, ask }: Asked, answers: &mpsc::Sender<Answered>) {
        if matches!(ask, Ask::Cancel) {
            if let Some(open) = self.open.remove(&number) {
                open.abort();
            }
            return;
        }
        let (shared, answers) = (self.shared.clone(), answers.clone());
        let handle = self.questions.spawn(async move {
            let answer = shared.answer(ask).await;
            let stops = matches!(answer, Answer::Stopping);
            // Nobody waits for it any more if it cannot be sent.
            ANSWER.before.pass();
            let _ = answers.send(Answered { number, answer }).await;
            ANSWER.after.pass();
            if stops {
                // Let the answer go out first.
                tokio::task::yield_now().await;
                shared.stop();
            }
        });
        self.open.insert(number, handle);
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn hear(from: &mut OwnedReadHalf, asked: &mpsc::Sender<Asked>) -> io::Result<()> {
    while let Some(question) = read(from, ASK_MAX).await? {
        if asked.send(question).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn tell(mut waiting: mpsc::Receiver<Answered>, mut to: OwnedWriteHalf) -> io::Result<()> {
    use tokio::io::AsyncWriteExt;
    while let Some(answered) = waiting.recv().await {
        let mut bytes = frame(&answered)?;
        if bytes.len() > usize::try_from(ANSWER_MAX).expect("64-bit") {
            let answer = Answer::Unanswered("the answer is too long to be sent".into());
            bytes = frame(&Answered { number: answered.number, answer })?;
        }
        to.write_all(&bytes).await?;
    }
    Ok(())
}

impl Shared {
    fn welcome(&self) -> Welcome {
        Welcome {
            protocol: PROTOCOL,
            release: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            listen: self.exporter.tcp_address().to_string(),
            terms: self.exporter.options().terms(),
        }
    }

    /// Ends the session of the controller before, with all that it has under way, and begins another's.
    async fn succeed(&self) -> Reign {
        let mut controller = self.controller.lock().await;
        if let Some(former) = controller.take() {
            drop(former.end);
            // An error is its end, too: nothing is ever sent.
            let _ = former.left.await;
        }
        self.exporter.welcome();
        let ((end, over), (left_told, left)) = (oneshot::channel(), oneshot::channel());
        *controller = Some(Successor { end, left });
        Reign { over, _left: left_told }
    }

    fn stop(&self) {
        if let Some(stop) = lock(&self.stop).take() {
            // The receiver lives as long as the process serves.
            let _ = stop.send(());
        }
    }

    async fn answer(&self, ask: Ask) -> Answer {
        let exporter = &self.exporter;
        let unanswered = |error: engine::ports::Unanswered| Answer::Unanswered(error.0);
        match ask {
            Ask::Export { token, spec } => Answer::Outcome(OutcomeWord::from(exporter.export(token.into(), spec.into()).await)),
            Ask::Unexport { token, attachment, force } => {
                Answer::Outcome(OutcomeWord::from(exporter.unexport(token.into(), AttachmentId(attachment), force).await))
            }
            Ask::Inspect { attachment, fence } => {
                let seen = exporter.inspect(AttachmentId(attachment), fence.map(Into::into)).await;
                seen.map_or_else(unanswered, |seen| Answer::Seen(SeenWord::from(seen)))
            }
            Ask::List => {
                let list = exporter.list().await;
                list.map_or_else(unanswered, |all| Answer::Exports(all.into_iter().map(|(id, held)| (id.0, held.into())).collect()))
            }
            Ask::Clients { attachment } => {
                let clients = exporter.clients(AttachmentId(attachment)).await;
                clients.map_or_else(unanswered, |all| Answer::Clients(all.into_iter().map(Into::into).collect()))
            }
            Ask::Status => self.status().await,
            Ask::Stop { force, only_if_idle } => self.asked_to_stop(force, only_if_idle),
            // Heard where questions are taken.
            Ask::Cancel => Answer::Refused("there is nothing to give up".into()),
        }
    }

    async fn status(&self) -> Answer {
        let Welcome { release, pid, listen, .. } = self.welcome();
        Answer::Status(Status { pid, release, listen, exports: self.exporter.status().await })
    }

    fn asked_to_stop(&self, force: bool, only_if_idle: bool) -> Answer {
        let (exports, clients) = self.exporter.counts();
        if only_if_idle && exports > 0 {
            return Answer::Refused(format!("{exports} attachments are exported"));
        }
        if clients > 0 && !force {
            return Answer::Refused(format!(
                "{clients} clients are connected to {exports} exports; they would have to connect again. Disconnect them, or stop with --force"
            ));
        }
        Answer::Stopping
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn questions_of_one_number_are_bounded_like_others() {
        let options = Options { tcp: ([127, 0, 0, 1], 0).into(), ..Options::default() };
        let exporter = NbdExporter::start(options).await.unwrap();
        let shared = Arc::new(Shared { exporter, controller: tokio::sync::Mutex::default(), stop: Mutex::default() });
        let mut session = Session { shared: shared.clone(), questions: JoinSet::new(), open: HashMap::new() };
        let (answers, _unheard) = mpsc::channel(1);
        let mut taken = 0;
        while session.has_room() {
            assert!(taken < 2 * QUESTIONS_MAX, "it takes ever more");
            session.take(Asked { number: 1, ask: Ask::Status }, &answers);
            taken += 1;
        }
        assert_eq!(taken, QUESTIONS_MAX);
        shared.exporter.shutdown().await;
    }
}
