//! The words between a controller and its data plane, and the frames that carry them.
//!
//! A frame is a length (32 bits, big-endian) and that many bytes of JSON. The side that connects says [`Hello`], is answered [`Welcome`],
//! and then sends [`Asked`] and hears [`Answered`], in whatever order answers come; [`Ask::Cancel`] gives an earlier one up.
//!
//! Not here: the socket's place and who may connect (`server`), and what becomes of a lost connection (`remote`).
//!
//! Invariants:
//! - a frame longer than its reader's bound is an error before a byte of it is read;
//! - a change that an older side would misunderstand moves [`PROTOCOL`]; fields that may be missed are added with a default.

use engine::ports::{Backing, Client, ExportSpec};
use lifecycle::{AttachmentId, Bytes, Connection, ExportSeen, Facts, HostId, Mode, Outcome, Timestamp, Token, VolumeId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use uuid::Uuid;

/// The version of these words. Both sides speak exactly one.
pub(crate) const PROTOCOL: u32 = 1;
/// The longest question: an export with a path and a host's initiators.
pub(crate) const ASK_MAX: u32 = 1 << 20;
/// The longest answer: all exports of a process, which has 20,000 files at the most, at under 2 KiB each.
pub(crate) const ANSWER_MAX: u32 = 64 << 20;

/// The first words of the side that connects.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Its [`PROTOCOL`].
    pub(crate) protocol: u32,
    /// What it is.
    pub(crate) role: Role,
}

/// What connects to a data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    /// The controller. A later one ends the session of an earlier: its process is gone, or is to be taken for it.
    Controller,
    /// A person's command, which looks or stops.
    Operator,
}

/// The data plane's answer to [`Hello`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Welcome {
    /// Its [`PROTOCOL`]; another than the asker's ends the connection here.
    pub(crate) protocol: u32,
    /// The release it was built as.
    pub(crate) release: String,
    /// Its process.
    pub(crate) pid: u32,
    /// Where it serves NBD over TCP.
    pub(crate) listen: String,
}

/// A question, with a number that its answer repeats.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) number: u64,
    pub(crate) ask: Ask,
}

/// What can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ask {
    /// [`engine::ports::Exporter::export`].
    Export { token: TokenWord, spec: SpecWord },
    /// [`engine::ports::Exporter::unexport`].
    Unexport { token: TokenWord, attachment: Uuid, force: bool },
    /// [`engine::ports::Exporter::inspect`].
    Inspect { attachment: Uuid, fence: Option<TokenWord> },
    /// [`engine::ports::Exporter::list`].
    List,
    /// [`engine::ports::Exporter::clients`].
    Clients { attachment: Uuid },
    /// Everything it serves, for people.
    Status,
    /// To end. Refused while clients are connected, unless `force`d; with `only_if_idle` refused while anything is exported.
    Stop { force: bool, only_if_idle: bool },
    /// The question of that number is given up: its work goes on no further than it must. Not answered.
    Cancel,
}

/// An answer to the question of that number.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answered {
    pub(crate) number: u64,
    pub(crate) answer: Answer,
}

/// What can be answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    Outcome(OutcomeWord),
    Seen(SeenWord),
    Exports(Vec<(Uuid, ConnectionWord)>),
    Clients(Vec<ClientWord>),
    Status(Status),
    /// It ends now.
    Stopping,
    /// It does not do that now, and why.
    Refused(String),
    /// It cannot tell now, and why.
    Unanswered(String),
}

/// What a data plane is and serves, for people.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Its process.
    pub pid: u32,
    /// The release it was built as.
    pub release: String,
    /// Where it serves NBD over TCP.
    pub listen: String,
    /// What it serves.
    pub exports: Vec<ExportStatus>,
}

/// One export, for people.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExportStatus {
    /// Whose it is.
    pub attachment: Uuid,
    /// Of which volume.
    pub volume: Uuid,
    /// `ro` or `rw`.
    pub mode: String,
    /// The size that the next client is offered, in bytes; nothing if the backing does not tell.
    pub size: Option<u64>,
    /// Whether it is being ended, so that no change is accepted any more.
    pub is_fenced: bool,
    /// Who is connected.
    pub clients: Vec<ClientWord>,
}

/// [`Client`] on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientWord {
    /// Where it comes from.
    pub address: String,
    /// Who it is.
    pub identity: String,
    /// Since when it is connected, in milliseconds since 1970.
    pub since: i64,
    /// When it last asked for anything, in milliseconds since 1970.
    pub last_seen: i64,
    /// The size it was told.
    pub size_seen: Option<u64>,
    /// Bytes that it read.
    pub bytes_read: u64,
    /// Bytes that it wrote.
    pub bytes_written: u64,
    /// Its requests that are not answered yet.
    pub in_flight: u64,
}

