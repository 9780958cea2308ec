//! `berth serve`: opens what is needed, joins it, listens, and stops gently.
//!
//! The order matters: the data folder's lock first (so that nobody else works in it), then the backends, the data plane, the
//! engine (a new incarnation, recovery started), and the listener last: whoever can connect gets true answers.

use crate::cli::{NbdArgs, ServeArgs};
use crate::config::{Config, PoolConfig, Words};
use crate::fail_points::{LISTEN, STOP};
use crate::http::{self, Limits};
use crate::kept::kept;
use crate::late::Opening;
use crate::mark;
use anyhow::{Context, Result, bail};
use api_opensds::{AttachmentWords, Settings as ApiSettings};
use driver_file::{FileDriver, Options as DriverOptions};
use engine::ports::{Clock, Exporter};
use engine::{Engine, PoolSetup};
use exporter::plane::RemoteExporter;
use exporter_local::{LocalExporter, Options as LocalOptions};
use lifecycle::{Bytes, Timestamp};
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use store_sqlite::SqliteStore;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// The file in the data folder with what tells this controller's loop devices from those of others on the machine.
const LOCAL_MARK_FILE: &str = "local-mark";

/// How many threads may block besides those of the pools: the runtime's own default.
const BLOCKING_THREADS: usize = 512;

/// After how many polls of tasks a busy thread looks which connections have something to read. By the runtime's own default of 61 a quiet tenant's
/// request lay unseen for two milliseconds beside a noisy one's, whoever's turn it was. No rate was measured to be less for it.
const POLLS_BEFORE_EVENTS: u32 = 5;

/// How long the first answer waits for the records to be compared with what is exported: far more than that takes, unless a data
/// plane hangs or hundreds of thousands of volumes are attached; then health tells what is not known.
const COMPARING_MAX: Duration = Duration::from_secs(2);

/// The wall clock.
struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        Timestamp(now.saturating_add(failpoint::clock_step()))
    }
}

/// A server that is ready to answer.
pub(crate) struct Ready {
    listener: TcpListener,
    router: axum::Router,
    data_plane: Arc<RemoteExporter>,
    limits: Limits,
    engine: Engine,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Ready {
    /// Opens everything that `args` and the configuration name.
    ///
    /// # Errors
    /// What cannot be opened and why, with what to do. Nothing is left behind but the folders.
    pub(crate) async fn open(args: &ServeArgs, config: &Config) -> Result<Self> {
        guard_listener("--listen", args.listen, args.nbd.insecure_no_auth)?;
        guard_nbd(&args.nbd, config)?;
        let folder = data_folder(&args.nbd.data)?;
        crate::folders::are_apart(config, &folder).await?;
        let store = SqliteStore::open(&folder, store_sqlite::Options::default())?;
        let pools = open_pools(config, &folder, args).await?;
        let local = open_local(&folder, config)?;
        let listener = TcpListener::bind(args.listen).await.with_context(|| cannot_listen(args.listen))?;
        let address = listener.local_addr().context("cannot tell where it listens")?;
        let data_plane = Arc::new(open_data_plane(&folder, args, config).await?);
        let exporters: Vec<Arc<dyn Exporter>> = [data_plane.clone() as Arc<dyn Exporter>].into_iter().chain(local).collect();
        let engine = match Engine::start(Arc::new(store), exporters, Arc::new(WallClock), pools, config.settings()).await {
            Ok(engine) => engine,
            Err(refusal) => {
                data_plane.close().await;
                return Err(refusal.into());
            }
        };
        if tokio::time::timeout(COMPARING_MAX, engine.compared()).await.is_err() {
            tracing::warn!("what is exported is not known yet; attachments show health unknown until it is");
        }
        let attachment_words = match config.opensds.attachment_words {
            Words::Seed => AttachmentWords::Seed,
            Words::Legacy => AttachmentWords::Legacy,
        };
        let settings = ApiSettings { attachment_words, streams: config.http.streams as usize };
        let router = ui::over(api_opensds::router(Arc::new(engine.clone()), settings));
        let limits = Limits { connections: config.http.connections.get() as usize, header_timeout: config.header_timeout() };
        Ok(Self { listener, router, data_plane, limits, engine, address })
    }

    /// Answers until `stop` resolves.
    pub(crate) async fn run(self, stop: impl Future<Output = ()>) {
        let stop = async {
            stop.await;
            // Streams of events end by themselves: they would be waited for in vain.
            self.engine.end();
        };
        http::serve(self.listener, self.router, self.engine.clone(), self.limits, stop).await;
        STOP.before.pass();
        self.data_plane.close().await;
        STOP.after.pass();
    }
}

/// Runs the server until it is told to stop by SIGINT or SIGTERM.
///
/// # Errors
/// As [`Ready::open`].
pub(crate) fn run(args: &ServeArgs) -> Result<()> {
    keep_to_ourselves();
    // A connection is a file, and the usual limit is a thousand.
    exporter::raise_file_limit();
    let config = Config::read(args.nbd.config.as_deref())?;
    // As many threads as all pools can block at once, and the usual number for everybody else.
    let threads = BLOCKING_THREADS + config.pools.len() * driver_file::THREADS_MAX;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all().max_blocking_threads(threads).event_interval(POLLS_BEFORE_EVENTS);
    let runtime = runtime.build().context("cannot start the runtime")?;
    let serving = async {
        // From the first moment on, so that what a start has begun is ended in order.
        let stop = told_to_stop()?;
        let ready = Ready::open(args, &config).await?;
        LISTEN.before.pass();
        announce(ready.address);
        LISTEN.after.pass();
        ready.run(stop).await;
        anyhow::Ok(())
    };
    block_on(&runtime, serving)?;
    // A hung backend's thread must not hold the process: what it owes is in the records.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

/// Blocks on a large future. A runtime polls what it blocks on in three places, and each would have a copy of all of its code.
pub(crate) fn block_on<T>(runtime: &Runtime, future: impl Future<Output = T>) -> T {
    let boxed: Pin<Box<dyn Future<Output = T> + '_>> = Box::pin(future);
    runtime.block_on(boxed)
}

fn cannot_listen(address: SocketAddr) -> String {
    format!(
        "cannot listen on {address}; if another server listens there, stop it, or name another address with --listen (one that was killed \
         while a file system hangs may keep the address until that thaws)"
    )
}

/// What this process makes is for its own user alone: records hold the secrets by which exports are reached.
pub(crate) fn keep_to_ourselves() {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
}

#[expect(clippy::print_stdout, reason = "the one line that tells where it listens")]
fn announce(address: SocketAddr) {
    println!("listening on http://{address}");
}

/// Resolves at SIGTERM or SIGINT.
///
/// # Errors
/// The signals cannot be listened for.
pub(crate) fn told_to_stop() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    })
}

