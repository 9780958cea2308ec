//! The commands, a module for each kind of resource; here what the kinds share.
//!
//! - A verb on several resources does what it can: each failure is told, and the first one gives the exit code.
//! - All are asked first and waited for after that, so that they run beside each other.
//! - What is printed is what the server says now, not what was asked for.

mod attachment;
mod conditions;
mod describe;
mod doctor;
mod host;
mod pool;
mod profile;
mod select;
mod snapshot;
#[cfg(test)]
mod tests;
#[cfg(feature = "top")]
mod top;
mod verbs;
mod volume;
mod wait;
mod watch;

use super::Session;
use super::exit::{Failure, Outcome};
use super::kind::Kind;
use super::output::{Shape, Tabled, choose};
use crate::cli::{
    AttachmentCommand, ClientCommand, Format, GlobalArgs, HostCommand, PoolCommand, ProfileCommand, SnapshotCommand, VolumeCommand,
};
use serde_json::{Map, Value};
use std::io::IsTerminal;

/// Runs one command.
pub(super) fn run(session: &mut Session<'_>, global: &GlobalArgs, command: ClientCommand) -> Outcome<()> {
    session.shape = shape(global, &command)?;
    session.api.try_only(command.is_trial());
    match command {
        ClientCommand::Volume(command) => volume::run(session, command),
        ClientCommand::Snapshot(command) => snapshot::run(session, command),
        ClientCommand::Attachment(command) => attachment::run(session, command),
        ClientCommand::Attach(args) => attachment::attach(session, &args),
        ClientCommand::Detach(args) => attachment::detach(session, &args),
        ClientCommand::Host(command) => host::run(session, command),
        ClientCommand::Profile(command) => profile::run(session, command),
        ClientCommand::Pool(command) => pool::run(session, command),
        ClientCommand::Doctor(args) => doctor::run(session, &args),
        ClientCommand::Wait(args) => wait::run(session, &args),
        ClientCommand::Describe(args) => describe::run(session, &args),
        ClientCommand::Watch(args) => watch::run(session, &args),
        #[cfg(feature = "top")]
        ClientCommand::Top(args) => top::run(session, &args),
    }
}

/// How the command prints, as was asked for.
fn shape(global: &GlobalArgs, command: &ClientCommand) -> Outcome<Shape> {
    let columns = match (global.output, global.columns.is_empty()) {
        (_, true) => None,
        (Format::Table, false) => Some(choose(tabled(command), &global.columns)?),
        (Format::Json | Format::Name, false) => {
            return Err(Failure::usage("--columns are those of a table; leave it out, or -o json and -o name"));
        }
    };
    Ok(Shape { columns, no_headers: global.no_headers, width: width(), format: global.output })
}

/// How wide the terminal is that is written to, if it is one.
fn width() -> Option<usize> {
    let out = std::io::stdout();
    let size = out.is_terminal().then(|| rustix::termios::tcgetwinsize(&out).ok()).flatten();
    size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// What the command prints as a table.
fn tabled(command: &ClientCommand) -> Tabled {
    match command {
        ClientCommand::Volume(VolumeCommand::Journal(_))
        | ClientCommand::Snapshot(SnapshotCommand::Journal(_))
        | ClientCommand::Attachment(AttachmentCommand::Journal(_)) => Tabled::Journal,
        ClientCommand::Host(HostCommand::Delete(_))
        | ClientCommand::Profile(ProfileCommand::Delete(_))
        | ClientCommand::Pool(PoolCommand::RemoveObject(_))
        | ClientCommand::Doctor(_)
        | ClientCommand::Describe(_)
        | ClientCommand::Watch(_) => Tabled::Nothing,
        #[cfg(feature = "top")]
        ClientCommand::Top(_) => Tabled::Nothing,
        command if command.is_trial() => Tabled::Nothing,
        ClientCommand::Volume(_) => Tabled::Of(Kind::Volume),
        ClientCommand::Snapshot(_) => Tabled::Of(Kind::Snapshot),
        ClientCommand::Attachment(_) | ClientCommand::Attach(_) | ClientCommand::Detach(_) => Tabled::Of(Kind::Attachment),
        ClientCommand::Host(_) => Tabled::Of(Kind::Host),
        ClientCommand::Profile(_) => Tabled::Of(Kind::Profile),
        ClientCommand::Pool(_) => Tabled::Of(Kind::Pool),
        ClientCommand::Wait(args) => Tabled::Of(wait::kind(args.kind)),
    }
}

/// The conditions of a list, as the server wants them.
type Query = Vec<(&'static str, String)>;

/// Puts `value` into `body`, if there is one.
fn put<T: Into<Value> + Clone>(body: &mut Map<String, Value>, field: &str, value: Option<&T>) {
    if let Some(value) = value {
        body.insert(field.into(), value.clone().into());
    }
}

/// Puts `pairs` into `body` as an object, if there are any. The last of one key counts.
fn put_pairs(body: &mut Map<String, Value>, field: &str, pairs: &[(String, String)]) {
    if !pairs.is_empty() {
        let pairs: Map<_, _> = pairs.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect();
        body.insert(field.into(), pairs.into());
    }
}
