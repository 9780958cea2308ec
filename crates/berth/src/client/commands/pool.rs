//! Commands on pools, which come from the server's configuration.

use crate::cli::PoolCommand;
use crate::client::Session;
use crate::client::exit::Outcome;
use crate::client::kind::Kind;

/// Runs one of them.
pub(super) fn run(session: &mut Session<'_>, command: PoolCommand) -> Outcome<()> {
    match command {
        PoolCommand::List(args) => session.list_by_name(Kind::Pool, &args),
        PoolCommand::Show(args) => session.show(Kind::Pool, &args),
    }
}
