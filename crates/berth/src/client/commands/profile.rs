//! Commands on profiles. They are made, changed and removed at once, so there is nothing to wait for.

use super::{put, put_pairs};
use crate::cli::{ProfileCommand, ProfileCreateArgs};
use crate::client::Session;
use crate::client::exit::Outcome;
use crate::client::kind::Kind;
use serde_json::Map;

const KIND: Kind = Kind::Profile;
/// What profiles are made for here. Source: OpenSDS wire page, section 3, `storageType`.
const STORAGE_TYPE: &str = "block";

/// Runs one of them.
pub(super) fn run(session: &mut Session<'_>, command: ProfileCommand) -> Outcome<()> {
    match command {
        ProfileCommand::Create(args) => create(session, &args),
        ProfileCommand::List(args) => session.list_by_name(KIND, &args),
        ProfileCommand::Show(args) => session.show(KIND, &args),
        ProfileCommand::Update(args) => session.rename(KIND, &args),
        ProfileCommand::Delete(args) => session.remove(KIND, &args.of),
    }
}

fn create(session: &mut Session<'_>, args: &ProfileCreateArgs) -> Outcome<()> {
    let mut body = Map::new();
    put(&mut body, "name", Some(&args.name));
    put(&mut body, "storageType", Some(&STORAGE_TYPE));
    put(&mut body, "description", args.description.as_ref());
    put_pairs(&mut body, "customProperties", &args.property);
    session.create(KIND, &body, None)
}
