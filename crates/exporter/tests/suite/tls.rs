//! TLS with real clients: who gets in, who does not, and that bytes arrive.

use crate::access::{POLICY, ask, export};
use crate::certificates::{Authority, options, with};
use crate::hostile::{greeted, option};
use crate::served::{SIZE, STAYS, Served, Staying, fails, python, run, word};
use exporter::{NbdExporter, Options, StartError, TlsError, TlsOptions, TlsProof};
use lifecycle::{AttachmentId, Connection, Mode};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The numbers of replies: `NBD_REP_ACK`, `NBD_REP_ERR_INVALID`, `NBD_REP_ERR_TLS_REQD`.
const ACK: u32 = 1;
const INVALID: u32 = 1 << 31 | 3;
const TLS_REQUIRED: u32 = 1 << 31 | 5;

pub(crate) fn served(tls: TlsOptions) -> Served {
    Served::with(Options { tls: Some(tls), ..Options::default() })
}

/// The certificate, the key and the authorities of a server's options.
fn files(options: TlsOptions) -> (PathBuf, PathBuf, PathBuf) {
    match options.proof {
        TlsProof::Certificates { certificate, key, client_ca } => (certificate, key, client_ca.unwrap()),
        TlsProof::SharedKeys(_) => panic!("it has certificates"),
    }
}

/// An export for a host at an address where no test runs, whose initiator is db-1.
pub(crate) fn export_for_name(served: &Served) -> (AttachmentId, Connection) {
    export(served, |spec| {
        spec.address = "10.0.0.5".into();
        spec.initiators = vec!["db-1".into()];
    })
}

#[test]
fn the_right_name_gets_in_from_anywhere_and_is_shown() {
    let authority = Authority::new();
    let served = served(authority.server());
    let (id, connection) = export_for_name(&served);
    let uri = with(&word(&connection, "uri"), &authority.client("db-1"));
    assert!(uri.starts_with("nbds://"), "{uri}");
    assert_eq!(run("nbdinfo", &["--size", &uri]).trim(), SIZE.to_string());
    let _client = Staying::new(&served, id, &uri, STAYS);
    let told = served.who(id).remove(0);
    assert_eq!(told.identity, "db-1");
    assert!(told.address.starts_with("127.0.0.1:"), "{told:?}");
}

#[test]
fn the_wrong_name_sees_nothing() {
    let authority = Authority::new();
    let served = served(authority.server());
    let (_, connection) = export_for_name(&served);
    let folder = authority.client("db-2");
    fails("nbdinfo", &["--size", &with(&word(&connection, "uri"), &folder)]);
    let list = |folder: &Path| run("nbdinfo", &["--list", &with(&format!("nbds://{}", served.address()), folder)]);
    let name = word(&connection, "export");
    assert!(!list(&folder).contains(&name), "it is listed for whoever may not reach it");
    assert!(list(&authority.client("db-1")).contains(&name));
}

#[test]
fn a_certificate_of_another_authority_or_none_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let served = served(authority.server());
    let (_, connection) = served.export(Mode::ReadWrite);
    let uri = word(&connection, "uri");
    fails("nbdinfo", &["--size", &with(&uri, &authority.client_of(&other, "db-1"))]);
    fails("nbdinfo", &["--size", &with(&uri, &authority.stranger())]);
    fails("nbdinfo", &["--size", &with(&uri, &other.client("db-1"))]);
    run("nbdinfo", &["--size", &with(&uri, &authority.client("anybody"))]);
}

#[test]
fn without_authorities_clients_are_known_by_their_address() {
    let authority = Authority::new();
    let (certificate, key, _) = files(authority.server());
    let served = served(options(certificate, key, None));
    let (id, connection) = served.export(Mode::ReadWrite);
    let uri = with(&word(&connection, "uri"), &authority.stranger());
    let _client = Staying::new(&served, id, &uri, STAYS);
    assert_eq!(served.who(id)[0].identity, "127.0.0.1");
    fails("nbdinfo", &["--list", &with(&format!("nbds://{}", served.address()), &authority.stranger())]);
    let (_, named) = export_for_name(&served);
    fails("nbdinfo", &["--size", &with(&word(&named, "uri"), &authority.client("db-1"))]);
}

#[test]
fn plain_clients_are_told_that_tls_is_required() {
    let authority = Authority::new();
    let served = served(authority.server());
    let (_, connection) = served.export(Mode::ReadWrite);
    fails("nbdinfo", &["--size", &word(&connection, "uri").replace("nbds:", "nbd:")]);
    let name = word(&connection, "export");
    let length = u32::try_from(name.len()).unwrap().to_be_bytes();
    let mut stream = greeted(&served);
    for number in [3, 4, 6, 7, 8, 9, 10, 77] {
        let (kind, text) = ask(&mut stream, number, &[&length, name.as_bytes(), &[0, 0]].concat());
        assert_eq!((kind, text.contains("TLS")), (TLS_REQUIRED, true), "option {number}: {text}");
    }
    assert_eq!(ask(&mut stream, 2, &[]).0, ACK, "giving up needs no TLS");
    let mut stream = greeted(&served);
    stream.write_all(&option(1, name.as_bytes())).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0, "an option that cannot fail ends the connection");
    run("nbdinfo", &["--size", &word(&connection, "unixUri")]);
}

