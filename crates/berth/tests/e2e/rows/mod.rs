//! What each fault ends in: a test for each row of the table in `docs/reliability.md`, "Beside the peers". Each tells its story with
//! `--nocapture`: what was asked, what happened to the server, what it says afterwards, and how long it took.
//!
//! Not here: faults at random (`storm`), and the data plane's own (`plane`). That the table and these tests name each other is
//! checked by `reliability`.
//!
//! - That a kill lands in the middle is proven: by what the server said before it, and by what lay on the disk after it.
//! - A row ends with the exact status, reason, journal and files, not with "no error".

mod backend;
mod failed;
mod kill;
mod race;
mod store;
mod story;

use crate::life::{disagreements, files, settle};
use crate::plane::{pid, status};
use crate::server::{Answer, Server, data_plane, run, uri};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use story::{Story, brief};
use tempfile::TempDir;

/// How long each step of the slowed driver takes: long enough to see that it is in the middle and to kill it there, on a busy machine too.
const SLOW: &str = "2000";
/// How long after a restart everything has settled.
const SETTLED: Duration = Duration::from_secs(5);
/// What [`Row::written`] writes, where, and how much.
const PATTERN: (u8, u64, usize) = (0x5a, 1 << 20, 64 << 10);

/// A server that things happen to, and the story of it.
struct Row {
    story: Story,
    data: PathBuf,
    flags: Vec<String>,
    server: Option<Server>,
    _folder: TempDir,
}

impl Row {
    /// Starts a server in a folder of its own.
    fn begin(title: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        Self::begin_at(title, folder, data, &[])
    }

    /// The same, configured.
    fn begin_with(title: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = crate::data::config(folder.path(), more);
        let data = folder.path().join("data");
        Self::begin_at(title, folder, data, &["--config", config.to_str().unwrap()])
    }

    /// The same on any data folder; `folder` is kept as long.
    fn begin_at(title: &str, folder: TempDir, data: PathBuf, flags: &[&str]) -> Self {
        let server = Some(Server::start(&data, flags));
        let flags = flags.iter().map(ToString::to_string).collect();
        Self { story: Story::begin(title), data, flags, server, _folder: folder }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs")
    }

    fn start(&mut self, more: &[&str]) {
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
        self.server = Some(Server::start(&self.data, &flags));
    }

    /// Stops the server gently and starts it with a driver that takes its time.
    fn slow_down(&mut self) {
        assert!(self.server.take().expect("it runs").terminate_alone().success());
        self.start(&["--slow-ms", SLOW]);
    }

    /// kill -9.
    fn kill(&mut self) {
        self.server.take().expect("it runs").kill();
        self.story.tell("kill -9");
    }

    /// Starts it again, and waits until nothing is under way any more.
    #[track_caller]
    fn restart(&mut self) {
        self.start(&[]);
        let begun = Instant::now();
        settle(self.server(), SETTLED);
        self.story.tell(&format!("started again; all settled {:.3} s after it listened", begun.elapsed().as_secs_f64()));
    }

    /// Asks, tells it, and gives the answer.
    fn ask(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        let answer = self.server().call(method, path, body);
        let says = ["status", "message"].map(|key| answer.body[key].as_str().unwrap_or_default());
        // Of an error the message says more; its `status` is a number.
        let says = brief(says.into_iter().find(|says| !says.is_empty()).unwrap_or_default());
        let body = if body.is_null() { String::new() } else { format!(" {}", brief(&body.to_string())) };
        self.story.tell(&format!("{method} {}{body}: {} {says}", brief(path), answer.code));
        answer
    }

    fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, body)
    }

    fn delete(&mut self, path: &str) -> Answer {
        self.ask("DELETE", path, &Value::Null)
    }

    /// A volume that holds [`PATTERN`] and is attached to nobody.
    fn written(&self) -> String {
        let (server, (byte, at, many)) = (self.server(), PATTERN);
        let hosts = server.get("/host/hosts").expect(200).body;
        let host = hosts[0]["id"].as_str().map_or_else(|| server.host("writer"), str::to_owned);
        let volume = server.volume(1);
        let (attachment, attached) = server.attach(&volume, &host);
        let write = format!("write -P {byte} {at} {many}");
        run("qemu-io", &["-f", "raw", "-c", &write, "-c", "flush", &uri(&attached)]);
        server.delete(&format!("/block/attachments/{attachment}")).expect(202);
        server.until(&format!("/block/volumes/{volume}"), "available");
        volume
    }

    /// The names and sizes of every file of a volume or snapshot, whole ones and others.
    fn files(&self) -> BTreeMap<String, u64> {
        files(&self.data.join("pools")).into_iter().map(|(name, size)| (name, size.unwrap_or_default())).collect()
    }

    /// Where the file of this name is.
    fn file(&self, name: &str) -> PathBuf {
        self.data.join("pools/default").join(&name[33..36]).join(name)
    }

    /// Whether what was written is in this file, and nothing else around it.
    #[track_caller]
    fn holds_what_was_written(&mut self, name: &str) {
        let (byte, at, many) = PATTERN;
        let file = std::fs::File::open(self.file(name)).unwrap();
        for (at, expected) in [(at - many as u64, 0), (at, byte), (at + many as u64, 0)] {
            let mut bytes = vec![1; many];
            file.read_exact_at(&mut bytes, at).unwrap();
            assert!(bytes.iter().all(|byte| *byte == expected), "{name} at {at} holds something else than {expected}");
        }
        self.story.tell("every byte that was written is there");
    }

    /// Waits until a file with this ending is there: then the slowed driver is in the middle of a call.
    #[track_caller]
    fn until_file(&mut self, ending: &str) {
        let is_there = |name: &String| name.ends_with(ending);
        ground::wait_until("the driver is in the middle", || self.files().keys().any(is_there));
        self.story.tell(&format!("the driver is in the middle: its {ending} file is there"));
    }

    /// Waits until the operation of a resource was given to a driver or exporter.
    #[track_caller]
    fn until_tried(&mut self, path: &str) {
        let tried = || self.server().get(path).body["operation"]["attempt"].as_u64().is_some_and(|attempt| attempt > 0);
        ground::wait_until("it is tried", tried);
        self.story.tell("the call is under way: attempt 1 of its operation");
    }

    /// Waits for a status and tells it with its reason; gives the resource.
    #[track_caller]
    fn ends_in(&mut self, path: &str, wanted: &str) -> Value {
        let body = self.server().until(path, wanted);
        let reason = &body["statusReason"];
        let because = reason["code"].as_str().map(|code| format!(", {code}: {}", reason["message"].as_str().unwrap_or_default()));
        self.story.tell(&format!("{} is {wanted}{}", brief(path), brief(&because.unwrap_or_default())));
        body
    }

    /// Its journal tells exactly these endings, one for each accepted command, in this order: `create done`.
    #[track_caller]
    fn ended(&mut self, path: &str, expected: &[&str]) {
        let journal = self.server().get(&format!("{path}/journal")).expect(200).body;
        let words = |ended: &Value| format!("{} {}", ended["operation"].as_str().unwrap(), ended["how"].as_str().unwrap());
        let entries = journal.as_array().unwrap().iter().filter(|entry| path.ends_with(entry["id"].as_str().unwrap()));
        let endings: Vec<String> = entries.map(|entry| &entry["ended"]).filter(|ended| !ended.is_null()).map(words).collect();
        assert_eq!(endings, expected, "{journal}");
        self.story.tell(&format!("journal of {}: {}", brief(path), endings.join(", ")));
    }

    /// Every status is a settled one, and the files are those of the records, with the recorded sizes.
    #[track_caller]
    fn agrees(&mut self) {
        assert_eq!(disagreements(self.server(), &self.data), [""; 0]);
        self.story.tell("records and files agree");
    }

    /// What the data plane serves.
    fn exports(&self) -> usize {
        status(&self.data)["exports"].as_array().map_or(0, Vec::len)
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        if self.server.is_none() {
            // The test failed between a kill and the restart; the data plane is nobody's then, if there is one.
            let _ = data_plane(&self.data, &["stop", "--force"]);
        }
    }
}

/// A data plane that is held still: what is asked of it is neither done nor refused.
struct Held(String);

impl Held {
    fn hold(data: &Path) -> Self {
        let process = pid(data).to_string();
        run("kill", &["-STOP", &process]);
        Self(process)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        run("kill", &["-CONT", &self.0]);
    }
}

fn volume(id: &str) -> String {
    format!("/block/volumes/{id}")
}

fn snapshot(id: &str) -> String {
    format!("/block/snapshots/{id}")
}

fn attachment(id: &str) -> String {
    format!("/block/attachments/{id}")
}

fn attach(volume: &str, host: &str) -> Value {
    json!({"volumeId": volume, "hostId": host})
}
