//! A whole life, and a kill with everything in flight.

use crate::server::{Server, run, uri};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[test]
fn data_written_by_a_client_is_there_after_detach_restart_and_attach() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let volume = server.volume(1);
    let host = server.host("h");
    let (attachment, attached) = server.attach(&volume, &host);
    assert_eq!(server.get(&format!("/block/volumes/{volume}")).body["status"], "inUse");
    run("qemu-io", &["-f", "raw", "-c", "write -P 0x5a 1M 64k", "-c", "flush", &uri(&attached)]);
    server.delete(&format!("/block/attachments/{attachment}")).expect(202);
    server.until(&format!("/block/volumes/{volume}"), "available");
    server.kill();

    let server = Server::start(folder.path(), &[]);
    let (_, attached) = server.attach(&volume, &host);
    run("qemu-io", &["-r", "-f", "raw", "-c", "read -P 0x5a 1M 64k", "-c", "read -P 0 2M 64k", &uri(&attached)]);
}

#[test]
fn an_attachment_is_served_again_after_a_kill_with_the_same_connection() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let volume = server.volume(1);
    let host = server.host("h");
    let (attachment, before) = server.attach(&volume, &host);
    server.kill();
    let server = Server::start(folder.path(), &[]);
    let after = server.until(&format!("/block/attachments/{attachment}"), "attached");
    assert_eq!(before["connectionInfo"], after["connectionInfo"]);
    run("qemu-io", &["-r", "-f", "raw", "-c", "read 0 64k", &uri(&after)]);
}

#[test]
fn the_demo_tells_a_whole_life() {
    let begun = Instant::now();
    let told = run(env!("CARGO_BIN_EXE_berth"), &["demo"]);
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    let mut rest = told.as_str();
    for word in
        ["creating", "available", "attaching", "attached", "nbd://", "inUse", "cannot delete", "extending", "clone", "deleted"]
    {
        let at = rest.find(word).unwrap_or_else(|| panic!("{word} is not told in its turn: {told}"));
        rest = &rest[at..];
    }
}

/// Every volume's and snapshot's file below a folder, with its size.
pub(crate) fn files(folder: &Path) -> BTreeSet<(String, Option<u64>)> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                if name.len() > 36 && name.as_bytes()[8] == b'-' {
                    // One that is renamed or removed meanwhile is found under its next name, or not at all.
                    found.extend(path.metadata().ok().map(|facts| (name, Some(facts.len()))));
                }
            }
        }
    }
    found
}

#[test]
fn a_kill_with_everything_in_flight_settles_within_five_seconds_of_the_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let host = server.host("h");
    let volumes: Vec<String> = (0..8).map(|_| server.volume(1)).collect();
    let snapshots: Vec<String> = volumes[5..8]
        .iter()
        .map(|volume| {
            let id = server.post("/block/snapshots", &json!({"name": "s", "volumeId": volume})).expect(202).id();
            server.until(&format!("/block/snapshots/{id}"), "available");
            id
        })
        .collect();
    let (attachment, _) = server.attach(&volumes[3], &host);
    server.kill();

    let server = Server::start(folder.path(), &["--slow-ms", "2000"]);
    server.until(&format!("/block/attachments/{attachment}"), "attached");
    server.post("/block/volumes", &json!({"name": "new", "size": 1})).expect(202);
    server.post("/block/volumes", &json!({"name": "clone", "size": 1, "snapshotId": snapshots[0]})).expect(202);
    server.post(&format!("/block/volumes/{}/resize", volumes[0]), &json!({"newSize": 3})).expect(202);
    server.delete(&format!("/block/volumes/{}", volumes[1])).expect(202);
    server.post("/block/attachments", &json!({"volumeId": volumes[2], "hostId": host})).expect(202);
    server.delete(&format!("/block/attachments/{attachment}")).expect(202);
    server.post("/block/snapshots", &json!({"name": "t", "volumeId": volumes[4]})).expect(202);
    server.delete(&format!("/block/snapshots/{}", snapshots[1])).expect(202);
    server.kill();

    let server = Server::start(folder.path(), &[]);
    settle(&server, Duration::from_secs(5));
    assert_eq!(disagreements(&server, folder.path()), [""; 0]);
}

fn transient(server: &Server) -> Vec<String> {
    let mut moving = Vec::new();
    for kind in ["volumes", "snapshots", "attachments"] {
        for resource in server.get(&format!("/block/{kind}?limit=1000")).expect(200).body.as_array().unwrap() {
            let status = resource["status"].as_str().unwrap();
            if status.ends_with("ing") && !status.starts_with("error") || resource.get("operation").is_some_and(Value::is_object) {
                moving.push(format!("{kind} {} {status}", resource["id"]));
            }
        }
    }
    moving
}

/// Waits until nothing is transient and nothing runs.
#[track_caller]
pub(crate) fn settle(server: &Server, within: Duration) {
    let deadline = Instant::now() + within;
    loop {
        let moving = transient(server);
        if moving.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "still transient: {moving:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Where a status is wrong against the files, or a file is without a record.
pub(crate) fn disagreements(server: &Server, folder: &Path) -> Vec<String> {
    let on_disk = files(&folder.join("pools"));
    let (mut recorded, mut wrong) = (BTreeSet::new(), Vec::new());
    for volume in server.get("/block/volumes?limit=10000").expect(200).body.as_array().unwrap() {
        if !["available", "inUse"].contains(&volume["status"].as_str().unwrap()) {
            wrong.push(format!("status of {volume}"));
        }
        recorded.insert((format!("{}.raw", volume["id"].as_str().unwrap()), volume["sizeBytes"].as_u64()));
    }
    for snapshot in server.get("/block/snapshots?limit=10000").expect(200).body.as_array().unwrap() {
        if snapshot["status"] != "available" {
            wrong.push(format!("status of {snapshot}"));
        }
        let name = format!("{}@{}.raw", snapshot["volumeId"].as_str().unwrap(), snapshot["id"].as_str().unwrap());
        // Of a snapshot the wire tells GiB only; that is all it ever has here.
        recorded.insert((name, snapshot["size"].as_u64().map(|gib| gib << 30)));
    }
    wrong.extend(on_disk.symmetric_difference(&recorded).map(|(name, size)| format!("{name} of {size:?} bytes")));
    wrong
}
