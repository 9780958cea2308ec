//! The handshake: from the greeting to an agreed export, within a deadline and a bound on options.

use crate::exports::{Export, Refused, Session};
use crate::limits::Place;
use crate::peer::{Origin, Peer};
use crate::protocol::context::Contexts;
use crate::protocol::option::{
    self, Ask, CLIENT_FLAGS_LENGTH, ClientFlags, HEADER_LENGTH, Inquiry, Meta, Reply, STRING_LENGTH_MAX, Unreadable,
};
use crate::protocol::request::Terms;
use crate::server::Shared;
use crate::socket::Socket;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a handshake may take in all: a client on a slow line needs two or three round trips.
const DEADLINE: Duration = Duration::from_secs(10);
/// How many options a client may send: real ones send fewer than ten.
const OPTIONS_MAX: usize = 64;
/// The longest option that is read: a name and some queries. Longer ones are read past, up to the next bound.
const OPTION_MAX: u32 = 4 * STRING_LENGTH_MAX as u32;
/// The longest option that is read past; beyond it the connection is cut.
const SKIP_MAX: u32 = 1 << 20;

/// What a connection agreed on.
pub(crate) struct Agreed {
    pub(crate) session: Session,
    pub(crate) terms: Terms,
    pub(crate) socket: Arc<Socket>,
    /// Its place among the connections that are served, for as long as it lives.
    _place: Place,
}

/// One handshake under way.
pub(crate) struct Handshake<'a> {
    shared: &'a Shared,
    socket: Arc<Socket>,
    peer: Peer,
    deadline: Instant,
    is_secured: bool,
    structured: bool,
    /// The metadata contexts that were chosen, and the export that they were chosen for.
    chosen: Option<(String, Contexts)>,
}

impl<'a> Handshake<'a> {
    pub(crate) fn new(shared: &'a Shared, socket: Arc<Socket>, origin: Origin) -> Self {
        let deadline = Instant::now() + DEADLINE;
        Self { shared, socket, peer: Peer::new(origin), deadline, is_secured: false, structured: false, chosen: None }
    }

    /// Runs it. `None`: the client left, or sent what makes no sense, and the connection is to be closed.
    pub(crate) fn run(mut self) -> io::Result<Option<Agreed>> {
        self.write(&option::greeting())?;
        let mut flags = [0; CLIENT_FLAGS_LENGTH];
        self.read(&mut flags)?;
        let Some(client) = option::client_flags(flags) else { return Ok(None) };
        for _ in 0..OPTIONS_MAX {
            let mut bytes = [0; HEADER_LENGTH];
            self.read(&mut bytes)?;
            let Some(header) = option::header(bytes) else { return Ok(None) };
            if header.length > OPTION_MAX {
                if header.length > SKIP_MAX || header.option == option::EXPORT_NAME {
                    return Ok(None);
                }
                self.skip(header.length)?;
                let reply = if self.lacks_tls(header.option) { Reply::TlsRequired } else { Reply::TooBig };
                self.reply(header.option, &[reply])?;
                continue;
            }
            let mut data = vec![0; usize::try_from(header.length).expect("bounded above")];
            self.read(&mut data)?;
            match self.option(header.option, &data, client)? {
                Next::More => {}
                Next::Agreed(agreed) => {
                    self.socket.set_timeout(None)?;
                    return Ok(Some(*agreed));
                }
                Next::Close => return Ok(None),
            }
        }
        Ok(None)
    }

    fn option(&mut self, number: u32, data: &[u8], client: ClientFlags) -> io::Result<Next> {
        let ask = match option::parse(number, data) {
            _ if self.lacks_tls(number) => Err(Reply::TlsRequired),
            Ok(ask) => Ok(ask),
            Err(Unreadable::Unknown) => Err(Reply::Unsupported),
            Err(Unreadable::Malformed) => Err(Reply::Invalid("the option's data is malformed")),
        };
        match ask {
            Ok(ask) => self.answer(number, ask, client),
            // This one has no way to tell of an error.
            Err(_) if number == option::EXPORT_NAME => Ok(Next::Close),
            Err(reply) => self.reply(number, &[reply]).map(|()| Next::More),
        }
    }

