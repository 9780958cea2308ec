//! The data plane: it outlives its controller, its controller outlives it, and clients that connect again go on.

use crate::data::config;
use crate::server::{Server, data_plane, fails, refuses, run, uri};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// How often the controller is killed under a client that writes.
const KILLS: usize = 20;

/// What the data plane of a folder says of itself.
pub(crate) fn status(data: &Path) -> Value {
    serde_json::from_str(&data_plane(data, &["status", "-o", "json"]).expect("one runs")).expect("JSON")
}

/// The process of the data plane of a folder.
pub(crate) fn pid(data: &Path) -> u64 {
    status(data)["pid"].as_u64().expect("a process")
}

fn kill(pid: u64) {
    run("kill", &["-KILL", &pid.to_string()]);
}

/// A client (libnbd) that writes, flushes now and then, and reads back and compares everything, again and again. It connects again where
/// `persists` says so, and then asks again for what was not acknowledged; else any error ends it.
struct Writer {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

const WRITER: &str = r"
import nbd, os, select, sys, time
uri, persists = sys.argv[1], sys.argv[2] == 'persists'
BLOCK, BLOCKS = 65536, 128
reconnects = 0

def connect():
    deadline = time.monotonic() + 30
    while True:
        handle = nbd.NBD()
        try:
            handle.connect_uri(uri)
            return handle
        except nbd.Error:
            if not persists or time.monotonic() > deadline:
                raise
            time.sleep(0.01)

handle = connect()

def ask(what):
    global handle, reconnects
    while True:
        try:
            return what(handle)
        except nbd.Error:
            # A lost connection is made again; an error that was answered is what whoever wrote would see.
            if not persists or not (handle.aio_is_dead() or handle.aio_is_closed()):
                raise
            reconnects += 1
            handle = connect()

def block(turn, at):
    return (turn * 1000003 + at).to_bytes(8, 'big') * (BLOCK // 8)

turn = 0
print('connected', flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    turn += 1
    # What was acknowledged before a lost connection is written again unless it was flushed: as a block layer does.
    def written(h):
        for at in range(BLOCKS):
            h.pwrite(block(turn, at), at * BLOCK)
        h.flush()
    ask(written)
    for at in range(BLOCKS):
        if bytes(ask(lambda h: h.pread(BLOCK, at * BLOCK))) != block(turn, at):
            sys.exit('wrong bytes in block %d of turn %d' % (at, turn))
    print(turn, reconnects, flush=True)
";

impl Writer {
    fn start(uri: &str, persists: bool) -> Self {
        let mode = if persists { "persists" } else { "once" };
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", WRITER, uri, mode]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("python3 starts");
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().expect("piped")));
        let mut writer = Self { child, input, output };
        assert_eq!(writer.line(), "connected");
        writer
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it writes lines");
        line.trim().to_owned()
    }

    /// Waits until it has written and compared everything once more; gives its turn, and how often it had to connect again.
    #[track_caller]
    fn turn(&mut self) -> (u64, u64) {
        let line = self.line();
        let words: Vec<u64> = line.split(' ').map(|word| word.parse().unwrap_or_else(|_| panic!("it failed: {line:?}"))).collect();
        (words[0], words[1])
    }

    /// Lets it end by itself; it must have failed nowhere.
    #[track_caller]
    fn end(mut self) {
        self.input = None;
        std::io::copy(&mut self.output, &mut std::io::sink()).expect("it ends");
        assert!(self.child.wait().expect("it ends").success(), "a read or a write failed");
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_writing_client_does_not_notice_that_the_controller_is_killed_and_restarted() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[]);
    let (volume, host) = (server.volume(1), server.host("h"));
    let (attachment, attached) = server.attach(&volume, &host);
    let plane = pid(folder.path());
    let mut writer = Writer::start(&uri(&attached), false);
    for _ in 0..KILLS {
        writer.turn();
        server.kill();
        server = Server::start(folder.path(), &[]);
        let now = server.until(&format!("/block/attachments/{attachment}"), "attached");
        assert_eq!(now["connectionInfo"], attached["connectionInfo"]);
    }
    writer.turn();
    let clients = server.get(&format!("/block/attachments/{attachment}")).body["clients"].clone();
    assert_eq!(clients.as_array().map(Vec::len), Some(1), "{clients}");
    writer.end();
    assert_eq!(pid(folder.path()), plane, "it was one data plane all the time");
    let journal = server.get(&format!("/block/attachments/{attachment}/journal")).body;
    let changes = journal.as_array().unwrap().iter().filter(|entry| entry["from"] != entry["to"]).count();
    assert_eq!(changes, 2, "nothing happened to the attachment but that it was made and attached: {journal}");
}

#[test]
fn a_killed_data_plane_is_back_at_once_and_clients_that_connect_again_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let (volume, host) = (server.volume(1), server.host("h"));
    let (attachment, attached) = server.attach(&volume, &host);
    let path = format!("/block/attachments/{attachment}");
    let mut writer = Writer::start(&uri(&attached), true);
    for round in 1..=5 {
        writer.turn();
        let before = pid(folder.path());
        kill(before);
        ground::wait_until("the client has connected again", || {
            data_plane(folder.path(), &["status"]).is_some() && pid(folder.path()) != before
        });
        let (_, reconnects) = std::iter::repeat_with(|| writer.turn()).find(|(_, reconnects)| *reconnects >= round).unwrap();
        assert!(reconnects >= round);
        let now = server.until(&path, "attached");
        assert_eq!(now["connectionInfo"], attached["connectionInfo"]);
    }
    writer.end();
    let journal = server.get(&format!("{path}/journal")).body;
    let told = |entry: &&Value| entry["to"] == "attaching" && entry["reason"]["code"] == "notExported";
    assert_eq!(journal.as_array().unwrap().iter().filter(told).count(), 5, "each gap is told: {journal}");
}

