//! The transmission phase: requests, and the replies to them.
//!
//! [`Request::parse`] reads a header; [`Request::check`] says whether it makes sense on the export at hand, before a byte of
//! payload is read or a byte of memory is taken for it.
//!
//! Source: NBD protocol document, "Request message", "Structured reply chunk message", "Request types", "Error values".

use super::Cursor;
use super::context::Contexts;
use super::option::PAYLOAD_MAX;

/// Opens every request.
const REQUEST_MAGIC: u32 = 0x2560_9513;
/// Opens every simple reply.
const SIMPLE_MAGIC: u32 = 0x6744_6698;
/// Opens every chunk of a structured reply.
const STRUCTURED_MAGIC: u32 = 0x668e_33ef;
/// The chunk is the last of its reply.
const DONE: u16 = 1;

/// Bytes of a request's header.
pub(crate) const REQUEST_LENGTH: usize = 28;
/// Bytes of a simple reply.
pub(crate) const SIMPLE_LENGTH: usize = 16;
/// Bytes before the data in a chunk that carries data: the chunk's header and the offset.
pub(crate) const DATA_CHUNK_LENGTH: usize = 28;

/// An error as the wire has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errno {
    /// Not permitted: a change to a read-only export.
    Perm,
    /// The backing could not do it.
    Io,
    /// Out of memory.
    NoMemory,
    /// The request makes no sense.
    Invalid,
    /// No room, or beyond the end.
    NoSpace,
    /// More than one reply may carry.
    Overflow,
    /// Asked to be fast, and it would not be.
    NotSupported,
    /// The export is ending.
    Shutdown,
}

impl Errno {
    const fn number(self) -> u32 {
        match self {
            Self::Perm => 1,
            Self::Io => 5,
            Self::NoMemory => 12,
            Self::Invalid => 22,
            Self::NoSpace => 28,
            Self::Overflow => 75,
            Self::NotSupported => 95,
            Self::Shutdown => 108,
        }
    }

    /// What a person reads beside it.
    const fn words(self) -> &'static str {
        match self {
            Self::Perm => "the export is read-only",
            Self::Io => "the backing file could not be read or written",
            Self::NoMemory => "out of memory",
            Self::Invalid => "the request is not valid for this export",
            Self::NoSpace => "no space left, or beyond the end of the export",
            Self::Overflow => "the request is longer than one reply may be",
            Self::NotSupported => "the backing has no fast way to do this",
            Self::Shutdown => "the export is being ended",
        }
    }
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Read a range.
    Read,
    /// Write a range; its bytes follow the header.
    Write,
    /// The client leaves.
    Disconnect,
    /// Make what was written durable.
    Flush,
    /// A range is not needed any more.
    Trim,
    /// Have a range ready soon.
    Cache,
    /// Make a range read as zeroes.
    WriteZeroes,
    /// Tell what is allocated in a range.
    BlockStatus,
    /// None that we know.
    Unknown,
}

/// The flags of a request that we know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(u16);

impl Flags {
    const FUA: u16 = 1;
    const NO_HOLE: u16 = 1 << 1;
    const DF: u16 = 1 << 2;
    const REQ_ONE: u16 = 1 << 3;
    const FAST_ZERO: u16 = 1 << 4;

    /// Durable before the reply.
    pub(crate) const fn fua(self) -> bool {
        self.0 & Self::FUA != 0
    }

    /// Zeroes must stay allocated.
    pub(crate) const fn no_hole(self) -> bool {
        self.0 & Self::NO_HOLE != 0
    }

    /// The reply is one chunk of data.
    pub(crate) const fn dont_fragment(self) -> bool {
        self.0 & Self::DF != 0
    }

    /// One extent is enough.
    pub(crate) const fn one(self) -> bool {
        self.0 & Self::REQ_ONE != 0
    }

    /// Fail rather than be slow.
    pub(crate) const fn fast(self) -> bool {
        self.0 & Self::FAST_ZERO != 0
    }

    /// Whether all flags are among those documented for the command. FUA is accepted everywhere, as the document asks.
    const fn fit(self, command: Command) -> bool {
        let allowed = match command {
            Command::Read => Self::FUA | Self::DF,
            Command::WriteZeroes => Self::FUA | Self::NO_HOLE | Self::FAST_ZERO,
            Command::BlockStatus => Self::FUA | Self::REQ_ONE,
            Command::Write | Command::Flush | Command::Trim | Command::Cache | Command::Disconnect | Command::Unknown => Self::FUA,
        };
        self.0 & !allowed == 0
    }
}

