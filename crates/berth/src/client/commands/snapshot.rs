//! Commands on snapshots.

use super::{Query, conditions, put, put_pairs};
use crate::cli::{SnapshotCommand, SnapshotCreateArgs, SnapshotListArgs};
use crate::client::Session;
use crate::client::exit::Outcome;
use crate::client::kind::Kind;
use serde_json::Map;

const KIND: Kind = Kind::Snapshot;

/// Runs one of them.
pub(super) fn run(session: &mut Session<'_>, command: SnapshotCommand) -> Outcome<()> {
    match command {
        SnapshotCommand::Create(args) => create(session, &args),
        SnapshotCommand::List(args) => list(session, &args),
        SnapshotCommand::Show(args) => session.show(KIND, &args),
        SnapshotCommand::Update(args) => session.rename(KIND, &args),
        SnapshotCommand::Delete(args) => session.delete(KIND, &args.of, Query::new(), &Query::new(), &args.wait),
        SnapshotCommand::Retry(args) => session.again(KIND, "retry", &args),
        SnapshotCommand::Recover(args) => session.again(KIND, "recover", &args),
        SnapshotCommand::Journal(args) => session.journal(KIND, &args),
    }
}

fn create(session: &mut Session<'_>, args: &SnapshotCreateArgs) -> Outcome<()> {
    let volume = session.id(Kind::Volume, &args.volume)?;
    let mut body = Map::new();
    put(&mut body, "volumeId", Some(&volume));
    put(&mut body, "name", Some(&args.name));
    put(&mut body, "description", args.description.as_ref());
    put_pairs(&mut body, "metadata", &args.metadata);
    session.create(KIND, &body, Some(&args.wait))
}

fn list(session: &mut Session<'_>, args: &SnapshotListArgs) -> Outcome<()> {
    let mut query: Query = args.name.iter().map(|name| ("name", name.clone())).collect();
    query.extend(conditions::statuses(KIND, &args.status)?);
    session.narrow(&mut query, "volumeId", Kind::Volume, args.volume.as_ref())?;
    session.list(KIND, query, &args.page)
}
