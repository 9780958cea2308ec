//! What somebody does to the files behind the controller's back is seen while it runs, and `berth doctor` says what mends it.

use crate::data::config;
use crate::server::{Server, run, uri};
use serde_json::json;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where a file pool keeps a volume.
fn file(data: &Path, volume: &str) -> PathBuf {
    data.join("pools/default").join(&volume[33..36]).join(format!("{volume}.raw"))
}

/// Runs the binary as an operator would; gives whether it ended with 0, and what it printed.
fn berth(server: &Server, args: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
    let output = command.args(["--endpoint", server.base()]).args(args).stdin(Stdio::null()).output().expect("the binary starts");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs the line that the diagnosis tells after `mend` for what it says of `about`.
fn mend(server: &Server, told: &str, about: &str) {
    let lines = told.lines().skip_while(|line| !line.contains(about));
    let line = lines.skip(1).find_map(|line| line.trim().strip_prefix("mend")).unwrap_or_else(|| panic!("no {about} in {told}"));
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    assert!(berth(server, &words).0, "{line}");
}

#[test]
fn what_changes_behind_its_back_is_seen_told_and_mended() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "[look]\ninterval = 1\n");
    let data = folder.path().join("data");
    let server = Server::start(&data, &["--config", config.to_str().unwrap()]);
    let [gone, cut, grown, kept] = [server.volume(1), server.volume(1), server.volume(1), server.volume(1)];
    assert_eq!(berth(&server, &["doctor", "--look"]), (true, berth(&server, &["doctor"]).1));

    let aside = folder.path().join("aside");
    fs::rename(file(&data, &gone), &aside).unwrap();
    OpenOptions::new().write(true).open(file(&data, &cut)).unwrap().set_len(4096).unwrap();
    OpenOptions::new().write(true).open(file(&data, &grown)).unwrap().set_len(2 << 30).unwrap();
    let unknown = "019a0000-0000-7000-8000-00000000000a";
    fs::create_dir_all(file(&data, unknown).parent().unwrap()).unwrap();
    fs::write(file(&data, unknown), [1; 4096]).unwrap();
    for (volume, status, code) in
        [(&gone, "error", "backendMissing"), (&cut, "error", "backendDamaged"), (&grown, "errorExtending", "sizeDiffers")]
    {
        let now = server.until(&format!("/block/volumes/{volume}"), status);
        assert_eq!((&now["statusReason"]["code"], &now["health"]["state"]), (&json!(code), &json!("error")), "{now}");
    }
    let (agrees, told) = berth(&server, &["doctor", "--look"]);
    assert!(!agrees && [&gone, &cut, &grown, unknown].iter().all(|id| told.contains(*id)) && !told.contains(&kept), "{told}");
    assert!(file(&data, unknown).exists(), "looking removes nothing");

    fs::rename(&aside, file(&data, &gone)).unwrap();
    mend(&server, &told, &gone);
    mend(&server, &told, &grown);
    mend(&server, &told, unknown);
    server.delete(&format!("/block/volumes/{cut}")).expect(202);
    server.until(&format!("/block/volumes/{cut}"), "gone");
    for (volume, size) in [(&gone, 1), (&grown, 2), (&kept, 1)] {
        assert_eq!(server.until(&format!("/block/volumes/{volume}"), "available")["size"], size);
    }
    assert!(!file(&data, unknown).exists());
    let (agrees, told) = berth(&server, &["doctor", "--look"]);
    assert!(agrees && told.contains("3 volumes looked at") && told.contains("everything agrees"), "{told}");
}

#[test]
fn a_volume_that_somebody_maps_by_hand_is_in_use_until_they_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "[look]\ninterval = 1\n");
    let data = folder.path().join("data");
    let server = Server::start(&data, &["--config", config.to_str().unwrap()]);
    let (volume, host) = (server.volume(1), server.host("h"));
    let path = format!("/block/volumes/{volume}");
    // Attaching and detaching is no use by a stranger, however often it is looked meanwhile.
    let (attachment, _) = server.attach(&volume, &host);
    assert!(berth(&server, &["doctor", "--look"]).0);
    server.delete(&format!("/block/attachments/{attachment}")).expect(202);
    server.until(&path, "available");

    let mut mapped = Command::new("qemu-io")
        .args(["-f", "raw"])
        .arg(file(&data, &volume))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let told = server.until(&path, "inUse");
    let message = told["statusReason"]["message"].as_str().unwrap();
    assert_eq!(told["statusReason"]["code"], "strayClient", "{told}");
    assert!(message.contains(&format!("process {} (qemu-io)", mapped.id())), "{message}");
    let attach = json!({"volumeId": volume, "hostId": host});
    for refused in [server.delete(&path), server.post("/block/attachments", &attach)] {
        assert!(refused.code == 409 && refused.body["message"].as_str().unwrap().contains("qemu-io"), "{}", refused.body);
    }
    let (agrees, told) = berth(&server, &["doctor", "--look"]);
    assert!(!agrees && told.contains(&volume) && told.contains("qemu-io"), "{told}");

    mapped.kill().unwrap();
    mapped.wait().unwrap();
    server.until(&path, "available");
    assert!(berth(&server, &["doctor", "--look"]).0);
    server.delete(&path).expect(202);
    server.until(&path, "gone");
}

#[test]
fn a_file_that_is_replaced_under_an_attached_volume_is_what_is_served_then() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "[look]\ninterval = 1\n");
    let data = folder.path().join("data");
    let server = Server::start(&data, &["--config", config.to_str().unwrap()]);
    let volume = server.volume(1);
    let (attachment, attached) = server.attach(&volume, &server.host("h"));
    let path = format!("/block/attachments/{attachment}");
    run("qemu-io", &["-f", "raw", "-c", "write -P 1 0 64k", "-c", "flush", &uri(&attached)]);

    fs::rename(file(&data, &volume), folder.path().join("aside")).unwrap();
    fs::File::create(file(&data, &volume)).unwrap().set_len(1 << 30).unwrap();
    let told = |entry: &serde_json::Value| entry["to"] == "attaching" && entry["reason"]["code"] == "notExported";
    ground::wait_until("it is exported anew, and the journal tells", || {
        server.get(&format!("{path}/journal")).body.as_array().unwrap().iter().any(told)
    });
    let again = server.until(&path, "attached");
    assert_eq!(uri(&again), uri(&attached));
    run("qemu-io", &["-f", "raw", "-c", "read -P 0 0 64k", "-c", "write -P 2 0 64k", "-c", "flush", &uri(&again)]);
    let byte = |path: PathBuf| {
        let mut byte = [0; 1];
        fs::File::open(path).unwrap().read_exact_at(&mut byte, 0).unwrap();
        byte[0]
    };
    assert_eq!((byte(file(&data, &volume)), byte(folder.path().join("aside"))), (2, 1));
    server.delete(&path).expect(202);
    server.until(&path, "detached");
}

#[test]
fn the_very_look_that_sees_a_stranger_tells_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "[look]\ninterval = 600\n");
    let data = folder.path().join("data");
    let server = Server::start(&data, &["--config", config.to_str().unwrap()]);
    let volume = server.volume(1);
    let mapped = OpenOptions::new().write(true).open(file(&data, &volume)).unwrap();
    let (agrees, told) = berth(&server, &["doctor", "--look"]);
    assert!(!agrees && told.contains(&volume), "{told}");
    drop(mapped);
    assert!(berth(&server, &["doctor", "--look"]).0);
}
