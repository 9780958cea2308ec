//! The disk of the records is full, broken, or has become read-only: what is refused says so, what can be read is read, nothing that was
//! accepted is lost, and attached volumes are served on.

use super::{Row, attach, attachment, volume};
use crate::plane::pid;
use crate::server::{Answer, run, uri};
use ground::{Ground, Kind};
use serde_json::{Value, json};

#[test]
fn full() {
    let Some(ground) = Ground::new(Kind::Ext4, 200) else { return };
    let config = crate::data::config(ground.root(), "");
    let (folder, data) = (tempfile::tempdir().unwrap(), ground.root().join("data"));
    let mut row = Row::begin_at("the store's disk is full", folder, data, &["--config", config.to_str().unwrap()]);
    let (id, other, host) = (row.server().volume(1), row.server().volume(1), row.server().host("h"));
    let (held, _) = row.server().attach(&id, &host);
    ground.fill("filler", 0);
    row.story.tell("the disk is filled");
    let body = json!({"name": "more", "size": 1});
    // A few pages of the write-ahead log may have been there already; then it is really full.
    let accepted: Vec<String> = (0..2000)
        .map_while(|_| Some(row.server().post("/block/volumes", &body)).filter(|answer| answer.code == 202))
        .map(|answer| answer.id())
        .collect();
    let refused = row.post("/block/volumes", &body);
    assert!([503, 409].contains(&refused.code), "{} {}", refused.code, refused.body);
    assert!(refused.body["message"].as_str().unwrap().contains("full"), "{}", refused.body);
    row.ends_in(&volume(&other), "available");

    row.delete(&attachment(&held)).expect(202);
    row.ends_in(&volume(&id), "available");
    row.delete(&volume(&id)).expect(202);
    row.ends_in(&volume(&id), "gone");
    ground.unfill("filler");
    row.story.tell("the disk has room again");
    ground::wait_until("a volume can be made again", || row.server().post("/block/volumes", &body).code == 202);
    row.kill();
    row.restart();
    row.ends_in(&volume(&other), "available");
    for id in accepted {
        assert!(row.server().get(&volume(&id)).code == 200, "an accepted volume is lost: {id}");
    }
}

/// What a store that is down says: never that there is no such thing.
#[track_caller]
fn says_that_it_is_down(answer: &Answer) {
    assert_eq!(answer.code, 503, "{}", answer.body);
    let message = answer.body["message"].as_str().unwrap();
    assert!(message.contains("restart") || message.contains("start"), "it says what to do: {message}");
}

/// Breaks the disk of the records, not that of the volumes, and mends it. `reads`: what was written before can still be read.
fn survives(title: &str, reads: bool, fault: impl Fn(&Ground)) {
    let Some(ground) = Ground::new(Kind::Ext4, 200) else { return };
    let folder = tempfile::tempdir().unwrap();
    let pool = format!("folder = \"{}\"\n", folder.path().join("pool").display());
    let (config, data) = (crate::data::config(folder.path(), &pool), ground.root().join("data"));
    let mut row = Row::begin_at(title, folder, data, &["--config", config.to_str().unwrap()]);
    let (id, host) = (row.server().volume(1), row.server().host("h"));
    let (held, attached) = row.server().attach(&id, &host);
    fault(&ground);
    row.story.tell("the disk of the records fails; that of the volumes does not");
    says_that_it_is_down(&row.post("/block/volumes", &json!({"name": "more", "size": 1})));
    says_that_it_is_down(&row.delete(&attachment(&held)));
    let read = row.ask("GET", &volume(&id), &Value::Null);
    let listed = row.ask("GET", "/block/volumes", &Value::Null);
    // What is still in memory of a broken disk may be told; it is what was committed last.
    match read.code {
        503 if !reads => says_that_it_is_down(&read),
        _ => assert_eq!(read.expect(200).body["status"], "inUse"),
    }
    match listed.code {
        503 if !reads => says_that_it_is_down(&listed),
        _ => assert_eq!(listed.expect(200).body.as_array().map(Vec::len), Some(1)),
    }
    run("qemu-io", &["-f", "raw", "-c", "write -P 7 0 64k", "-c", "flush", &uri(&attached)]);
    row.story.tell("the client of the attached volume writes on");

    row.kill();
    run("kill", &["-KILL", &pid(&row.data).to_string()]);
    ground.mount_again();
    row.story.tell("its data plane is killed too; the disk is mended and mounted again");
    row.restart();
    let path = attachment(&held);
    ground::wait_until("its export was compared", || row.server().get(&path).body["health"]["state"] != "unknown");
    let again = row.ends_in(&path, "attached");
    assert_eq!(row.exports(), 1);
    run("qemu-io", &["-r", "-f", "raw", "-c", "read -P 7 0 64k", &uri(&again)]);
    let listed = row.server().get("/block/volumes").expect(200).body;
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "what was refused is not there, what was accepted is: {listed}");
    row.post("/block/attachments", &attach(&id, &host)).expect(409);
    row.delete(&attachment(&held)).expect(202);
    row.ends_in(&volume(&id), "available");
}

#[test]
fn broken() {
    survives("the store's disk breaks", false, |ground| ground.breaker()());
}

#[test]
fn read_only() {
    survives("the store's disk becomes read-only", true, Ground::abort);
}
