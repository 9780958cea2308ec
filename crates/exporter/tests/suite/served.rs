//! A volume's file, served; and short ways to ask for it.

use engine::ports::{Backing, Client, ExportSpec, Exporter};
use exporter::{NbdExporter, Options};
use lifecycle::{AttachmentId, Connection, ExportSeen, Facts, HostId, Mode, Outcome, Token, VolumeId};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use uuid::Uuid;

/// The size of the file served.
pub(crate) const SIZE: u64 = 64 << 20;

/// A server with one file.
pub(crate) struct Served {
    pub(crate) exporter: NbdExporter,
    pub(crate) file: std::fs::File,
    runtime: tokio::runtime::Runtime,
    folder: TempDir,
}

impl Served {
    pub(crate) fn new() -> Self {
        Self::with(Options { grace: Duration::from_millis(200), ..Options::default() })
    }

    pub(crate) fn with(options: Options) -> Self {
        Self::inside(&std::env::temp_dir(), options)
    }

    /// With its file on the file system of that folder.
    pub(crate) fn inside(folder: &Path, options: Options) -> Self {
        let folder = tempfile::tempdir_in(folder).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let unix = Some(folder.path().join("nbd.sock"));
        let tcp = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let exporter = runtime.block_on(NbdExporter::start(Options { tcp, unix, ..options })).unwrap();
        let file = std::fs::File::options().read(true).write(true).create_new(true).open(folder.path().join("volume")).unwrap();
        file.set_len(SIZE).unwrap();
        Self { exporter, file, runtime, folder }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.exporter.tcp_address()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    pub(crate) fn run<T>(&self, asked: impl Future<Output = T>) -> T {
        self.runtime.block_on(asked)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn spec(&self, attachment: AttachmentId, mode: Mode) -> ExportSpec {
        ExportSpec {
            attachment,
            volume: VolumeId(Uuid::from_u128(1)),
            backing: Backing::File(self.path("volume")),
            host: HostId(Uuid::from_u128(2)),
            address: "127.0.0.1".into(),
            initiators: Vec::new(),
            mode,
            shared: true,
            protocol: "nbd".into(),
        }
    }

    pub(crate) fn try_export(&self, counter: u64, spec: ExportSpec) -> Outcome {
        self.run(self.exporter.export(token(counter), spec))
    }

    /// Exports the file under a new id; gives that and how to reach it.
    pub(crate) fn export(&self, mode: Mode) -> (AttachmentId, Connection) {
        let id = AttachmentId(Uuid::new_v4());
        (id, connection(self.try_export(1, self.spec(id, mode))))
    }

    /// The URI of a new export for reading and writing.
    pub(crate) fn uri(&self) -> String {
        word(&self.export(Mode::ReadWrite).1, "uri")
    }

    pub(crate) fn unexport(&self, counter: u64, id: AttachmentId, force: bool) -> Outcome {
        self.run(self.exporter.unexport(token(counter), id, force))
    }

    pub(crate) fn clients(&self, id: AttachmentId) -> usize {
        self.who(id).len()
    }

    pub(crate) fn who(&self, id: AttachmentId) -> Vec<Client> {
        self.run(self.exporter.clients(id)).unwrap()
    }

    /// What the file holds.
    pub(crate) fn bytes(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset).unwrap();
        bytes
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.runtime.block_on(self.exporter.shutdown());
    }
}

pub(crate) const fn token(counter: u64) -> Token {
    Token { incarnation: 1, counter }
}

#[track_caller]
pub(crate) fn connection(outcome: Outcome) -> Connection {
    match outcome {
        Outcome::Done(Facts::Export(ExportSeen::Serving(connection))) => connection,
        other => panic!("not exported: {other:?}"),
    }
}

/// A word of how to reach an export.
#[track_caller]
pub(crate) fn word(connection: &Connection, key: &str) -> String {
    connection.data.get(key).unwrap_or_else(|| panic!("no {key} in {connection:?}")).clone()
}

fn output(program: &str, args: &[&str]) -> Output {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("cannot run {program}: {error}"))
}

/// Runs a client, which must succeed; gives what it printed.
#[track_caller]
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = output(program, args);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Runs a client, which must fail; gives what it printed on either stream.
#[track_caller]
pub(crate) fn fails(program: &str, args: &[&str]) -> String {
    let output = output(program, args);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(!output.status.success(), "{program} {args:?} did not fail: {text}");
    text
}

/// Runs Python with `nbd` imported and `h` connected to `uri`, structured replies and `base:allocation` asked for.
#[track_caller]
pub(crate) fn python(uri: &str, script: &str) -> String {
    let front = "import nbd,sys\nh=nbd.NBD()\nh.set_uri_allow_local_file(True)\nh.add_meta_context('base:allocation')\nh.connect_uri(sys.argv[1])\n";
    // Debian's own Python: another that comes first in the path lacks its modules.
    run("/usr/bin/python3", &["-c", &format!("{front}{script}"), uri])
}

/// A script of [`Staying`]'s: to be there and do nothing.
pub(crate) const STAYS: &str = "sys.stdin.read()";

/// A client that stays until it is killed, doing what `script` says.
pub(crate) struct Staying(Child);

impl Staying {
    pub(crate) fn new(served: &Served, id: AttachmentId, uri: &str, script: &str) -> Self {
        let script =
            format!("import nbd,sys,time\nh=nbd.NBD()\nh.set_uri_allow_local_file(True)\nh.connect_uri(sys.argv[1])\n{script}");
        // Debian's own Python: see `python`.
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", &script, uri]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        ground::wait_until("the client is connected", || served.clients(id) > 0);
        Self(child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Staying {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
