//! Data through real clients: what was written is there, in the volume and in clones, and nowhere else.

use crate::server::{Server, fails, run, uri};
use ground::{Ground, Kind};
use serde_json::json;
use std::path::{Path, PathBuf};

/// A configuration whose pool keeps nothing free, as the grounds are small; told with what else it shall say.
pub(crate) fn config(folder: &Path, more: &str) -> PathBuf {
    let path = folder.join("berth.toml");
    std::fs::write(&path, format!("[[pool]]\nname = \"default\"\nreserved = 0\n{more}")).unwrap();
    path
}

/// A server whose data folder is on a file system of its own.
fn on(kind: Kind, test: impl Fn(&Server)) {
    let Some(ground) = Ground::new(kind, 400) else { return };
    let config = config(ground.root(), "");
    test(&Server::start(&ground.root().join("data"), &["--config", config.to_str().unwrap()]));
}

#[test]
fn a_clone_holds_what_was_there_when_the_snapshot_was_taken() {
    on(Kind::Xfs, |server| {
        let volume = server.volume(1);
        let host = server.host("h");
        let (_, attached) = server.attach(&volume, &host);
        run("qemu-io", &["-f", "raw", "-c", "write -P 1 0 64k", "-c", "flush", &uri(&attached)]);
        let snapshot = server.post("/block/snapshots", &json!({"name": "s", "volumeId": volume})).expect(202).id();
        server.until(&format!("/block/snapshots/{snapshot}"), "available");
        run("qemu-io", &["-f", "raw", "-c", "write -P 2 0 64k", "-c", "flush", &uri(&attached)]);

        let body = json!({"name": "clone", "size": 1, "snapshotId": snapshot});
        let clone = server.post("/block/volumes", &body).expect(202).id();
        server.until(&format!("/block/volumes/{clone}"), "available");
        let (_, cloned) = server.attach(&clone, &host);
        run("qemu-io", &["-r", "-f", "raw", "-c", "read -P 1 0 64k", "-c", "read -P 0 64k 64k", &uri(&cloned)]);
        run("qemu-io", &["-f", "raw", "-c", "write -P 3 0 64k", "-c", "flush", &uri(&cloned)]);
        run("qemu-io", &["-r", "-f", "raw", "-c", "read -P 2 0 64k", &uri(&attached)]);
    });
}

#[test]
fn without_reflinks_a_snapshot_under_a_writer_is_refused_with_the_remedy() {
    on(Kind::Ext4, |server| {
        let volume = server.volume(1);
        let host = server.host("h");
        let (attachment, attached) = server.attach(&volume, &host);
        run("qemu-io", &["-f", "raw", "-c", "write -P 1 0 1M", "-c", "flush", &uri(&attached)]);
        let refused = server.post("/block/snapshots", &json!({"name": "s", "volumeId": volume})).expect(409);
        let message = refused.body["message"].as_str().unwrap();
        assert!(message.contains("detach") && message.contains("XFS"), "{message}");

        server.delete(&format!("/block/attachments/{attachment}")).expect(202);
        server.until(&format!("/block/volumes/{volume}"), "available");
        let snapshot = server.post("/block/snapshots", &json!({"name": "s", "volumeId": volume})).expect(202).id();
        server.until(&format!("/block/snapshots/{snapshot}"), "available");
        let clone = server.post("/block/volumes", &json!({"name": "c", "size": 2, "snapshotId": snapshot})).expect(202).id();
        let cloned = server.until(&format!("/block/volumes/{clone}"), "available");
        assert_eq!(cloned["size"], 2);
        let (_, cloned) = server.attach(&clone, &host);
        run("qemu-io", &["-r", "-f", "raw", "-c", "read -P 1 0 1M", "-c", "read -P 0 1M 1M", &uri(&cloned)]);
    });
}

#[test]
fn copies_come_back_as_they_went() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let (_, attached) = server.attach(&server.volume(1), &server.host("h"));
    let (there, back) = (folder.path().join("there"), folder.path().join("back"));
    // Not random, but nothing that any layer would take for zeroes or a repetition of a block.
    let bytes: Vec<u8> = (0..16 << 20).map(|at: u64| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    std::fs::write(&there, &bytes).unwrap();
    std::fs::File::options().write(true).open(&there).unwrap().set_len(1 << 30).unwrap();
    run("nbdcopy", &[there.to_str().unwrap(), &uri(&attached)]);
    run("nbdcopy", &[&uri(&attached), back.to_str().unwrap()]);
    let back = std::fs::read(&back).unwrap();
    assert_eq!(back.len(), 1 << 30);
    assert!(back[..bytes.len()] == bytes[..], "the first 16 MiB differ");
    assert!(back[bytes.len()..].iter().all(|byte| *byte == 0), "what was never written is not zero");
    let socket = attached["connectionInfo"]["data"]["unixUri"].as_str().unwrap();
    assert!(run("nbdinfo", &["--size", socket]).trim() == (1_u64 << 30).to_string());
}

#[test]
fn a_read_only_attachment_takes_no_writes() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let (volume, host) = (server.volume(1), server.host("h"));
    let body = json!({"volumeId": volume, "hostId": host, "attachMode": "ro"});
    let id = server.post("/block/attachments", &body).expect(202).id();
    let attached = server.until(&format!("/block/attachments/{id}"), "attached");
    fails("qemu-io", &["-f", "raw", "-c", "write -P 1 0 64k", &uri(&attached)]);
    run("qemu-io", &["-r", "-f", "raw", "-c", "read -P 0 0 64k", &uri(&attached)]);
}

#[test]
fn a_grown_volume_is_grown_for_the_next_client() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let (volume, host) = (server.volume(1), server.host("h"));
    let (_, attached) = server.attach(&volume, &host);
    run("qemu-io", &["-f", "raw", "-c", "write -P 7 0 64k", &uri(&attached)]);
    server.post(&format!("/block/volumes/{volume}/resize"), &json!({"newSize": 3})).expect(202);
    server.until(&format!("/block/volumes/{volume}"), "inUse");
    assert_eq!(run("nbdinfo", &["--size", &uri(&attached)]).trim(), (3_u64 << 30).to_string());
    run("qemu-io", &["-f", "raw", "-c", "read -P 7 0 64k", "-c", "write -P 8 2G 64k", &uri(&attached)]);
}
