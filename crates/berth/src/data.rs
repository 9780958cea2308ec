//! `berth data`: runs the data plane, and what people ask of one that runs.
//!
//! Here stands how the data plane and the controller find each other: the folder, the address, the name of the process.

use crate::cli::{DataArgs, DataCommand, DataFolderArgs, DataRunArgs, DataStopArgs, Format, NbdArgs};
use crate::config::Config;
use crate::kept::kept;
use crate::serve::{block_on, data_folder, guard_nbd, keep_to_ourselves, told_to_stop};
use anyhow::{Context, Result};
use exporter::NameKey;
use exporter::plane::{self, DataPlane, Launch, Status};
use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// The file in the data folder that keeps the NBD port chosen once: connection info must survive restarts.
const NBD_PORT_FILE: &str = "nbd-port";
/// The unix socket of the NBD server in the data folder.
const NBD_SOCKET: &str = "nbd.sock";
/// The file in the data folder with the key that the secrets in exports' names are made with: names must survive restarts.
const NAME_KEY_FILE: &str = "nbd-key";
/// What the process is called where processes are listed, so that it is told from the controller, which may be killed by its name.
const PROCESS_NAME: &std::ffi::CStr = c"berth-data";

/// Runs the data plane until it is told to stop, or does what is asked of one that runs.
///
/// # Errors
/// What stands in the way, and what to do.
pub(crate) fn run(args: &DataArgs, format: Format) -> Result<()> {
    match &args.command {
        None => serve(&args.run),
        Some(DataCommand::Status(args)) => status(args, format),
        Some(DataCommand::Stop(args)) => stop(args),
    }
}

/// How the controller starts a data plane that serves as `nbd` says.
///
/// # Errors
/// Its own program cannot be found.
pub(crate) fn launch(folder: &Path, nbd: &NbdArgs) -> Result<Launch> {
    let program = std::env::current_exe().context("cannot tell which program this is")?;
    let mut arguments: Vec<OsString> = ["data", "--own-session", "--nbd-listen"].map(OsString::from).into();
    arguments.push(nbd.nbd_listen.to_string().into());
    arguments.extend(["--data".into(), folder.into()]);
    if let Some(config) = &nbd.config {
        let config = config.canonicalize().with_context(|| format!("cannot find the configuration {}", config.display()))?;
        arguments.extend(["--config".into(), config.into()]);
    }
    if nbd.insecure_no_auth {
        arguments.push("--insecure-no-auth".into());
    }
    Ok(Launch { program, arguments })
}

/// Keeps the port, on the disk before anybody is told of it: another one after a power cut would be another address of every volume.
fn keep_port(folder: &Path, port: &str) -> std::io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(port.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(folder.join(NBD_PORT_FILE))?;
    std::fs::File::open(folder)?.sync_all()
}

/// The address with the port that was chosen before, if any port does.
fn kept_address(folder: &Path, mut address: SocketAddr) -> SocketAddr {
    if address.port() == 0
        && let Some(port) = std::fs::read_to_string(folder.join(NBD_PORT_FILE)).ok().and_then(|text| text.trim().parse().ok())
    {
        address.set_port(port);
    }
    address
}

/// How the data plane of a folder serves.
///
/// # Errors
/// What the configuration says makes no sense together, or its files cannot be found.
pub(crate) fn options(folder: &Path, nbd: &NbdArgs, config: &Config) -> Result<exporter::Options> {
    let path = nbd.config.as_ref().map(|path| path.canonicalize()).transpose().context("cannot find the configuration")?;
    Ok(exporter::Options {
        tcp: kept_address(folder, nbd.nbd_listen),
        unix: Some(folder.join(NBD_SOCKET)),
        key: name_key(folder)?,
        ..config.exporter(path.as_deref())?
    })
}

