//! The door for fuzzing: what a client may send, given to the real code as bytes, with what must hold whatever they are.
//! Here stands NBD; `control` is the socket between controller and data plane.
//!
//! The targets in `fuzz/` call these functions and nothing else; the tests here replay what they found, on the stable toolchain.
//! Nothing in the server calls them. A broken promise is a panic.

use crate::exports::{Export, Registry};
use crate::handshake::Handshake;
use crate::limits::{Complaint, Limits};
use crate::names::{NameKey, Names};
use crate::peer::Origin;
use crate::protocol::context::Contexts;
use crate::protocol::option::{self, Ask, CLIENT_FLAGS_LENGTH, HEADER_LENGTH, PAYLOAD_MAX, STRING_LENGTH_MAX, Unreadable};
use crate::protocol::request::{Command, REQUEST_LENGTH, Request, Terms};
use crate::server::Shared;
use crate::session;
use crate::socket::Socket;
use crate::storage::Storage;
use engine::ports::{Backing, ExportSpec};
use lifecycle::{AttachmentId, Connection, Mode};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// The attachment whose export is the only one that there is.
const ID: &str = "00000000-0000-0000-0000-000000000001";
/// What the secret in its name is made with.
const KEY: [u8; 32] = [0; 32];
/// Its name. Inputs must spell it to get past the handshake.
pub const EXPORT: &str = "00000000-0000-0000-0000-000000000001.2a354913daa8d8d2d7ebd8059672c7bd";
/// How many bytes the export has: some pages, so that most ranges of a fuzzer's choice are near its end.
pub const SIZE: u64 = 64 << 10;
/// The longest conversation that is held: all of it must fit into a socket's buffer, as it is written before anybody reads.
pub const CONVERSATION_MAX: usize = 64 << 10;
/// How long an answer may take to come. Nothing that is asked here takes a second; a server that hangs never ends it.
const PATIENCE: Duration = Duration::from_secs(20);
/// The shortest thing that gets an answer: an option's header. A request is longer.
const ASKED_MIN: usize = HEADER_LENGTH;
/// The most that one of them gets besides data: as many extents as one answer tells, and the front of a reply.
const ANSWER_MAX: usize = 16 << 10;
/// The options that we know. Source: protocol document, "Option types"; 4 was withdrawn, 11 (extended headers) is not spoken.
const OPTIONS: [u32; 9] = [1, 2, 3, 5, 6, 7, 8, 9, 10];

/// A conversation: its first byte says how the export and the client are, the others are what the client sends.
struct Scene<'a> {
    read_only: bool,
    /// The client is taken for one that came over TCP.
    over_tcp: bool,
    sent: &'a [u8],
}

impl<'a> Scene<'a> {
    fn of(input: &'a [u8]) -> Option<Self> {
        let (how, sent) = input.split_first()?;
        (sent.len() <= CONVERSATION_MAX).then_some(Self { read_only: how & 1 != 0, over_tcp: how & 2 != 0, sent })
    }

    const fn origin(&self) -> Origin {
        if self.over_tcp { Origin::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1)) } else { Origin::Unix(None) }
    }
}

/// Where the export's bytes are, and where those are whom no client may touch.
pub struct Volume {
    path: PathBuf,
    file: File,
}