#[test]
fn tls_may_be_offered_and_not_required() {
    let authority = Authority::new();
    let served = served(TlsOptions { required_on_tcp: false, ..authority.server() });
    let (_, connection) = served.export(Mode::ReadWrite);
    run("nbdinfo", &["--size", &word(&connection, "uri")]);
    run("nbdinfo", &["--size", &with(&word(&connection, "tlsUri"), &authority.client("db-1"))]);
}

#[test]
fn tls_works_on_the_unix_socket_and_may_be_required_there() {
    let authority = Authority::new();
    let served = served(TlsOptions { required_on_unix: true, ..authority.server() });
    let (id, connection) = served.export(Mode::ReadWrite);
    let uri = word(&connection, "unixUri");
    fails("nbdinfo", &["--size", &uri.replace("nbds+unix", "nbd+unix")]);
    let _client = Staying::new(&served, id, &with(&uri, &authority.client("db-1")), STAYS);
    let told = served.who(id).remove(0);
    assert!(told.identity == "db-1" && told.address.starts_with("unix pid "), "{told:?}");
}

#[test]
fn a_server_without_tls_says_so() {
    let served = Served::new();
    let (kind, text) = ask(&mut greeted(&served), 5, &[]);
    assert_eq!(kind, POLICY);
    assert!(text.contains("not configured"), "{text}");
}

/// What was sent in plain behind the request for TLS must not be taken for something said over TLS.
#[test]
fn options_behind_the_request_for_tls_are_not_answered() {
    let authority = Authority::new();
    let served = served(authority.server());
    let mut stream = greeted(&served);
    stream.write_all(&[option(5, &[]), option(3, &[]), option(2, &[])].concat()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    // It may be reset, as not all that was sent is read.
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer[12..16], ACK.to_be_bytes(), "TLS was agreed to");
    let magic = 0x0003_e889_0455_65a9_u64.to_be_bytes();
    assert_eq!(answer.windows(8).filter(|window| *window == magic).count(), 1, "another option was answered");
}

#[test]
fn what_was_agreed_on_before_tls_is_forgotten_and_tls_is_begun_once() {
    let authority = Authority::new();
    let served = served(TlsOptions { required_on_tcp: false, ..authority.server() });
    let name = word(&served.export(Mode::ReadWrite).1, "export");
    let mut plain = greeted(&served);
    assert_eq!(ask(&mut plain, 8, &[]).0, ACK, "structured replies");
    assert_eq!(ask(&mut plain, 5, &[]).0, ACK, "TLS");
    let mut stream = rustls::StreamOwned::new(authority.connection("db-1"), plain);
    assert_eq!(ask(&mut stream, 5, &[]).0, INVALID, "TLS once more");
    let length = u32::try_from(name.len()).unwrap().to_be_bytes();
    let meta = [&length, name.as_bytes(), &[0, 0, 0, 0]].concat();
    assert_eq!(ask(&mut stream, 10, &meta).0, INVALID, "contexts, which need structured replies");
    assert_eq!(ask(&mut stream, 8, &[]).0, ACK, "structured replies once more");
    assert_eq!(ask(&mut stream, 10, &meta).0, ACK, "and now contexts");
}

#[test]
fn a_handshake_of_tls_that_does_not_end_is_cut_by_the_deadline() {
    let authority = Authority::new();
    let served = served(authority.server());
    let mut stream = greeted(&served);
    assert_eq!(ask(&mut stream, 5, &[]).0, ACK);
    // A record that announces 16 KiB and never gets there, a byte at a time.
    let begun = Instant::now();
    let mut sent = stream.write_all(&[0x16, 3, 1, 0x40, 0]);
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut is_open = true;
    while is_open && begun.elapsed() < Duration::from_secs(20) {
        sent = sent.and_then(|()| stream.write_all(&[0]));
        let read = stream.read(&mut [0; 64]);
        is_open = sent.is_ok() && read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        sent = Ok(());
    }
    assert!(!is_open, "it is still open after {:?}", begun.elapsed());
}