fn serve(args: &DataRunArgs) -> Result<()> {
    keep_to_ourselves();
    // Before any other thread is there: the first one's name is the process's.
    rustix::thread::set_name(PROCESS_NAME).context("cannot set the name of the process")?;
    if args.own_session {
        rustix::process::setsid().context("cannot begin a session of its own")?;
    }
    let config = Config::read(args.nbd.config.as_deref())?;
    guard_nbd(&args.nbd, &config)?;
    let folder = data_folder(&args.nbd.data)?;
    let options = options(&folder, &args.nbd, &config)?;
    let chooses_port = options.tcp.port() == 0;
    if options.tcp.ip().is_unspecified() && options.advertise_host.is_none() {
        tracing::warn!(
            "clients elsewhere are told to connect to the loopback address: name this machine by advertise-host in [nbd]"
        );
    }
    let files = exporter::raise_file_limit();
    // One thread answers the controller; clients have threads of their own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    let serving = async {
        let plane = DataPlane::start(&folder, options).await?;
        if chooses_port {
            let port = plane.tcp_address().port().to_string();
            keep_port(&folder, &port).context("cannot keep the NBD port in the data folder")?;
        }
        tracing::info!(listen = %plane.tcp_address(), folder = %folder.display(), files, "the data plane serves");
        anyhow::Ok(plane.run(told_to_stop()?).await)
    };
    let lock = block_on(&runtime, serving)?;
    // A hung backing's thread must not hold the process, nor may another begin before it is gone.
    runtime.shutdown_timeout(Duration::from_secs(1));
    std::mem::forget(lock);
    Ok(())
}

/// The key that the secrets in exports' names are made with.
fn name_key(folder: &Path) -> Result<NameKey> {
    let bytes = kept(folder, NAME_KEY_FILE, || NameKey::random().as_bytes().to_vec())?;
    let bytes: [u8; 32] = bytes.try_into().map_err(|held: Vec<u8>| {
        anyhow::anyhow!(
            "{} holds {} bytes where a key of 32 was; bring it back, or remove it: every attachment is then reached by another name",
            folder.join(NAME_KEY_FILE).display(),
            held.len()
        )
    })?;
    Ok(bytes.into())
}

fn asking<T>(asked: impl Future<Output = Result<T, plane::OperatorError>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    Ok(runtime.block_on(asked)?)
}

fn status(args: &DataFolderArgs, format: Format) -> Result<()> {
    let status = asking(plane::status(&args.data))?;
    let mut out = std::io::stdout().lock();
    let written = match format {
        Format::Table => table(&mut out, &status),
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&status)?),
        Format::Name => status.exports.iter().try_for_each(|export| writeln!(out, "{}", export.attachment)),
    };
    match written {
        // A reader that leaves early is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write"),
    }
}

fn table(out: &mut impl Write, status: &Status) -> std::io::Result<()> {
    let exports = status.exports.len();
    writeln!(out, "process {}, release {}, serving {exports} attachments on {}", status.pid, status.release, status.listen)?;
    for export in &status.exports {
        let size = export.size.map_or_else(|| "a size it does not tell".to_owned(), |size| format!("{size} bytes"));
        let ending = if export.is_fenced { ", being ended" } else { "" };
        writeln!(out, "{}  {}  {size}{ending}", export.attachment, export.mode)?;
        for client in &export.clients {
            let since = lifecycle::Timestamp(client.since);
            writeln!(
                out,
                "    {} since {since}: {} bytes read, {} written, {} requests in flight",
                client.address, client.bytes_read, client.bytes_written, client.in_flight
            )?;
        }
    }
    Ok(())
}

fn stop(args: &DataStopArgs) -> Result<()> {
    let stopped = asking(plane::stop(&args.folder.data, args.force, false))?;
    // Messages go to standard error; nobody is left to tell that it cannot be written.
    drop(writeln!(std::io::stderr(), "berth: the data plane (process {}) has ended", stopped.pid));
    Ok(())
}