impl Volume {
    /// Makes the file at `path`.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path).expect("the file can be made");
        Self { path: path.to_owned(), file }
    }

    /// A client sends `input` and no more, and reads whatever comes. It is served to the end by the real handshake and session.
    /// Returns whether it got past the handshake.
    ///
    /// # Panics
    /// If the server panics or hangs, leaves anything behind, answers more than was asked for, or if the file has another size
    /// than before, or another content although it was exported for reading only.
    pub fn converse(&self, input: &[u8]) -> bool {
        let Some(scene) = Scene::of(input) else { return false };
        let before = self.reset();
        let (shared, export) = self.export(scene.read_only);
        let (agreed, answered) = served(&shared, &scene);
        assert_eq!((*export.sessions.borrow(), *export.changes.borrow()), (0, 0), "a session or a change is left behind");
        assert_eq!(self.file.metadata().expect("it is open").len(), SIZE, "the file has another size");
        let limit = ANSWER_MAX + scene.sent.len() / ASKED_MIN * (ANSWER_MAX + usize::try_from(SIZE).expect("small"));
        assert!(answered.len() <= limit, "{} bytes were answered to {}", answered.len(), scene.sent.len());
        let greeting = option::greeting();
        assert!(answered.starts_with(&greeting), "it does not greet: {answered:?}");
        if scene.read_only {
            assert!(self.bytes() == before, "an export for reading only was changed");
        }
        agreed
    }

    /// The first half is data, the second a hole.
    fn reset(&self) -> Vec<u8> {
        self.file.set_len(0).expect("it can be emptied");
        self.file.write_all_at(&[0xa5; 32 << 10], 0).expect("there is room");
        self.file.set_len(SIZE).expect("it can be sized");
        self.bytes()
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(SIZE).expect("small")];
        self.file.read_exact_at(&mut bytes, 0).expect("it has its size");
        bytes
    }

    fn export(&self, read_only: bool) -> (Shared, Arc<Export>) {
        let attachment: AttachmentId = ID.parse().expect("an id");
        let spec = ExportSpec {
            attachment,
            volume: ID.parse().expect("an id"),
            backing: Backing::File(self.path.clone()),
            host: ID.parse().expect("an id"),
            address: Ipv4Addr::LOCALHOST.to_string(),
            initiators: Vec::new(),
            mode: if read_only { Mode::ReadOnly } else { Mode::ReadWrite },
            shared: true,
            protocol: "nbd".to_owned(),
        };
        let storage = Storage::open(&self.path, read_only).expect("it opens");
        let export = Arc::new(Export::new(spec, Ipv4Addr::LOCALHOST.into(), storage, Connection::default()));
        let registry = Registry::new(Names::new(&NameKey::from(KEY)));
        registry.lock().exports.insert(attachment, export.clone());
        let shared = Shared {
            registry,
            tls: None,
            limits: Limits::new(1),
            sessions_max: 1,
            sessions_full: Complaint::new("connections to one export", "max-connections-per-export"),
            stopping: AtomicBool::new(false),
        };
        (shared, export)
    }
}

/// Whether the server comes to serve the client of this scene, and all that it answers.
fn served(shared: &Shared, scene: &Scene<'_>) -> (bool, Vec<u8>) {
    let (mut client, server) = UnixStream::pair().expect("there are descriptors left");
    client.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
    client.write_all(scene.sent).expect("it fits into the buffer");
    client.shutdown(Shutdown::Write).expect("it is connected");
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| serve(shared, Socket::Unix(server), scene.origin()));
        let mut answered = Vec::new();
        let ended = client.read_to_end(&mut answered);
        // A server that hangs in reading or writing is let go, so that the panic below is seen.
        let _ = client.shutdown(Shutdown::Both);
        let agreed = serving.join().expect("the server does not panic");
        match ended {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the server neither answers nor ends"),
            // It closed before it had read all: that resets the connection.
            Ok(_) | Err(_) => (agreed, answered),
        }
    })
}

/// One connection from its first byte to its last, as the listeners' threads run it. Whether it got past the handshake.
fn serve(shared: &Shared, socket: Socket, origin: Origin) -> bool {
    let Ok(Some(agreed)) = Handshake::new(shared, Arc::new(socket), origin).run() else { return false };
    session::serve(&agreed.socket, &agreed);
    true
}

/// Reads `input` as the client's flags, an option's header and its data.
///
/// # Panics
/// If what is read breaks the bounds that the handshake relies on.
pub fn option(input: &[u8]) {
    if let Some((flags, _)) = input.split_first_chunk::<CLIENT_FLAGS_LENGTH>() {
        let _ = option::client_flags(*flags);
    }
    let Some((front, data)) = input.split_first_chunk::<HEADER_LENGTH>() else { return };
    let Some(header) = option::header(*front) else { return };
    match option::parse(header.option, data) {
        Ok(ask) => understood(header.option, &ask),
        Err(Unreadable::Unknown) => assert!(!OPTIONS.contains(&header.option), "option {} is one that we know", header.option),
        Err(Unreadable::Malformed) => assert!(OPTIONS.contains(&header.option), "option {} is none that we know", header.option),
    }
}

