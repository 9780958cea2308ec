//! Commands on pools, which come from the server's configuration.

use crate::cli::{PoolCommand, RemoveObjectArgs};
use crate::client::Session;
use crate::client::exit::{Failure, Outcome};
use crate::client::http::encode;
use crate::client::kind::Kind;
use crate::client::output::clean;

/// Runs one of them.
pub(super) fn run(session: &mut Session<'_>, command: PoolCommand) -> Outcome<()> {
    match command {
        PoolCommand::List(args) => session.list_by_name(Kind::Pool, &args),
        PoolCommand::Show(args) => session.show(Kind::Pool, &args),
        PoolCommand::RemoveObject(args) => remove_object(session, &args),
    }
}

fn remove_object(session: &mut Session<'_>, args: &RemoveObjectArgs) -> Outcome<()> {
    if !args.yes && !args.trial.dry_run {
        let message = format!("this removes the data of {:?} for good; say --yes if that is meant", args.object);
        return Err(Failure::usage(message));
    }
    let pool = session.id(Kind::Pool, &args.pool)?;
    let answer = session.api.delete(&format!("{}/objects/{}", Kind::Pool.path_of(&pool), encode(&args.object)), &[])?;
    if session.api.is_trial() {
        let line = format!("object {} would be removed", clean(&args.object));
        return session.tried_one(&args.object, answer, &line);
    }
    Ok(writeln!(session.messages, "object {} removed", clean(&args.object))?)
}
