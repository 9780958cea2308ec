//! The engine's Exporter port on the server.

use crate::ending::{self, DRAIN, Stage, until_none};
use crate::exports::{Export, Registry};
use crate::limits::{Complaint, Limits};
use crate::names::{NameKey, Names};
use crate::occupied::{Busy, Occupied};
use crate::plane::ExportStatus;
use crate::points::{EXPORT, UNEXPORT};
use crate::protocol::request::Errno;
use crate::replaced;
use crate::server::{Shared, accept_tcp, accept_unix, listen};
use crate::socket_file::SocketFile;
use crate::storage::Storage;
use crate::tls::{Tls, TlsError, TlsOptions};
use async_trait::async_trait;
use engine::ports::{Backing, Client, ExportSpec, Exporter, Unanswered};
use engine::tokens::Tokens;
use folder_lock::Former;
use lifecycle::{AttachmentId, Connection, ExportSeen, Facts, Mode, Outcome, Token};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a graceful end waits for clients to leave. Source: the design of detach.
const GRACE: Duration = Duration::from_secs(5);
/// How many connections there may be: well under the usual limit of 20,000 files a process.
const CONNECTIONS_MAX: usize = 4096;
/// How many connections one export may have: multi-conn clients use up to 16.
const SESSIONS_MAX: usize = 64;

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 picks one.
    pub tcp: SocketAddr,
    /// Where to listen on this machine; a stale socket file there is replaced.
    pub unix: Option<PathBuf>,
    /// The name or address that clients are told to connect to; none for the address listened on.
    pub advertise_host: Option<String>,
    /// How long a graceful end waits for clients to leave.
    pub grace: Duration,
    /// How many connections there may be, unless the process may open too few files for them.
    pub max_connections: usize,
    /// How many connections one export may have.
    pub max_connections_per_export: usize,
    /// What the secrets in the exports' names are made with. Keep it, or the names change with each start.
    pub key: NameKey,
    /// How TLS is spoken; none: it is not.
    pub tls: Option<TlsOptions>,
    /// Data planes that were here before, and may not have left the kernel yet.
    pub former: Former,
}

