//! The door for fuzzing: what a request may hold, given to the real parsers as bytes, with what must hold whatever they are.
//!
//! The targets in `fuzz/` call these functions and nothing else; the tests here replay what they found, on the stable toolchain.
//! Nothing in the server calls them. A broken promise is a panic.

use crate::body::{METADATA_MAX, NAME_MAX, Object, Parsed, TEXT_MAX, is_json};
use crate::caller::{Asking, WORD_MAX, is_tenant, request_id};
use crate::error::ApiError;
use crate::lists::{Known, id, located, tagged};
use crate::query::{LIMIT_MAX, OFFSET_MAX, Query, WAIT_MAX, wait_words};
use axum::body::Bytes as Raw;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::IntoResponse;
use engine::records::Metadata;
use engine::requests::{HostFields, NewAttachment, NewSnapshot, NewVolume, ProfileFields, Relabel};
use engine::store::Kind;
use lifecycle::{Bytes, VolumeId};
use serde_json::{Value, json};
use std::net::Ipv4Addr;

/// What lists there are.
const KINDS: [Kind; 6] = [Kind::Volume, Kind::Snapshot, Kind::Attachment, Kind::Host, Kind::Profile, Kind::Pool];
/// How much longer than what it complains of a message may be: a word of it is quoted, and a byte in quotes is `\u{10ffff}` at most.
const MESSAGE_GROWTH: usize = 10;
/// What a message says besides.
const MESSAGE_MAX: usize = 1024;

/// What must hold of a refusal: it is the client's fault, said in words, and no larger than what was sent allows.
fn refused(error: &ApiError, sent: usize) -> bool {
    assert!(error.status.is_client_error(), "{error:?} is no fault of the client");
    assert!(!error.message.is_empty() && error.message.len() <= MESSAGE_MAX + MESSAGE_GROWTH * sent, "{error:?}");
    let body: Value = serde_json::from_slice(&error.body("id")).expect("an error's body is JSON");
    assert_eq!(body["message"], error.message);
    false
}

fn short(text: &str) {
    assert!(text.len() <= TEXT_MAX, "a text of {} bytes", text.len());
}

fn named(name: &str) {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '_' | '-');
    assert!((1..=NAME_MAX).contains(&name.len()) && name.chars().all(fine), "{name:?} is no name");
}

fn words(words: &Metadata) {
    assert!(words.len() <= METADATA_MAX, "{} words", words.len());
    assert!(words.iter().all(|(key, text)| key.len() <= NAME_MAX && text.len() <= TEXT_MAX), "a word is too long");
}

/// What must hold of a property that is kept as JSON: it reads as what it was, however often it is shown and sent back.
fn kept(text: &str) {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text} is kept and not read: {error}"));
    assert_eq!(value.to_string(), text, "it is another one when it is read again");
}

/// What must hold of a size: some, in whole GiB.
fn size(size: Bytes) {
    assert!(size.0 > 0 && Bytes::from_gib(size.gib()) == Some(size), "{} bytes", size.0);
}

fn volume(new: &NewVolume) {
    named(&new.name);
    short(&new.description);
    short(&new.zone);
    words(&new.metadata);
    size(new.size);
}

fn snapshot(new: &NewSnapshot) {
    if !new.name.is_empty() {
        named(&new.name);
    }
    short(&new.description);
    words(&new.metadata);
}

fn attachment(new: &NewAttachment) {
    short(&new.mountpoint);
    words(&new.metadata);
    assert!(new.protocol.as_ref().is_none_or(|protocol| (1..=TEXT_MAX).contains(&protocol.len())), "{:?}", new.protocol);
}

fn relabel(changed: &Relabel) {
    changed.name.iter().for_each(|name| named(name));
    changed.description.iter().chain(&changed.mountpoint).for_each(|text| short(text));
    changed.metadata.iter().for_each(words);
}

fn host(fields: &HostFields) {
    if let Some(name) = &fields.name {
        assert!((1..=NAME_MAX).contains(&name.len()) && name.is_ascii() && !name.contains([' ', '_', '/']), "{name:?}");
    }
    assert!(fields.ip.as_ref().is_none_or(|ip| ip.parse::<Ipv4Addr>().is_ok()), "{:?} is no address", fields.ip);
    assert_ne!(fields.port, Some(0));
    fields.username.iter().for_each(|name| short(name));
    let (zones, initiators) = (fields.zones.iter().flatten().count(), fields.initiators.iter().flatten().count());
    assert!(zones <= METADATA_MAX && initiators <= METADATA_MAX, "{zones} zones, {initiators} initiators");
}