    fn answer(&mut self, number: u32, ask: Ask, client: ClientFlags) -> io::Result<Next> {
        match ask {
            Ask::ExportName(name) => self.export_name(&name, client),
            Ask::Abort => {
                self.reply(number, &[Reply::Ack])?;
                Ok(Next::Close)
            }
            Ask::List => self.list(number),
            Ask::StartTls => self.start_tls(number),
            Ask::Info(inquiry) => self.info(number, &inquiry),
            Ask::Go(inquiry) => self.go(number, &inquiry),
            Ask::StructuredReply => {
                self.structured = true;
                self.reply(number, &[Reply::Ack]).map(|()| Next::More)
            }
            Ask::ListMeta(meta) => self.list_meta(number, &meta),
            Ask::SetMeta(meta) => self.set_meta(number, meta),
        }
    }

    /// Whether the option must wait for TLS.
    fn lacks_tls(&self, number: u32) -> bool {
        let tls = self.shared.tls.as_ref();
        !self.is_secured && !option::is_answered_without_tls(number) && tls.is_some_and(|tls| tls.is_required(self.peer.origin))
    }

    /// Goes on over TLS, as if nothing had been agreed on before: it may not have been the client who did.
    ///
    /// Nothing of what the client sent has been read beyond this option, so plain bytes behind it are taken for TLS, and fail.
    fn start_tls(&mut self, number: u32) -> io::Result<Next> {
        let reply = match &self.shared.tls {
            None => Reply::Policy("TLS is not configured on this server"),
            Some(_) if self.is_secured => Reply::Invalid("TLS is spoken already"),
            Some(tls) => {
                self.reply(number, &[Reply::Ack])?;
                let (secured, subject) = tls.accept(self.socket.clone(), self.deadline)?;
                self.socket = Arc::new(Socket::Tls(Box::new(secured)));
                self.peer.subject = subject;
                (self.is_secured, self.structured, self.chosen) = (true, false, None);
                return Ok(Next::More);
            }
        };
        self.reply(number, &[reply]).map(|()| Next::More)
    }

    /// A name is what opens an export: over TCP it is told only to whoever proved to be one that it is for.
    fn list(&self, number: u32) -> io::Result<Next> {
        if matches!(self.peer.origin, Origin::Tcp(_)) && self.peer.subject.is_none() {
            self.reply(number, &[Reply::Policy("exports are listed over TCP only to clients that prove a name over TLS")])?;
            return Ok(Next::More);
        }
        let names = self.shared.registry.list(&self.peer);
        self.reply(number, &ended(names.iter().map(|name| Reply::Server(name)))).map(|()| Next::More)
    }

    fn info(&self, number: u32, inquiry: &Inquiry) -> io::Result<Next> {
        let found = self.find(&inquiry.export).and_then(|export| match export.refusal(&self.peer, self.shared.sessions_max) {
            Some(refused) => Err(refused),
            None => Ok(export),
        });
        match found {
            Ok(export) => self.tell(number, inquiry, &export, export.storage.size()?)?,
            Err(refused) => self.refuse(number, &refused)?,
        }
        Ok(Next::More)
    }

    fn go(&mut self, number: u32, inquiry: &Inquiry) -> io::Result<Next> {
        match self.connect(&inquiry.export)? {
            Ok(agreed) => {
                self.tell(number, inquiry, &agreed.session.export, agreed.terms.size)?;
                Ok(Next::Agreed(Box::new(agreed)))
            }
            Err(refused) => {
                self.refuse(number, &refused)?;
                Ok(Next::More)
            }
        }
    }

    fn export_name(&mut self, name: &str, client: ClientFlags) -> io::Result<Next> {
        let Ok(agreed) = self.connect(name)? else { return Ok(Next::Close) };
        let flags = option::transmission_flags(agreed.terms.read_only, self.structured);
        self.write(&option::export_name_reply(agreed.terms.size, flags, client))?;
        Ok(Next::Agreed(Box::new(agreed)))
    }

    fn find(&self, name: &str) -> Result<Arc<Export>, Refused> {
        self.shared.registry.find(name, &self.peer)
    }

