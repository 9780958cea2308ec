//! `berth doctor`: what does not agree, what it means, and the command that mends it.
//!
//! - The server says what is allowed; here that becomes lines to paste. Nothing is changed.
//! - Every word that comes from elsewhere is quoted: no name of anybody's ever becomes a command of its own.
//! - No line names a tenant: whoever may ask for a diagnosis is the administrator, who may do all of this.

use crate::cli::{DoctorArgs, Format};
use crate::client::Session;
use crate::client::exit::{Exit, Failure, Outcome};
use crate::client::output::{clean, diagnosis};
use serde_json::{Value, json};

/// Tells the diagnosis. Findings are a failure, so that a script can tell; so is a look that has not ended.
///
/// # Errors
/// Something was found, the look goes on, or the server does not answer.
pub(super) fn run(session: &mut Session<'_>, args: &DoctorArgs) -> Outcome<()> {
    let body = match args.look {
        true => session.api.post("doctor/look", &json!({}))?,
        false => session.api.get("doctor", &[])?,
    };
    let is_looking = body["looking"] == true;
    match session.shape.format {
        Format::Table => {
            if is_looking {
                writeln!(session.out, "the look has not ended; what follows is as of before\n")?;
            }
            tell(session, &body, is_looking)?;
        }
        Format::Json | Format::Name => diagnosis(session.out, session.shape.format, &body)?,
    }
    if is_looking {
        let message = "the look has not ended, and goes on in the server; ask with berth doctor what it has shown";
        return Err(Failure::new(Exit::Unfinished, message));
    }
    match body["findings"].as_array().map_or(0, Vec::len) {
        0 => Ok(()),
        1 => Err(Failure::new(Exit::Failed, "1 finding")),
        count => Err(Failure::new(Exit::Failed, format!("{count} findings"))),
    }
}

fn tell(session: &mut Session<'_>, body: &Value, is_looking: bool) -> Outcome<()> {
    let findings = body["findings"].as_array().map_or(&[][..], Vec::as_slice);
    for pool in body["pools"].as_array().into_iter().flatten() {
        let name = text(&pool["name"]);
        match pool["lookedAt"].as_str() {
            Some(at) => writeln!(session.out, "pool {name}: {} volumes looked at, {}", pool["volumes"], clean(at))?,
            None => writeln!(session.out, "pool {name}: not looked at yet")?,
        }
    }
    if findings.is_empty() && !is_looking {
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
        let (kind, id) = (text(&resource["kind"]), text(&resource["id"]));
        return format!("{kind} {id} of tenant {} is {}", text(&resource["tenantId"]), text(&resource["status"]));
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

/// The lines to paste, the best first.
fn mending(finding: &Value) -> Vec<String> {
    let verbs = finding["mend"].as_array().into_iter().flatten().filter_map(Value::as_str);
    verbs.flat_map(|verb| lines(finding, verb)).collect()
}

/// The lines of one verb.
fn lines(finding: &Value, verb: &str) -> Vec<String> {
    let (resource, object) = (&finding["resource"], &finding["object"]);
    let id = resource["id"].as_str().unwrap_or_default();
    let texts = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match verb {
        "removeObject" => {
            vec![line(&["pool", "remove-object", "--yes"], &[texts(&object["poolId"]), texts(&object["name"])])]
        }
        "detach" => {
            let attachments = finding["attachments"].as_array().into_iter().flatten();
            let each = attachments.flat_map(|id| {
                let id = [texts(id)];
                let mut both = [line(&["detach"], &id), line(&["detach", "--force"], &id)];
                // While a client is connected the gentle one has failed already.
                if finding["code"] == "clientsConnected" {
                    both.reverse();
                }
                both
            });
            each.collect()
        }
        "forget" => vec![line(&["volume", "delete", "--forget"], &[id.to_owned()])],
        verb => vec![line(&[&texts(&resource["kind"]), verb], &[id.to_owned()])],
    }
}

/// A command line: its verbs and flags, then what it is about.
fn line(verbs: &[&str], about: &[String]) -> String {
    // What looks like a flag is none.
    let end = about.iter().any(|word| word.starts_with('-')).then_some("--");
    let words = ["berth"].into_iter().chain(verbs.iter().copied()).chain(end).chain(about.iter().map(String::as_str));
    words.map(|word| quoted(&clean(word))).collect::<Vec<_>>().join(" ")
}

/// A word as a shell reads it back, quoted only where that is needed.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | ':' | '/');
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

fn text(value: &Value) -> String {
    clean(value.as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn finding(kind: &str, id: &str, mend: &[&str]) -> Value {
        json!({"resource": {"kind": kind, "id": id, "tenantId": "t", "status": "error"}, "mend": mend})
    }

    #[test]
    fn what_mends_is_a_line_to_paste() {
        let volume = finding("volume", "v", &["recover", "delete", "forget"]);
        assert_eq!(mending(&volume), ["berth volume recover v", "berth volume delete v", "berth volume delete --forget v"]);
        let object = json!({"object": {"poolId": "p", "name": "v@s"}, "mend": ["removeObject"]});
        assert_eq!(mending(&object), ["berth pool remove-object --yes p v@s"]);
        assert_eq!((about(&volume), about(&object)), ("volume v of tenant t is error".into(), "object v@s".into()));
    }

    #[test]
    fn what_is_detached_is_an_attachment() {
        let mut volume = finding("volume", "v", &["detach"]);
        assert!(mending(&volume).is_empty(), "a volume is not detached");
        volume["attachments"] = json!(["a", "b"]);
        assert_eq!(mending(&volume), ["berth detach a", "berth detach --force a", "berth detach b", "berth detach --force b"]);
        let mut attachment = finding("attachment", "a", &["detach", "retry"]);
        (attachment["attachments"], attachment["code"]) = (json!(["a"]), json!("clientsConnected"));
        assert_eq!(mending(&attachment), ["berth detach --force a", "berth detach a", "berth attachment retry a"]);
    }

    #[test]
    fn no_word_of_anybodys_becomes_a_command() {
        let shell = |line: &str| {
            let script = format!("berth() {{ printf '%s\\n' \"$@\"; }}\n{line}\n");
            let done = Command::new("sh").args(["-c", &script]).output().expect("there is a shell");
            assert!(done.status.success() && done.stderr.is_empty(), "{line}: {done:?}");
            String::from_utf8(done.stdout).expect("text")
        };
        for word in ["x; echo no", "a b", "$(echo no)", "`echo no`", "it's", "'; echo no; '", "*", "", "~", "a\\", "&", "#x"] {
            assert_eq!(shell(&line(&["volume", "recover"], &[word.into()])), format!("volume\nrecover\n{word}\n"));
            assert_eq!(shell(&mending(&finding("volume", word, &["recover"]))[0]), format!("volume\nrecover\n{word}\n"));
        }
        assert_eq!(line(&["detach"], &["-x".into()]), "berth detach -- -x");
        assert_eq!(line(&["detach"], &["a\nrm".into()]), "berth detach 'a rm'");
        let tenant =
            json!({"resource": {"kind": "volume", "id": "v", "tenantId": "x; touch p", "status": "error"}, "mend": ["retry"]});
        assert_eq!(mending(&tenant), ["berth volume retry v"]);
    }
}