impl Options {
    /// What a server with these options does, in words: two that say the same can take each other's place. Not the addresses, which
    /// are told apart otherwise, nor the key, which is nobody's business.
    #[must_use]
    pub fn terms(&self) -> String {
        let Self { advertise_host, grace, max_connections, max_connections_per_export, tls, .. } = self;
        format!("{advertise_host:?} {grace:?} {max_connections} {max_connections_per_export} {tls:?}")
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tcp: SocketAddr::from((Ipv4Addr::LOCALHOST, 10_809)),
            unix: None,
            advertise_host: None,
            grace: GRACE,
            max_connections: CONNECTIONS_MAX,
            max_connections_per_export: SESSIONS_MAX,
            key: NameKey::random(),
            tls: None,
            former: Former::default(),
        }
    }
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It cannot listen there.
    #[error("cannot listen for NBD on {on}; is another server there? name another address with --nbd-listen")]
    Listen {
        /// Where.
        on: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It cannot speak TLS as it is told to.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A running server.
pub struct NbdExporter {
    shared: Arc<Shared>,
    address: SocketAddr,
    options: Options,
    socket_file: Option<SocketFile>,
    /// Held by the thread that looks at all backings.
    looking: Arc<tokio::sync::Mutex<()>>,
    occupied: Occupied,
}

impl NbdExporter {
    /// Starts listening.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left listening.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let tls = options.tls.as_ref().map(Tls::load).transpose()?;
        let failed = |on: String| move |source| StartError::Listen { on, source };
        let tcp = TcpListener::bind(options.tcp).map_err(failed(options.tcp.to_string()))?;
        let address = tcp.local_addr().map_err(failed(options.tcp.to_string()))?;
        let (unix, socket_file) = match &options.unix {
            Some(path) => {
                SocketFile::bind(path).map(|(unix, file)| (Some(unix), Some(file))).map_err(failed(path.display().to_string()))?
            }
            None => (None, None),
        };
        let shared = Arc::new(Shared {
            registry: Registry::new(Names::new(&options.key)),
            tls,
            limits: Limits::new(options.max_connections),
            sessions_max: options.max_connections_per_export,
            sessions_full: Complaint::new("connections to one export", "max-connections-per-export"),
            stopping: AtomicBool::new(false),
        });
        listen(shared.clone(), tcp, accept_tcp).map_err(failed(address.to_string()))?;
        if let Some(unix) = unix {
            listen(shared.clone(), unix, accept_unix).map_err(failed("the unix socket".into()))?;
        }
        let occupied = Occupied::default();
        tokio::spawn(replaced::watch(Arc::downgrade(&shared), occupied.clone()));
        Ok(Self { shared, address, options, socket_file, looking: Arc::default(), occupied })
    }

    /// What it was started with.
    pub(crate) const fn options(&self) -> &Options {
        &self.options
    }

    /// Where it listens on TCP.
    #[must_use]
    pub const fn tcp_address(&self) -> SocketAddr {
        self.address
    }

    /// Ends everything: no connection and no change is accepted any more, those in flight are awaited for a while, and every
    /// client is cut.
    pub async fn shutdown(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        let exports: Vec<_> = self.shared.registry.lock().exports.values().cloned().collect();
        exports.iter().for_each(|export| export.fence());
        let drained = async {
            for export in &exports {
                until_none(&mut export.changes.subscribe(), DRAIN).await;
            }
        };
        // All together take no longer than one may: a backing that hangs must not hold the process.
        let _ = tokio::time::timeout(DRAIN, drained).await;
        exports.iter().for_each(|export| export.cut());
        // The listeners wake by one last connection each, see that they are to stop, and end.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if let Some(file) = &self.socket_file {
            file.remove();
        }
    }

    /// How many exports there are, and how many clients are connected to them.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.shared.registry.lock();
        (state.exports.len(), state.exports.values().map(|export| *export.sessions.borrow()).sum())
    }

    /// Everything that is exported, for people. Waits as long as a backing hangs, one thread for all who ask.
    pub(crate) async fn status(&self) -> Vec<ExportStatus> {
        let looking = self.looking.clone().lock_owned().await;
        let exports: Vec<_> = self.shared.registry.lock().exports.values().cloned().collect();
        let looked = tokio::task::spawn_blocking(move || {
            let _looking = looking;
            exports.iter().map(|export| export.status()).collect()
        });
        looked.await.unwrap_or_default()
    }

    /// A new controller has come: no call of an earlier one is under way any more, so whatever it calls next is the newest.
    pub(crate) fn welcome(&self) {
        self.shared.registry.lock().tokens = Tokens::default();
    }

    fn connection(&self, spec: &ExportSpec) -> Connection {
        let name = self.shared.registry.names.of(spec.attachment);
        let ip = self.address.ip();
        let host = match &self.options.advertise_host {
            Some(host) => host.clone(),
            None if ip.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
            None => ip.to_string(),
        };
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let port = self.address.port().to_string();
        let tls = self.options.tls.as_ref();
        let scheme = |is_secured| if is_secured { "nbds" } else { "nbd" };
        let mut data = BTreeMap::from([
            ("uri".to_owned(), format!("{}://{bracketed}:{port}/{name}", scheme(tls.is_some_and(|tls| tls.required_on_tcp)))),
            ("host".to_owned(), host),
            ("port".to_owned(), port),
            ("mode".to_owned(), if spec.mode == Mode::ReadOnly { "ro" } else { "rw" }.to_owned()),
        ]);
        if let Some(path) = &self.options.unix {
            let path = path.display().to_string();
            let scheme = scheme(tls.is_some_and(|tls| tls.required_on_unix));
            data.insert("unixUri".to_owned(), format!("{scheme}+unix:///{name}?socket={path}"));
            data.insert("socket".to_owned(), path);
        }
        if tls.is_some_and(|tls| !tls.required_on_tcp) {
            data.insert("tlsUri".to_owned(), format!("nbds://{bracketed}:{}/{name}", self.address.port()));
        }
        data.insert("export".to_owned(), name);
        Connection { protocol: "nbd".to_owned(), data }
    }

    /// Opens what is to be exported; this may block as long as its disk does.
    async fn open(&self, spec: &ExportSpec) -> Result<Export, Outcome> {
        if spec.protocol != "nbd" {
            return Err(Outcome::Refused(format!("protocol {} is not spoken here (there is: nbd)", spec.protocol)));
        }
        let address: IpAddr = spec
            .address
            .parse()
            .map_err(|_| Outcome::Refused(format!("the host's address {:?} is no IP address", spec.address)))?;
        let Backing::File(path) = spec.backing.clone();
        let read_only = spec.mode == Mode::ReadOnly;
        let former = self.options.former.clone();
        let busy = self.occupy(spec.attachment)?;
        let opened = tokio::task::spawn_blocking(move || {
            let _busy = busy;
            let storage = Storage::open(&path, read_only).map_err(|error| unopened(&error))?;
            match storage.at_work(&former) {
                None => Ok(storage),
                Some(pid) => Err(Outcome::Failed(format!(
                    "the former data plane (process {pid}) was killed in the middle of a write to it, which hangs in the kernel; it is \
                     exported when its file system answers"
                ))),
            }
        });
        let storage = opened.await.map_err(|error| Outcome::Failed(error.to_string()))??;
        Ok(Export::new(spec.clone(), address, storage, self.connection(spec)))
    }

    /// What is exported already as this is to be, when a call for it begins.
    fn former(&self, token: Token, spec: &ExportSpec) -> Result<Option<Arc<Export>>, Outcome> {
        let mut state = self.shared.registry.lock();
        state.tokens.see(spec.attachment, token).map_err(superseded)?;
        match state.exports.get(&spec.attachment) {
            Some(export) if export.is_fenced() => Err(Outcome::Failed("its former export is still being ended".into())),
            Some(export) if export.spec == *spec => Ok(Some(export.clone())),
            Some(_) => Err(Outcome::Refused("it is exported already, with another mode or host".into())),
            None => Ok(None),
        }
    }

    /// Whether it goes on as it is; if not, it is absent then: another file has taken the place of the one that it serves.
    async fn again(&self, token: Token, export: &Arc<Export>) -> Result<bool, Outcome> {
        let busy = self.occupy(export.spec.attachment)?;
        let looked_at = export.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let _busy = busy;
            looked_at.is_in_place()
        });
        let is_in_place = looked.await.map_err(|error| Outcome::Failed(error.to_string()))?;
        if !self.shared.registry.lock().tokens.is_newest(export.spec.attachment, token) {
            return Err(Outcome::Refused("superseded by a newer call".into()));
        }
        if is_in_place && !export.is_fenced() {
            return Ok(true);
        }
        replaced::end(&self.shared, &self.occupied, export);
        let ended = ending::by_force(&self.shared, &self.occupied, export).await;
        ended.map_err(|why| Outcome::Failed(format!("its former export is still being ended: {why}")))?;
        Ok(false)
    }

    /// Begins to serve what was opened, if that is still wanted.
    fn serve(&self, token: Token, opened: Arc<Export>) -> Outcome {
        let attachment = opened.spec.attachment;
        let mut state = self.shared.registry.lock();
        if !state.tokens.is_newest(attachment, token) {
            return Outcome::Refused("superseded by a newer call".into());
        }
        if self.shared.stopping.load(Ordering::Acquire) {
            return Outcome::Failed("the data plane is ending".into());
        }
        serving(state.exports.entry(attachment).or_insert(opened))
    }

    /// Waits for the clients to leave, and ends the export then.
    async fn end_gracefully(&self, token: Token, export: &Arc<Export>) -> Result<(), Outcome> {
        let _closing = export.close();
        let mut sessions = export.sessions.subscribe();
        let left = until_none(&mut sessions, self.options.grace).await;
        let clients = export.clients();
        if !left && !clients.is_empty() {
            let words: Vec<_> = clients
                .iter()
                .map(|client| format!("client {} was still connected, since {}", client.address, client.since))
                .collect();
            return Err(Outcome::Refused(format!("{}; disconnect it or detach with force", words.join(", "))));
        }
        // Before the fence: if it cannot be flushed the export is to be as it was.
        self.flush(export).await?.map_err(|_| {
            let why = "what was written could not be flushed, and ending the export would give it up; see to its disk, or detach \
                       with force";
            Outcome::Refused(why.into())
        })?;
        UNEXPORT.before.pass();
        {
            let mut state = self.shared.registry.lock();
            if !state.tokens.is_newest(export.spec.attachment, token) {
                return Err(Outcome::Refused("superseded by a newer call".into()));
            }
            export.fence();
            state.remove(export);
        }
        UNEXPORT.after.pass();
        Ok(())
    }

    /// Flushes what was written. An error is an outcome: it does not end.
    async fn flush(&self, export: &Arc<Export>) -> Result<Result<(), Errno>, Outcome> {
        let busy = self.occupy(export.spec.attachment)?;
        let flushed = export.clone();
        let flush = tokio::task::spawn_blocking(move || {
            let _busy = busy;
            flushed.storage.flush()
        });
        match tokio::time::timeout(DRAIN, flush).await {
            Ok(Ok(flushed)) => Ok(flushed),
            Ok(Err(error)) => Err(Outcome::Unknown(error.to_string())),
            Err(_) => Err(Outcome::Unknown("the last flush does not end: the backing hangs".into())),
        }
    }

    /// Takes the attachment's thread for a call on its backing.
    fn occupy(&self, attachment: AttachmentId) -> Result<Busy, Outcome> {
        let hangs = || Outcome::Failed("a former try still waits for its backing, which hangs".into());
        self.occupied.try_take(attachment).ok_or_else(hangs)
    }
}