/// [`Token`] on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenWord {
    incarnation: u64,
    counter: u64,
}

/// [`ExportSpec`] on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SpecWord {
    attachment: Uuid,
    volume: Uuid,
    /// The path of the backing file or device.
    file: PathBuf,
    host: Uuid,
    address: String,
    initiators: Vec<String>,
    read_only: bool,
    shared: bool,
    protocol: String,
}

/// [`Connection`] on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConnectionWord {
    protocol: String,
    data: BTreeMap<String, String>,
}

/// [`ExportSeen`] on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SeenWord {
    Unknown,
    Absent,
    Serving(ConnectionWord),
}

/// [`Outcome`] of an export on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OutcomeWord {
    Done(SeenWord),
    Refused(String),
    Failed(String),
    Unknown(String),
}

impl From<Token> for TokenWord {
    fn from(Token { incarnation, counter }: Token) -> Self {
        Self { incarnation, counter }
    }
}

impl From<TokenWord> for Token {
    fn from(TokenWord { incarnation, counter }: TokenWord) -> Self {
        Self { incarnation, counter }
    }
}

impl From<ExportSpec> for SpecWord {
    fn from(spec: ExportSpec) -> Self {
        let Backing::File(file) = spec.backing;
        Self {
            attachment: spec.attachment.0,
            volume: spec.volume.0,
            file,
            host: spec.host.0,
            address: spec.address,
            initiators: spec.initiators,
            read_only: spec.mode == Mode::ReadOnly,
            shared: spec.shared,
            protocol: spec.protocol,
        }
    }
}

impl From<SpecWord> for ExportSpec {
    fn from(word: SpecWord) -> Self {
        Self {
            attachment: AttachmentId(word.attachment),
            volume: VolumeId(word.volume),
            backing: Backing::File(word.file),
            host: HostId(word.host),
            address: word.address,
            initiators: word.initiators,
            mode: if word.read_only { Mode::ReadOnly } else { Mode::ReadWrite },
            shared: word.shared,
            protocol: word.protocol,
        }
    }
}

impl From<Connection> for ConnectionWord {
    fn from(Connection { protocol, data }: Connection) -> Self {
        Self { protocol, data }
    }
}

impl From<ConnectionWord> for Connection {
    fn from(ConnectionWord { protocol, data }: ConnectionWord) -> Self {
        Self { protocol, data }
    }
}

impl From<ExportSeen> for SeenWord {
    fn from(seen: ExportSeen) -> Self {
        match seen {
            ExportSeen::Unknown => Self::Unknown,
            ExportSeen::Absent => Self::Absent,
            ExportSeen::Serving(connection) => Self::Serving(connection.into()),
        }
    }
}

impl From<SeenWord> for ExportSeen {
    fn from(word: SeenWord) -> Self {
        match word {
            SeenWord::Unknown => Self::Unknown,
            SeenWord::Absent => Self::Absent,
            SeenWord::Serving(connection) => Self::Serving(connection.into()),
        }
    }
}

impl From<Outcome> for OutcomeWord {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done(Facts::Export(seen)) => Self::Done(seen.into()),
            // An exporter answers about exports; of anything else nothing is known here.
            Outcome::Done(Facts::Object(_) | Facts::Look(_)) => Self::Done(SeenWord::Unknown),
            Outcome::Refused(why) => Self::Refused(why),
            Outcome::Failed(why) => Self::Failed(why),
            Outcome::Unknown(why) => Self::Unknown(why),
        }
    }
}

impl From<OutcomeWord> for Outcome {
    fn from(word: OutcomeWord) -> Self {
        match word {
            OutcomeWord::Done(seen) => Self::Done(Facts::Export(seen.into())),
            OutcomeWord::Refused(why) => Self::Refused(why),
            OutcomeWord::Failed(why) => Self::Failed(why),
            OutcomeWord::Unknown(why) => Self::Unknown(why),
        }
    }
}

impl From<Client> for ClientWord {
    fn from(client: Client) -> Self {
        Self {
            address: client.address,
            identity: client.identity,
            since: client.since.0,
            last_seen: client.last_seen.0,
            size_seen: client.size_seen.map(|size| size.0),
            bytes_read: client.bytes_read,
            bytes_written: client.bytes_written,
            in_flight: client.in_flight,
        }
    }
}

impl From<ClientWord> for Client {
    fn from(word: ClientWord) -> Self {
        Self {
            address: word.address,
            identity: word.identity,
            since: Timestamp(word.since),
            last_seen: Timestamp(word.last_seen),
            size_seen: word.size_seen.map(Bytes),
            bytes_read: word.bytes_read,
            bytes_written: word.bytes_written,
            in_flight: word.in_flight,
        }
    }
}