#[test]
fn qemu_goes_on_over_the_death_of_the_data_plane() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let (volume, host) = (server.volume(1), server.host("h"));
    let (_, attached) = server.attach(&volume, &host);
    let data = &attached["connectionInfo"]["data"];
    let text = |key: &str| data[key].as_str().unwrap().to_owned();
    let options = format!(
        "driver=raw,file.driver=nbd,file.server.type=inet,file.server.host={},file.server.port={},file.export={},file.reconnect-delay=30",
        text("host"),
        text("port"),
        text("export")
    );
    let mut client = Command::new("qemu-io")
        .args(["--image-opts", &options])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("qemu-io starts");
    let (mut input, mut output) = (client.stdin.take().unwrap(), BufReader::new(client.stdout.take().unwrap()));
    let mut ask = |command: &str, answer: &str| {
        use std::io::Write;
        writeln!(input, "{command}").unwrap();
        let mut line = String::new();
        while !line.contains(answer) {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "it ended at {command}");
            assert!(!line.contains("rror") && !line.contains("failed"), "{line}");
        }
    };
    ask("write -P 1 0 1M", "wrote 1048576");
    ask("flush", "");
    kill(pid(folder.path()));
    ask("read -P 1 0 1M", "read 1048576");
    ask("write -P 2 1M 1M", "wrote 1048576");
    ask("read -P 2 1M 1M", "read 1048576");
    drop(input);
    client.wait().unwrap();
}

#[test]
fn it_ends_with_its_controller_if_it_serves_nothing_and_else_serves_on() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let (volume, host) = (server.volume(1), server.host("h"));
    pid(folder.path());
    assert!(server.terminate_alone().success());
    assert!(data_plane(folder.path(), &["status"]).is_none(), "it served nothing");

    let server = Server::start(folder.path(), &[]);
    let (_, attached) = server.attach(&volume, &host);
    assert!(server.terminate_alone().success());
    run("qemu-io", &["-f", "raw", "-c", "write -P 5 0 64k", "-c", "flush", &uri(&attached)]);
    assert_eq!(status(folder.path())["exports"].as_array().map(Vec::len), Some(1));
    // The next controller takes it on.
    let before = pid(folder.path());
    let server = Server::start(folder.path(), &[]);
    run("qemu-io", &["-r", "-f", "raw", "-c", "read -P 5 0 64k", &uri(&attached)]);
    assert_eq!(pid(folder.path()), before);
    drop(server);
}

#[test]
fn stopping_it_is_refused_under_a_client_and_forced_it_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let (volume, host) = (server.volume(1), server.host("h"));
    let (attachment, attached) = server.attach(&volume, &host);
    let mut writer = Writer::start(&uri(&attached), true);
    writer.turn();
    assert!(data_plane(folder.path(), &["stop"]).is_none(), "a client is connected");
    let before = pid(folder.path());
    data_plane(folder.path(), &["stop", "--force"]).expect("it stops");
    std::iter::repeat_with(|| writer.turn()).find(|(_, reconnects)| *reconnects >= 1).unwrap();
    writer.end();
    assert_ne!(pid(folder.path()), before, "the controller has started another");
    server.until(&format!("/block/attachments/{attachment}"), "attached");
}