/// A request's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// What it asks for.
    pub(crate) command: Command,
    /// How.
    pub(crate) flags: Flags,
    /// The client's own name for it, repeated in the reply.
    pub(crate) cookie: u64,
    /// Where the range begins, in bytes.
    pub(crate) offset: u64,
    /// How many bytes the range has.
    pub(crate) length: u32,
}

/// What a connection agreed on, as far as it decides whether a request makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// The size that was offered, in bytes.
    pub(crate) size: u64,
    /// Nothing may be changed.
    pub(crate) read_only: bool,
    /// Structured replies were agreed on.
    pub(crate) structured: bool,
    /// The metadata contexts that were chosen.
    pub(crate) contexts: Contexts,
}

impl Request {
    /// Reads a header; `None` without its magic, on which the connection is cut.
    pub(crate) fn parse(bytes: &[u8; REQUEST_LENGTH]) -> Option<Self> {
        let mut cursor = Cursor(bytes);
        if cursor.u32()? != REQUEST_MAGIC {
            return None;
        }
        let flags = Flags(cursor.u16()?);
        let command = match cursor.u16()? {
            0 => Command::Read,
            1 => Command::Write,
            2 => Command::Disconnect,
            3 => Command::Flush,
            4 => Command::Trim,
            5 => Command::Cache,
            6 => Command::WriteZeroes,
            7 => Command::BlockStatus,
            _ => Command::Unknown,
        };
        Some(Self { command, flags, cookie: cursor.u64()?, offset: cursor.u64()?, length: cursor.u32()? })
    }

    /// How many bytes follow the header on the wire; more than [`PAYLOAD_MAX`] is not read but cut.
    pub(crate) const fn payload(&self) -> u32 {
        match self.command {
            Command::Write => self.length,
            _ => 0,
        }
    }

    /// Bytes of memory that answering takes, beyond what every request takes.
    pub(crate) const fn memory(&self) -> u32 {
        match self.command {
            Command::Read | Command::Write => self.length,
            _ => 0,
        }
    }

    /// Whether it would change the volume.
    pub(crate) const fn changes(&self) -> bool {
        matches!(self.command, Command::Write | Command::Trim | Command::WriteZeroes)
    }

    /// Whether it makes sense on an export with these terms, and if not, what to answer.
    pub(crate) fn check(&self, terms: Terms) -> Result<(), Errno> {
        if self.command == Command::Unknown || !self.flags.fit(self.command) {
            return Err(Errno::Invalid);
        }
        if self.changes() && terms.read_only {
            return Err(Errno::Perm);
        }
        match self.command {
            Command::Disconnect => return Ok(()),
            Command::Flush => return if self.offset == 0 && self.length == 0 { Ok(()) } else { Err(Errno::Invalid) },
            Command::BlockStatus if terms.contexts.is_empty() || self.length == 0 => return Err(Errno::Invalid),
            Command::Read if self.flags.dont_fragment() && !terms.structured => return Err(Errno::Invalid),
            Command::Read | Command::Write if self.length > PAYLOAD_MAX => return Err(Errno::Overflow),
            _ => {}
        }
        let beyond = self.offset.checked_add(u64::from(self.length)).is_none_or(|end| end > terms.size);
        match (beyond, self.command) {
            (false, _) => Ok(()),
            (true, Command::Write | Command::WriteZeroes) => Err(Errno::NoSpace),
            (true, _) => Err(Errno::Invalid),
        }
    }
}

/// A run of bytes that are all data or all hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// How many bytes.
    pub(crate) length: u32,
    /// Nothing is allocated there, and it reads as zeroes.
    pub(crate) hole: bool,
}

/// A simple reply without data, or the front of one with data (`error` is none then).
pub(crate) fn simple(cookie: u64, error: Option<Errno>) -> [u8; SIMPLE_LENGTH] {
    let mut bytes = [0; SIMPLE_LENGTH];
    bytes[..4].copy_from_slice(&SIMPLE_MAGIC.to_be_bytes());
    bytes[4..8].copy_from_slice(&error.map_or(0, Errno::number).to_be_bytes());
    bytes[8..].copy_from_slice(&cookie.to_be_bytes());
    bytes
}

