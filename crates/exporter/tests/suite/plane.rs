//! The data plane behind its control socket: as a controller sees it, and what it does with those who make no sense.

use crate::served::{SIZE, connection, fails, run, token, word};
use engine::ports::{Backing, ExportSpec, Exporter};
use exporter::Options;
use exporter::plane::{DataPlane, OperatorError, RemoteExporter, status, stop};
use lifecycle::{AttachmentId, ExportSeen, Facts, HostId, Mode, Outcome, VolumeId};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;

/// A data plane that runs beside the test, in its process.
struct Plane {
    runtime: Runtime,
    folder: TempDir,
    ended: tokio::task::JoinHandle<()>,
}

impl Plane {
    fn start(grace: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::File::create(folder.path().join("volume")).unwrap().set_len(SIZE).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let tcp = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let plane = runtime.block_on(DataPlane::start(folder.path(), Options { tcp, grace, ..Options::default() })).unwrap();
        let ended = runtime.spawn(async move { drop(plane.run(std::future::pending()).await) });
        Self { runtime, folder, ended }
    }

    fn controller(&self) -> RemoteExporter {
        let options = Options { tcp: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ..Options::default() };
        self.runtime.block_on(RemoteExporter::open(self.folder.path(), None, &options)).unwrap()
    }

    fn spec(&self, attachment: AttachmentId) -> ExportSpec {
        ExportSpec {
            attachment,
            volume: VolumeId(Uuid::from_u128(1)),
            backing: Backing::File(self.folder.path().join("volume")),
            host: HostId(Uuid::from_u128(2)),
            address: "127.0.0.1".into(),
            initiators: Vec::new(),
            mode: Mode::ReadWrite,
            shared: false,
            protocol: "nbd".into(),
        }
    }

