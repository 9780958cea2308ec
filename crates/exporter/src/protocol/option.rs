//! The handshake: greeting, options and the replies to them.
//!
//! Source: NBD protocol document, "Fixed newstyle negotiation", "Option types", "Option reply types", and its `INFO` extension.

use super::Cursor;
use super::context::{Context, Contexts};

/// `NBDMAGIC`: the first eight bytes a server sends.
const GREETING_MAGIC: u64 = 0x4e42_444d_4147_4943;
/// `IHAVEOPT`: follows the greeting's magic, and opens every option.
const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
/// Opens every reply to an option.
const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
/// Handshake flags we send: fixed newstyle (bit 0), no zeroes (bit 1).
const HANDSHAKE_FLAGS: u16 = 0b11;
/// How long a string may be. Source: protocol document, "Conventions".
pub(crate) const STRING_LENGTH_MAX: usize = 4096;
/// `NBD_OPT_EXPORT_NAME`, the option that can be answered in no way but by doing it.
pub(crate) const EXPORT_NAME: u32 = 1;
/// The zeroes after the reply to `NBD_OPT_EXPORT_NAME`, unless the client asked to go without.
const EXPORT_NAME_PADDING: usize = 124;

/// `NBD_INFO_DESCRIPTION`.
const INFO_DESCRIPTION: u16 = 2;

/// Bytes of the client's flags.
pub(crate) const CLIENT_FLAGS_LENGTH: usize = 4;
/// Bytes of an option's header.
pub(crate) const HEADER_LENGTH: usize = 16;

/// The smallest request: a file takes any byte, and clients such as nbdcopy copy odd tails with it.
const BLOCK_SIZE_MIN: u32 = 1;
/// The request size we like: a page of the page cache.
const BLOCK_SIZE_PREFERRED: u32 = 4096;
/// The largest payload of one request. Source: protocol document, 32 MiB is what a client may expect without asking.
pub(crate) const PAYLOAD_MAX: u32 = 32 << 20;

/// The server's first words.
pub(crate) fn greeting() -> [u8; 18] {
    let mut bytes = [0; 18];
    bytes[..8].copy_from_slice(&GREETING_MAGIC.to_be_bytes());
    bytes[8..16].copy_from_slice(&OPTION_MAGIC.to_be_bytes());
    bytes[16..].copy_from_slice(&HANDSHAKE_FLAGS.to_be_bytes());
    bytes
}

/// What the client said about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientFlags {
    /// It does not want the padding after `NBD_OPT_EXPORT_NAME`.
    pub(crate) no_zeroes: bool,
}

/// Reads the client's flags; `None` if it sets one that we did not offer, on which the connection must be dropped.
pub(crate) fn client_flags(bytes: [u8; CLIENT_FLAGS_LENGTH]) -> Option<ClientFlags> {
    let flags = u32::from_be_bytes(bytes);
    (flags & !u32::from(HANDSHAKE_FLAGS) == 0).then_some(ClientFlags { no_zeroes: flags & 0b10 != 0 })
}

/// An option's header: which option, and how many bytes of data follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Its number.
    pub(crate) option: u32,
    /// Bytes of data that follow. Hostile: the reader bounds it.
    pub(crate) length: u32,
}

/// Reads an option's header; `None` without its magic, on which the connection is dropped: nothing after it can be trusted.
pub(crate) fn header(bytes: [u8; HEADER_LENGTH]) -> Option<Header> {
    let mut cursor = Cursor(&bytes);
    if cursor.u64()? != OPTION_MAGIC {
        return None;
    }
    Some(Header { option: cursor.u32()?, length: cursor.u32()? })
}

/// What a client asks for during the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Serve this export; failure can be told only by closing.
    ExportName(String),
    /// End the session.
    Abort,
    /// Name the exports.
    List,
    /// Go on over TLS.
    StartTls,
    /// Tell about this export.
    Info(Inquiry),
    /// Serve this export.
    Go(Inquiry),
    /// Use structured replies from now on.
    StructuredReply,
    /// Which metadata contexts there are.
    ListMeta(Meta),
    /// Choose metadata contexts.
    SetMeta(Meta),
}

