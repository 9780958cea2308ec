//! The engine's port on a data plane of its own process: found or started, kept, and started again when it ends.
//!
//! Invariants:
//! - what a data plane served ended with its process. Its lock tells when that is so, and from then on its exports are absent, not
//!   unknown, until it serves again;
//! - a call goes out only if no newer one for its attachment came here meanwhile, so that waiting for a new process reorders nothing;
//! - a connection that is lost says nothing about what was asked over it: the answer is unknown.
//!
//! Source: architecture page, "Life of a crash"; lifecycle page, "Fencing".

use super::launch::Launch;
use super::link::{Link, LinkError, Pending};
use super::message::{Answer, Ask, Role};
use super::operator::{self, OperatorError};
use super::place::Place;
use crate::port::Options;
use async_trait::async_trait;
use engine::ports::{Client, ExportSpec, Exporter, Unanswered};
use engine::tokens::Tokens;
use lifecycle::{AttachmentId, Connection, ExportSeen, Facts, Outcome, Token};
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long a call waits for a data plane that is being started: ten times what a start takes on a busy machine.
const LINK_PATIENCE: Duration = Duration::from_secs(5);
/// How long a started process may take until it answers.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// How long a process may take to let go of its lock after its connection was lost, before it is taken to live on.
const END_PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);
/// How often a data plane is asked whether it answers, and how long it may take: a hung one is shown within twice this.
const BEAT: Duration = Duration::from_secs(2);
/// Between two tries to have a data plane; doubles up to the second.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// See [`RETRY_MIN`].
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How much of a failed start's log is read for the reason.
const REASON_MAX: u64 = 4096;

/// A data plane in a process of its own.
pub struct RemoteExporter {
    shared: Arc<Shared>,
    keeper: JoinHandle<()>,
}

struct Shared {
    place: Place,
    /// How one is started; nothing if somebody else does that.
    launch: Option<Launch>,
    state: watch::Sender<State>,
    losses: watch::Sender<u64>,
    /// Whether it answered the last time it was asked on its connection.
    answers: AtomicBool,
    tokens: Mutex<Tokens>,
}

/// Whether there is a data plane.
#[derive(Clone)]
enum State {
    /// It answers.
    Up(Arc<Link>),
    /// It is proven that none runs, so that nothing is exported; and why none was started.
    Gone(String),
    /// It may run, and does not answer.
    Unreachable(String),
}

impl RemoteExporter {
    /// Finds the data plane of `folder`, or starts one with `launch`; without `launch` one that is not there yet is awaited.
    ///
    /// `options` are those that a new one would be started with. One that is there and listens elsewhere (port 0: anywhere on that
    /// address), does otherwise or is of another release is replaced if it exports nothing, and else kept, as replacing it would cost its clients a reconnect.
    ///
    /// # Errors
    /// In words: none could be started, and why.
    pub async fn open(folder: &Path, launch: Option<Launch>, options: &Options) -> Result<Self, String> {
        let shared = Arc::new(Shared {
            place: Place::new(folder),
            launch,
            state: watch::Sender::new(State::Gone("it has not been started yet".into())),
            losses: watch::Sender::new(0),
            answers: AtomicBool::new(true),
            tokens: Mutex::default(),
        });
        shared.replace_stale(options).await;
        let first = match shared.connect().await {
            Ok(link) => Some(shared.up(link)),
            // One that runs and does not answer is no reason not to tell what is known of everything else.
            Err(why) if shared.launch.is_some() && shared.place.is_vacant() => return Err(why),
            Err(why) => {
                tracing::warn!(why, "there is no data plane yet; nothing can be attached until there is");
                shared.down(why);
                None
            }
        };
        let keeper = tokio::spawn(shared.clone().keep(first));
        Ok(Self { shared, keeper })
    }

