//! kill -9 of the controller in the middle of each operation.

use super::{Held, Row, attach, attachment, snapshot, volume};
use crate::server::{fails, run, uri};
use serde_json::json;

#[test]
fn during_create() {
    let mut row = Row::begin("kill -9 during create");
    row.slow_down();
    let id = row.post("/block/volumes", &json!({"name": "v", "size": 1})).expect(202).id();
    row.until_file(".tmp");
    assert_eq!(row.server().get(&volume(&id)).body["status"], "creating");
    row.kill();
    assert!(row.files().keys().all(|name| name.ends_with(".tmp")), "the driver had finished: {:?}", row.files());
    row.restart();
    row.ends_in(&volume(&id), "available");
    row.ended(&volume(&id), &["create done"]);
    row.agrees();
}

#[test]
fn during_delete() {
    let mut row = Row::begin("kill -9 during delete");
    let id = row.server().volume(1);
    row.slow_down();
    row.delete(&volume(&id)).expect(202);
    row.until_file(".trash");
    assert_eq!(row.server().get(&volume(&id)).body["status"], "deleting");
    row.kill();
    assert!(row.files().keys().any(|name| name.ends_with(".trash")), "the driver had finished: {:?}", row.files());
    row.restart();
    row.ends_in(&volume(&id), "gone");
    row.ended(&volume(&id), &["create done", "delete done"]);
    row.agrees();
}

#[test]
fn during_extend() {
    let mut row = Row::begin("kill -9 during extend");
    let (before, after) = (row.written(), row.written());
    row.slow_down();
    for id in [&before, &after] {
        row.post(&format!("{}/resize", volume(id)), &json!({"newSize": 3})).expect(202);
        row.until_tried(&volume(id));
        assert_eq!(row.server().get(&volume(id)).body["status"], "extending");
    }
    row.kill();
    assert!(row.files().values().all(|size| *size == 1 << 30), "the driver had finished: {:?}", row.files());
    // What a kill right after the driver's last step leaves: the backend has grown and no record says so.
    let grown = std::fs::File::options().write(true).open(row.file(&format!("{after}.raw"))).unwrap();
    grown.set_len(3 << 30).unwrap();
    row.story.tell("one of the two files has grown already, as if the kill had come a step later");
    row.restart();
    for id in [&before, &after] {
        let extended = row.ends_in(&volume(id), "available");
        assert_eq!(extended["size"], 3);
        row.ended(&volume(id), &["create done", "extend done"]);
        row.holds_what_was_written(&format!("{id}.raw"));
    }
    row.agrees();
}

#[test]
fn during_attach() {
    let mut row = Row::begin("kill -9 during attach");
    let (id, host) = (row.written(), row.server().host("h"));
    let held = Held::hold(&row.data);
    let asked = row.post("/block/attachments", &attach(&id, &host)).expect(202).id();
    row.until_tried(&attachment(&asked));
    assert_eq!(row.server().get(&volume(&id)).body["status"], "attaching");
    row.kill();
    drop(held);
    row.restart();
    let attached = row.ends_in(&attachment(&asked), "attached");
    row.ends_in(&volume(&id), "inUse");
    row.ended(&attachment(&asked), &["attach done"]);
    assert_eq!(row.exports(), 1);
    run("qemu-io", &["-r", "-f", "raw", "-c", "read -P 0x5a 1M 64k", &uri(&attached)]);
    row.story.tell("a client reads through it what was written; it is the one export there is");
    row.agrees();
}

#[test]
fn during_detach() {
    let mut row = Row::begin("kill -9 during detach");
    let (id, host) = (row.written(), row.server().host("h"));
    let (asked, attached) = row.server().attach(&id, &host);
    let held = Held::hold(&row.data);
    row.delete(&attachment(&asked)).expect(202);
    row.until_tried(&attachment(&asked));
    assert_eq!(row.server().get(&volume(&id)).body["status"], "detaching");
    row.kill();
    drop(held);
    row.restart();
    row.ends_in(&attachment(&asked), "detached");
    row.ends_in(&volume(&id), "available");
    row.ended(&attachment(&asked), &["attach done", "detach done"]);
    assert_eq!(row.exports(), 0);
    fails("nbdinfo", &["--size", &uri(&attached)]);
    row.story.tell("nobody can connect to it any more");
    row.holds_what_was_written(&format!("{id}.raw"));
    row.agrees();
}

#[test]
fn during_taking_a_snapshot() {
    let mut row = Row::begin("kill -9 during the creation of a snapshot");
    let id = row.written();
    row.slow_down();
    let taken = row.post("/block/snapshots", &json!({"name": "s", "volumeId": id})).expect(202).id();
    row.until_file(".tmp");
    assert_eq!(row.server().get(&snapshot(&taken)).body["status"], "creating");
    row.kill();
    assert!(row.files().keys().any(|name| name.ends_with(".tmp")), "the driver had finished: {:?}", row.files());
    row.restart();
    row.ends_in(&snapshot(&taken), "available");
    row.ended(&snapshot(&taken), &["create done"]);
    row.holds_what_was_written(&format!("{id}@{taken}.raw"));
    row.agrees();
}

#[test]
fn during_deleting_a_snapshot() {
    let mut row = Row::begin("kill -9 during the deletion of a snapshot");
    let id = row.written();
    let taken = row.server().post("/block/snapshots", &json!({"name": "s", "volumeId": id})).expect(202).id();
    row.server().until(&snapshot(&taken), "available");
    row.slow_down();
    row.delete(&snapshot(&taken)).expect(202);
    row.until_file(".trash");
    assert_eq!(row.server().get(&snapshot(&taken)).body["status"], "deleting");
    row.kill();
    assert!(row.files().keys().any(|name| name.ends_with(".trash")), "the driver had finished: {:?}", row.files());
    row.restart();
    row.ends_in(&snapshot(&taken), "deleted");
    row.ended(&snapshot(&taken), &["create done", "delete done"]);
    row.holds_what_was_written(&format!("{id}.raw"));
    row.agrees();
}