/// Which export it is about, and what is to be told of it beside what always is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inquiry {
    /// The export.
    pub(crate) export: String,
    /// Whether its description is asked for.
    pub(crate) describe: bool,
}

/// A query for metadata contexts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// The export it is about.
    pub(crate) export: String,
    /// The contexts that it names: what a choice chooses.
    pub(crate) named: Contexts,
    /// Those that a listing tells: by name or by namespace, or all if nothing was asked for in particular.
    pub(crate) found: Contexts,
}

/// Why an option could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// We do not know this option.
    Unknown,
    /// Its data is not as the protocol says.
    Malformed,
}

/// Whether the option is answered before TLS where that is required: giving up, and beginning it.
///
/// Source: protocol document, "TLS support", FORCEDTLS mode.
pub(crate) const fn is_answered_without_tls(option: u32) -> bool {
    matches!(option, 2 | 5)
}

/// Reads an option from its number and its data.
pub(crate) fn parse(option: u32, data: &[u8]) -> Result<Ask, Unreadable> {
    let parsed = match option {
        EXPORT_NAME => core::str::from_utf8(data).ok().and_then(name).map(Ask::ExportName),
        2 => Some(Ask::Abort),
        3 => data.is_empty().then_some(Ask::List),
        5 => data.is_empty().then_some(Ask::StartTls),
        6 => info(data).map(Ask::Info),
        7 => info(data).map(Ask::Go),
        8 => data.is_empty().then_some(Ask::StructuredReply),
        9 => meta(data).map(Ask::ListMeta),
        10 => meta(data).map(Ask::SetMeta),
        _ => return Err(Unreadable::Unknown),
    };
    parsed.ok_or(Unreadable::Malformed)
}

fn name(text: &str) -> Option<String> {
    (text.len() <= STRING_LENGTH_MAX && !text.contains('\0')).then(|| text.to_owned())
}

/// `NBD_OPT_INFO` and `NBD_OPT_GO`: a name and the numbers of the informations wanted. Size, name and block sizes are sent in any
/// case, and numbers that we do not know are passed over, as the document asks.
fn info(data: &[u8]) -> Option<Inquiry> {
    let mut cursor = Cursor(data);
    let export = name(cursor.string()?)?;
    let count = usize::from(cursor.u16()?);
    let wanted = cursor.take(count * 2)?;
    let describe = wanted.chunks_exact(2).any(|number| number == INFO_DESCRIPTION.to_be_bytes());
    cursor.is_empty().then_some(Inquiry { export, describe })
}

fn meta(data: &[u8]) -> Option<Meta> {
    let mut cursor = Cursor(data);
    let export = name(cursor.string()?)?;
    let count = cursor.u32()?;
    let mut found = if count == 0 { Contexts::all() } else { Contexts::default() };
    let mut named = Contexts::default();
    for _ in 0..count {
        // Ends at the latest when the data does: each query takes at least four bytes of it.
        let query = cursor.string()?;
        named = named.and(Contexts::named(query));
        found = found.and(Contexts::found(query));
    }
    cursor.is_empty().then_some(Meta { export, named, found })
}