/// There is no authentication yet, so whoever can connect is the administrator.
///
/// # Errors
/// The address can be reached from elsewhere, and nobody said that this is meant.
fn guard_listener(flag: &str, address: SocketAddr, insecure: bool) -> Result<()> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    if !insecure {
        bail!(
            "{flag} {address} can be reached from other machines, and there is no authentication yet: anyone who connects can read, \
             change and delete every volume. Listen on a loopback address, or say --insecure-no-auth if the network is trusted (NBD may be served over TLS instead)"
        );
    }
    tracing::warn!(flag, %address, "no authentication: anyone who can connect can read, change and delete every volume");
    Ok(())
}

/// NBD may be served to other machines if every client must prove a name, or if somebody says that this is not needed.
///
/// # Errors
/// As [`guard_listener`].
pub(crate) fn guard_nbd(args: &NbdArgs, config: &Config) -> Result<()> {
    if config.nbd_proves_everybody() { Ok(()) } else { guard_listener("--nbd-listen", args.nbd_listen, args.insecure_no_auth) }
}

/// The data folder by its full name, as the data plane runs elsewhere; made if missing, for its owner alone: the records hold the
/// secrets by which exports are reached.
///
/// # Errors
/// It can be neither made nor found.
pub(crate) fn data_folder(data: &Path) -> Result<PathBuf> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data);
    made.with_context(|| format!("cannot make the data folder {}", data.display()))?;
    data.canonicalize().with_context(|| format!("cannot find the data folder {}", data.display()))
}

/// Opens every pool's folder, beside each other.
///
/// # Errors
/// One of them cannot be a pool.
async fn open_pools(config: &Config, data: &Path, args: &ServeArgs) -> Result<Vec<PoolSetup>> {
    let begun: Vec<_> = config.pools.iter().map(|pool| (pool, begin_pool(pool, data, args))).collect();
    let mut pools = Vec::with_capacity(begun.len());
    for (pool, opening) in begun {
        pools.push(PoolSetup {
            name: pool.name.clone(),
            description: pool.description.clone(),
            zone: pool.zone.clone(),
            overcommit: pool.overcommit,
            retired: pool.retired,
            deadlines: pool.deadline.deadlines(),
            when_down: pool.when_down.into(),
            driver: opening.finish(crate::late::PATIENCE).await?,
        });
    }
    Ok(pools)
}

fn begin_pool(pool: &PoolConfig, data: &Path, args: &ServeArgs) -> Opening {
    let delay = Duration::from_millis(args.slow_ms);
    let options = DriverOptions {
        reserved: pool.reserved.map(Bytes),
        step_delay: delay,
        copy_chunk_delay: delay,
        ..DriverOptions::default()
    };
    let (name, folder, data) = (pool.name.clone(), pool.folder(data), data.to_owned());
    Opening::begin(&pool.name, move || {
        mark::check(&data, &name, &folder)?;
        Ok(FileDriver::open(&folder, options.clone())?)
    })
}

async fn open_data_plane(folder: &Path, args: &ServeArgs, config: &Config) -> Result<RemoteExporter> {
    let spawn = config.nbd.spawn_data_plane && !args.no_data_plane_spawn;
    let launch = if spawn { Some(crate::data::launch(folder, &args.nbd)?) } else { None };
    let options = crate::data::options(folder, &args.nbd, config)?;
    RemoteExporter::open(folder, launch, &options).await.map_err(|why| anyhow::anyhow!("cannot have a data plane: {why}"))
}

/// Attaching to this machine itself, where the kernel and our rights let us.
fn open_local(folder: &Path, config: &Config) -> Result<Option<Arc<dyn Exporter>>> {
    if let Err(why) = LocalExporter::available() {
        tracing::info!(why, "volumes cannot be attached to this machine itself (access protocol local)");
        return Ok(None);
    }
    let mark = kept(folder, LOCAL_MARK_FILE, || uuid::Uuid::new_v4().to_string().into_bytes())?;
    let mark: uuid::Uuid = String::from_utf8_lossy(&mark)
        .trim()
        .parse()
        .with_context(|| format!("{} holds something else than it was made with", folder.join(LOCAL_MARK_FILE).display()))?;
    let folders = config.pools.iter().map(|pool| pool.folder(folder)).collect();
    let mut options = LocalOptions::new(mark.as_u64_pair().0, folders);
    options.grace = config.exporter(None)?.grace;
    Ok(Some(Arc::new(LocalExporter::new(&options))))
}