    /// The process that serves, if one does.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match &*self.shared.state.borrow() {
            State::Up(link) => Some(link.welcome.pid),
            State::Gone(_) | State::Unreachable(_) => None,
        }
    }

    /// Lets go of the data plane. One that was not somebody else's to start ends too if it exports nothing, and else serves on.
    pub async fn close(&self) {
        self.keeper.abort();
        if self.shared.launch.is_none() {
            return;
        }
        match operator::stop(self.shared.place.folder(), false, true).await {
            Ok(_) | Err(OperatorError::Absent(_)) => {}
            Err(OperatorError::Refused(why)) => tracing::info!(why, "the data plane serves on"),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the data plane was not told to end"),
        }
    }
}

impl Drop for RemoteExporter {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Shared {
    /// Has a data plane again each time it was lost.
    async fn keep(self: Arc<Self>, mut link: Option<Arc<Link>>) {
        let mut pause = RETRY_MIN;
        loop {
            if let Some(held) = link.take() {
                self.watch(&held).await;
                self.lost().await;
                pause = RETRY_MIN;
            }
            match self.connect().await {
                Ok(again) => {
                    link = Some(self.up(again));
                    self.losses.send_modify(|count| *count += 1);
                }
                Err(why) => {
                    tracing::warn!(why, "there is no data plane; trying again");
                    self.down(why);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
        }
    }

    /// Returns once the connection is lost, or is one to a dead process; meanwhile notes whether the data plane answers.
    async fn watch(&self, link: &Link) {
        loop {
            let beat = async {
                tokio::time::sleep(BEAT).await;
                let nobody = Ask::Inspect { attachment: uuid::Uuid::nil(), fence: None };
                tokio::time::timeout(BEAT, link.ask(nobody)).await.is_ok()
            };
            tokio::select! {
                () = link.closed() => return,
                answers = beat => {
                    if self.answers.swap(answers, Ordering::AcqRel) != answers {
                        tracing::warn!(answers, "whether the data plane answers has changed");
                    }
                    // One that was killed while its threads hang in a file system keeps its end of the connection.
                    if !answers && self.place.is_vacant() {
                        return;
                    }
                }
            }
        }
    }

    /// The connection was lost: waits a while for the proof that the process is gone.
    async fn lost(&self) {
        let until = Instant::now() + END_PATIENCE;
        while !self.place.is_vacant() && Instant::now() < until {
            tokio::time::sleep(PAUSE).await;
        }
        tracing::warn!("the data plane was lost");
        self.down("it ended, and is being started again".into());
    }

    fn up(&self, link: Link) -> Arc<Link> {
        let link = Arc::new(link);
        tracing::info!(pid = link.welcome.pid, listen = link.welcome.listen, "the data plane serves");
        self.answers.store(true, Ordering::Release);
        self.state.send_replace(State::Up(link.clone()));
        link
    }

    /// There is no connection. Who must compare is told once what was served is proven to be gone.
    fn down(&self, why: String) {
        let (was_gone, is_gone) = (self.is_gone(), self.place.is_vacant());
        self.state.send_replace(if is_gone { State::Gone(why) } else { State::Unreachable(why) });
        // Its end may be proven long after its connection was lost: a process that dies slowly.
        if is_gone && !was_gone {
            self.losses.send_modify(|count| *count += 1);
        }
    }

    /// Connects to the data plane that runs, or starts one. Errors in words.
    async fn connect(&self) -> Result<Link, String> {
        let socket = self.place.socket();
        // A dead process may still have the socket, and would be waited for.
        if let Some(launch) = self.launch.as_ref().filter(|_| self.place.is_vacant()) {
            return self.start(launch).await;
        }
        match (Link::open(&socket, Role::Controller).await, &self.launch) {
            (Ok(link), _) => Ok(link),
            (Err(_), Some(launch)) if self.place.is_vacant() => self.start(launch).await,
            (Err(_), None) if self.place.is_vacant() => Err("the data plane is not running; start `berth data`".into()),
            (Err(error), _) => Err(words(&error)),
        }
    }

    async fn start(&self, launch: &Launch) -> Result<Link, String> {
        let log_before = std::fs::metadata(self.place.log()).map_or(0, |log| log.len());
        let mut child = launch.start(&self.place).map_err(|error| format!("cannot start {}: {error}", launch.program.display()))?;
        let until = Instant::now() + START_PATIENCE;
        let link = loop {
            match Link::open(&self.place.socket(), Role::Controller).await {
                Ok(link) => break Ok(link),
                Err(LinkError::Io(_) | LinkError::Lost) if Instant::now() < until => {}
                Err(error) => break Err(words(&error)),
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Err(self.reason(log_before).unwrap_or_else(|| format!("the data plane ended at once ({status})")));
            }
            tokio::time::sleep(PAUSE).await;
        };
        // Its end is seen by its connection; this only lets the system forget the process.
        tokio::spawn(async move { child.wait().await });
        link
    }

    /// The last words in the log since it had `before` bytes.
    fn reason(&self, before: u64) -> Option<String> {
        let mut log = std::fs::File::open(self.place.log()).ok()?;
        let length = log.metadata().ok()?.len();
        log.seek(SeekFrom::Start(before.max(length.saturating_sub(REASON_MAX)))).ok()?;
        let mut bytes = Vec::new();
        log.take(REASON_MAX).read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let last = text.lines().rev().find(|line| !line.trim().is_empty())?;
        Some(last.trim_start_matches("berth: ").to_owned())
    }

    /// Ends a data plane that is not as a new one would be, if nobody needs it.
    async fn replace_stale(&self, options: &Options) {
        let folder = self.place.folder();
        let Some(there) = operator::greet(folder).await.ok() else { return };
        let address: Option<SocketAddr> = there.listen.parse().ok();
        let is_there = address.is_some_and(|at| at.ip() == options.tcp.ip() && [0, at.port()].contains(&options.tcp.port()));
        if is_there && there.release == env!("CARGO_PKG_VERSION") && there.terms == options.terms() {
            return;
        }
        let ended = match &self.launch {
            Some(_) => operator::stop(folder, false, true).await.map_err(|error| words(&error)),
            None => Err("somebody else runs it".to_owned()),
        };
        match ended {
            Ok(_) => {
                tracing::info!(there.pid, "the former data plane is replaced: it was idle, and of another release or configuration")
            }
            Err(why) => tracing::warn!(
                there.pid,
                there.release,
                there.listen,
                why,
                "the data plane that runs is of another release, address or configuration, and goes on as it is; `berth data stop` ends \
                 it, a new one is started then, and clients connect again"
            ),
        }
    }

    /// The connection, awaited for a while if there is none. Errors in words.
    async fn link(&self) -> Result<Arc<Link>, String> {
        let mut state = self.state.subscribe();
        let up = state.wait_for(|state| matches!(state, State::Up(_)));
        // Only its result matters here: the state is read once more below.
        let _ = tokio::time::timeout(LINK_PATIENCE, up).await.map(drop);
        match &*self.state.borrow() {
            State::Up(link) => Ok(link.clone()),
            State::Gone(why) | State::Unreachable(why) => Err(format!("the data plane is not there: {why}")),
        }
    }

    fn is_gone(&self) -> bool {
        matches!(&*self.state.borrow(), State::Gone(_))
    }

    fn see(&self, attachment: AttachmentId, token: Token) -> Result<(), Token> {
        self.tokens().see(attachment, token)
    }

    fn tokens(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a question that carries a token, unless a newer one came: in order, as the lock is held.
    fn put<'a>(&self, link: &'a Link, attachment: AttachmentId, token: Token, ask: Ask) -> Result<Pending<'a>, Outcome> {
        let tokens = self.tokens();
        if !tokens.is_newest(attachment, token) {
            return Err(Outcome::Refused("superseded by a newer call".into()));
        }
        link.put(ask).map_err(|error| match error {
            LinkError::Io(error) => Outcome::Refused(format!("it cannot be told to the data plane: {error}")),
            LinkError::Lost | LinkError::Hung | LinkError::Version { .. } => Outcome::Failed(error.to_string()),
        })
    }

    /// Asks for a change, as the newest call for its attachment.
    async fn change(&self, token: Token, attachment: AttachmentId, ask: Ask) -> Outcome {
        let link = match self.link().await {
            Ok(link) => link,
            Err(why) => return Outcome::Failed(why),
        };
        let pending = match self.put(&link, attachment, token, ask) {
            Ok(pending) => pending,
            Err(outcome) => return outcome,
        };
        match pending.answer().await {
            Ok(Answer::Outcome(outcome)) => outcome.into(),
            Ok(other) => Outcome::Unknown(format!("the data plane answered {other:?}")),
            Err(error) => Outcome::Unknown(words(&error)),
        }
    }
}

fn superseded(newer: Token) -> Outcome {
    Outcome::Refused(format!("superseded by a newer call ({}.{})", newer.incarnation, newer.counter))
}

/// An error with what caused it, in one line.
fn words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |words, cause| format!("{words}: {cause}"))
}

