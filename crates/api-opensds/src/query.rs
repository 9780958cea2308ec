//! Query strings: lists, long polls, flags.
//!
//! As lenient as OpenSDS where its clients lean on it: a first letter of either case, unknown keys ignored, a negative limit
//! taken as the default. Source: OpenSDS wire page, section 5.

use crate::error::ApiError;
use crate::lists::as_written;
use crate::wire;
use axum::http::StatusCode;
use engine::store::{Field, Filter, Kind, ListQuery, Sort};
use lifecycle::{AttachmentStatus, SnapshotStatus, VolumeStatus};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// How many rows a list has where it does not say. Source: OpenSDS wire page.
const LIMIT_DEFAULT: usize = 50;
/// The most rows of one answer.
pub(crate) const LIMIT_MAX: usize = 100_000;
/// The deepest offset; beyond it a `marker` goes on at flat cost.
pub(crate) const OFFSET_MAX: usize = 10_000;
/// The longest long poll.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(60);
/// How long a long poll lasts where it does not say.
const WAIT_DEFAULT: Duration = Duration::from_secs(30);

/// The pairs of a query string, keys with a small first letter.
pub(crate) struct Query(BTreeMap<String, Vec<String>>);

/// What a long poll waits for.
#[derive(Clone)]
pub(crate) struct WaitFor {
    pub(crate) statuses: Vec<String>,
    pub(crate) timeout: Duration,
}

impl Query {
    pub(crate) fn parse(pairs: Vec<(String, String)>) -> Self {
        let mut query: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, value) in pairs {
            query.entry(small_first(key)).or_default().push(value);
        }
        Self(query)
    }

    /// The last value of a key; an empty one is none, as clients of OpenSDS send keys that they have no value for.
    pub(crate) fn one(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|values| values.last()).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The keys that are there, spelled with a small first letter.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The words of a key that may be given several times, or once with commas.
    pub(crate) fn words(&self, key: &str) -> impl Iterator<Item = &str> {
        let given = self.0.get(key).into_iter().flatten();
        given.flat_map(|value| value.split(',')).filter(|word| !word.is_empty())
    }

    /// A flag such as `?force=true`.
    pub(crate) fn flag(&self, key: &str) -> Result<bool, ApiError> {
        match self.0.get(key).and_then(|values| values.last()).map(String::as_str) {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1" | "") => Ok(true),
            Some(other) => Err(ApiError::bad(format!("{key} must be true or false, not {other:?}"))),
        }
    }

    /// A number, if it is there.
    pub(crate) fn number(&self, key: &str) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.one(key) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| ApiError::bad(format!("{key} must be a whole number, not {text:?}")))
    }

    /// `?waitFor=available,error&timeout=30`. A word that no status of this kind has would be waited for in vain: it is refused.
    pub(crate) fn wait_for(&self, kind: Kind) -> Result<Option<WaitFor>, ApiError> {
        let statuses: Vec<_> = self.words("waitFor").map(str::to_owned).collect();
        if statuses.is_empty() {
            return Ok(None);
        }
        let known = wait_words(kind);
        if let Some(unknown) = statuses.iter().find(|status| !known.contains(&status.as_str())) {
            let message = format!("waitFor: {unknown:?} is no status of this resource (there are: {})", known.join(", "));
            return Err(ApiError::bad(message));
        }
        let timeout = self.number("timeout")?.map_or(WAIT_DEFAULT, Duration::from_secs).min(WAIT_MAX);
        Ok(Some(WaitFor { statuses, timeout }))
    }

    /// What a list asks for.
    pub(crate) fn list(&self, kind: Kind) -> Result<ListQuery, ApiError> {
        let offset = self.whole("offset")?.unwrap_or(0);
        if offset > OFFSET_MAX {
            let message = format!("offset goes to {OFFSET_MAX}; go on with marker=<the last id> beyond it");
            return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "offset-too-deep", message));
        }
        let marker = match self.one("marker") {
            Some(text) => Some(as_written(text).ok_or_else(|| ApiError::bad(format!("marker must be an id, not {text:?}")))?),
            None => None,
        };
        let filter = |(key, values): (&String, &Vec<String>)| {
            // Clients of OpenSDS send every filter they know, empty where it is not meant.
            let values: Vec<_> = values.iter().filter(|value| !value.is_empty()).cloned().collect();
            if values.is_empty() {
                None
            } else if never_set(kind, key) {
                Some(Filter { field: Field::Id, values: vec![NOBODY.to_owned()] })
            } else {
                field(kind, key).map(|field| Filter { field, values })
            }
        };
        Ok(ListQuery {
            kind,
            tenant: None,
            filters: self.0.iter().filter_map(filter).collect(),
            sort: self.one("sortKey").map_or(Sort::Id, |key| sort(kind, key)),
            descending: self.descends(),
            marker,
            offset,
            limit: self.whole("limit")?.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX),
        })
    }

    /// Filters, sorts and cuts rows that are in memory already: pools and docks, which are as few as the configuration names.
    pub(crate) fn page(&self, mut rows: Vec<Value>, sort_keys: &[&str]) -> Result<Vec<Value>, ApiError> {
        for (key, values) in &self.0 {
            let values: Vec<_> = values.iter().filter(|value| !value.is_empty()).collect();
            if !values.is_empty() && rows.iter().any(|row| row.get(key).is_some_and(|value| !value.is_object())) {
                rows.retain(|row| values.iter().any(|value| **value == text(row, key)));
            }
        }
        let asked = self.one("sortKey").unwrap_or("id");
        let key = sort_keys.iter().find(|key| key.eq_ignore_ascii_case(asked)).unwrap_or(&"id");
        rows.sort_by_key(|row| (text(row, key), text(row, "id")));
        if self.descends() {
            rows.reverse();
        }
        let (offset, limit) = (self.whole("offset")?.unwrap_or(0), self.whole("limit")?.unwrap_or(LIMIT_DEFAULT));
        Ok(rows.into_iter().skip(offset).take(limit).collect())
    }

    fn descends(&self) -> bool {
        !self.one("sortDir").is_some_and(|direction| direction.eq_ignore_ascii_case("asc"))
    }

    /// A number of rows; negative ones are none given.
    fn whole(&self, key: &str) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.one(key) else { return Ok(None) };
        let number: i64 = text.parse().map_err(|_| ApiError::bad(format!("{key} must be a whole number, not {text:?}")))?;
        Ok(usize::try_from(number).ok())
    }
}

