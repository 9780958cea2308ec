//! `berth serve`: opens what is needed, joins it, listens, and stops gently.
//!
//! The order matters: the data folder's lock first (so that nobody else works in it), then the backends, the exporter, the
//! engine (a new incarnation, recovery started), and the listener last: whoever can connect gets true answers.

use crate::cli::ServeArgs;
use crate::config::{Config, PoolConfig, Words};
use crate::{http, mark};
use anyhow::{Context, Result, bail};
use api_opensds::{AttachmentWords, Settings as ApiSettings};
use driver_file::{FileDriver, Options as DriverOptions};
use engine::ports::Clock;
use engine::{Engine, PoolSetup};
use exporter::{NbdExporter, Options as ExporterOptions};
use lifecycle::{Bytes, Timestamp};
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use store_sqlite::SqliteStore;
use tokio::net::TcpListener;

/// The file in the data folder that keeps the NBD port chosen once: connection info must survive restarts.
const NBD_PORT_FILE: &str = "nbd-port";
/// The unix socket of the NBD server in the data folder.
const NBD_SOCKET: &str = "nbd.sock";

/// The wall clock.
struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A server that is ready to answer.
pub(crate) struct Ready {
    listener: TcpListener,
    router: axum::Router,
    exporter: Arc<NbdExporter>,
    header_timeout: Duration,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Ready {
    /// Opens everything that `args` and the configuration name.
    ///
    /// # Errors
    /// What cannot be opened and why, with what to do. Nothing is left behind but the folders.
    pub(crate) async fn open(args: &ServeArgs) -> Result<Self> {
        let config = Config::read(args.config.as_deref())?;
        guard_listeners(args)?;
        std::fs::create_dir_all(&args.data).with_context(|| format!("cannot make the data folder {}", args.data.display()))?;
        let store = SqliteStore::open(&args.data, store_sqlite::Options::default())?;
        let pools = config.pools.iter().map(|pool| open_pool(pool, args)).collect::<Result<Vec<_>>>()?;
        let exporter = Arc::new(open_exporter(args, &config).await?);
        let engine = Engine::start(Arc::new(store), exporter.clone(), Arc::new(WallClock), pools, config.settings()).await?;
        let attachment_words = match config.opensds.attachment_words {
            Words::Seed => AttachmentWords::Seed,
            Words::Legacy => AttachmentWords::Legacy,
        };
        let router = api_opensds::router(Arc::new(engine), ApiSettings { attachment_words });
        let listener = TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
        let address = listener.local_addr().context("cannot tell where it listens")?;
        Ok(Self { listener, router, exporter, header_timeout: config.header_timeout(), address })
    }

    /// Answers until `stop` resolves.
    pub(crate) async fn run(self, stop: impl Future<Output = ()>) {
        http::serve(self.listener, self.router, self.header_timeout, stop).await;
        self.exporter.shutdown().await;
    }
}

/// Runs the server until it is told to stop by SIGINT or SIGTERM.
///
/// # Errors
/// As [`Ready::open`].
pub(crate) fn run(args: &ServeArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(async {
        let ready = Ready::open(args).await?;
        announce(ready.address);
        ready.run(told_to_stop()?).await;
        anyhow::Ok(())
    })?;
    // A hung backend's thread must not hold the process: what it owes is in the records.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the one line that tells where it listens")]
fn announce(address: SocketAddr) {
    println!("listening on http://{address}");
}

fn told_to_stop() -> Result<impl Future<Output = ()>> {
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
fn guard_listeners(args: &ServeArgs) -> Result<()> {
    let open: Vec<_> = [("--listen", args.listen), ("--nbd-listen", args.nbd_listen)]
        .into_iter()
        .filter(|(_, at)| !at.ip().is_loopback())
        .collect();
    match open.first() {
        Some((flag, address)) if !args.insecure_no_auth => bail!(
            "{flag} {address} can be reached from other machines, and there is no authentication yet: anyone who connects can read, \
             change and delete every volume. Listen on a loopback address, or say --insecure-no-auth if the network is trusted"
        ),
        Some((flag, address)) => {
            tracing::warn!(flag, %address, "no authentication: anyone who can connect can read, change and delete every volume");
            Ok(())
        }
        None => Ok(()),
    }
}

fn open_pool(pool: &PoolConfig, args: &ServeArgs) -> Result<PoolSetup> {
    let delay = Duration::from_millis(args.slow_ms);
    let options = DriverOptions {
        reserved: pool.reserved.map(Bytes),
        step_delay: delay,
        copy_chunk_delay: delay,
        ..DriverOptions::default()
    };
    let folder = pool.folder(&args.data);
    mark::check(&args.data, &pool.name, &folder)?;
    let driver = FileDriver::open(&folder, options)?;
    Ok(PoolSetup {
        name: pool.name.clone(),
        description: pool.description.clone(),
        zone: pool.zone.clone(),
        overcommit: pool.overcommit,
        retired: pool.retired,
        driver: Arc::new(driver),
    })
}

async fn open_exporter(args: &ServeArgs, config: &Config) -> Result<NbdExporter> {
    let mut tcp = args.nbd_listen;
    let kept = args.data.join(NBD_PORT_FILE);
    if tcp.port() == 0
        && let Some(port) = std::fs::read_to_string(&kept).ok().and_then(|text| text.trim().parse().ok())
    {
        tcp.set_port(port);
    }
    let mut options = ExporterOptions { tcp, unix: Some(socket_path(&args.data)?), ..ExporterOptions::default() };
    if let Some(seconds) = config.times.detach_grace {
        options.grace = Duration::from_secs(seconds);
    }
    let exporter = NbdExporter::start(options).await.with_context(|| format!("cannot serve NBD on {tcp}"))?;
    if args.nbd_listen.port() == 0 {
        std::fs::write(&kept, exporter.tcp_address().port().to_string()).context("cannot keep the NBD port in the data folder")?;
    }
    Ok(exporter)
}

fn socket_path(data: &Path) -> Result<std::path::PathBuf> {
    let folder = data.canonicalize().with_context(|| format!("cannot find the data folder {}", data.display()))?;
    Ok(folder.join(NBD_SOCKET))
}