#[test]
fn one_that_somebody_else_runs_is_awaited_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--no-data-plane-spawn"]);
    let (volume, host) = (server.volume(1), server.host("h"));
    let body = json!({"volumeId": volume, "hostId": host});
    let id = server.post("/block/attachments", &body).expect(202).id();
    let path = format!("/block/attachments/{id}");
    ground::wait_until("it is told what is waited for", || {
        server.get(&path).body["operation"]["lastError"].as_str().is_some_and(|why| why.contains("berth data"))
    });
    let mut plane = Command::new(env!("CARGO_BIN_EXE_berth"))
        .args(["data", "--nbd-listen", "127.0.0.1:0", "--data"])
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    server.until(&path, "attached");
    assert!(server.terminate_alone().success());
    assert_eq!(status(folder.path())["pid"], plane.id());
    run("kill", &["-TERM", &plane.id().to_string()]);
    assert!(plane.wait().unwrap().success());
    assert!(data_plane(folder.path(), &["status"]).is_none());
}

#[test]
fn a_second_one_and_a_taken_address_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let _server = Server::start(folder.path(), &[]);
    let second = Command::new(env!("CARGO_BIN_EXE_berth"))
        .args(["data", "--nbd-listen", "127.0.0.1:0", "--data"])
        .arg(folder.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && told.contains(&format!("process {}", pid(folder.path()))), "{told}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = tempfile::tempdir().unwrap();
    let told = refuses(other.path(), &["--nbd-listen", &taken.local_addr().unwrap().to_string()]);
    assert!(told.contains("--nbd-listen") && told.contains(&taken.local_addr().unwrap().to_string()), "{told}");
}

#[test]
fn while_none_can_be_had_nothing_is_called_attached_and_nothing_detached() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "[times]\nexport-deadline = 2\ndetach-grace = 1\n");
    let data = folder.path().join("data");
    let server = Server::start(&data, &["--config", config.to_str().unwrap()]);
    let (volume, host) = (server.volume(1), server.host("h"));
    let (attachment, attached) = server.attach(&volume, &host);
    let (_, other) = server.attach(&server.volume(1), &host);
    let words = &attached["connectionInfo"]["data"];
    let address = format!("{}:{}", words["host"].as_str().unwrap(), words["port"].as_str().unwrap());
    // Somebody else takes its address while its controller is held still.
    let signal = |name: &str| run("kill", &[name, &server.pid().to_string()]);
    signal("-STOP");
    kill(pid(&data));
    let taken =
        std::iter::repeat_with(|| std::net::TcpListener::bind(&address)).take(1_000_000).find_map(Result::ok).expect("it is free");
    signal("-CONT");
    let path = format!("/block/attachments/{attachment}");
    let lost = server.until(&path, "attaching");
    assert_eq!(lost["health"]["state"], "error", "{lost}");
    assert_eq!(lost["statusReason"]["code"], "notExported", "{lost}");
    // The deadline of an export passes: nobody asked for a detach, and so there is none.
    ground::wait_until("a try has ended at its deadline", || {
        let told = server.get(&path).body["operation"]["lastError"].clone();
        told.as_str().is_some_and(|why| why.contains("deadline"))
    });
    let still = server.get(&path).body;
    assert_eq!(still["status"], "attaching", "{still}");
    // A detach is done at once: what a dead data plane served is proven to be gone.
    server.delete(&path).expect(202);
    server.until(&format!("/block/volumes/{volume}"), "available");
    drop(taken);
    let again = server.until(&format!("/block/attachments/{}", other["id"].as_str().unwrap()), "attached");
    assert_eq!(again["connectionInfo"], other["connectionInfo"]);
}