fn unanswered(error: &LinkError) -> Unanswered {
    Unanswered(words(error))
}

fn strange(answer: Answer) -> Unanswered {
    match answer {
        Answer::Unanswered(why) => Unanswered(why),
        other => Unanswered(format!("the data plane answered {other:?}")),
    }
}

#[async_trait]
impl Exporter for RemoteExporter {
    fn protocols(&self) -> &'static [&'static str] {
        &["nbd"]
    }

    async fn export(&self, token: Token, spec: ExportSpec) -> Outcome {
        let attachment = spec.attachment;
        if let Err(newer) = self.shared.see(attachment, token) {
            return superseded(newer);
        }
        self.shared.change(token, attachment, Ask::Export { token: token.into(), spec: spec.into() }).await
    }

    async fn unexport(&self, token: Token, attachment: AttachmentId, force: bool) -> Outcome {
        if let Err(newer) = self.shared.see(attachment, token) {
            return superseded(newer);
        }
        if self.shared.is_gone() {
            return Outcome::Done(Facts::Export(ExportSeen::Absent));
        }
        self.shared.change(token, attachment, Ask::Unexport { token: token.into(), attachment: attachment.0, force }).await
    }

    async fn inspect(&self, attachment: AttachmentId, fence: Option<Token>) -> Result<ExportSeen, Unanswered> {
        if let Some(token) = fence {
            self.shared.see(attachment, token).map_err(|_| Unanswered("superseded by a newer call".into()))?;
        }
        if self.shared.is_gone() {
            return Ok(ExportSeen::Absent);
        }
        let link = self.shared.link().await.map_err(Unanswered)?;
        let ask = Ask::Inspect { attachment: attachment.0, fence: fence.map(Into::into) };
        match link.ask(ask).await.map_err(|error| unanswered(&error))? {
            Answer::Seen(seen) => Ok(seen.into()),
            other => Err(strange(other)),
        }
    }

    async fn list(&self) -> Result<BTreeMap<AttachmentId, Connection>, Unanswered> {
        if self.shared.is_gone() {
            return Ok(BTreeMap::new());
        }
        let link = self.shared.link().await.map_err(Unanswered)?;
        match link.ask(Ask::List).await.map_err(|error| unanswered(&error))? {
            Answer::Exports(all) => Ok(all.into_iter().map(|(id, held)| (AttachmentId(id), held.into())).collect()),
            other => Err(strange(other)),
        }
    }

    async fn clients(&self, attachment: AttachmentId) -> Result<Vec<Client>, Unanswered> {
        if self.shared.is_gone() {
            return Ok(Vec::new());
        }
        let link = self.shared.link().await.map_err(Unanswered)?;
        match link.ask(Ask::Clients { attachment: attachment.0 }).await.map_err(|error| unanswered(&error))? {
            Answer::Clients(all) => Ok(all.into_iter().map(Into::into).collect()),
            other => Err(strange(other)),
        }
    }

    fn answers(&self) -> bool {
        match &*self.shared.state.borrow() {
            State::Up(_) => self.shared.answers.load(Ordering::Acquire),
            // That nothing is served is known.
            State::Gone(_) => true,
            State::Unreachable(_) => false,
        }
    }

    fn losses(&self) -> Option<watch::Receiver<u64>> {
        Some(self.shared.losses.subscribe())
    }
}
