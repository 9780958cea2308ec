//! The kinds of resource as the wire knows them, and how what was typed becomes an id.
//!
//! - A UUID is an id and is never looked up; anything else is a name.
//! - A name must be one resource's alone: with several the ids are listed, and nothing is done to any of them.

use super::exit::{Exit, Failure, Outcome};
use super::http::{Api, encode};
use super::output::clean;
use serde_json::Value;

/// How many resources of one name are looked for: enough to list them, few enough to read.
const SAME_NAME_MAX: usize = 20;
/// How long a UUID with hyphens is. Shorter and longer spellings of one are taken as names.
const UUID_LEN: usize = 36;

/// A kind of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A volume.
    Volume,
    /// A snapshot.
    Snapshot,
    /// An attachment.
    Attachment,
    /// A host.
    Host,
    /// A profile.
    Profile,
    /// A pool.
    Pool,
}

impl Kind {
    /// The word people read.
    #[must_use]
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Volume => "volume",
            Self::Snapshot => "snapshot",
            Self::Attachment => "attachment",
            Self::Host => "host",
            Self::Profile => "profile",
            Self::Pool => "pool",
        }
    }

    /// Where the kind is, below the tenant. Source: OpenSDS wire page, section 2.
    #[must_use]
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Volume => "block/volumes",
            Self::Snapshot => "block/snapshots",
            Self::Attachment => "block/attachments",
            Self::Host => "host/hosts",
            Self::Profile => "profiles",
            Self::Pool => "pools",
        }
    }

    /// The field that holds the name; attachments have none.
    #[must_use]
    pub(crate) const fn name_field(self) -> Option<&'static str> {
        match self {
            Self::Volume | Self::Snapshot | Self::Profile | Self::Pool => Some("name"),
            Self::Host => Some("hostName"),
            Self::Attachment => None,
        }
    }

    /// Where one resource is, below the tenant.
    #[must_use]
    pub(crate) fn path_of(self, id: &str) -> String {
        format!("{}/{}", self.path(), encode(id))
    }

    /// The resource in a few words: its kind, and its name where it has one, else its id.
    #[must_use]
    pub(crate) fn call(self, body: &Value, id: &str) -> String {
        let name = self.name_field().and_then(|field| body[field].as_str()).filter(|name| !name.is_empty());
        format!("{} {}", self.word(), name.map_or_else(|| id.to_owned(), clean))
    }

    /// The resource in words for people: its kind, its name where it has one, its id.
    #[must_use]
    pub(crate) fn describe(self, body: &Value, id: &str) -> String {
        match self.name_field().and_then(|field| body[field].as_str()) {
            Some(name) if !name.is_empty() => format!("{} {} ({id})", self.word(), clean(name)),
            _ => format!("{} {id}", self.word()),
        }
    }
}

/// The id of the resource that `typed` names.
///
/// # Errors
/// Not found where there is no such name; usage where several have it, listing their ids.
pub(crate) fn id_of(api: &Api, kind: Kind, typed: &str) -> Outcome<String> {
    if typed.len() == UUID_LEN && uuid::Uuid::try_parse(typed).is_ok() {
        return Ok(typed.to_ascii_lowercase());
    }
    let word = kind.word();
    let Some(field) = kind.name_field() else {
        let of = "of a volume by name, berth attachment list --volume NAME, and berth detach --all --volume NAME";
        return Err(Failure::usage(format!("{typed:?} is no id, and {word}s have no names; see berth {word} list ({of})")));
    };
    let rows = api.get(kind.path(), &[(field, typed.to_owned()), ("limit", SAME_NAME_MAX.to_string())])?;
    // A server that does not know the filter would list everything: only the name itself counts.
    let same = rows.as_array().into_iter().flatten().filter(|row| row[field].as_str() == Some(typed));
    let ids: Vec<&str> = same.filter_map(|row| row["id"].as_str()).collect();
    match ids[..] {
        [] => Err(Failure::new(Exit::NotFound, format!("there is no {word} with the name {typed:?}; see berth {word} list"))),
        [id] => Ok(id.to_owned()),
        _ => Err(Failure::usage(format!("several {word}s have the name {typed:?}; give one id of: {}", ids.join(", ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Fake, api_of};
    use super::*;
    use serde_json::json;

    const ID: &str = "11111111-2222-4333-8444-555555555555";

    fn check(kind: Kind, typed: &str, path: &str, rows: Value) -> Outcome<String> {
        id_of(&api_of(&Fake::new().on("GET", path, 200, rows)), kind, typed)
    }

    #[test]
    fn an_id_is_not_looked_up() {
        let fake = Fake::new();
        assert_eq!(id_of(&api_of(&fake), Kind::Volume, &ID.to_uppercase()), Ok(ID.into()));
        assert_eq!(fake.asked(), [""; 0]);
    }

    #[test]
    fn a_name_is_one_resources_alone() {
        let path = "/block/volumes?name=data%201&limit=20";
        let row = |id: &str| json!({"id": id, "name": "data 1"});
        assert_eq!(check(Kind::Volume, "data 1", path, json!([row("a")])), Ok("a".into()));
        assert_eq!(check(Kind::Volume, "data 1", path, json!([])).unwrap_err().exit, Exit::NotFound);
        let several = check(Kind::Volume, "data 1", path, json!([row("a"), row("b")])).unwrap_err();
        assert_eq!((several.exit, several.message.ends_with("give one id of: a, b")), (Exit::Usage, true), "{several}");
    }

    #[test]
    fn a_server_that_ignores_the_filter_is_not_believed() {
        let rows = json!([{"id": "a", "name": "other"}, {"id": "b", "name": "v"}]);
        assert_eq!(check(Kind::Volume, "v", "/block/volumes?name=v&limit=20", rows), Ok("b".into()));
    }

    #[test]
    fn hosts_have_names_of_their_own_and_attachments_none() {
        assert_eq!(
            check(Kind::Host, "db", "/host/hosts?hostName=db&limit=20", json!([{"id": "h", "hostName": "db"}])),
            Ok("h".into())
        );
        assert_eq!(check(Kind::Attachment, "db", "/", json!([])).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn a_name_cannot_reach_the_terminal_raw() {
        assert_eq!(Kind::Volume.describe(&json!({"name": "a\u{1b}[2Jb"}), "i"), "volume a\u{fffd}[2Jb (i)");
        assert_eq!(Kind::Attachment.describe(&json!({}), "i"), "attachment i");
        assert_eq!(Kind::Volume.call(&json!({"name": "a\u{1b}[2Jb"}), "i"), "volume a\u{fffd}[2Jb");
        assert_eq!(Kind::Volume.call(&json!({"name": ""}), "i"), "volume i");
    }
}