/// A field of a row as filters compare it.
fn text(row: &Value, key: &str) -> String {
    match row.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// The words that can be waited for: the statuses in both dialects, and `deleted`.
pub(crate) fn wait_words(kind: Kind) -> Vec<&'static str> {
    let mut words: Vec<_> = match kind {
        Kind::Volume => VolumeStatus::ALL.iter().map(|status| status.word()).collect(),
        Kind::Snapshot => SnapshotStatus::ALL.iter().map(|status| status.word()).collect(),
        Kind::Attachment => AttachmentStatus::ALL.iter().map(|status| status.word()).chain(wire::LEGACY_WORDS).collect(),
        Kind::Host | Kind::Profile | Kind::Pool => Vec::new(),
    };
    if !words.contains(&"deleted") {
        words.push("deleted");
    }
    words
}

fn small_first(key: String) -> String {
    if key.starts_with(char::is_lowercase) {
        return key;
    }
    let mut letters = key.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// An id that nothing has.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// Whether OpenSDS filters by this key, and nothing here ever has a value for it: then nothing matches, rather than all.
fn never_set(kind: Kind, key: &str) -> bool {
    match kind {
        Kind::Volume => matches!(key, "userId" | "groupId" | "replicationId" | "durableName"),
        Kind::Snapshot | Kind::Attachment | Kind::Host => key == "userId",
        Kind::Profile | Kind::Pool => false,
    }
}

/// Every key that filters some kind.
const FILTERS: &[&str] = &[
    "id",
    "name",
    "hostName",
    "status",
    "poolId",
    "profileId",
    "hostId",
    "volumeId",
    "snapshotId",
    "description",
    "availabilityZone",
    "size",
    "multiAttach",
    "tenantId",
    "attachMode",
    "mountpoint",
    "ip",
    "osType",
    "accessMode",
    "storageType",
];

/// The keys that filter this kind.
pub(crate) fn filters(kind: Kind) -> Vec<&'static str> {
    FILTERS.iter().copied().filter(|key| field(kind, key).is_some()).collect()
}

/// The field that a key filters this kind by; other keys are ignored.
fn field(kind: Kind, key: &str) -> Option<Field> {
    let field = match (key, kind) {
        ("id", _) => Field::Id,
        ("name", Kind::Volume | Kind::Snapshot | Kind::Profile | Kind::Pool) | ("hostName", Kind::Host) => Field::Name,
        ("status", Kind::Volume | Kind::Snapshot | Kind::Attachment) => Field::Status,
        ("poolId", Kind::Volume) => Field::PoolId,
        ("profileId", Kind::Volume | Kind::Snapshot) => Field::ProfileId,
        ("hostId", Kind::Attachment) => Field::HostId,
        ("volumeId", Kind::Snapshot | Kind::Attachment) => Field::VolumeId,
        ("snapshotId", Kind::Volume) => Field::SnapshotId,
        ("description", Kind::Volume | Kind::Snapshot) => Field::Description,
        ("availabilityZone", Kind::Volume) => Field::AvailabilityZone,
        ("size", Kind::Volume | Kind::Snapshot) => Field::Size,
        ("multiAttach", Kind::Volume) => Field::MultiAttach,
        ("tenantId", Kind::Volume | Kind::Snapshot | Kind::Attachment | Kind::Host) => Field::TenantId,
        ("attachMode", Kind::Attachment) => Field::AttachMode,
        ("mountpoint", Kind::Attachment) => Field::Mountpoint,
        ("ip", Kind::Host) => Field::Ip,
        ("osType", Kind::Host) => Field::OsType,
        ("accessMode", Kind::Host) => Field::AccessMode,
        ("storageType", Kind::Profile) => Field::StorageType,
        _ => return None,
    };
    Some(field)
}

