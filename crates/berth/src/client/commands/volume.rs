//! Commands on volumes.

use super::{Query, conditions, put, put_pairs};
use crate::cli::{ExtendArgs, VolumeCommand, VolumeCreateArgs, VolumeDeleteArgs, VolumeListArgs, VolumeUpdateArgs};
use crate::client::Session;
use crate::client::exit::Outcome;
use crate::client::kind::Kind;
use serde_json::{Map, json};

const KIND: Kind = Kind::Volume;

/// Runs one of them.
pub(super) fn run(session: &mut Session<'_>, command: VolumeCommand) -> Outcome<()> {
    match command {
        VolumeCommand::Create(args) => create(session, &args),
        VolumeCommand::List(args) => list(session, &args),
        VolumeCommand::Show(args) => session.show(KIND, &args),
        VolumeCommand::Update(args) => update(session, &args),
        VolumeCommand::Extend(args) => extend(session, &args),
        VolumeCommand::Delete(args) => delete(session, &args),
        VolumeCommand::Retry(args) => session.again(KIND, "retry", &args),
        VolumeCommand::Recover(args) => session.again(KIND, "recover", &args),
        VolumeCommand::Journal(args) => session.journal(KIND, &args),
    }
}

fn create(session: &mut Session<'_>, args: &VolumeCreateArgs) -> Outcome<()> {
    let mut body = Map::new();
    put(&mut body, "name", Some(&args.name));
    put(&mut body, "size", Some(&args.size));
    put(&mut body, "description", args.description.as_ref());
    put(&mut body, "availabilityZone", args.zone.as_ref());
    put_pairs(&mut body, "metadata", &args.metadata);
    if args.multi_attach {
        put(&mut body, "multiAttach", Some(&true));
    }
    let references = [
        ("snapshotId", Kind::Snapshot, &args.snapshot),
        ("profileId", Kind::Profile, &args.profile),
        ("poolId", Kind::Pool, &args.pool),
    ];
    for (field, kind, typed) in references {
        let id = typed.as_ref().map(|typed| session.id(kind, typed)).transpose()?;
        put(&mut body, field, id.as_ref());
    }
    session.create(KIND, &body, Some(&args.wait))
}

fn list(session: &mut Session<'_>, args: &VolumeListArgs) -> Outcome<()> {
    let mut query: Query = args.name.iter().map(|name| ("name", name.clone())).collect();
    query.extend(conditions::statuses(KIND, &args.status)?);
    session.narrow(&mut query, "poolId", Kind::Pool, args.pool.as_ref())?;
    session.narrow(&mut query, "profileId", Kind::Profile, args.profile.as_ref())?;
    session.narrow(&mut query, "snapshotId", Kind::Snapshot, args.snapshot.as_ref())?;
    session.list(KIND, query, &args.page)
}

fn update(session: &mut Session<'_>, args: &VolumeUpdateArgs) -> Outcome<()> {
    let mut body = Map::new();
    put(&mut body, "name", args.changes.name.as_ref());
    put(&mut body, "description", args.changes.description.as_ref());
    put_pairs(&mut body, "metadata", &args.changes.metadata);
    session.update(KIND, &args.id, body)
}

fn extend(session: &mut Session<'_>, args: &ExtendArgs) -> Outcome<()> {
    let id = session.id(KIND, &args.id)?;
    let answer = session.api.post(&format!("{}/resize", KIND.path_of(&id)), &json!({ "newSize": args.size }))?;
    session.finish(KIND, &id, answer, Some(&args.wait))
}

fn delete(session: &mut Session<'_>, args: &VolumeDeleteArgs) -> Outcome<()> {
    let flags = [("cascade", args.cascade), ("forget", args.forget)];
    let query = flags.into_iter().filter(|(_, is_set)| *is_set).map(|(flag, _)| (flag, "true".to_owned())).collect();
    session.delete(KIND, &args.of, Query::new(), &query, &args.wait)
}