/// What a backing that cannot be opened means: for now, if the process or the system has run out of something.
fn unopened(error: &std::io::Error) -> Outcome {
    use rustix::io::Errno as System;
    let why = format!("its backing cannot be opened: {error}");
    match System::from_io_error(error) {
        Some(System::MFILE | System::NFILE | System::NOMEM | System::AGAIN | System::INTR) => Outcome::Failed(why),
        Some(_) | None => Outcome::Refused(why),
    }
}

fn serving(export: &Export) -> Outcome {
    Outcome::Done(Facts::Export(ExportSeen::Serving(export.connection.clone())))
}

/// How far an end is, for whoever asks meanwhile.
fn being_ended(export: &Export) -> String {
    match *export.stage.borrow() {
        Stage::Late(why) => format!("it is being ended, which takes long: {why}"),
        Stage::Served | Stage::Ending | Stage::Ended => "it is being ended".into(),
    }
}

fn superseded(newer: Token) -> Outcome {
    Outcome::Refused(format!("superseded by a newer call ({}.{})", newer.incarnation, newer.counter))
}

#[async_trait]
impl Exporter for NbdExporter {
    fn protocols(&self) -> &'static [&'static str] {
        &["nbd"]
    }

    async fn export(&self, token: Token, spec: ExportSpec) -> Outcome {
        match self.former(token, &spec) {
            Ok(Some(export)) => match self.again(token, &export).await {
                Ok(true) => return serving(&export),
                Ok(false) => {}
                Err(outcome) => return outcome,
            },
            Ok(None) => {}
            Err(outcome) => return outcome,
        }
        let opened = match self.open(&spec).await {
            Ok(opened) => Arc::new(opened),
            Err(outcome) => return outcome,
        };
        EXPORT.before.pass();
        let served = self.serve(token, opened);
        EXPORT.after.pass();
        served
    }

    async fn unexport(&self, token: Token, attachment: AttachmentId, force: bool) -> Outcome {
        let absent = Outcome::Done(Facts::Export(ExportSeen::Absent));
        let export = {
            let mut state = self.shared.registry.lock();
            if let Err(newer) = state.tokens.see(attachment, token) {
                return superseded(newer);
            }
            match state.exports.get(&attachment) {
                Some(export) => export.clone(),
                None => return absent,
            }
        };
        // An end by force that has begun cannot be taken back: whoever asks for an end joins it.
        let ended = if force || export.is_fenced() {
            ending::by_force(&self.shared, &self.occupied, &export).await.map_err(|why| Outcome::Unknown(why.into()))
        } else {
            self.end_gracefully(token, &export).await
        };
        ended.err().unwrap_or(absent)
    }

    async fn inspect(&self, attachment: AttachmentId, fence: Option<Token>) -> Result<ExportSeen, Unanswered> {
        let mut state = self.shared.registry.lock();
        if let Some(token) = fence {
            state.tokens.see(attachment, token).map_err(|_| Unanswered("superseded by a newer call".into()))?;
        }
        match state.exports.get(&attachment) {
            // Neither served any more nor proven to be gone.
            Some(export) if export.is_fenced() => Err(Unanswered(being_ended(export))),
            Some(export) => Ok(ExportSeen::Serving(export.connection.clone())),
            None => Ok(ExportSeen::Absent),
        }
    }

    async fn list(&self) -> Result<BTreeMap<AttachmentId, Connection>, Unanswered> {
        let state = self.shared.registry.lock();
        let serving = state.exports.iter().filter(|(_, export)| !export.is_fenced());
        Ok(serving.map(|(id, export)| (*id, export.connection.clone())).collect())
    }

    async fn clients(&self, attachment: AttachmentId) -> Result<Vec<Client>, Unanswered> {
        let export = self.shared.registry.lock().exports.get(&attachment).cloned();
        Ok(export.map(|export| export.clients()).unwrap_or_default())
    }
}