fn profile(fields: &ProfileFields) {
    fields.name.iter().for_each(|name| named(name));
    fields.description.iter().for_each(|text| short(text));
    let custom = fields.custom.iter().flatten();
    custom.chain(fields.properties.iter().flatten()).for_each(|(_, text)| kept(text));
    for key in fields.custom.iter().flatten().map(|(key, _)| key) {
        assert!((1..=NAME_MAX).contains(&key.len()), "a key of {} bytes", key.len());
    }
}

/// Reads `input` as a body: its first byte says of which request. Returns whether it could be read.
///
/// # Panics
/// If what is read breaks the bounds that the engine relies on, or the refusal is no clear error.
pub fn body(input: &[u8]) -> bool {
    let Some((which, raw)) = input.split_first() else { return false };
    let read = Object::read(Raw::copy_from_slice(raw)).and_then(|object| fields(*which, object));
    read.map_err(|error| refused(&error, raw.len())).is_ok()
}

fn fields(which: u8, object: Object) -> Parsed<()> {
    match which % 10 {
        0 => volume(&object.without_id()?.volume()?),
        1 => snapshot(&object.without_id()?.snapshot()?),
        2 => attachment(&object.without_id()?.attachment()?),
        3 => relabel(&object.relabel()?),
        4 => size(object.size("newSize")?),
        5 => host(&object.without_id()?.host()?),
        6 => host(&object.host_update()?),
        7 => profile(&object.without_id()?.profile()?),
        8 => profile(&object.profile_update()?),
        _ => profile(&object.custom_properties()?),
    }
    Ok(())
}

/// Reads `input` as a query string: its first byte says of which list. Returns whether a list could be made of it.
///
/// # Panics
/// If what is read breaks the bounds that the engine and the store rely on, or a refusal is no clear error.
pub fn query(input: &[u8]) -> bool {
    let Some((which, text)) = input.split_first() else { return false };
    let kind = KINDS[usize::from(*which) % KINDS.len()];
    let Ok(uri) = Uri::try_from([b"/?".as_slice(), text].concat()) else { return false };
    let query = match Query::of(&uri) {
        Ok(query) => query,
        Err(error) => return refused(&error, text.len()),
    };
    for refusal in ["force", "cascade", "forget"].iter().filter_map(|flag| query.flag(flag).err()) {
        refused(&refusal, text.len());
    }
    for refusal in ["since", "limit"].iter().filter_map(|number| query.number(number).err()) {
        refused(&refusal, text.len());
    }
    waits(kind, &query, text.len());
    pages(&query, text.len());
    lists(kind, &query, text.len())
}

fn waits(kind: Kind, query: &Query, sent: usize) {
    match query.wait_for(kind) {
        Ok(None) => {}
        Ok(Some(wanted)) => {
            assert!(wanted.timeout <= WAIT_MAX, "it waits for {:?}", wanted.timeout);
            let known = wait_words(kind);
            assert!(!wanted.statuses.is_empty() && wanted.statuses.iter().all(|word| known.contains(&word.as_str())));
        }
        Err(error) => drop(refused(&error, sent)),
    }
}

fn pages(query: &Query, sent: usize) {
    let row = |id: u8| json!({"id": id.to_string(), "name": "default", "freeCapacity": 7, "retired": false, "extras": {}});
    let rows = vec![row(1), row(2), row(3)];
    match query.page(rows.clone(), &["id", "name"]) {
        Ok(page) => assert!(page.iter().all(|row| rows.contains(row)) && page.len() <= rows.len(), "{page:?}"),
        Err(error) => drop(refused(&error, sent)),
    }
}

fn lists(kind: Kind, query: &Query, sent: usize) -> bool {
    let list = match query.list(kind) {
        Ok(list) => list,
        Err(error) => return refused(&error, sent),
    };
    assert!(list.limit <= LIMIT_MAX && list.offset <= OFFSET_MAX, "{} rows behind {}", list.limit, list.offset);
    assert!(list.tenant.is_none(), "a query names no tenant that is looked at");
    for filter in &list.filters {
        assert!(!filter.values.is_empty() && filter.values.iter().all(|value| !value.is_empty()), "{filter:?}");
    }
    true
}

