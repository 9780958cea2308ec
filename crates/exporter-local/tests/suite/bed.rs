//! What these tests stand on: a file system of their own with volumes on it, an exporter, and processes that use its devices.
//!
//! Whatever a test leaves, also by a panic, is unmounted and released when its bed is dropped.

use engine::ports::{Backing, Client, ExportSpec, Exporter};
use exporter_local::{LocalExporter, Options};
use ground::{Ground, Kind, MIB};
use lifecycle::{AttachmentId, Connection, ExportSeen, Facts, HostId, Mode, Outcome, Token, VolumeId};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use uuid::Uuid;

/// Large enough for an XFS on it.
pub(crate) const VOLUME: u64 = 320 * MIB;
/// Long enough for another test's look at the same device to be over, short enough to wait for.
const GRACE: Duration = Duration::from_secs(2);

pub(crate) struct Bed {
    pub(crate) exporter: LocalExporter,
    pub(crate) mark: u64,
    runtime: tokio::runtime::Runtime,
    mounts: Vec<PathBuf>,
    ground: Ground,
}

impl Bed {
    /// Nothing where it may not be made; that was said then.
    pub(crate) fn new() -> Option<Self> {
        Self::on(Kind::Xfs)
    }

    pub(crate) fn on(kind: Kind) -> Option<Self> {
        let ground = Ground::new(kind, 1024)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mark = u64::from_be_bytes(Uuid::new_v4().as_bytes()[..8].try_into().unwrap());
        let exporter = exporter(&runtime, mark, ground.root());
        Some(Self { exporter, mark, runtime, mounts: vec![], ground })
    }

    /// Another exporter: one with the same mark is the controller after a restart.
    pub(crate) fn another(&self, mark: u64) -> LocalExporter {
        exporter(&self.runtime, mark, self.ground.root())
    }

    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.ground.root().join(name)
    }

    /// A new volume for a new attachment.
    pub(crate) fn spec(&self, mode: Mode) -> ExportSpec {
        let attachment = AttachmentId(Uuid::new_v4());
        let path = self.path(&attachment.to_string());
        File::create(&path).and_then(|file| file.set_len(VOLUME)).unwrap();
        ExportSpec {
            attachment,
            volume: VolumeId(Uuid::new_v4()),
            backing: Backing::File(path),
            host: HostId(Uuid::new_v4()),
            address: "127.0.0.1".into(),
            initiators: vec![],
            mode,
            shared: false,
            protocol: "local".into(),
        }
    }

    pub(crate) fn export(&self, counter: u64, spec: &ExportSpec) -> Outcome {
        self.run(self.exporter.export(token(counter), spec.clone()))
    }

    /// Exports a new volume; the answer is its spec and its device.
    pub(crate) fn exported(&self) -> (ExportSpec, String) {
        let spec = self.spec(Mode::ReadWrite);
        let device = device(&connection(self.export(1, &spec)));
        (spec, device)
    }

    pub(crate) fn unexport(&self, counter: u64, spec: &ExportSpec, force: bool) -> Outcome {
        self.run(self.exporter.unexport(token(counter), spec.attachment, force))
    }

    pub(crate) fn seen(&self, spec: &ExportSpec) -> ExportSeen {
        self.run(self.exporter.inspect(spec.attachment, None)).unwrap()
    }

    pub(crate) fn clients(&self, spec: &ExportSpec) -> Vec<Client> {
        self.run(self.exporter.clients(spec.attachment)).unwrap()
    }

    /// Mounts the device; it is unmounted when this is dropped, if not before.
    pub(crate) fn mount(&mut self, device: &str, options: &[&str]) -> PathBuf {
        let point = self.path(&format!("mount {}", self.mounts.len()));
        std::fs::create_dir(&point).unwrap();
        run(Command::new("mount").args(options).arg(device).arg(&point));
        self.mounts.push(point.clone());
        point
    }

    /// Makes every write and flush of what is on this bed fail from now on.
    pub(crate) fn break_disk(&self) {
        self.ground.breaker()();
    }

    /// The loop devices of files on this bed, whoever made them.
    pub(crate) fn devices(&self) -> Vec<String> {
        devices(self.ground.root())
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for point in &self.mounts {
            let _ = Command::new("umount").arg(point).stderr(Stdio::null()).status();
        }
        for device in self.devices() {
            let _ = Command::new("losetup").args(["-d", &device]).status();
        }
    }
}

fn exporter(runtime: &tokio::runtime::Runtime, mark: u64, folder: &Path) -> LocalExporter {
    let _entered = runtime.enter();
    let watch = Duration::from_millis(50);
    LocalExporter::new(&Options { grace: GRACE, drain: GRACE, watch, ..Options::new(mark, vec![folder.to_owned()]) })
}

/// The loop devices that have a file below `root` as their backing.
pub(crate) fn devices(root: &Path) -> Vec<String> {
    let all = std::fs::read_dir("/sys/block").unwrap().map(|entry| entry.unwrap());
    let ours = all.filter(|entry| {
        std::fs::read_to_string(entry.path().join("loop/backing_file")).is_ok_and(|file| Path::new(file.trim()).starts_with(root))
    });
    ours.map(|entry| format!("/dev/{}", entry.file_name().to_str().unwrap())).collect()
}

/// A process that has a file open until it is dropped.
pub(crate) struct Opener(Child);

impl Opener {
    pub(crate) fn new(path: impl AsRef<Path>) -> Self {
        Self::run(Command::new("sleep").arg("1000").stdin(File::open(path).unwrap()))
    }

    pub(crate) fn run(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) const fn token(counter: u64) -> Token {
    Token { incarnation: 1, counter }
}

#[track_caller]
pub(crate) fn connection(outcome: Outcome) -> Connection {
    match outcome {
        Outcome::Done(Facts::Export(ExportSeen::Serving(connection))) => connection,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn device(connection: &Connection) -> String {
    connection.data["device"].clone()
}

#[track_caller]
pub(crate) fn assert_gone(outcome: &Outcome) {
    assert!(matches!(outcome, Outcome::Done(Facts::Export(ExportSeen::Absent))), "{outcome:?}");
}

#[track_caller]
pub(crate) fn assert_refused(outcome: &Outcome, words: &[&str]) {
    match outcome {
        Outcome::Refused(why) => assert!(words.iter().all(|word| why.contains(word)), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// What a file of the device's folder in sysfs says.
pub(crate) fn sysfs(device: &str, file: &str) -> String {
    let name = device.strip_prefix("/dev/").unwrap();
    std::fs::read_to_string(format!("/sys/block/{name}/{file}")).unwrap_or_default().trim().to_owned()
}
