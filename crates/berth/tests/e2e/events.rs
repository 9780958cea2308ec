//! The stream of events from outside: over a kill and a restart, beside readers that do not read, and past its limits.

use crate::data::config;
use crate::server::Server;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const ADMIN: &str = "e93b4c0934da416eb9c8d120c5d04d96";

/// A stream of lines over a bare connection.
struct Lines(BufReader<TcpStream>);

impl Lines {
    fn open(server: &Server, query: &str, last: Option<&str>) -> Self {
        let address = server.base().strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let last = last.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        let path = format!("/v1beta/{ADMIN}/block/events{query}");
        write!(stream, "GET {path} HTTP/1.0\r\nhost: x\r\naccept: application/x-ndjson\r\n{last}\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap() > 2 {
            line.clear();
        }
        Self(reader)
    }

    /// The next event; none at the end.
    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => serde_json::from_str(&line).ok(),
        }
    }

    /// Up to and with the first for which this holds.
    fn until(&mut self, holds: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut seen = Vec::new();
        loop {
            let event = self.next().unwrap_or_else(|| panic!("the stream ended after {seen:#?}"));
            seen.push(event);
            if holds(&seen[seen.len() - 1]) {
                return seen;
            }
        }
    }
}

/// What a change is about: which place in the journal.
fn told(event: &Value) -> Option<(u64, String, String)> {
    let transition = &event["transition"];
    let text = |name: &str| transition[name].as_str().unwrap_or_default().to_owned();
    (event["event"] == "change" && transition.is_object())
        .then(|| (transition["revision"].as_u64().unwrap(), text("id"), text("to")))
}

#[test]
fn no_change_is_lost_or_told_twice_over_kills() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[]);
    let (mut seen, mut last) = (Vec::new(), None::<String>);
    for round in 0..5 {
        let query = if last.is_none() { "?all=true&since=0" } else { "?all=true" };
        let mut lines = Lines::open(&server, query, last.as_deref());
        let asked: Vec<_> =
            (0..20).map(|n| server.post("/block/volumes", &json!({"name": format!("v{round}-{n}"), "size": 1}))).collect();
        for volume in asked.iter().take(10) {
            server.delete(&format!("/block/volumes/{}", volume.body["id"].as_str().unwrap()));
        }
        // Killed with work in flight, and the connection full of what is not read yet.
        server.kill_now();
        while let Some(event) = lines.next() {
            seen.extend(told(&event));
            last = event["eventId"].as_str().map(str::to_owned).or(last);
        }
        drop(server);
        server = Server::start(folder.path(), &[]);
    }
    let mut lines = Lines::open(&server, "?all=true", last.as_deref());
    ground::wait_until("all is settled", || {
        server.get("/block/volumes?limit=1000&status=creating&status=deleting").body.as_array().unwrap().is_empty()
    });
    let end = server.volume(1);
    let rest = lines.until(|event| event["id"] == end.as_str() && event["transition"]["to"] == "available");
    seen.extend(rest.iter().filter_map(told));
    // Against the journals, resource by resource.
    let mut of_each: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
    for (revision, id, to) in seen {
        of_each.entry(id).or_default().push((revision, to));
    }
    assert_eq!(of_each.len(), 101);
    for (id, told) in of_each {
        let journal = server.get(&format!("/block/volumes/{id}/journal")).body;
        let entry = |entry: &Value| (entry["revision"].as_u64().unwrap(), entry["to"].as_str().unwrap().to_owned());
        let kept: Vec<_> = journal.as_array().unwrap().iter().map(entry).collect();
        assert_eq!(told, kept, "{id}");
    }
}

#[test]
fn who_does_not_read_costs_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let deaf: Vec<_> = (0..50).map(|_| Lines::open(&server, "?all=true", None)).collect();
    let mut lines = Lines::open(&server, "?kind=volume", None);
    lines.until(|event| event["event"] == "synced");
    let volume = server.volume(1);
    for number in 0..300 {
        let name = format!("a-name-of-some-length-{number}");
        server.call("PUT", &format!("/block/volumes/{volume}"), &json!({"name": name})).expect(200);
    }
    let begun = Instant::now();
    server.call("PUT", &format!("/block/volumes/{volume}"), &json!({"name": "last"})).expect(200);
    lines.until(|event| event["object"]["name"] == "last");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(deaf);
}

#[test]
fn a_stop_ends_streams_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let mut lines = Lines::open(&server, "", None);
    lines.until(|event| event["event"] == "synced");
    let begun = Instant::now();
    assert!(server.terminate().success());
    assert!(begun.elapsed() < Duration::from_secs(3), "the stop waited for a stream: {:?}", begun.elapsed());
    let last = std::iter::from_fn(|| lines.next()).last().expect("an end is told");
    assert_eq!(last["event"], "end");
}

#[test]
fn one_connection_too_many_is_told_and_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "[http]\nconnections = 8\nstreams = 3\n");
    let server = Server::start(&folder.path().join("data"), &["--config", config.to_str().unwrap()]);
    let _streams: Vec<_> = (0..3).map(|_| Lines::open(&server, "", None)).collect();
    let address = server.base().strip_prefix("http://").unwrap().to_owned();
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut head = [0; 512];
        let length = stream.read(&mut head).unwrap_or(0);
        (stream, String::from_utf8_lossy(&head[..length]).to_lowercase())
    };
    let (_kept, answer) = ask(&format!("/v1beta/{ADMIN}/block/events"));
    assert!(answer.starts_with("http/1.1 503") && answer.contains("retry-after: 5"), "{answer}");
    server.get("/block/volumes").expect(200);
    let idle: Vec<_> = (0..8).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let (_, answer) = ask("/livez");
    assert!(answer.starts_with("http/1.1 503") && answer.contains("retry-after: 5"), "{answer}");
    drop(idle);
    ground::wait_until("there is room again", || ask("/livez").1.starts_with("http/1.1 200"));
}