/// Reads `input` as lines: the tenant and the id of the path, then headers as `name: value`. Returns whether the request is one.
///
/// # Panics
/// If a condition or a key is not taken for what it says, or a refusal is no clear error.
pub fn head(input: &[u8]) -> bool {
    let mut lines = input.split(|byte| *byte == b'\n');
    let mut text = || lines.next().map(|line| String::from_utf8_lossy(line).into_owned()).unwrap_or_default();
    let (tenant, named) = (text(), text());
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(line[colon + 1..].trim_ascii()));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    identified(&named, input.len());
    if let Err(error) = is_json(&headers) {
        refused(&error, input.len());
    }
    tag(&headers);
    match Asking::of(tenant, named, request_id(&headers), &headers) {
        Ok(asking) => asked(asking, &headers),
        Err(error) => refused(&error, input.len()),
    }
}

fn identified(text: &str, sent: usize) {
    match id::<VolumeId>("volume", text) {
        Ok(id) => assert_eq!(text, id.to_string(), "{text:?} was taken for {id}"),
        Err(error) => drop(refused(&error, sent)),
    }
}

/// A client is told that it has a resource already only if it said so.
fn tag(headers: &HeaderMap) {
    let answer = tagged(StatusCode::OK, 7, &Known::of(headers), &json!({}));
    assert_eq!(answer.headers()[header::ETAG], "\"7\"");
    let given = headers.get(header::IF_NONE_MATCH).map(HeaderValue::as_bytes).unwrap_or_default();
    assert!(answer.status() == StatusCode::OK || given.windows(3).any(|part| part == b"\"7\""), "{given:?}");
}

fn asked(asking: Asking, headers: &HeaderMap) -> bool {
    let Asking { caller, path, .. } = &asking;
    assert!(is_tenant(&caller.tenant), "{:?} was taken for a tenant", caller.tenant);
    assert!((1..=WORD_MAX).contains(&caller.request_id.len()));
    assert!(HeaderValue::from_str(&caller.request_id).is_ok(), "{:?} is no header", caller.request_id);
    located(StatusCode::OK.into_response(), path, "id");
    let only = |name: &str| {
        let mut all = headers.get_all(name).iter();
        let first = all.next().map(|value| value.to_str().expect("it was read").to_owned());
        assert!(all.next().is_none(), "one of several {name} was taken, and the others passed over");
        first
    };
    match (only("if-match").as_deref(), caller.if_match) {
        (None | Some("*"), None) => {}
        (Some(given), Some(revision)) => {
            let bare = given.strip_prefix("W/").unwrap_or(given).trim_matches('"');
            let beside = bare.strip_prefix(&revision.to_string()).filter(|rest| rest.is_empty() || rest.starts_with('-'));
            let is_plain = |rest: &str| rest.bytes().all(|byte| byte == b'-' || byte.is_ascii_alphanumeric());
            assert!(beside.is_some_and(is_plain), "{given:?} was taken for {revision}");
        }
        (given, revision) => panic!("{given:?} was taken for {revision:?}"),
    }
    let key = only("idempotency-key");
    let (bound, other) = (asking.idempotent(b"{}").idempotency, key.clone());
    assert_eq!(bound.map(|(key, _)| key), other, "the key is another one");
    true
}

#[cfg(test)]
mod seeds;

#[cfg(test)]
mod tests {
    use super::*;
    use ground::corpus::replay;
    use std::cell::Cell;

    /// Replays a target's inputs. Inputs of which too few are still understood would try nothing but refusals for ever.
    fn understood(target: &str, least: usize, door: impl Fn(&[u8]) -> bool) {
        let read = Cell::new(0);
        replay(target, least, |input| read.set(read.get() + usize::from(door(input))));
        assert!(read.get() >= least / 2, "only {} kept inputs of {target} are understood", read.get());
    }

    #[test]
    fn kept_bodies_are_survived() {
        understood("rest_body", 20, body);
    }

    #[test]
    fn kept_queries_are_survived() {
        understood("rest_query", 15, query);
    }

    #[test]
    fn kept_heads_are_survived() {
        understood("rest_head", 12, head);
    }
}