/// The front of a chunk that carries `length` bytes of data from `offset`; the last one ends the reply.
pub(crate) fn data_chunk(cookie: u64, offset: u64, length: u32, is_last: bool) -> [u8; DATA_CHUNK_LENGTH] {
    let mut bytes = [0; DATA_CHUNK_LENGTH];
    bytes[..20].copy_from_slice(&chunk_with(if is_last { DONE } else { 0 }, 1, cookie, length + 8));
    bytes[20..].copy_from_slice(&offset.to_be_bytes());
    bytes
}

/// A reply that says: all of it is a hole.
pub(crate) fn hole_chunk(cookie: u64, offset: u64, length: u32) -> Vec<u8> {
    [chunk(2, cookie, 12).as_slice(), &offset.to_be_bytes(), &length.to_be_bytes()].concat()
}

/// A reply that tells what is allocated: a chunk for each of the contexts, of which the last ends the reply.
pub(crate) fn status_chunks(cookie: u64, extents: &[Extent], contexts: Contexts) -> Vec<u8> {
    let length = u32::try_from(4 + 8 * extents.len()).expect("the number of extents is bounded");
    let last = contexts.iter().next_back();
    let mut bytes = Vec::new();
    for context in contexts.iter() {
        let flags = if Some(context) == last { DONE } else { 0 };
        bytes.extend_from_slice(&chunk_with(flags, 5, cookie, length));
        bytes.extend_from_slice(&context.id().to_be_bytes());
        for extent in extents {
            bytes.extend_from_slice(&extent.length.to_be_bytes());
            bytes.extend_from_slice(&context.flags(*extent).to_be_bytes());
        }
    }
    bytes
}

/// A reply that carries an error, in the form that was agreed on.
pub(crate) fn failure(cookie: u64, error: Errno, structured: bool) -> Vec<u8> {
    if !structured {
        return simple(cookie, Some(error)).to_vec();
    }
    let words = error.words();
    let length = u16::try_from(words.len()).expect("our own words are short");
    let front = chunk(1 << 15 | 1, cookie, u32::from(length) + 6);
    [front.as_slice(), &error.number().to_be_bytes(), &length.to_be_bytes(), words.as_bytes()].concat()
}

/// A reply to a read of nothing at all: a chunk of data may not be empty.
pub(crate) fn nothing(cookie: u64, structured: bool) -> Vec<u8> {
    if structured { chunk(0, cookie, 0).to_vec() } else { simple(cookie, None).to_vec() }
}

/// The head of a chunk that ends its reply.
fn chunk(kind: u16, cookie: u64, length: u32) -> [u8; 20] {
    chunk_with(DONE, kind, cookie, length)
}

