//! Attached to the controller's own machine, as a loop device: a file system on it, its snapshot and its clone.

use crate::data::config;
use crate::server::{Server, run};
use ground::{Ground, Kind};
use serde_json::json;
use std::path::{Path, PathBuf};

/// A file system of a device, unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(device: &str, at: &Path) -> Self {
        std::fs::create_dir_all(at).unwrap();
        // The clone bears the name of its original, which is mounted too.
        run("mount", &["-o", "nouuid", device, at.to_str().unwrap()]);
        Self(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A test that failed leaves nothing mounted; one that did not has checked that it can be unmounted.
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

fn attach(server: &Server, volume: &str, host: &str) -> (String, String) {
    let body = json!({"volumeId": volume, "hostId": host, "accessProtocol": "local"});
    let id = server.post("/block/attachments", &body).expect(202).id();
    let attached = server.until(&format!("/block/attachments/{id}"), "attached,errorAttaching,errorDetaching");
    assert_eq!(attached["status"], "attached", "{attached}");
    (id, attached["connectionInfo"]["data"]["device"].as_str().unwrap_or_else(|| panic!("{attached}")).to_owned())
}

#[test]
fn a_file_system_is_written_snapshotted_cloned_and_sound() {
    let Some(ground) = Ground::new(Kind::Xfs, 2000) else { return };
    let config = config(ground.root(), "[times]\ndetach-grace = 1\n");
    let server = Server::start(&ground.root().join("data"), &["--config", config.to_str().unwrap()]);
    let (volume, host) = (server.volume(1), server.host("this"));
    let (attachment, device) = attach(&server, &volume, &host);
    run("mkfs.xfs", &["-q", &device]);
    let folder = tempfile::tempdir().unwrap();
    let mounted = Mounted::new(&device, &folder.path().join("original"));
    let bytes: Vec<u8> = (0..8 << 20).map(|at: u64| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    std::fs::write(mounted.0.join("file"), &bytes).unwrap();
    run("sync", &["-f", mounted.0.to_str().unwrap()]);

    let snapshot = server.post("/block/snapshots", &json!({"name": "s", "volumeId": volume})).expect(202).id();
    server.until(&format!("/block/snapshots/{snapshot}"), "available");
    std::fs::write(mounted.0.join("file"), b"written after the snapshot").unwrap();
    let body = json!({"name": "clone", "size": 1, "snapshotId": snapshot});
    let clone = server.post("/block/volumes", &body).expect(202).id();
    server.until(&format!("/block/volumes/{clone}"), "available");
    let (cloned, other) = attach(&server, &clone, &host);
    assert_ne!(device, other);
    let copy = Mounted::new(&other, &folder.path().join("clone"));
    assert!(std::fs::read(copy.0.join("file")).unwrap() == bytes, "the clone holds what was there at the snapshot");
    run("umount", &[copy.0.to_str().unwrap()]);
    run("xfs_repair", &["-n", &other]);
    server.delete(&format!("/block/attachments/{cloned}")).expect(202);
    server.until(&format!("/block/volumes/{clone}"), "available");

    refused_while_mounted(&server, &attachment, &mounted.0);
    run("umount", &[mounted.0.to_str().unwrap()]);
    run("xfs_repair", &["-n", &device]);
    server.delete(&format!("/block/attachments/{attachment}")).expect(202);
    server.until(&format!("/block/volumes/{volume}"), "available");
    assert!(!is_bound(&device), "{device} still has a backing");
}

#[track_caller]
fn refused_while_mounted(server: &Server, attachment: &str, mountpoint: &Path) {
    let path = format!("/block/attachments/{attachment}");
    for force in ["", "?force=true"] {
        server.delete(&format!("{path}{force}")).expect(202);
        let held = server.until(&path, "errorDetaching");
        let message = held["statusReason"]["message"].as_str().unwrap();
        assert!(message.contains(mountpoint.to_str().unwrap()), "{message}");
        std::fs::write(mountpoint.join("still"), b"written").expect("it is served on");
    }
}

fn is_bound(device: &str) -> bool {
    let name = device.trim_start_matches("/dev/");
    Path::new("/sys/block").join(name).join("loop/backing_file").exists()
}

#[test]
fn a_device_outlives_its_controller_and_grows_while_it_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let (volume, host) = (server.volume(1), server.host("this"));
    let spoken = server.get("/pools").body[0]["extras"]["ioConnectivity"]["accessProtocol"].clone();
    if !spoken.as_str().unwrap().contains("local") {
        // Where loop devices cannot be had no ground can be mounted either, and that is told.
        assert!(Ground::new(Kind::Ext4, 16).is_none());
        return;
    }
    let (attachment, device) = attach(&server, &volume, &host);
    run("dd", &["if=/dev/urandom", &format!("of={device}"), "bs=1M", "count=1", "conv=fsync", "status=none"]);
    let first = run("sha256sum", &[&device]);
    server.kill();
    let server = Server::start(folder.path(), &[]);
    let path = format!("/block/attachments/{attachment}");
    assert_eq!(server.until(&path, "attached")["connectionInfo"]["data"]["device"], device);
    assert_eq!(run("sha256sum", &[&device]), first);
    server.post(&format!("/block/volumes/{volume}/resize"), &json!({"newSize": 2})).expect(202);
    server.until(&format!("/block/volumes/{volume}"), "inUse");
    assert_eq!(run("blockdev", &["--getsize64", &device]).trim(), (2_u64 << 30).to_string());
    server.delete(&path).expect(202);
    server.until(&format!("/block/volumes/{volume}"), "available");
    assert!(!is_bound(&device));
}
