//! `berth watch` across restarts of the controller: no line is lost, none repeated.

use crate::server::{Server, TENANT};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a line is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A `berth watch` with what it has printed so far.
struct Watcher {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Watcher {
    fn start(base: &str, args: &[&str]) -> Self {
        let mut child = berth(base, args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let (out, kept) = (child.stdout.take().expect("piped"), lines.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                kept.lock().expect("no panic").push(line);
            }
        });
        Self { child, lines }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no panic").clone()
    }

    #[track_caller]
    fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !self.lines().iter().any(|line| wanted(line)) {
            assert!(Instant::now() < deadline, "{what} was never told: {:#?}", self.lines());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn berth(base: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
    command.args(["--endpoint", base]).args(args).stdin(Stdio::null());
    command
}

#[test]
fn no_line_is_lost_or_repeated_when_the_controller_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path();
    let mut server = Server::start(data, &["--slow-ms", "20"]);
    let base = server.base().to_owned();
    let address = base.strip_prefix("http://").expect("http").to_owned();
    let every = Watcher::start(&base, &["watch", "--all-transitions", "--since", "0", "-o", "json"]);
    let table = Watcher::start(&base, &["watch", "--all-transitions", "--since", "0", "--kind", "volume"]);
    let mut ids: Vec<String> = Vec::new();
    for round in 0..3 {
        for number in 0..6 {
            let body = json!({"name": format!("v-{round}-{number}"), "size": 1});
            ids.push(server.post("/block/volumes", &body).expect(202).id());
        }
        for id in ids.iter().rev().take(3) {
            server.delete(&format!("/block/volumes/{id}"));
        }
        // In the middle of all of it, and of the lines.
        std::thread::sleep(Duration::from_millis(30 * (round + 1)));
        server.kill();
        server = Server::start(data, &["--slow-ms", "20", "--listen", &address]);
    }
    let journals = settled(&server, &ids);
    let last = server.volume(1);
    let (id, available) = (last.as_str(), "\"to\":\"available\"");
    every.until("the last volume", |line| line.contains(id) && line.contains(available));
    table.until("the last volume", |line| line.contains(id) && line.contains("-> available"));
    let told: Vec<Value> = every.lines().iter().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let of = |id: &str| -> Vec<Value> {
        told.iter()
            .filter(|event| event["id"] == id && event["event"] == "change")
            .map(|event| event["transition"].clone())
            .collect()
    };
    let in_table = table.lines();
    for (id, journal) in &journals {
        assert_eq!(&of(id), journal, "what was told of {id} is its journal");
        let lines = in_table.iter().filter(|line| line.contains(id.as_str())).count();
        assert_eq!(lines, journal.len(), "a line for each transition of {id}: {in_table:#?}");
    }
    assert!(journals.iter().map(|(_, journal)| journal.len()).sum::<usize>() > 30, "something has happened");
}

/// The journals of these volumes, once nothing runs on them.
fn settled(server: &Server, ids: &[String]) -> Vec<(String, Vec<Value>)> {
    for id in ids {
        server.until(&format!("/block/volumes/{id}"), "available,deleted,error,errorDeleting");
    }
    let journal = |id: &String| match server.get(&format!("/block/volumes/{id}/journal")).expect(200).body {
        Value::Array(entries) => (id.clone(), entries),
        other => panic!("no journal: {other}"),
    };
    ids.iter().map(journal).collect()
}

#[test]
fn a_watch_ends_when_it_was_asked_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), &["--slow-ms", "100"]);
    let make = |name: &str| server.post("/block/volumes", &json!({"name": name, "size": 1})).expect(202).id();
    let code =
        |args: &[&str]| berth(server.base(), args).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("it runs").code();
    let (one, other) = (make("one"), make("other"));
    assert_eq!(code(&["watch", "volume", &one, &other, "--until", "status=available", "--timeout", "60"]), Some(0));
    assert_eq!(code(&["watch", "volume", "one", "--until", "available", "--timeout", "60"]), Some(0), "it is so already");
    assert_eq!(code(&["watch", "volume", &one, "--until", "status=inUse", "--timeout", "1"]), Some(124));
    assert_eq!(code(&["watch", "volume", "00000000-0000-4000-8000-000000000000", "--until", "available"]), Some(3));
    assert_eq!(code(&["watch", "--status", "nonsense"]), Some(2));
    server.call_as(TENANT, "DELETE", &format!("/block/volumes/{one}"), &Value::Null).expect(202);
    assert_eq!(code(&["watch", "volume", &one, "--until", "deleted", "--timeout", "60"]), Some(0));
    assert_eq!(code(&["watch", "volume", &one, "--until", "deleted", "--timeout", "60"]), Some(0), "gone before it was asked for");
    assert_eq!(code(&["watch", "volume", &one, "--until", "available", "--timeout", "60"]), Some(1), "it will not come any more");
    // Nothing is to be told, so only that nobody reads ends it.
    let mut left = berth(server.base(), &["watch"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    drop(left.stdout.take());
    let deadline = Instant::now() + Duration::from_secs(30);
    while left.try_wait().expect("it can be asked").is_none() {
        assert!(Instant::now() < deadline, "it watches for nobody");
        std::thread::sleep(Duration::from_millis(50));
    }
}
