//! Trouble of the disk, the folder, the listener, the backend and the clients: each has a clear message and nothing is lost.

use crate::data::config;
use crate::server::{Server, refuses};
use ground::{Ground, Kind, MIB};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

#[test]
fn a_read_only_folder_is_refused() {
    let Some(ground) = Ground::new(Kind::Ext4, 100) else { return };
    let data = ground.root().join("data");
    std::fs::create_dir(&data).unwrap();
    ground.forbid_writing();
    let told = refuses(&data, &[]);
    assert!(told.contains("cannot be written") && told.contains("--data"), "{told}");
}

#[test]
fn a_second_server_is_told_who_holds_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let told = refuses(folder.path(), &[]);
    assert!(told.contains(&server.pid().to_string()), "{told}");
    server.volume(1);
}

#[test]
fn a_store_that_is_none_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(Server::start(folder.path(), &[]));
    let store = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let store = store.into_iter().find(|path| path.extension().is_some_and(|end| end == "db")).expect("there is a store");
    for more in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{more}", store.display()));
    }
    let rubbish = vec![0x5a; 40_960];
    std::fs::write(&store, &rubbish).unwrap();
    let told = refuses(folder.path(), &[]);
    assert!(told.contains("restore"), "{told}");
    assert!(std::fs::read(&store).unwrap() == rubbish, "the file was changed");
}

#[test]
fn other_machines_are_not_served_without_saying_so() {
    let folder = tempfile::tempdir().unwrap();
    let told = refuses(folder.path(), &["--listen", "0.0.0.0:0"]);
    assert!(told.contains("--insecure-no-auth") && told.contains("authentication"), "{told}");
    let told = refuses(folder.path(), &["--nbd-listen", "0.0.0.0:0"]);
    assert!(told.contains("--insecure-no-auth"), "{told}");
}

#[test]
fn a_configuration_that_is_not_understood_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("berth.toml");
    std::fs::write(&path, "[[pool]]\nname = \"default\"\ncolour = 1\n").unwrap();
    let told = refuses(&folder.path().join("data"), &["--config", path.to_str().unwrap()]);
    assert!(told.contains("colour"), "{told}");
}

#[test]
fn pools_that_share_a_folder_are_refused_before_anything_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "[[pool]]\nname = \"one\"\nfolder = \"x\"\n[[pool]]\nname = \"two\"\nfolder = \"./x\"\n");
    let data = folder.path().join("data");
    let told = refuses(&data, &["--config", config.to_str().unwrap()]);
    assert!(told.contains("pools one and two have the same folder"), "{told}");
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0, "something was opened");
}

#[test]
fn a_client_that_dribbles_is_cut_off_and_others_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "[times]\nrequest-header = 1\n");
    let server = Server::start(&folder.path().join("data"), &["--config", config.to_str().unwrap()]);
    let address = server.base().strip_prefix("http://").unwrap().to_owned();
    let mut slow = TcpStream::connect(&address).unwrap();
    slow.write_all(b"GET /v1beta HTTP/1.1\r\nHost: b").unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    server.volume(1);
    let mut rest = Vec::new();
    // Either an answer that says so, or nothing: what matters is that the connection ends.
    slow.read_to_end(&mut rest).expect("the connection is ended by the server");
}

#[test]
fn rubbish_on_the_ports_harms_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let (_, attached) = server.attach(&server.volume(1), &server.host("h"));
    let data = &attached["connectionInfo"]["data"];
    let nbd = format!("{}:{}", data["host"].as_str().unwrap(), data["port"].as_str().unwrap());
    let rubbish: Vec<u8> = (0..MIB).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as u8).collect();
    for address in [server.base().strip_prefix("http://").unwrap().to_owned(), nbd] {
        let mut stream = TcpStream::connect(&address).unwrap();
        // It may be cut off before all is sent.
        let _ = stream.write_all(&rubbish);
    }
    server.volume(1);
    crate::server::run("nbdinfo", &[&crate::server::uri(&attached)]);
}

#[test]
fn a_backend_that_hangs_ends_truthfully_and_harms_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "[times]\nshape-deadline = 1\ncall-timeout = 1\n");
    let data = folder.path().join("data");
    let server = Server::start(&data, &["--config", config.to_str().unwrap(), "--slow-ms", "20000"]);
    let volume = server.post("/block/volumes", &json!({"name": "stuck", "size": 1})).expect(202).id();
    let ended = server.until(&format!("/block/volumes/{volume}"), "error");
    assert_eq!(ended["statusReason"]["code"], "outcomeUnknown", "{ended}");
    server.get("/pools").expect(200);
    server.delete(&format!("/block/volumes/{volume}")).expect(202);
    server.until(&format!("/block/volumes/{volume}"), "errorDeleting");
    server.kill();

    let server = Server::start(&data, &["--config", config.to_str().unwrap()]);
    server.post(&format!("/block/volumes/{volume}/retry"), &serde_json::Value::Null).expect(202);
    server.until(&format!("/block/volumes/{volume}"), "gone");
}

#[test]
fn told_to_stop_it_finishes_and_says_nothing_untrue() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--slow-ms", "300"]);
    let volume = server.post("/block/volumes", &json!({"name": "v", "size": 1})).expect(202).id();
    assert!(server.terminate().success());
    let server = Server::start(folder.path(), &[]);
    server.until(&format!("/block/volumes/{volume}"), "available");
}

#[test]
fn what_was_asked_by_a_client_that_hung_up_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let address = server.base().strip_prefix("http://").unwrap().to_owned();
    for number in 0..100 {
        let body = format!(r#"{{"name": "left-{number}", "size": 1}}"#);
        let mut client = TcpStream::connect(&address).unwrap();
        write!(
            client,
            "POST /v1beta/e93b4c0934da416eb9c8d120c5d04d96/block/volumes HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        // Gone at about the moment of the commit: before it, while it is on its way to the disk, or after it.
        std::thread::sleep(Duration::from_micros(number * 20));
    }
    // Within seconds, and not when somebody happens to come by the next time.
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let unfinished = || server.get("/block/volumes?limit=1000&status=creating").body.as_array().unwrap().len();
    while unfinished() > 0 {
        assert!(std::time::Instant::now() < deadline, "{} volumes stayed creating, as nobody was sent to make them", unfinished());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!server.get("/block/volumes?limit=1000&status=available").body.as_array().unwrap().is_empty(), "none was made at all");
}