/// Reads one frame of at most `max` bytes. `None`: the other side ended the connection between two frames.
pub(crate) async fn read<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin), max: u32) -> io::Result<Option<T>> {
    let length = match from.read_u32().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes; {max} is the most")));
    }
    let mut bytes = Vec::new();
    // Grows with what arrives: a length alone takes no memory.
    from.take(u64::from(length)).read_to_end(&mut bytes).await?;
    if bytes.len() < usize::try_from(length).expect("64-bit") {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    parse(&bytes).map(Some)
}

/// What a frame's bytes say.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    serde_json::from_slice(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The bytes of a frame. Errors: what is said cannot be told in JSON (a path that is not UTF-8), or is longer than a length can say.
pub(crate) fn frame(said: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, said).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let length = u32::try_from(bytes.len() - 4).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    Ok(bytes)
}

/// Writes one frame.
pub(crate) async fn write(to: &mut (impl AsyncWrite + Unpin), said: &impl Serialize) -> io::Result<()> {
    to.write_all(&frame(said)?).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ExportSpec {
        ExportSpec {
            attachment: AttachmentId(Uuid::from_u128(1)),
            volume: VolumeId(Uuid::from_u128(2)),
            backing: Backing::File("/pool/volume.raw".into()),
            host: HostId(Uuid::from_u128(3)),
            address: "10.0.0.5".into(),
            initiators: vec!["db-2".into()],
            mode: Mode::ReadOnly,
            shared: true,
            protocol: "nbd".into(),
        }
    }

    #[test]
    fn what_is_said_comes_back_as_it_was() {
        assert_eq!(ExportSpec::from(SpecWord::from(spec())), spec());
        let connection = Connection { protocol: "nbd".into(), data: [("uri".to_owned(), "nbd://h/x".to_owned())].into() };
        let outcomes = [
            Outcome::Done(Facts::Export(ExportSeen::Serving(connection))),
            Outcome::Done(Facts::Export(ExportSeen::Absent)),
            Outcome::Refused("no".into()),
            Outcome::Failed("later".into()),
            Outcome::Unknown("who knows".into()),
        ];
        for outcome in outcomes {
            assert_eq!(Outcome::from(OutcomeWord::from(outcome.clone())), outcome);
        }
    }

    /// A release that changes these bytes cannot talk to a data plane that is running: it must move [`PROTOCOL`].
    #[test]
    fn the_bytes_of_a_frame_stay_as_they_are() {
        let token = Token { incarnation: 7, counter: 9 }.into();
        let asked = Asked { number: 5, ask: Ask::Export { token, spec: spec().into() } };
        let bytes = frame(&asked).unwrap();
        assert_eq!(bytes[..4], u32::try_from(bytes.len() - 4).unwrap().to_be_bytes());
        assert_eq!(
            String::from_utf8_lossy(&bytes[4..]),
            concat!(
                r#"{"number":5,"ask":{"export":{"token":{"incarnation":7,"counter":9},"spec":{"#,
                r#""attachment":"00000000-0000-0000-0000-000000000001","volume":"00000000-0000-0000-0000-000000000002","#,
                r#""file":"/pool/volume.raw","host":"00000000-0000-0000-0000-000000000003","address":"10.0.0.5","#,
                r#""initiators":["db-2"],"read_only":true,"shared":true,"protocol":"nbd"}}}}"#
            )
        );
        let answered = Answered { number: 5, answer: Answer::Outcome(OutcomeWord::Done(SeenWord::Absent)) };
        assert_eq!(
            String::from_utf8_lossy(&frame(&answered).unwrap()[4..]),
            r#"{"number":5,"answer":{"outcome":{"done":"absent"}}}"#
        );
        let hello = Hello { protocol: PROTOCOL, role: Role::Controller };
        assert_eq!(String::from_utf8_lossy(&frame(&hello).unwrap()[4..]), r#"{"protocol":1,"role":"controller"}"#);
    }

    #[tokio::test]
    async fn frames_that_lie_or_end_early_are_errors_and_take_no_memory() {
        async fn reads(bytes: &[u8]) -> io::Result<Option<Hello>> {
            read(&mut &*bytes, 1000).await
        }
        assert!(reads(b"").await.unwrap().is_none());
        assert!(reads(&u32::MAX.to_be_bytes()).await.is_err());
        assert!(reads(&[0, 0, 0, 9, b'{']).await.is_err());
        assert!(reads(&[0, 0, 0, 2, b'{', b'}']).await.is_err());
        let fine = frame(&Hello { protocol: 1, role: Role::Operator }).unwrap();
        assert_eq!(reads(&fine).await.unwrap().map(|hello| hello.role), Some(Role::Operator));
        for cut in 1..fine.len() {
            assert!(cut < 4 || reads(&fine[..cut]).await.is_err(), "cut at {cut}");
        }
    }
}