/// What must hold of an option that could be read.
fn understood(number: u32, ask: &Ask) {
    let (expected, name) = match ask {
        Ask::ExportName(name) => (1, name.as_str()),
        Ask::Abort => (2, ""),
        Ask::List => (3, ""),
        Ask::StartTls => (5, ""),
        Ask::Info(inquiry) => (6, inquiry.export.as_str()),
        Ask::Go(inquiry) => (7, inquiry.export.as_str()),
        Ask::StructuredReply => (8, ""),
        Ask::ListMeta(meta) => (9, meta.export.as_str()),
        Ask::SetMeta(meta) => (10, meta.export.as_str()),
    };
    assert_eq!(number, expected, "it was read as {ask:?}");
    assert!(name.len() <= STRING_LENGTH_MAX && !name.contains('\0'), "a name of {} bytes", name.len());
    if let Ask::ListMeta(meta) | Ask::SetMeta(meta) = ask {
        assert_eq!(meta.named.and(meta.found), meta.found, "a listing does not find what a choice chooses: {meta:?}");
        assert_eq!(Contexts::all().and(meta.found), Contexts::all(), "there is no such context: {meta:?}");
    }
}

/// Reads `input` as what a connection agreed on (one byte of flags, eight of size) and a request's header.
///
/// # Panics
/// If a request that passes the check reaches outside the export, or asks for what was not agreed on or for too much memory.
pub fn request(input: &[u8]) {
    let Some((&[agreed, ref size @ ..], rest)) = input.split_first_chunk::<9>() else { return };
    let Some((bytes, _)) = rest.split_first_chunk::<REQUEST_LENGTH>() else { return };
    let flag = |bit: u8| agreed & bit != 0;
    // A backing's size has 63 bits.
    let size = u64::from_be_bytes(*size) >> 1;
    let chosen = |bit, name| if flag(bit) { Contexts::named(name) } else { Contexts::default() };
    let contexts = chosen(4, "base:allocation").and(chosen(8, "qemu:allocation-depth"));
    let terms = Terms { size, read_only: flag(1), structured: flag(2), contexts };
    let Some(request) = Request::parse(bytes) else { return };
    if request.check(terms).is_err() {
        return;
    }
    assert!(!(request.changes() && terms.read_only), "{request:?} changes what is for reading only");
    assert!(request.payload() <= PAYLOAD_MAX && request.memory() <= PAYLOAD_MAX, "{request:?} takes too much memory");
    match request.command {
        Command::Disconnect | Command::Flush => return,
        Command::BlockStatus => assert!(!terms.contexts.is_empty(), "{request:?} was not agreed on"),
        Command::Unknown => panic!("{request:?} is unknown and passes"),
        Command::Read | Command::Write | Command::Trim | Command::Cache | Command::WriteZeroes => {}
    }
    let end = request.offset.checked_add(u64::from(request.length));
    assert!(end.is_some_and(|end| end <= terms.size), "{request:?} lies outside {} bytes", terms.size);
}

pub mod control;
#[cfg(test)]
mod seeds;

#[cfg(test)]
mod tests {
    use super::*;
    use ground::corpus::replay;
    use std::cell::Cell;

    #[test]
    fn kept_handshakes_are_survived() {
        let folder = tempfile::tempdir().expect("a folder");
        let volume = Volume::new(&folder.path().join("volume"));
        let past = Cell::new(0);
        replay("nbd_handshake", 40, |input| past.set(past.get() + u32::from(volume.converse(input))));
        // Inputs that spell what the wire asked for once end early, and would try no more than the handshake for ever.
        assert!(past.get() >= 25, "only {} kept inputs get past the handshake: has the wire changed?", past.get());
    }

    #[test]
    fn the_name_that_inputs_spell_is_the_exports() {
        assert_eq!(Names::new(&NameKey::from(KEY)).of(ID.parse().expect("an id")), EXPORT);
    }

    #[test]
    fn kept_options_are_survived() {
        replay("nbd_option", 10, option);
    }

    #[test]
    fn kept_requests_are_survived() {
        replay("nbd_request", 10, request);
    }
}
