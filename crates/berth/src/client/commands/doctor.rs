//! `berth doctor`: what does not agree, what it means, and the command that mends it.
//!
//! The server says what is allowed; here that becomes the line to type. Nothing is changed.

use crate::cli::{DoctorArgs, Format};
use crate::client::Session;
use crate::client::exit::{Exit, Failure, Outcome};
use crate::client::output::{clean, diagnosis};
use serde_json::{Value, json};

/// Tells the diagnosis. Findings are a failure, so that a script can tell.
///
/// # Errors
/// Something was found, or the server does not answer.
pub(super) fn run(session: &mut Session<'_>, args: &DoctorArgs) -> Outcome<()> {
    let body = match args.look {
        true => session.api.post("doctor/look", &json!({}))?,
        false => session.api.get("doctor", &[])?,
    };
    match session.format {
        Format::Table => tell(session, &body)?,
        Format::Json | Format::Name => diagnosis(session.out, session.format, &body)?,
    }
    match body["findings"].as_array().map_or(0, Vec::len) {
        0 => Ok(()),
        1 => Err(Failure::new(Exit::Failed, "1 finding")),
        count => Err(Failure::new(Exit::Failed, format!("{count} findings"))),
    }
}

fn tell(session: &mut Session<'_>, body: &Value) -> Outcome<()> {
    let findings = body["findings"].as_array().map_or(&[][..], Vec::as_slice);
    for pool in body["pools"].as_array().into_iter().flatten() {
        let name = text(&pool["name"]);
        match pool["lookedAt"].as_str() {
            Some(at) => writeln!(session.out, "pool {name}: {} volumes looked at, {}", pool["volumes"], clean(at))?,
            None => writeln!(session.out, "pool {name}: not looked at yet")?,
        }
    }
    if findings.is_empty() {
        writeln!(session.out, "everything agrees")?;
    }
    for finding in findings {
        writeln!(session.out)?;
        writeln!(session.out, "{}: {}{}", about(finding), text(&finding["message"]), since(finding))?;
        writeln!(session.out, "  means  {}", text(&finding["means"]))?;
        for line in mending(finding) {
            writeln!(session.out, "  mend   {line}")?;
        }
    }
    if let Some(more) = body["more"].as_u64().filter(|more| *more > 0) {
        writeln!(session.out, "\nand {more} more, which are told once these are mended")?;
    }
    Ok(())
}

fn about(finding: &Value) -> String {
    let resource = &finding["resource"];
    if resource.is_object() {
        return format!("{} {} is {}", text(&resource["kind"]), text(&resource["id"]), text(&resource["status"]));
    }
    match (finding["object"]["name"].as_str(), finding["exporter"].as_str()) {
        (Some(name), _) => format!("object {}", clean(name)),
        (None, Some(exporter)) => format!("exporter {}", clean(exporter)),
        (None, None) => format!("pool {}", text(&finding["poolId"])),
    }
}

fn since(finding: &Value) -> String {
    finding["since"].as_str().map(|since| format!(" (since {})", clean(since))).unwrap_or_default()
}

/// The lines to type, the best first.
fn mending(finding: &Value) -> Vec<String> {
    let (resource, object) = (&finding["resource"], &finding["object"]);
    let (kind, id, tenant) = (text(&resource["kind"]), text(&resource["id"]), text(&resource["tenantId"]));
    let verbs = finding["mend"].as_array().into_iter().flatten().filter_map(Value::as_str);
    verbs
        .map(|verb| match verb {
            "removeObject" => format!("berth pool remove-object {} {} --yes", text(&object["poolId"]), text(&object["name"])),
            "detach" => format!("berth --tenant {tenant} detach {id}   (--force cuts its clients)"),
            "forget" => format!("berth --tenant {tenant} volume delete --forget {id}"),
            verb => format!("berth --tenant {tenant} {kind} {} {id}", clean(verb)),
        })
        .collect()
}

fn text(value: &Value) -> String {
    clean(value.as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mends_is_a_line_to_type() {
        let resource = json!({"kind": "volume", "id": "v", "tenantId": "t", "status": "error"});
        let finding = json!({"resource": resource, "mend": ["recover", "delete", "forget"]});
        let lines =
            ["berth --tenant t volume recover v", "berth --tenant t volume delete v", "berth --tenant t volume delete --forget v"];
        assert_eq!(mending(&finding), lines);
        let object = json!({"object": {"poolId": "p", "name": "v@s"}, "mend": ["removeObject"]});
        assert_eq!(mending(&object), ["berth pool remove-object p v@s --yes"]);
        assert_eq!((about(&finding), about(&object)), ("volume v is error".into(), "object v@s".into()));
    }
}
