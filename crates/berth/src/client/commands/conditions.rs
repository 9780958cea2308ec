//! The conditions of lists and of `--all`, held to what lists know.
//!
//! - A server that speaks OpenSDS leaves out of account a filter that it does not know, and one without a value. To `--all` that would be
//!   everything: a slip of the pen must not delete what it did not mean.
//! - What there is stands in the API document, so that there is no second list of it.
//! - A server of another release, or another one, may know less: before something is done to what it has listed, each row is held to the
//!   conditions once more ([`held`]).

use super::super::output::{clean, schema};
use super::Query;
use crate::client::exit::{Exit, Failure, Outcome};
use crate::client::kind::Kind;
use serde_json::Value;

/// What a list takes besides filters.
const PAGING: &[&str] = &["limit", "offset", "marker", "sortKey", "sortDir"];
/// The order that lists of everything but pools also have.
const CREATED: &str = "createdAt";

/// The filters that were typed, as the server spells them.
///
/// # Errors
/// A usage failure for a field that no list of the kind filters by, and for a condition without a value.
pub(super) fn filters(kind: Kind, typed: &[(String, String)]) -> Outcome<Vec<(String, String)>> {
    let known = known(kind);
    let one = |(field, value): &(String, String)| {
        let spelled = known.iter().find(|known| known.eq_ignore_ascii_case(field));
        match spelled {
            Some(_) if value.is_empty() => Err(Failure::usage(format!("--filter {field}= has no value, so that it means nothing"))),
            Some(spelled) => Ok((spelled.clone(), value.clone())),
            None => Err(unknown("filtered", kind, field, &known)),
        }
    };
    typed.iter().map(one).collect()
}

/// The statuses that were typed, as conditions: any of them.
///
/// # Errors
/// A usage failure for a word that is no status of the kind.
pub(super) fn statuses(kind: Kind, words: &[String]) -> Outcome<Query> {
    let document = api_opensds::openapi();
    let known: Vec<_> = document["components"]["schemas"][schema(kind)]["properties"]["status"]["enum"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let one = |word: &String| match known.contains(&word.as_str()) {
        true => Ok(("status", word.clone())),
        false => Err(Failure::usage(format!("{word:?} is no status of {}s (there are: {})", kind.word(), known.join(", ")))),
    };
    words.iter().map(one).collect()
}

/// The order to ask for: the one that was typed, else the newest first. Pools are few, and have an order of their own.
///
/// # Errors
/// A usage failure for a field that no list of the kind sorts by.
pub(super) fn order(kind: Kind, typed: Option<&String>) -> Outcome<Option<String>> {
    let mut known = known(kind);
    if kind != Kind::Pool {
        known.push(CREATED.into());
    }
    match typed {
        None => Ok(known.pop().filter(|last| last == CREATED)),
        Some(field) => match known.iter().find(|known| known.eq_ignore_ascii_case(field)) {
            Some(spelled) => Ok(Some(spelled.clone())),
            None => Err(unknown("sorted", kind, field, &known)),
        },
    }
}

/// Whether every row is what was asked for.
///
/// # Errors
/// Trouble of the server's where it has not kept to a condition.
pub(super) fn held<'a>(kind: Kind, rows: &[Value], conditions: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Outcome<()> {
    for (field, _) in conditions.clone() {
        let wanted: Vec<_> = conditions.clone().filter(|(other, _)| *other == field).map(|(_, value)| value).collect();
        let is_other = |row: &&Value| match &row[field] {
            // What has no such value may leave the field out.
            Value::Null => false,
            Value::String(text) => !wanted.contains(&text.as_str()),
            value => !wanted.contains(&value.to_string().as_str()),
        };
        if let Some(other) = rows.iter().find(is_other) {
            let message = format!(
                "the server does not know the condition {field}={}: it has listed {} too; nothing was done",
                wanted.join(","),
                kind.describe(other, &clean(other["id"].as_str().unwrap_or_default())),
            );
            return Err(Failure::new(Exit::Server, message));
        }
    }
    Ok(())
}

/// The fields that lists of the kind are filtered by.
fn known(kind: Kind) -> Vec<String> {
    let document = api_opensds::openapi();
    let path = format!("/v1beta/{{tenant}}/{}", kind.path());
    let parameters = document["paths"][&path]["get"]["parameters"].as_array().into_iter().flatten();
    let names = parameters.filter(|one| one["in"] == "query").filter_map(|one| one["name"].as_str());
    names.filter(|name| !PAGING.contains(name)).map(Into::into).collect()
}

fn unknown(how: &str, kind: Kind, field: &str, known: &[String]) -> Failure {
    Failure::usage(format!("{}s cannot be {how} by {field:?} (there are: {})", kind.word(), known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const KINDS: [Kind; 6] = [Kind::Volume, Kind::Snapshot, Kind::Attachment, Kind::Host, Kind::Profile, Kind::Pool];

    fn check(kind: Kind, field: &str, value: &str) -> Outcome<Vec<(String, String)>> {
        filters(kind, &[(field.to_owned(), value.to_owned())])
    }

    #[test]
    fn what_a_list_would_leave_out_of_account_is_refused() {
        for (field, value) in [("nmae", "v"), ("name", ""), ("limit", "1"), ("sortKey", "id"), ("", "x"), ("health.state", "ok")] {
            assert_eq!(check(Kind::Volume, field, value).unwrap_err().exit, Exit::Usage, "{field}={value}");
        }
        let refused = check(Kind::Volume, "nmae", "v").unwrap_err();
        assert!(refused.message.contains("by \"nmae\" (there are: id, name, "), "{refused}");
        assert_eq!(check(Kind::Volume, "PoolId", "p"), Ok(vec![("poolId".into(), "p".into())]));
        for kind in KINDS {
            assert!(check(kind, "id", "x").is_ok(), "{kind:?}");
            assert!(kind.name_field().is_none_or(|field| check(kind, field, "x").is_ok()), "{kind:?}");
        }
    }

    #[test]
    fn a_status_is_a_word_of_its_kind() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert!(statuses(Kind::Volume, &words(&["error", "inUse"])).is_ok());
        // Both dialects' words are known.
        assert!(statuses(Kind::Attachment, &words(&["attached", "available"])).is_ok());
        for word in ["", "eror", "attached", "ERROR"] {
            assert_eq!(statuses(Kind::Volume, &words(&[word])).unwrap_err().exit, Exit::Usage, "{word:?}");
        }
    }

    #[test]
    fn the_newest_come_first_where_nobody_says() {
        assert_eq!(order(Kind::Volume, None), Ok(Some("createdAt".into())));
        assert_eq!(order(Kind::Pool, None), Ok(None));
        assert_eq!(order(Kind::Volume, Some(&"NAME".into())), Ok(Some("name".into())));
        assert_eq!(order(Kind::Volume, Some(&"nmae".into())).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn rows_that_were_not_asked_for_stop_everything() {
        let rows = [json!({"id": "a", "name": "v", "size": 1}), json!({"id": "b", "name": "w", "size": 1})];
        let check = |conditions: &[(&'static str, &'static str)]| held(Kind::Volume, &rows, conditions.iter().copied());
        assert!(check(&[]).is_ok() && check(&[("size", "1")]).is_ok() && check(&[("name", "v"), ("name", "w")]).is_ok());
        assert!(check(&[("multiAttach", "false")]).is_ok(), "what is false may be left out");
        let failure = check(&[("size", "1"), ("name", "v")]).unwrap_err();
        assert_eq!(failure.exit, Exit::Server);
        assert!(failure.message.contains("name=v") && failure.message.contains("volume w (b)"), "{failure}");
    }
}
