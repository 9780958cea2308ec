//! Who is let in, who is told what, and who is counted as whom.

use crate::hostile::{agreed, greeted, option};
use crate::served::{STAYS, Served, Staying, connection, fails, run, word};
use engine::ports::ExportSpec;
use exporter::Options;
use ground::wait_until;
use lifecycle::{AttachmentId, Connection, Mode};
use std::io::{Read, Write};
use std::net::TcpStream;
use uuid::Uuid;

/// The number of `NBD_REP_ERR_POLICY` and of `NBD_REP_ERR_UNKNOWN`.
pub(crate) const POLICY: u32 = 1 << 31 | 2;
const UNKNOWN: u32 = 1 << 31 | 6;

pub(crate) fn export(served: &Served, change: impl FnOnce(&mut ExportSpec)) -> (AttachmentId, Connection) {
    let id = AttachmentId(Uuid::new_v4());
    let mut spec = served.spec(id, Mode::ReadWrite);
    change(&mut spec);
    (id, connection(served.try_export(1, spec)))
}

/// Sends an option and gives the kind and the text of the first reply to it.
pub(crate) fn ask(stream: &mut (impl Read + Write), number: u32, data: &[u8]) -> (u32, String) {
    stream.write_all(&option(number, data)).unwrap();
    let mut header = [0; 20];
    stream.read_exact(&mut header).unwrap();
    let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
    let mut text = vec![0; word(16) as usize];
    stream.read_exact(&mut text).unwrap();
    (word(12), String::from_utf8_lossy(&text).into_owned())
}

pub(crate) fn info(served: &Served, number: u32, name: &str) -> (u32, String) {
    let length = u32::try_from(name.len()).unwrap().to_be_bytes();
    ask(&mut greeted(served), number, &[&length, name.as_bytes(), &[0, 0]].concat())
}

#[test]
fn an_id_alone_opens_nothing_and_no_answer_tells_that_it_exists() {
    let served = Served::new();
    let (id, connection) = served.export(Mode::ReadWrite);
    let (_, elsewhere) = export(&served, |spec| spec.address = "127.0.0.2".into());
    let name = word(&connection, "export");
    assert!(name.starts_with(&format!("{id}.")) && word(&connection, "uri").ends_with(&name), "{connection:?}");
    let wrong = format!("{}{}", &name[..name.len() - 1], if name.ends_with('0') { '1' } else { '0' });
    let absent = format!("{}.{}", AttachmentId(Uuid::new_v4()), name.split_once('.').unwrap().1);
    for number in [6, 7] {
        let expected = info(&served, number, "nothing of the kind");
        assert_eq!(expected.0, UNKNOWN);
        for name in [id.to_string(), wrong.clone(), absent.clone(), word(&elsewhere, "export"), String::new()] {
            assert_eq!(info(&served, number, &name), expected, "{name}");
        }
    }
    assert_eq!(info(&served, 6, &name).0, 3, "the right one is told about");
}

#[test]
fn the_name_is_the_same_after_a_restart_with_the_same_key() {
    let (key, id) = (exporter::NameKey::from([3; 32]), AttachmentId(Uuid::from_u128(5)));
    let name = |key: &exporter::NameKey| {
        let served = Served::with(Options { key: key.clone(), ..Options::default() });
        word(&connection(served.try_export(1, served.spec(id, Mode::ReadWrite))), "export")
    };
    assert_eq!(name(&key), name(&key));
    assert_ne!(name(&key), name(&exporter::NameKey::random()));
}

#[test]
fn a_client_is_known_by_its_process_or_its_address() {
    let served = Served::new();
    let (id, connection) = served.export(Mode::ReadWrite);
    let local = Staying::new(&served, id, &word(&connection, "unixUri"), STAYS);
    let told = served.who(id).remove(0);
    assert_eq!(told.identity, format!("unix pid {}", local.pid()));
    assert_eq!(told.address, told.identity);
    drop(local);
    wait_until("it is gone", || served.clients(id) == 0);
    let _remote = Staying::new(&served, id, &word(&connection, "uri"), STAYS);
    let told = served.who(id).remove(0);
    assert_eq!(told.identity, "127.0.0.1");
    assert!(told.address.strip_prefix("127.0.0.1:").is_some_and(|port| port.parse::<u16>().is_ok()), "{told:?}");
}