    fn raw(&self) -> UnixStream {
        let stream = UnixStream::connect(self.folder.path().join("data-plane.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }
}

fn frame(text: &str) -> Vec<u8> {
    [u32::try_from(text.len()).unwrap().to_be_bytes().as_slice(), text.as_bytes()].concat()
}

fn heard(stream: &mut UnixStream) -> String {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// A client that stays connected until it is dropped.
struct Staying(Child);

impl Staying {
    fn new(uri: &str) -> Self {
        let script = "import nbd,sys\nh=nbd.NBD()\nh.connect_uri(sys.argv[1])\nprint('connected',flush=True)\nsys.stdin.read()";
        let mut command = Command::new("/usr/bin/python3");
        let mut child = command.args(["-c", script, uri]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 10]).unwrap();
        Self(child)
    }
}

impl Drop for Staying {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_controller_exports_looks_and_ends_as_if_it_served_itself() {
    let plane = Plane::start(Duration::from_millis(200));
    let (remote, id) = (plane.controller(), AttachmentId(Uuid::new_v4()));
    let served = plane.runtime.block_on(async {
        let served = connection(remote.export(token(2), plane.spec(id)).await);
        assert_eq!(connection(remote.export(token(3), plane.spec(id)).await), served);
        assert_eq!(remote.inspect(id, None).await.unwrap(), ExportSeen::Serving(served.clone()));
        assert_eq!(remote.list().await.unwrap(), [(id, served.clone())].into());
        assert!(matches!(remote.unexport(token(1), id, true).await, Outcome::Refused(_)), "an older token");
        served
    });
    let client = Staying::new(&word(&served, "uri"));
    plane.runtime.block_on(async {
        let clients = remote.clients(id).await.unwrap();
        assert_eq!((clients.len(), clients[0].identity.as_str()), (1, "127.0.0.1"));
        assert_eq!(clients[0].size_seen.map(|size| size.0), Some(SIZE));
        assert!(matches!(remote.unexport(token(4), id, false).await, Outcome::Refused(why) if why.contains("force")));
        let (told, again) = tokio::join!(status(plane.folder.path()), status(plane.folder.path()));
        let told = told.unwrap();
        assert_eq!(again.unwrap().exports.len(), 1, "several may ask at once");
        assert_eq!((told.exports.len(), told.exports[0].clients.len(), told.exports[0].size), (1, 1, Some(SIZE)));
        assert!(matches!(remote.unexport(token(5), id, true).await, Outcome::Done(Facts::Export(ExportSeen::Absent))));
        assert!(remote.list().await.unwrap().is_empty());
    });
    drop(client);
}

#[test]
fn an_end_that_the_controller_gives_up_lets_clients_in_again() {
    let plane = Plane::start(Duration::from_secs(60));
    let (remote, id) = (plane.controller(), AttachmentId(Uuid::new_v4()));
    let uri = word(&connection(plane.runtime.block_on(remote.export(token(1), plane.spec(id)))), "uri");
    let _client = Staying::new(&uri);
    plane.runtime.block_on(async {
        let ending = remote.unexport(token(2), id, false);
        assert!(tokio::time::timeout(Duration::from_millis(300), ending).await.is_err(), "it waits for the client");
    });
    ground::wait_until("clients are let in again", || {
        Command::new("nbdinfo").args(["--size", &uri]).output().unwrap().status.success()
    });
    // The same when the controller itself is gone.
    let ending = plane.runtime.block_on(async {
        let ending = tokio::time::timeout(Duration::from_millis(300), remote.unexport(token(3), id, false)).await;
        drop(remote);
        ending
    });
    assert!(ending.is_err());
    ground::wait_until("clients are let in again", || {
        Command::new("nbdinfo").args(["--size", &uri]).output().unwrap().status.success()
    });
}

#[test]
fn what_makes_no_sense_ends_its_own_connection_only() {
    let plane = Plane::start(Duration::from_millis(200));
    let remote = plane.controller();
    let huge = u32::MAX.to_be_bytes().to_vec();
    let hello = frame(r#"{"protocol":1,"role":"operator"}"#);
    let rubbish = [b"GET / HTTP/1.1\r\n\r\n".to_vec(), huge.clone(), frame("{}"), frame("[]"), frame("\u{0}"), hello[..9].to_vec()];
    for bytes in rubbish {
        let mut stream = plane.raw();
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap_or(0), 0, "{bytes:?} is answered");
    }
    for bytes in [huge, frame("{}"), frame(r#"{"number":1,"ask":"dance"}"#), frame(r#"{"number":1,"ask":"list"}"#)[..7].to_vec()] {
        let mut stream = plane.raw();
        stream.write_all(&[hello.clone(), bytes].concat()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(heard(&mut stream).contains("\"protocol\":1"));
        assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap_or(0), 0);
    }
    // Giving up what was never asked, and the same number twice, are no trouble.
    let mut stream = plane.raw();
    let odd = [
        hello,
        frame(r#"{"number":9,"ask":"cancel"}"#),
        frame(r#"{"number":1,"ask":"list"}"#),
        frame(r#"{"number":1,"ask":"list"}"#),
    ];
    stream.write_all(&odd.concat()).unwrap();
    heard(&mut stream);
    assert_eq!(
        (heard(&mut stream), heard(&mut stream)),
        (r#"{"number":1,"answer":{"exports":[]}}"#.into(), r#"{"number":1,"answer":{"exports":[]}}"#.into())
    );
    assert!(plane.runtime.block_on(remote.list()).unwrap().is_empty(), "the controller goes on");
}

#[test]
fn another_version_is_told_ours_and_a_newer_controller_ends_the_session_of_an_older() {
    let plane = Plane::start(Duration::from_millis(200));
    let mut newer = plane.raw();
    newer.write_all(&frame(r#"{"protocol":2,"role":"controller"}"#)).unwrap();
    assert!(heard(&mut newer).contains(r#""protocol":1"#));
    assert_eq!(newer.read_to_end(&mut Vec::new()).unwrap(), 0, "nothing is said in a version that it does not speak");
    // What people ask is the same in every version, or nobody could end a data plane of a former release.
    let mut operator = plane.raw();
    operator.write_all(&[frame(r#"{"protocol":9,"role":"operator"}"#), frame(r#"{"number":1,"ask":"status"}"#)].concat()).unwrap();
    heard(&mut operator);
    assert!(heard(&mut operator).contains(r#""exports":[]"#));

    let hello = || frame(r#"{"protocol":1,"role":"controller"}"#);
    let mut first = plane.raw();
    first.write_all(&hello()).unwrap();
    heard(&mut first);
    let mut second = plane.raw();
    second.write_all(&hello()).unwrap();
    heard(&mut second);
    assert_eq!(first.read_to_end(&mut Vec::new()).unwrap(), 0, "it is ended");
    second.write_all(&frame(r#"{"number":1,"ask":"list"}"#)).unwrap();
    assert!(heard(&mut second).contains("exports"));
}

#[test]
fn it_ends_when_it_is_told_to_and_its_exports_are_absent_then() {
    let plane = Plane::start(Duration::from_millis(200));
    let (remote, id) = (plane.controller(), AttachmentId(Uuid::new_v4()));
    let uri = word(&connection(plane.runtime.block_on(remote.export(token(1), plane.spec(id)))), "uri");
    run("nbdinfo", &["--size", &uri]);
    let folder = plane.folder.path();
    let mut losses = remote.losses().unwrap();
    plane.runtime.block_on(async {
        assert!(matches!(stop(folder, false, true).await, Err(OperatorError::Refused(_))), "it exports something");
        stop(folder, false, false).await.unwrap();
        losses.changed().await.unwrap();
        assert!(remote.list().await.unwrap().is_empty());
        assert_eq!(remote.inspect(id, Some(token(2))).await.unwrap(), ExportSeen::Absent);
        // What was asked before that look is not done, should there be a data plane again.
        assert!(matches!(remote.export(token(1), plane.spec(id)).await, Outcome::Refused(_)));
        assert!(matches!(remote.unexport(token(3), id, false).await, Outcome::Done(Facts::Export(ExportSeen::Absent))));
        assert!(matches!(status(folder).await, Err(OperatorError::Absent(_))));
    });
    fails("nbdinfo", &["--size", &uri]);
    plane.runtime.block_on(plane.ended).unwrap();
}