#[test]
fn one_that_hangs_is_told_as_unknown_and_holds_nobody_else_up() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "[times]\nexport-deadline = 2\ndetach-grace = 1\ncall-timeout = 1\n");
    let data = folder.path().join("data");
    let server = Server::start(&data, &["--config", config.to_str().unwrap()]);
    let (volume, host) = (server.volume(1), server.host("h"));
    let (attachment, attached) = server.attach(&volume, &host);
    let plane = pid(&data).to_string();
    run("kill", &["-STOP", &plane]);
    let path = format!("/block/attachments/{attachment}");
    // Others go on, and so does whoever asks about this one.
    server.volume(1);
    assert_eq!(server.get(&path).body["status"], "attached");
    ground::wait_until("that it does not answer is shown", || server.get(&path).body["health"]["state"] == "unknown");
    let health = &server.get(&path).body["health"];
    assert!(health["code"] == "exporterSilent" && health["message"].as_str().unwrap().contains("nbd"), "{health}");
    server.delete(&path).expect(202);
    let held = server.until(&path, "errorDetaching");
    assert_eq!(held["statusReason"]["code"], "outcomeUnknown", "{held}");
    assert_eq!(server.get(&format!("/block/volumes/{volume}")).body["status"], "inUse");
    // A controller that starts beside it tells what it knows, too.
    server.kill();
    let server = Server::start(&data, &["--config", config.to_str().unwrap()]);
    assert_eq!(server.get(&path).body["status"], "errorDetaching");
    run("kill", &["-CONT", &plane]);
    server.delete(&path).expect(202);
    server.until(&format!("/block/volumes/{volume}"), "available");
    fails("nbdinfo", &["--size", &uri(&attached)]);
}

#[test]
fn after_the_death_of_both_the_first_answer_calls_nothing_attached_that_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[]);
    let (volume, host) = (server.volume(1), server.host("h"));
    let (attachment, attached) = server.attach(&volume, &host);
    let path = format!("/block/attachments/{attachment}");
    for _ in 0..5 {
        let plane = pid(folder.path());
        server.kill();
        kill(plane);
        server = Server::start(folder.path(), &[]);
        let first = server.get(&path).body;
        if first["status"] == "attached" {
            run("nbdinfo", &["--size", &uri(&attached)]);
        }
        server.until(&path, "attached");
        run("nbdinfo", &["--size", &uri(&attached)]);
    }
}

#[test]
fn an_export_that_no_record_names_any_more_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let (volume, host) = (server.volume(1), server.host("h"));
    // A copy of the records from before it was attached.
    assert!(server.terminate_alone().success());
    let file = |ending: &str| folder.path().join(format!("berth.db{ending}"));
    let records = ["", "-wal"].map(|ending| (ending, std::fs::read(file(ending)).ok()));
    let server = Server::start(folder.path(), &[]);
    let (_, attached) = server.attach(&volume, &host);
    run("nbdinfo", &["--size", &uri(&attached)]);
    assert!(server.terminate_alone().success());
    let before = pid(folder.path());
    let _ = std::fs::remove_file(file("-shm"));
    for (ending, held) in records {
        match held {
            Some(held) => std::fs::write(file(ending), held).unwrap(),
            None => drop(std::fs::remove_file(file(ending))),
        }
    }
    let server = Server::start(folder.path(), &[]);
    ground::wait_until("it is ended", || status(folder.path())["exports"].as_array().is_some_and(Vec::is_empty));
    assert_eq!(pid(folder.path()), before);
    // The data plane takes the calls of records that are older than its own past.
    let (_, again) = server.attach(&volume, &host);
    run("nbdinfo", &["--size", &uri(&again)]);
}

#[test]
fn one_that_is_configured_otherwise_is_replaced_when_it_is_idle() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data, &[]);
    let (volume, host) = (server.volume(1), server.host("h"));
    let (attachment, attached) = server.attach(&volume, &host);
    server.kill();
    let before = pid(&data);
    let config = config(folder.path(), "[nbd]\nmax-connections-per-export = 7\n");
    let server = Server::start(&data, &["--config", config.to_str().unwrap()]);
    run("nbdinfo", &["--size", &uri(&attached)]);
    assert_eq!(pid(&data), before, "it serves, and so it goes on as it is");
    server.delete(&format!("/block/attachments/{attachment}")).expect(202);
    server.until(&format!("/block/volumes/{volume}"), "available");
    server.kill();
    let _server = Server::start(&data, &["--config", config.to_str().unwrap()]);
    assert_ne!(pid(&data), before);
}

#[test]
fn one_whose_folder_was_made_anew_ends_and_leaves_its_successor_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    Server::start(&data, &[]).kill();
    let former = pid(&data);
    std::fs::remove_dir_all(&data).unwrap();
    let server = Server::start(&data, &[]);
    ground::wait_until("the former one has ended", || !Path::new(&format!("/proc/{former}")).exists());
    let (_, attached) = server.attach(&server.volume(1), &server.host("h"));
    run("nbdinfo", &["--size", attached["connectionInfo"]["data"]["unixUri"].as_str().unwrap()]);
    assert_ne!(pid(&data), former);
}
