//! TLS with pre-shared keys, and what is said of them by a program that was built without.

use exporter::{TlsOptions, TlsProof};
use std::path::PathBuf;

fn options(keys: PathBuf) -> TlsOptions {
    TlsOptions { proof: TlsProof::SharedKeys(keys), required_on_tcp: true, required_on_unix: false }
}

#[cfg(not(feature = "tls-psk"))]
#[test]
fn without_the_feature_keys_are_refused_and_the_feature_is_named() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    let tls = Some(options(keys.path().to_owned()));
    let tcp = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let started = runtime.block_on(exporter::NbdExporter::start(exporter::Options { tcp, tls, ..Default::default() }));
    let why = started.err().unwrap().to_string();
    assert!(why.contains("tls-psk") && why.contains(keys.path().to_str().unwrap()), "{why}");
}

#[cfg(feature = "tls-psk")]
mod with_the_feature {
    use super::options;
    use crate::served::{STAYS, Served, Staying, fails, python, run, word};
    use crate::tls::{export_for_name, served};
    use exporter::{NbdExporter, Options, StartError, TlsError};
    use tempfile::TempDir;

    /// A server that knows db-1 and db-2, and a folder with files of keys as qemu and libnbd read them.
    fn with_keys() -> (Served, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        let key = |digit: &str| digit.repeat(64);
        file("server.psk", format!("db-1:{}\ndb-2:{}\n", key("1"), key("2")));
        file("keys.psk", format!("db-1:{}\n", key("1")));
        file("other.psk", format!("db-2:{}\n", key("2")));
        file("wrong.psk", format!("db-1:{}\ndb-9:{}\n", key("3"), key("1")));
        (served(options(folder.path().join("server.psk"))), folder)
    }

    fn uri(uri: &str, name: &str, folder: &TempDir, file: &str) -> String {
        let file = folder.path().join(file);
        format!("{}?tls-psk-file={}", uri.replace("nbds://", &format!("nbds://{name}@")), file.display())
    }

    #[test]
    fn a_key_proves_its_name_and_a_wrong_one_nothing() {
        let (served, folder) = with_keys();
        let (id, connection) = export_for_name(&served);
        let of = |name, file| uri(&word(&connection, "uri"), name, &folder, file);
        fails("nbdinfo", &["--size", &of("db-1", "wrong.psk")]);
        fails("nbdinfo", &["--size", &of("db-9", "wrong.psk")]);
        fails("nbdinfo", &["--size", &of("db-2", "other.psk")]);
        fails("nbdinfo", &["--size", &word(&connection, "uri").replace("nbds:", "nbd:")]);
        let _client = Staying::new(&served, id, &of("db-1", "keys.psk"), STAYS);
        assert_eq!(served.who(id)[0].identity, "db-1");
    }

    #[test]
    fn large_requests_both_ways_arrive_whole() {
        let (served, folder) = with_keys();
        let (_, connection) = export_for_name(&served);
        let script = "import random
random.seed(7)
size=1<<20
bufs=[nbd.Buffer.from_bytearray(bytearray(random.randbytes(size))) for n in range(24)]
back=[nbd.Buffer(size) for n in range(24)]
def drain():
    while h.aio_in_flight(): h.poll(10)
for n in range(24): h.aio_pwrite(bufs[n], n*size)
drain()
for n in range(24):
    h.aio_pread(back[n], n*size)
    h.aio_pwrite(bufs[n], (n+32)*size)
drain()
for n in range(24): assert back[n].to_bytearray() == bufs[n].to_bytearray(), n";
        python(&uri(&word(&connection, "uri"), "db-1", &folder, "keys.psk"), script);
        assert!(served.bytes(0, 24 << 20) == served.bytes(32 << 20, 24 << 20));
    }

    #[test]
    fn qemu_reads_and_writes_with_a_key_over_each_version() {
        let (served, folder) = with_keys();
        let (_, connection) = export_for_name(&served);
        let (host, port, name) = (served.address().ip(), served.address().port(), word(&connection, "export"));
        let image = format!("driver=nbd,host={host},port={port},export={name},tls-creds=tls0");
        for versions in ["NORMAL:-VERS-ALL:+VERS-TLS1.3", "NORMAL:-VERS-ALL:+VERS-TLS1.2"] {
            let folder = folder.path().display();
            let creds = format!("tls-creds-psk,id=tls0,endpoint=client,username=db-1,dir={folder},priority={versions}");
            let io = ["write -P 5 0 8M", "flush", "read -P 5 0 8M", "read -P 0 9M 1M"].into_iter().flat_map(|io| ["-c", io]);
            let args: Vec<&str> = ["--object", &creds, "--image-opts", &image].into_iter().chain(io).collect();
            let told = run("qemu-io", &args);
            assert!(!told.contains("verification failed"), "{told}");
        }
        assert!(served.bytes(0, 8 << 20).iter().all(|byte| *byte == 5));
    }

    #[test]
    fn a_file_that_does_not_do_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let path = folder.path().join("keys.psk");
        for text in [None, Some("db-1:beef\n")] {
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            let tcp = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
            let options = Options { tcp, tls: Some(options(path.clone())), ..Options::default() };
            match runtime.block_on(NbdExporter::start(options)) {
                Err(StartError::Tls(error @ (TlsError::File { .. } | TlsError::Content { .. }))) => {
                    let text = error.to_string();
                    assert!(text.contains("keys.psk") && !text.contains("beef"), "{text}");
                }
                Err(other) => panic!("{other}"),
                Ok(_) => panic!("it started"),
            }
        }
    }
}