fn chunk_with(flags: u16, kind: u16, cookie: u64, length: u32) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&STRUCTURED_MAGIC.to_be_bytes());
    bytes[4..6].copy_from_slice(&flags.to_be_bytes());
    bytes[6..8].copy_from_slice(&kind.to_be_bytes());
    bytes[8..16].copy_from_slice(&cookie.to_be_bytes());
    bytes[16..].copy_from_slice(&length.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::noise::Noise;
    use super::*;

    fn terms() -> Terms {
        Terms { size: 1 << 30, read_only: false, structured: true, contexts: Contexts::all() }
    }

    fn request(command: Command, flags: u16, offset: u64, length: u32) -> Request {
        Request { command, flags: Flags(flags), cookie: 7, offset, length }
    }

    #[test]
    fn requests_are_checked_before_anything_is_read_or_allocated() {
        use Command::{BlockStatus, Cache, Flush, Read, Trim, Unknown, Write, WriteZeroes};
        let rows = [
            (request(Read, 0, 0, 4096), Ok(())),
            (request(Read, 0, terms().size - 1, 1), Ok(())),
            (request(Read, 0, terms().size, 1), Err(Errno::Invalid)),
            (request(Read, 0, u64::MAX, 2), Err(Errno::Invalid)),
            (request(Read, 0, 0, PAYLOAD_MAX + 1), Err(Errno::Overflow)),
            (request(Read, Flags::NO_HOLE, 0, 1), Err(Errno::Invalid)),
            (request(Write, Flags::FUA, 0, 1), Ok(())),
            (request(Write, 0, terms().size, 1), Err(Errno::NoSpace)),
            (request(Write, Flags::DF, 0, 1), Err(Errno::Invalid)),
            (request(WriteZeroes, 0, terms().size, 1), Err(Errno::NoSpace)),
            (request(WriteZeroes, Flags::FAST_ZERO | Flags::NO_HOLE, 0, 1 << 30), Ok(())),
            (request(Trim, 0, u64::MAX, u32::MAX), Err(Errno::Invalid)),
            (request(Flush, 0, 0, 0), Ok(())),
            (request(Flush, 0, 0, 1), Err(Errno::Invalid)),
            (request(Cache, 0, 0, u32::MAX), Err(Errno::Invalid)),
            (request(BlockStatus, Flags::REQ_ONE, 0, 1), Ok(())),
            (request(BlockStatus, 0, 0, 0), Err(Errno::Invalid)),
            (request(Unknown, 0, 0, 0), Err(Errno::Invalid)),
        ];
        for (request, expected) in rows {
            assert_eq!(request.check(terms()), expected, "{request:?}");
        }
    }

    #[test]
    fn a_read_only_export_refuses_every_change() {
        let terms = Terms { read_only: true, ..terms() };
        for command in [Command::Write, Command::Trim, Command::WriteZeroes] {
            assert_eq!(request(command, 0, 0, 1).check(terms), Err(Errno::Perm), "{command:?}");
        }
        assert_eq!(request(Command::Flush, 0, 0, 0).check(terms), Ok(()));
    }

    #[test]
    fn what_was_not_agreed_on_is_refused() {
        let plain = Terms { structured: false, contexts: Contexts::default(), ..terms() };
        assert_eq!(request(Command::Read, Flags::DF, 0, 1).check(plain), Err(Errno::Invalid));
        assert_eq!(request(Command::BlockStatus, 0, 0, 1).check(plain), Err(Errno::Invalid));
    }

    #[test]
    fn no_header_panics_and_whatever_passes_the_check_lies_inside_the_export() {
        let mut noise = Noise(0x2545_f491_4f6c_dd1d);
        let mut passed = 0;
        for _ in 0..100_000 {
            let mut bytes = [0; REQUEST_LENGTH];
            bytes[..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
            bytes[5] = noise.next().to_be_bytes()[0] & 0x1f;
            bytes[7] = noise.next().to_be_bytes()[0] & 0x0f;
            bytes[8..16].copy_from_slice(&noise.next().to_be_bytes());
            let (offset, length) = (noise.next() >> (noise.next() % 64), noise.next() >> 32 >> (noise.next() % 32));
            bytes[16..24].copy_from_slice(&offset.to_be_bytes());
            bytes[24..].copy_from_slice(&u32::try_from(length).expect("shifted").to_be_bytes());
            let request = Request::parse(&bytes).expect("the magic is right");
            if request.check(terms()).is_ok() && request.command != Command::Disconnect {
                passed += 1;
                assert!(request.offset + u64::from(request.length) <= terms().size, "{request:?}");
                assert!(request.memory() <= PAYLOAD_MAX, "{request:?}");
            }
        }
        assert!(passed > 1_000, "the noise reaches past the checks: {passed}");
        assert_eq!(Request::parse(&[0; REQUEST_LENGTH]), None);
    }

    #[test]
    fn replies_have_the_lengths_they_announce() {
        assert_eq!(data_chunk(1, 2, 4096, true)[16..20], 4104_u32.to_be_bytes());
        assert_eq!(hole_chunk(1, 2, 3).len(), 32);
        let extents = [Extent { length: 9, hole: true }, Extent { length: 8, hole: false }];
        let status = status_chunks(1, &extents, Contexts::all());
        assert_eq!(status.len(), 2 * (20 + 4 + 16), "a chunk for each context");
        assert_eq!((&status[4..6], &status[44..46]), ([0, 0].as_slice(), [0, 1].as_slice()), "the last one ends the reply");
        assert_eq!((&status[20..24], &status[60..64]), ([0, 0, 0, 1].as_slice(), [0, 0, 0, 2].as_slice()), "their numbers");
        assert_eq!(status_chunks(1, &extents, Contexts::named("base:allocation"))[4..6], [0, 1]);
        let error = failure(1, Errno::Perm, true);
        assert_eq!(error.len(), 20 + usize::try_from(u32::from_be_bytes(error[16..20].try_into().expect("four"))).expect("small"));
        assert_eq!(failure(1, Errno::Perm, false).len(), SIMPLE_LENGTH);
    }
}
