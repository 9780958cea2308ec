//! What failed, or was taken back: a truthful status, its reason, and a way out by user commands.

use super::{Row, attach, attachment, volume};
use crate::server::{fails, run, uri};
use ground::{Ground, Kind};
use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};

#[test]
fn extend_that_is_refused() {
    // Blocks of 1 KiB: ext4 has no files of 4 TiB with them, and so the backend refuses what the pool may promise.
    let Some(ground) = Ground::new(Kind::Ext4, 400) else { return };
    let config = crate::data::config(ground.root(), "overcommit = 100000.0\n");
    let (folder, data) = (tempfile::tempdir().unwrap(), ground.root().join("data"));
    let mut row = Row::begin_at("an extend that fails", folder, data, &["--config", config.to_str().unwrap()]);
    let id = row.written();
    let resize = format!("{}/resize", volume(&id));
    let refused = row.post(&resize, &json!({"newSize": 50_000})).expect(409);
    assert!(refused.body["message"].as_str().unwrap().contains("pool"), "{}", refused.body);
    row.ends_in(&volume(&id), "available");

    row.post(&resize, &json!({"newSize": 5000})).expect(202);
    let failed = row.ends_in(&volume(&id), "errorExtending");
    assert_eq!(failed["size"], 1, "{failed}");
    assert!(failed["statusReason"]["message"].as_str().unwrap().contains("the file system holds no file of"), "{failed}");
    row.post(&format!("{}/retry", volume(&id)), &Value::Null).expect(202);
    row.ends_in(&volume(&id), "errorExtending");
    row.holds_what_was_written(&format!("{id}.raw"));
    row.post(&format!("{}/recover", volume(&id)), &Value::Null).expect(202);
    row.ends_in(&volume(&id), "available");
    row.post(&resize, &json!({"newSize": 2})).expect(202);
    assert_eq!(row.ends_in(&volume(&id), "available")["size"], 2);
    row.ended(&volume(&id), &["create done", "extend failed", "extend failed", "recover done", "extend done"]);
    row.agrees();
}

/// A client that stays connected until it is dropped.
struct Client(Child);

impl Client {
    fn connect(uri: &str) -> Self {
        // Reads commands from standard input for as long as that is open, and so stays connected.
        let mut command = Command::new("qemu-io");
        command.args(["-f", "raw", uri]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("qemu-io starts"))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn detach_under_a_client() {
    let mut row = Row::begin_with("a detach that fails: a client is still connected", "[times]\ndetach-grace = 1\n");
    let (id, host) = (row.written(), row.server().host("h"));
    let (held, attached) = row.server().attach(&id, &host);
    let client = Client::connect(&uri(&attached));
    ground::wait_until("the client is connected", || {
        row.server().get(&attachment(&held)).body["clients"].as_array().is_some_and(|clients| !clients.is_empty())
    });
    row.delete(&attachment(&held)).expect(202);
    let failed = row.ends_in(&attachment(&held), "errorDetaching");
    assert!(failed["statusReason"]["message"].as_str().unwrap().contains("127.0.0.1"), "the client is named: {failed}");
    row.ends_in(&volume(&id), "inUse");
    run("qemu-io", &["-r", "-f", "raw", "-c", "read -P 0x5a 1M 64k", &uri(&attached)]);
    row.story.tell("it is served on");

    let path = format!("{}?force=true", attachment(&held));
    row.delete(&path).expect(202);
    row.ends_in(&attachment(&held), "detached");
    row.ends_in(&volume(&id), "available");
    row.ended(&attachment(&held), &["attach done", "detach failed", "detach done"]);
    fails("nbdinfo", &["--size", &uri(&attached)]);
    row.story.tell("nobody can connect to it any more");
    drop(client);
    row.agrees();
}

#[test]
fn detach_of_one_of_two() {
    let mut row = Row::begin("one of two attachments of a volume is detached");
    let body = json!({"name": "shared", "size": 1, "multiAttach": true});
    let id = row.post("/block/volumes", &body).expect(202).id();
    row.ends_in(&volume(&id), "available");
    let [first, second] = ["one", "two"].map(|name| {
        let host = row.server().host(name);
        let held = row.post("/block/attachments", &attach(&id, &host)).expect(202).id();
        let attached = row.ends_in(&attachment(&held), "attached");
        (held, attached)
    });
    row.delete(&attachment(&first.0)).expect(202);
    row.ends_in(&attachment(&first.0), "detached");
    row.ends_in(&volume(&id), "inUse");
    fails("nbdinfo", &["--size", &uri(&first.1)]);
    run("qemu-io", &["-f", "raw", "-c", "write -P 1 0 64k", &uri(&second.1)]);
    let refused = row.delete(&volume(&id)).expect(409);
    assert!(refused.body["message"].as_str().unwrap().contains(&second.0), "{}", refused.body);
    row.delete(&attachment(&second.0)).expect(202);
    row.ends_in(&volume(&id), "available");
    fails("nbdinfo", &["--size", &uri(&second.1)]);
    row.agrees();
}

#[test]
fn create_that_is_deleted_meanwhile() {
    let mut row = Row::begin("a delete during create");
    row.slow_down();
    let id = row.post("/block/volumes", &json!({"name": "v", "size": 1})).expect(202).id();
    row.until_file(".tmp");
    row.delete(&volume(&id)).expect(202);
    row.ends_in(&volume(&id), "gone");
    assert_eq!(row.files().len(), 0, "something is left on the backend: {:?}", row.files());
    row.ended(&volume(&id), &["create superseded", "delete done"]);
    row.agrees();
}
