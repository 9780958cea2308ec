//! Commands on attachments, and `attach` and `detach`, which make and end them.

use super::{Query, conditions, put};
use crate::cli::{AttachArgs, AttachmentCommand, AttachmentListArgs, DetachArgs, word};
use crate::client::Session;
use crate::client::exit::Outcome;
use crate::client::kind::Kind;
use serde_json::Map;

const KIND: Kind = Kind::Attachment;

/// Runs one of them.
pub(super) fn run(session: &mut Session<'_>, command: AttachmentCommand) -> Outcome<()> {
    match command {
        AttachmentCommand::List(args) => list(session, &args),
        AttachmentCommand::Show(args) => session.show(KIND, &args),
        AttachmentCommand::Retry(args) => session.again(KIND, "retry", &args),
        AttachmentCommand::Recover(args) => session.again(KIND, "recover", &args),
        AttachmentCommand::Journal(args) => session.journal(KIND, &args),
    }
}

/// Exports a volume to a host.
pub(super) fn attach(session: &mut Session<'_>, args: &AttachArgs) -> Outcome<()> {
    let volume = session.id(Kind::Volume, &args.volume)?;
    let host = session.id(Kind::Host, &args.host)?;
    let mut body = Map::new();
    put(&mut body, "volumeId", Some(&volume));
    put(&mut body, "hostId", Some(&host));
    put(&mut body, "attachMode", Some(&word(args.mode)));
    put(&mut body, "accessProtocol", args.protocol.as_ref());
    session.create(KIND, &body, Some(&args.wait))
}

/// Ends attachments.
pub(super) fn detach(session: &mut Session<'_>, args: &DetachArgs) -> Outcome<()> {
    let query = if args.force { vec![("force", "true".to_owned())] } else { Query::new() };
    let mut only = Query::new();
    session.narrow(&mut only, "hostId", Kind::Host, args.host.as_ref())?;
    session.narrow(&mut only, "volumeId", Kind::Volume, args.volume.as_ref())?;
    session.delete(KIND, &args.of, only, &query, &args.wait)
}

fn list(session: &mut Session<'_>, args: &AttachmentListArgs) -> Outcome<()> {
    let mut query: Query = conditions::statuses(KIND, &args.status)?;
    session.narrow(&mut query, "volumeId", Kind::Volume, args.volume.as_ref())?;
    session.narrow(&mut query, "hostId", Kind::Host, args.host.as_ref())?;
    session.list(KIND, query, &args.page)
}