/// What a reply to an option says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    /// Agreed, or the end of a list.
    Ack,
    /// One export of a list.
    Server(&'a str),
    /// Size and transmission flags of the export.
    Export {
        /// In bytes.
        size: u64,
        /// See [`transmission_flags`].
        flags: u16,
    },
    /// The export's name, as we know it.
    Name(&'a str),
    /// What sizes requests may have.
    BlockSize,
    /// What the export is, for people.
    Description(&'a str),
    /// One metadata context, as found.
    Found(Context),
    /// One metadata context, as chosen.
    Chosen(Context),
    /// We do not know the option.
    Unsupported,
    /// We know it and do not allow it; the text says why.
    Policy(&'a str),
    /// Its data makes no sense.
    Invalid(&'a str),
    /// Nothing is answered here but over TLS.
    TlsRequired,
    /// There is no such export.
    UnknownExport(&'a str),
    /// Its data is larger than we read.
    TooBig,
}

impl Reply<'_> {
    fn number(&self) -> u32 {
        const ERROR: u32 = 1 << 31;
        match self {
            Self::Ack => 1,
            Self::Server(_) => 2,
            Self::Export { .. } | Self::Name(_) | Self::Description(_) | Self::BlockSize => 3,
            Self::Found(_) | Self::Chosen(_) => 4,
            Self::Unsupported => ERROR + 1,
            Self::Policy(_) => ERROR + 2,
            Self::Invalid(_) => ERROR + 3,
            Self::TlsRequired => ERROR + 5,
            Self::UnknownExport(_) => ERROR + 6,
            Self::TooBig => ERROR + 9,
        }
    }

    fn data(&self) -> Vec<u8> {
        match self {
            Self::Ack | Self::Unsupported => Vec::new(),
            Self::Server(name) => [&length(name).to_be_bytes(), name.as_bytes()].concat(),
            Self::Export { size, flags } => [0_u16.to_be_bytes().as_slice(), &size.to_be_bytes(), &flags.to_be_bytes()].concat(),
            Self::Name(name) => [&1_u16.to_be_bytes(), name.as_bytes()].concat(),
            Self::BlockSize => {
                let sizes = [BLOCK_SIZE_MIN, BLOCK_SIZE_PREFERRED, PAYLOAD_MAX].map(u32::to_be_bytes);
                [3_u16.to_be_bytes().as_slice(), sizes.as_flattened()].concat()
            }
            Self::Description(text) => [&INFO_DESCRIPTION.to_be_bytes(), text.as_bytes()].concat(),
            // The number means nothing in a listing, and is to be zero.
            Self::Found(context) => [&0_u32.to_be_bytes(), context.name().as_bytes()].concat(),
            Self::Chosen(context) => [&context.id().to_be_bytes(), context.name().as_bytes()].concat(),
            Self::Policy(text) | Self::Invalid(text) | Self::UnknownExport(text) => text.as_bytes().to_vec(),
            Self::TlsRequired => b"this server answers over TLS only".to_vec(),
            Self::TooBig => b"the option's data is too long".to_vec(),
        }
    }

    /// The bytes of this reply to `option`, added to `out`.
    pub(crate) fn encode(&self, option: u32, out: &mut Vec<u8>) {
        let data = self.data();
        out.extend_from_slice(&REPLY_MAGIC.to_be_bytes());
        out.extend_from_slice(&option.to_be_bytes());
        out.extend_from_slice(&self.number().to_be_bytes());
        out.extend_from_slice(&u32::try_from(data.len()).expect("our own replies are short").to_be_bytes());
        out.extend_from_slice(&data);
    }
}

fn length(text: &str) -> u32 {
    u32::try_from(text.len()).expect("our own names are short")
}

/// The answer to `NBD_OPT_EXPORT_NAME`, which has a form of its own.
pub(crate) fn export_name_reply(size: u64, flags: u16, client: ClientFlags) -> Vec<u8> {
    let mut out = [size.to_be_bytes().as_slice(), &flags.to_be_bytes()].concat();
    if !client.no_zeroes {
        out.resize(out.len() + EXPORT_NAME_PADDING, 0);
    }
    out
}

/// What an export can do, as the transmission flags tell it.
pub(crate) const fn transmission_flags(read_only: bool, structured: bool) -> u16 {
    const HAS_FLAGS: u16 = 1;
    const READ_ONLY: u16 = 1 << 1;
    const FLUSH: u16 = 1 << 2;
    const FUA: u16 = 1 << 3;
    const TRIM: u16 = 1 << 5;
    const WRITE_ZEROES: u16 = 1 << 6;
    const DONT_FRAGMENT: u16 = 1 << 7;
    const MULTI_CONN: u16 = 1 << 8;
    const CACHE: u16 = 1 << 10;
    const FAST_ZERO: u16 = 1 << 11;
    let access = if read_only { READ_ONLY } else { TRIM | WRITE_ZEROES | FAST_ZERO };
    let replies = if structured { DONT_FRAGMENT } else { 0 };
    HAS_FLAGS | FLUSH | FUA | MULTI_CONN | CACHE | access | replies
}

#[cfg(test)]
mod tests {
    use super::super::noise::Noise;
    use super::*;

    fn with_length(text: &str) -> Vec<u8> {
        [&length(text).to_be_bytes(), text.as_bytes()].concat()
    }

    #[test]
    fn options_parse() {
        let go = [with_length("disk"), vec![0, 2, 0, 3, 0, 2]].concat();
        let inquiry = Inquiry { export: "disk".into(), describe: true };
        let meta = [with_length("disk"), vec![0, 0, 0, 1], with_length("base:allocation")].concat();
        let base = Contexts::named("base:allocation");
        let asked = Meta { export: "disk".into(), named: base, found: base };
        let rows: [(u32, &[u8], Result<Ask, Unreadable>); 14] = [
            (1, b"disk", Ok(Ask::ExportName("disk".into()))),
            (1, b"di\0sk", Err(Unreadable::Malformed)),
            (1, &[0xff], Err(Unreadable::Malformed)),
            (2, b"anything", Ok(Ask::Abort)),
            (3, b"", Ok(Ask::List)),
            (3, b"x", Err(Unreadable::Malformed)),
            (4, b"", Err(Unreadable::Unknown)),
            (5, b"", Ok(Ask::StartTls)),
            (5, b"x", Err(Unreadable::Malformed)),
            (6, &go, Ok(Ask::Info(inquiry.clone()))),
            (7, &go, Ok(Ask::Go(inquiry))),
            (7, &go[..go.len() - 1], Err(Unreadable::Malformed)),
            (10, &meta, Ok(Ask::SetMeta(asked))),
            (9, &meta[..meta.len() - 1], Err(Unreadable::Malformed)),
        ];
        for (option, data, expected) in rows {
            assert_eq!(parse(option, data), expected, "option {option} data {data:?}");
        }
    }

    #[test]
    fn a_count_or_length_beyond_the_data_is_malformed() {
        let huge = u32::MAX.to_be_bytes();
        assert_eq!(parse(7, &huge), Err(Unreadable::Malformed));
        assert_eq!(parse(10, &[with_length("d"), huge.to_vec()].concat()), Err(Unreadable::Malformed));
        let long = "n".repeat(STRING_LENGTH_MAX + 1);
        assert_eq!(parse(1, long.as_bytes()), Err(Unreadable::Malformed));
    }

    #[test]
    fn no_bytes_make_the_parsers_panic() {
        let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
        let mut read = 0;
        for round in 0..20_000_u32 {
            let option = round % 16;
            let mut data = noise.bytes(64);
            if round % 2 == 0 && data.len() >= 4 {
                // Half of the rounds get a length that fits, or nothing past it would be reached.
                let fits = u32::try_from(data.len() / 4).expect("short");
                data[..4].copy_from_slice(&fits.to_be_bytes());
                data[4..].iter_mut().for_each(|byte| *byte &= 0x3f);
            }
            let parsed = parse(option, &data);
            assert_eq!(parsed == Err(Unreadable::Unknown), matches!(option, 0 | 4 | 11..), "option {option}");
            read += u32::from(parsed.is_ok());
        }
        assert!(read > 1_000, "the noise reaches past the first check: {read}");
    }

    #[test]
    fn client_flags_that_were_not_offered_are_refused() {
        assert_eq!(client_flags(3_u32.to_be_bytes()), Some(ClientFlags { no_zeroes: true }));
        assert_eq!(client_flags(1_u32.to_be_bytes()), Some(ClientFlags { no_zeroes: false }));
        assert_eq!(client_flags(4_u32.to_be_bytes()), None);
    }

    #[test]
    fn replies_encode_as_the_document_says() {
        let mut out = Vec::new();
        Reply::Export { size: 5, flags: 0x0101 }.encode(7, &mut out);
        let mut expected = Vec::new();
        expected.extend_from_slice(&REPLY_MAGIC.to_be_bytes());
        for word in [7_u32, 3, 12] {
            expected.extend_from_slice(&word.to_be_bytes());
        }
        expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 1, 1]);
        assert_eq!(out, expected);
        assert_eq!(export_name_reply(5, 1, ClientFlags { no_zeroes: true }).len(), 10);
        assert_eq!(export_name_reply(5, 1, ClientFlags { no_zeroes: false }).len(), 134);
    }

    #[test]
    fn a_read_only_export_offers_no_change() {
        assert_eq!(transmission_flags(true, false), 0b0101_0000_1111);
        assert_eq!(transmission_flags(false, true), 0b1101_1110_1101);
    }
}
