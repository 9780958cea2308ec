//! NBD over TLS as docs/data-plane.md tells it: its commands are run, its configuration is used.

use crate::server::{Server, fails, run, uri};
use serde_json::json;
use std::path::Path;
use std::process::Command;

/// The blocks of the page's section on TLS, in a language.
fn blocks(language: &str) -> Vec<String> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/data-plane.md")).unwrap();
    let section = page.split("\n## TLS").nth(1).unwrap().split("\n## ").next().unwrap();
    let opening = format!("```{language}\n");
    section.split(&opening).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// Runs the commands of a block in a folder; gives all that they print.
fn shell(block: &str, folder: &Path, endpoint: &str, uri: &str) -> String {
    let binaries = Path::new(env!("CARGO_BIN_EXE_berth")).parent().unwrap().display().to_string();
    let script: String = block.lines().filter_map(|line| line.strip_prefix("$ ")).map(|line| format!("{line}\n")).collect();
    let output = Command::new("sh")
        .args(["-ec", &script])
        .current_dir(folder)
        .env("PATH", format!("{binaries}:{}", std::env::var("PATH").unwrap()))
        .env("BERTH_ENDPOINT", endpoint)
        .env("URI", uri)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{script}\n{text}");
    text
}

#[test]
fn a_host_that_proves_its_name_gets_in_from_anywhere_and_nobody_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let commands = blocks("console");
    shell(&commands[0], folder.path(), "", "");
    let config = folder.path().join("berth.toml");
    std::fs::write(&config, &blocks("toml")[0]).unwrap();
    // Other than loopback addresses need no --insecure-no-auth: every client proves a name.
    let more = ["--config", config.to_str().unwrap(), "--nbd-listen", "0.0.0.0:0"];
    let server = Server::start(&folder.path().join("data"), &more);
    let volume = server.post("/block/volumes", &json!({"name": "data", "size": 1})).expect(202).id();
    server.until(&format!("/block/volumes/{volume}"), "available");
    let (made, asks) = commands[1].rsplit_once("$ nbdinfo").unwrap();
    shell(made, folder.path(), server.base(), "");
    let attached = server.get("/block/attachments").body[0].clone();
    let uri = uri(&attached);
    assert!(uri.starts_with("nbds://"), "{uri}");
    let told = shell(&format!("$ nbdinfo{asks}"), folder.path(), server.base(), &uri);
    assert!(told.contains("export-size: 1073741824"), "{told}");

    let proven = format!("{uri}?tls-certificates={}", folder.path().display());
    let script = "import nbd,sys\nh=nbd.NBD()\nh.set_uri_allow_local_file(True)\nh.connect_uri(sys.argv[1])\nh.pwrite(b'x'*65536, 0, nbd.CMD_FLAG_FUA)\nassert bytes(h.pread(65536, 0)) == b'x'*65536\nprint(h.get_tls_negotiated())";
    assert_eq!(run("/usr/bin/python3", &["-c", script, &proven]).trim(), "True");
    fails("nbdinfo", &["--size", &uri.replace("nbds:", "nbd:")]);
    fails("nbdinfo", &["--size", &uri]);
    // The secret of a name is not in what everybody is told.
    let id = attached["id"].as_str().unwrap();
    let (front, _) = proven.split_once(id).unwrap();
    fails("nbdinfo", &["--size", &format!("{front}{id}?tls-certificates={}", folder.path().display())]);
}
