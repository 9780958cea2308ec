//! Commands on hosts. They are made, changed and removed at once, so there is nothing to wait for.

use super::put;
use crate::cli::{HostChanges, HostCommand, HostCreateArgs, word};
use crate::client::Session;
use crate::client::exit::Outcome;
use crate::client::kind::Kind;
use serde_json::{Map, Value, json};

const KIND: Kind = Kind::Host;

/// Runs one of them.
pub(super) fn run(session: &mut Session<'_>, command: HostCommand) -> Outcome<()> {
    match command {
        HostCommand::Create(args) => create(session, &args),
        HostCommand::List(args) => session.list_by_name(KIND, &args),
        HostCommand::Show(args) => session.show(KIND, &args),
        HostCommand::Update(args) => session.update(KIND, &args.id, body(&args.changes)),
        HostCommand::Delete(args) => session.remove(KIND, &args.of),
    }
}

fn create(session: &mut Session<'_>, args: &HostCreateArgs) -> Outcome<()> {
    let fields = HostChanges {
        name: Some(args.name.clone()),
        ip: Some(args.ip),
        os_type: Some(args.os_type),
        access_mode: Some(args.access_mode),
        port: args.port,
        zone: args.zone.clone(),
        initiator: args.initiator.clone(),
    };
    session.create(KIND, &body(&fields), None)
}

fn body(fields: &HostChanges) -> Map<String, Value> {
    let mut body = Map::new();
    put(&mut body, "hostName", fields.name.as_ref());
    put(&mut body, "ip", fields.ip.map(|ip| ip.to_string()).as_ref());
    put(&mut body, "osType", fields.os_type.map(word).as_ref());
    put(&mut body, "accessMode", fields.access_mode.map(word).as_ref());
    put(&mut body, "port", fields.port.as_ref());
    if !fields.zone.is_empty() {
        put(&mut body, "availabilityZones", Some(&fields.zone));
    }
    let initiators: Vec<_> =
        fields.initiator.iter().map(|held| json!({"portName": held.name, "protocol": held.protocol})).collect();
    if !initiators.is_empty() {
        put(&mut body, "initiators", Some(&initiators));
    }
    body
}