/// The order that a sort key asks for; one that is not known sorts by id, as OpenSDS' store order does.
fn sort(kind: Kind, key: &str) -> Sort {
    let known =
        ["name", "hostName", "status", "profileId", "poolId", "availabilityZone", "tenantId", "size", "description", "volumeId"];
    if key.eq_ignore_ascii_case("createdAt") {
        return Sort::CreatedAt;
    }
    let named = known.iter().find(|known| known.eq_ignore_ascii_case(key)).and_then(|known| field(kind, known));
    match named {
        Some(Field::Name) => Sort::Name,
        Some(field) => Sort::By(field),
        None => Sort::Id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        let pair = |pair: &str| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key.to_owned(), value.to_owned())
        };
        Query::parse(text.split('&').map(pair).collect())
    }

    #[test]
    fn what_opensds_clients_send_is_understood() {
        let sent = "limit=50&offset=0&sortDir=desc&sortKey=id&Name=&Status=available&PoolId=&GroupId=&Unknown=x";
        let list = query(sent).list(Kind::Volume).unwrap();
        assert_eq!(list.filters, [Filter { field: Field::Status, values: vec!["available".into()] }]);
        assert_eq!((list.limit, list.offset, list.sort, list.descending), (50, 0, Sort::Id, true));
    }

    #[test]
    fn numbers_are_bounded() {
        assert_eq!(query("limit=-1").list(Kind::Volume).unwrap().limit, 50);
        assert_eq!(query("limit=99999999999").list(Kind::Volume).unwrap().limit, LIMIT_MAX);
        assert!(query("limit=x").list(Kind::Volume).is_err());
        assert!(query("offset=10001").list(Kind::Volume).is_err());
        assert_eq!(query("waitFor=error,available&timeout=999").wait_for(Kind::Volume).unwrap().unwrap().timeout, WAIT_MAX);
    }

    #[test]
    fn a_status_that_does_not_exist_is_not_waited_for() {
        assert!(query("waitFor=avialable").wait_for(Kind::Volume).is_err());
        assert!(query("waitFor=").wait_for(Kind::Volume).unwrap().is_none());
        let both = query("waitFor=error&waitFor=available,inUse").wait_for(Kind::Volume).unwrap().unwrap();
        assert_eq!(both.statuses, ["error", "available", "inUse"]);
        for (kind, words) in
            [(Kind::Volume, "inUse,deleted"), (Kind::Attachment, "attached,available"), (Kind::Snapshot, "deleted")]
        {
            assert!(query(&format!("waitFor={words}")).wait_for(kind).unwrap().is_some(), "{words}");
        }
    }

    #[test]
    fn a_filter_on_what_is_never_set_matches_nothing() {
        let list = query("GroupId=g&offset=&limit=").list(Kind::Volume).unwrap();
        assert_eq!(list.filters, [Filter { field: Field::Id, values: vec![NOBODY.into()] }]);
        assert_eq!((list.offset, list.limit), (0, 50));
    }

    #[test]
    fn rows_in_memory_are_filtered_sorted_and_cut() {
        let row = |id: &str, name: &str, free: u64| serde_json::json!({"id": id, "name": name, "freeCapacity": free});
        let ids = |text: &str| -> String {
            let rows = query(text).page(vec![row("1", "b", 7), row("2", "a", 7), row("3", "c", 9)], &["id", "name"]).unwrap();
            rows.iter().map(|row| row["id"].as_str().unwrap()).collect()
        };
        let rows = [
            ("limit=50&offset=0&sortDir=desc&sortKey=id&Name=", "321"),
            ("sortDir=asc&sortKey=NAME", "213"),
            ("Name=b&name=c&sortDir=asc", "13"),
            ("freeCapacity=7&limit=1", "2"),
            ("offset=1&limit=1", "2"),
            ("offset=9", ""),
            ("unknown=x", "321"),
        ];
        for (asked, wanted) in rows {
            assert_eq!(ids(asked), wanted, "{asked}");
        }
    }

    #[test]
    fn values_of_one_key_are_alternatives() {
        let list = query("name=a&Name=b&sortKey=NAME&sortDir=asc").list(Kind::Volume).unwrap();
        assert_eq!(list.filters, [Filter { field: Field::Name, values: vec!["a".into(), "b".into()] }]);
        assert_eq!((list.sort, list.descending), (Sort::Name, false));
    }
}