    fn connect(&self, name: &str) -> io::Result<Result<Agreed, Refused>> {
        let export = match self.find(name) {
            Ok(export) => export,
            Err(refused) => return Ok(Err(refused)),
        };
        let Some(place) = self.shared.limits.connections.take(&self.peer) else { return Ok(Err(Refused::Crowded)) };
        let (size, read_only) = (export.storage.size()?, export.storage.is_read_only());
        let session = match export.connect(&self.peer, self.socket.clone(), size, self.shared.sessions_max) {
            Ok(session) => session,
            Err(refused) => {
                if refused == Refused::Full {
                    self.shared.sessions_full.tell(self.shared.sessions_max, &self.peer);
                }
                return Ok(Err(refused));
            }
        };
        let chosen = self.chosen.as_ref().filter(|(export, _)| self.structured && export == name);
        let contexts = chosen.map(|(_, contexts)| *contexts).unwrap_or_default();
        let terms = Terms { size, read_only, structured: self.structured, contexts };
        Ok(Ok(Agreed { session, terms, socket: self.socket.clone(), _place: place }))
    }

    fn tell(&self, number: u32, inquiry: &Inquiry, export: &Export, size: u64) -> io::Result<()> {
        let flags = option::transmission_flags(export.storage.is_read_only(), self.structured);
        let description = export.description();
        let mut replies = vec![Reply::Export { size, flags }, Reply::Name(&inquiry.export), Reply::BlockSize];
        if inquiry.describe {
            replies.push(Reply::Description(&description));
        }
        replies.push(Reply::Ack);
        self.reply(number, &replies)
    }

    fn list_meta(&self, number: u32, meta: &Meta) -> io::Result<Next> {
        match self.find(&meta.export) {
            Ok(_) => self.reply(number, &ended(meta.found.iter().map(Reply::Found)))?,
            Err(refused) => self.refuse(number, &refused)?,
        }
        Ok(Next::More)
    }

    fn set_meta(&mut self, number: u32, meta: Meta) -> io::Result<Next> {
        self.chosen = None;
        if !self.structured {
            self.reply(number, &[Reply::Invalid("structured replies must be agreed on first")])?;
            return Ok(Next::More);
        }
        match self.find(&meta.export) {
            Ok(_) => {
                self.chosen = Some((meta.export, meta.named));
                self.reply(number, &ended(meta.named.iter().map(Reply::Chosen)))?;
            }
            Err(refused) => self.refuse(number, &refused)?,
        }
        Ok(Next::More)
    }

    fn reply(&self, number: u32, replies: &[Reply<'_>]) -> io::Result<()> {
        let mut out = Vec::new();
        replies.iter().for_each(|reply| reply.encode(number, &mut out));
        self.write(&out)
    }

    fn refuse(&self, number: u32, refused: &Refused) -> io::Result<()> {
        let text = refused.to_string();
        let reply = if *refused == Refused::Unknown { Reply::UnknownExport(&text) } else { Reply::Policy(&text) };
        self.reply(number, &[reply])
    }

    /// Fills `buffer` before the deadline, however few bytes come at a time.
    fn read(&self, buffer: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            self.socket.set_timeout(Some(self.left()?))?;
            match (&*self.socket).read(&mut buffer[filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn skip(&self, length: u32) -> io::Result<()> {
        let mut left = usize::try_from(length).expect("64-bit");
        let mut scratch = [0; 4096];
        while left > 0 {
            let piece = left.min(scratch.len());
            self.read(&mut scratch[..piece])?;
            left -= piece;
        }
        Ok(())
    }

    /// Sends all of `bytes` before the deadline, however few the client takes at a time.
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut left = bytes;
        while !left.is_empty() {
            self.socket.set_timeout(Some(self.left()?))?;
            match (&*self.socket).write(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => left = &left[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

enum Next {
    More,
    Agreed(Box<Agreed>),
    Close,
}

/// A list, and its end.
fn ended<'a>(replies: impl Iterator<Item = Reply<'a>>) -> Vec<Reply<'a>> {
    replies.chain([Reply::Ack]).collect()
}