#[test]
fn large_requests_of_two_connections_at_once_arrive_whole() {
    let authority = Authority::new();
    let served = served(authority.server());
    let (_, connection) = served.export(Mode::ReadWrite);
    let uri = with(&word(&connection, "uri"), &authority.client("db-1"));
    // Each answer is far larger than what the sockets hold, in both directions at once.
    let script = "import random
assert h.get_tls_negotiated()
g=nbd.NBD()
g.set_uri_allow_local_file(True)
g.connect_uri(sys.argv[1])
size=1<<20
random.seed(7)
bufs=[nbd.Buffer.from_bytearray(bytearray(random.randbytes(size))) for n in range(24)]
for n in range(24): (h if n%2 else g).aio_pwrite(bufs[n], n*size)
def drain():
    while h.aio_in_flight() or g.aio_in_flight():
        for c in (g, h):
            if c.aio_in_flight(): c.poll(10)
drain()
back=[nbd.Buffer(size) for n in range(24)]
for n in range(24):
    (g if n%2 else h).aio_pread(back[n], n*size)
    (h if n%2 else g).aio_pwrite(bufs[n], (n+32)*size)
drain()
for n in range(24):
    assert back[n].to_bytearray() == bufs[n].to_bytearray(), n
assert bytes(g.pread(16<<20, 32<<20)) == b''.join(bytes(b.to_bytearray()) for b in bufs[:16])
h.pwrite(bytes(bufs[0].to_bytearray())*16, 0); h.flush(); assert bytes(g.pread(size, 15*size)) == bytes(bufs[0].to_bytearray())";
    python(&uri, script);
    assert!(served.bytes(0, 1 << 20) == served.bytes(32 << 20, 1 << 20));
}

#[test]
fn qemu_reads_and_writes_over_each_version() {
    let authority = Authority::new();
    let served = served(authority.server());
    let (_, connection) = export_for_name(&served);
    let (host, port, name) = (served.address().ip(), served.address().port(), word(&connection, "export"));
    let image = format!("driver=nbd,host={host},port={port},export={name},tls-creds=tls0");
    let folder = authority.client("db-1");
    for versions in ["NORMAL:-VERS-ALL:+VERS-TLS1.3", "NORMAL:-VERS-ALL:+VERS-TLS1.2"] {
        let creds = format!("tls-creds-x509,id=tls0,endpoint=client,dir={},priority={versions}", folder.display());
        let io = ["write -P 5 0 8M", "write -P 6 8M 64k", "flush", "read -P 5 0 8M", "read -P 6 8M 64k", "read -P 0 9M 1M"];
        let io = io.into_iter().flat_map(|io| ["-c", io]);
        let args: Vec<&str> = ["--object", &creds, "--image-opts", &image].into_iter().chain(io).collect();
        let told = run("qemu-io", &args);
        assert!(!told.contains("verification failed"), "{told}");
        run("qemu-img", &["info", "--object", &creds, "--image-opts", &image]);
    }
    assert!(served.bytes(0, 8 << 20).iter().all(|byte| *byte == 5));
    run("nbdcopy", &["--", &with(&word(&connection, "uri"), &authority.client("db-1")), "null:"]);
}

#[test]
fn force_cuts_a_client_over_tls() {
    let authority = Authority::new();
    let served = served(authority.server());
    let (id, connection) = served.export(Mode::ReadWrite);
    let uri = with(&word(&connection, "uri"), &authority.client("db-1"));
    // It asks for far more than it reads, so that a writer of ours is held up in the middle of an answer.
    let _client =
        Staying::new(&served, id, &uri, &format!("h.pwrite(b'x'*(32<<20), 0)\nb=nbd.Buffer(32<<20)\nh.aio_pread(b, 0)\n{STAYS}"));
    ground::wait_until("the answer is under way", || {
        let told = served.who(id).remove(0);
        told.bytes_written == 32 << 20 && told.in_flight == 1
    });
    assert!(matches!(served.unexport(2, id, true), lifecycle::Outcome::Done(_)));
    assert_eq!(served.clients(id), 0);
}

#[test]
fn files_that_do_not_do_are_named() {
    let authority = Authority::new();
    let (certificate, key, ca) = files(authority.server());
    let folder = tempfile::tempdir().unwrap();
    let rubbish = folder.path().join("rubbish.pem");
    std::fs::write(&rubbish, "-----BEGIN CERTIFICATE-----\nnot base64!\n").unwrap();
    let absent = folder.path().join("absent.pem");
    let client_key = authority.client("db-1").join("client-key.pem");
    let rows = [
        (&absent, &key, &ca, "absent.pem"),
        (&rubbish, &key, &ca, "rubbish.pem"),
        (&key, &key, &ca, "server-key.pem holds no certificate"),
        (&certificate, &absent, &ca, "absent.pem"),
        (&certificate, &certificate, &ca, "server-cert.pem holds no private key"),
        (&certificate, &client_key, &ca, "client-key.pem cannot be used together"),
        (&certificate, &key, &rubbish, "rubbish.pem"),
        (&certificate, &key, &absent, "absent.pem"),
    ];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (certificate, key, ca, expected) in rows {
        let tls = options(certificate.clone(), key.clone(), Some(ca.clone()));
        let tcp = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let started = runtime.block_on(NbdExporter::start(Options { tcp, tls: Some(tls), ..Options::default() }));
        match started {
            Err(StartError::Tls(error @ (TlsError::File { .. } | TlsError::Content { .. } | TlsError::Pair { .. }))) => {
                assert!(error.to_string().contains(expected), "{error}");
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it started with what should name {expected}"),
        }
    }
}
