//! Berth and the servers beside it: each serves a full and a sparse volume of one GiB in the same folder, over a unix socket and TCP.

use crate::bench::controller::Server;
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The size of every volume: Berth's smallest.
pub(super) const SIZE: u64 = 1 << 30;
/// How many connections a peer must take at once: eight clients, with nbdcopy's four to spare.
const CONNECTIONS: &str = "16";
/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// One of the three ways to a server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The full volume, over the unix socket.
    Full,
    /// The sparse one, over the unix socket.
    Sparse,
    /// The full one, over TCP on the loopback address.
    Tcp,
}

/// A way to reach a volume.
pub(super) struct Reach {
    pub(super) uri: String,
    /// The process that serves it.
    pub(super) process: u32,
}

/// A server under measurement.
pub(super) struct Served {
    pub(super) name: &'static str,
    full: Reach,
    sparse: Reach,
    tcp: Reach,
    /// Ended when dropped.
    _running: Running,
}

impl Served {
    pub(super) const fn reach(&self, way: Way) -> &Reach {
        match way {
            Way::Full => &self.full,
            Way::Sparse => &self.sparse,
            Way::Tcp => &self.tcp,
        }
    }
}

enum Running {
    Berth { _server: Server },
    Peers { _peers: Vec<Peer> },
}

struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        // It serves a temporary folder: there is nothing to lose.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Which other server, and how it is told to do its input and output.
#[derive(Clone, Copy)]
enum Kind {
    Qemu(&'static str),
    Nbdkit,
}

/// Starts all of them, Berth first, and fills what is to be full. A peer that does not start here is left out.
pub(super) fn start(folder: &Path, source: &str) -> Result<Vec<Served>> {
    let mut all = vec![berth(folder)?];
    let peers = [("qemu-nbd", Kind::Qemu("threads")), ("qemu-nbd, io_uring", Kind::Qemu("io_uring")), ("nbdkit", Kind::Nbdkit)];
    for (name, kind) in peers {
        match peers_of(folder, name, kind) {
            Ok(served) => all.push(served),
            Err(error) => println!("{name} is left out: {error:#}"),
        }
    }
    ensure!(all.len() > 1, "there is nothing to compare with: install qemu-utils or nbdkit");
    for served in &all {
        super::load::run("nbdcopy", &[source, &served.full.uri])?;
    }
    Ok(all)
}

/// Makes a file of bytes that no layer takes for zeroes or repetitions. Gives its path.
pub(super) fn source(folder: &Path) -> Result<String> {
    let path = folder.join("source");
    let mut file = BufWriter::new(File::create(&path).context("cannot write")?);
    for at in 0..SIZE / 8 {
        file.write_all(&at.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes())?;
    }
    file.flush()?;
    Ok(path.to_str().context("UTF-8")?.to_owned())
}

fn berth(folder: &Path) -> Result<Served> {
    let server = Server::start(&folder.join("data"))?;
    let host = server.host("bench")?;
    let attach = |turn| -> Result<(String, String)> {
        let data = server.attach(&server.create(&server.agent, turn)?, &host)?;
        let word = |key: &str| data[key].as_str().map(str::to_owned).with_context(|| format!("no {key}"));
        Ok((word("unixUri")?, word("uri")?))
    };
    let ((full, tcp), (sparse, _)) = (attach(0)?, attach(1)?);
    let process = server.data_plane()?;
    let [full, sparse, tcp] = [full, sparse, tcp].map(|uri| Reach { uri, process });
    Ok(Served { name: "Berth", full, sparse, tcp, _running: Running::Berth { _server: server } })
}

fn peers_of(folder: &Path, name: &'static str, kind: Kind) -> Result<Served> {
    let short = name.replace([' ', ','], "");
    let at = |what: &str| folder.join(format!("{short}.{what}"));
    for what in ["full", "sparse"] {
        File::create(at(what)).and_then(|file| file.set_len(SIZE)).context("cannot write")?;
    }
    let mut running = Vec::new();
    let mut unix = |what: &str| -> Result<Reach> {
        let socket = at(&format!("{what}.sock"));
        let socket = socket.to_str().context("UTF-8")?;
        let (peer, process) = peer(command(kind, &at(what), &[unix_flag(kind), socket]), || UnixStream::connect(socket).is_ok())?;
        running.push(peer);
        Ok(Reach { uri: format!("nbd+unix:///?socket={socket}"), process })
    };
    let (full, sparse) = (unix("full")?, unix("sparse")?);
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let address = match kind {
        Kind::Qemu(_) => "-b",
        Kind::Nbdkit => "-i",
    };
    let tcp = command(kind, &at("full"), &[address, "127.0.0.1", "-p", &port.to_string()]);
    let (peer, process) = peer(tcp, || TcpStream::connect(("127.0.0.1", port)).is_ok())?;
    running.push(peer);
    let tcp = Reach { uri: format!("nbd://127.0.0.1:{port}"), process };
    Ok(Served { name, full, sparse, tcp, _running: Running::Peers { _peers: running } })
}

const fn unix_flag(kind: Kind) -> &'static str {
    match kind {
        Kind::Qemu(_) => "-k",
        Kind::Nbdkit => "-U",
    }
}

fn command(kind: Kind, file: &Path, listen: &[&str]) -> Command {
    match kind {
        Kind::Qemu(aio) => {
            let mut command = Command::new("qemu-nbd");
            command.args(["-t", "-e", CONNECTIONS, "-f", "raw", "--cache=writeback", "--discard=unmap"]);
            command.arg(format!("--aio={aio}")).args(listen).arg("--").arg(file);
            command
        }
        Kind::Nbdkit => {
            let mut command = Command::new("nbdkit");
            command.args(["-f", "-t", CONNECTIONS]).args(listen).arg("file").arg(file);
            command
        }
    }
}

/// Starts it and waits until it can be reached.
fn peer(mut command: Command, is_up: impl Fn() -> bool) -> Result<(Peer, u32)> {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut peer = Peer(quiet.spawn().with_context(|| format!("cannot run {:?}", command.get_program()))?);
    let deadline = Instant::now() + PATIENCE;
    while !is_up() {
        if let Some(status) = peer.0.try_wait()? {
            bail!("it ended with {status}");
        }
        ensure!(Instant::now() < deadline, "it did not start in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    let process = peer.0.id();
    Ok((peer, process))
}