#[test]
fn a_volume_attached_once_is_for_one_client_at_a_time() {
    let served = Served::new();
    let (id, connection) = export(&served, |spec| spec.shared = false);
    let (uri, unix) = (word(&connection, "uri"), word(&connection, "unixUri"));
    // Several connections of one client are fine, as multi-conn needs them.
    let more = "g=nbd.NBD()\ng.connect_uri(sys.argv[1])\n";
    let holder = Staying::new(&served, id, &unix, &format!("{more}{STAYS}"));
    wait_until("both of its connections are there", || served.clients(id) == 2);
    let identity = format!("unix pid {}", holder.pid());
    for number in [6, 7] {
        let (kind, text) = info(&served, number, &word(&connection, "export"));
        assert_eq!(kind, POLICY);
        let since = served.who(id)[0].since;
        assert_eq!(text, format!("the volume is attached once, and {identity} is connected since {since}; it must leave first"));
    }
    assert!(fails("qemu-img", &["info", &unix]).contains("attached once"), "another process is another client, and is told so");
    drop(holder);
    // At once, and by another client each time: one that has left is not in the way of the next.
    for uri in [&uri, &unix, &unix, &uri] {
        run("nbdinfo", &["--size", uri]);
    }
}

#[test]
fn a_shared_volume_is_for_several() {
    let served = Served::new();
    let (id, connection) = served.export(Mode::ReadWrite);
    let _holder = Staying::new(&served, id, &word(&connection, "unixUri"), STAYS);
    run("nbdinfo", &["--size", &word(&connection, "uri")]);
}

#[test]
fn the_unix_socket_lists_and_opens_what_is_for_this_machine() {
    let served = Served::new();
    let (_, here) = served.export(Mode::ReadWrite);
    let (_, there) = export(&served, |spec| spec.address = "10.0.0.5".into());
    let listed = run("nbdinfo", &["--list", &format!("nbd+unix:///?socket={}", word(&here, "socket"))]);
    assert!(listed.contains(&word(&here, "export")) && !listed.contains(&word(&there, "export")), "{listed}");
    fails("nbdinfo", &["--size", &word(&there, "unixUri")]);
    let (kind, text) = ask(&mut greeted(&served), 3, &[]);
    assert_eq!(kind, POLICY);
    assert!(text.contains("TLS"), "{text}");
}

#[test]
fn handshakes_that_do_not_end_take_no_place_of_a_client() {
    let served = Served::with(Options { max_connections: 2, ..Options::default() });
    let (id, connection) = served.export(Mode::ReadWrite);
    let name = word(&connection, "export");
    let half_open: Vec<TcpStream> = (0..50).map(|_| greeted(&served)).collect();
    let held = [agreed(&served, &name), agreed(&served, &name)];
    let (kind, text) = info(&served, 7, &name);
    assert_eq!((kind, text.as_str()), (POLICY, "the server has as many connections as it may"));
    drop(held);
    wait_until("they are gone", || served.clients(id) == 0);
    let _again = agreed(&served, &name);
    drop(half_open);
}

#[test]
fn more_handshakes_than_there_may_be_are_cut_and_the_rest_is_served() {
    exporter::raise_file_limit();
    let served = Served::new();
    let (_, connection) = served.export(Mode::ReadWrite);
    let name = word(&connection, "export");
    let mut early = agreed(&served, &name);
    // The test holds the other end of each, so the bound may be lower where few files may be open, never higher.
    let mut flood: Vec<TcpStream> = Vec::new();
    let mut is_cut = false;
    while !is_cut && flood.len() <= 1024 {
        let mut stream = served.connect();
        is_cut = stream.read_exact(&mut [0; 18]).is_err();
        flood.push(stream);
    }
    assert!(is_cut, "there is no bound on handshakes");
    early.write_all(&crate::hostile::request(0, 0, 512)).unwrap();
    early.read_exact(&mut [0; 16 + 512]).unwrap();
    drop(flood);
    wait_until("there is room again", || served.connect().read_exact(&mut [0; 18]).is_ok());
}
