//! Bodies in: what a request may say, checked field by field, with errors that name the field and what is accepted.
//!
//! Unknown fields are ignored, as OpenSDS does; a field of the wrong type is an error. A body never sets an id, a status or a
//! size that exists. Every text and every list has a bound of its own, below that of the body.

use crate::error::ApiError;
use crate::lists::as_written;
use axum::body::Bytes as Raw;
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use engine::records::{Initiator, Metadata};
use engine::requests::{HostFields, NewAttachment, NewSnapshot, NewVolume, ProfileFields, Relabel};
use lifecycle::{Bytes, HostId, Mode, PoolId, ProfileId, SnapshotId, VolumeId};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// The longest name.
pub(crate) const NAME_MAX: usize = 255;
/// The longest description or other free text.
pub(crate) const TEXT_MAX: usize = 4096;
/// How many free words a resource may have.
pub(crate) const METADATA_MAX: usize = 256;

/// A JSON object from a request's body, with its raw bytes.
pub(crate) struct Object {
    fields: Map<String, Value>,
    pub(crate) raw: Raw,
}

impl<S: Send + Sync> FromRequest<S> for Object {
    type Rejection = ApiError;

    async fn from_request(mut request: Request, state: &S) -> Result<Self, ApiError> {
        is_json(request.headers())?;
        DefaultBodyLimit::max(crate::BODY_MAX).apply(&mut request);
        let raw = Raw::from_request(request, state).await.map_err(|error| match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                let message = format!("the body is larger than {} bytes", crate::BODY_MAX);
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", message)
            }
            _ => ApiError::bad("the body could not be read to its end"),
        })?;
        Self::read(raw)
    }
}

/// Whether the body may be JSON. No type is taken as JSON. The types that a form or a foreign web page can send without being
/// asked for permission are not: a page must not be able to make volumes at a server on its reader's machine.
pub(crate) fn is_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(given) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let text = given.to_str().unwrap_or_default().to_ascii_lowercase();
    let essence = text.split(';').next().unwrap_or_default().trim();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    let message = format!("the body must be JSON: send it with Content-Type: application/json, not {essence:?}");
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-type", message))
}

pub(crate) type Parsed<T> = Result<T, ApiError>;

fn wrong<T>(field: &str, wanted: &str) -> Parsed<T> {
    Err(ApiError::bad(format!("{field} must be {wanted}")))
}

impl Object {
    pub(crate) fn read(raw: Raw) -> Parsed<Self> {
        match serde_json::from_slice(&raw) {
            Ok(Value::Object(fields)) => Ok(Self { fields, raw }),
            Ok(_) => Err(ApiError::bad("the body must be a JSON object")),
            Err(error) => Err(ApiError::bad(format!("the body is not JSON: {error}"))),
        }
    }

    fn get(&self, field: &str) -> Option<&Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    /// Refuses an id chosen by the client: ids are made here and never used again.
    pub(crate) fn without_id(self) -> Parsed<Self> {
        match self.get("id") {
            Some(Value::String(id)) if id.is_empty() => Ok(self),
            Some(_) => Err(ApiError::bad("id cannot be chosen; leave it out")),
            None => Ok(self),
        }
    }

    fn text(&self, field: &str) -> Parsed<Option<String>> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() <= TEXT_MAX => Ok(Some(text.clone())),
            Some(_) => wrong(field, &format!("a string of at most {TEXT_MAX} bytes")),
        }
    }

    /// A name: 1 to 255 of letters, digits, space, underscore and hyphen.
    fn name(&self, field: &str) -> Parsed<Option<String>> {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '_' | '-');
        match self.text(field)? {
            Some(name) if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(fine) => {
                wrong(field, "1 to 255 characters of a-z, A-Z, 0-9, space, _ and -")
            }
            other => Ok(other),
        }
    }

    fn required<T>(field: &str, value: Option<T>) -> Parsed<T> {
        value.ok_or_else(|| ApiError::bad(format!("{field} is missing")))
    }

    fn id<T: FromStr + Display>(&self, field: &str) -> Parsed<Option<T>> {
        match self.text(field)?.filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => as_written(&text).map_or_else(|| wrong(field, "an id (a UUID in lower case)"), |id| Ok(Some(id))),
        }
    }

    fn flag(&self, field: &str) -> Parsed<bool> {
        match self.get(field) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => wrong(field, "true or false"),
        }
    }

    /// A size in GiB: a whole number above 0, at most 2^63 bytes.
    pub(crate) fn size(&self, field: &str) -> Parsed<Bytes> {
        let value = Self::required(field, self.get(field))?;
        match value.as_u64().filter(|gib| *gib > 0).and_then(Bytes::from_gib) {
            Some(size) => Ok(size),
            None => wrong(field, "a whole number of GiB, above 0 and below 2^33"),
        }
    }

    fn metadata(&self) -> Parsed<Option<Metadata>> {
        let Some(value) = self.get("metadata") else { return Ok(None) };
        let word = |(key, value): (&String, &Value)| {
            let text = value.as_str().filter(|text| key.len() <= NAME_MAX && text.len() <= TEXT_MAX)?;
            Some((key.clone(), text.to_owned()))
        };
        match value.as_object().and_then(|object| object.iter().map(word).collect::<Option<Metadata>>()) {
            Some(words) if words.len() <= METADATA_MAX => Ok(Some(words)),
            Some(_) | None => {
                let wanted = format!("at most {METADATA_MAX} strings of {TEXT_MAX} bytes under keys of {NAME_MAX} bytes");
                wrong("metadata", &wanted)
            }
        }
    }

    fn one_of(&self, field: &str, words: &[&str]) -> Parsed<Option<String>> {
        match self.text(field)? {
            Some(word) if !words.contains(&word.as_str()) => wrong(field, &format!("one of {}", words.join(", "))),
            other => Ok(other),
        }
    }

    /// Refuses what OpenSDS could do and this server cannot: a volume outside the group that was asked for would be a lie.
    fn without_unsupported(&self) -> Parsed<()> {
        let empty = |value: &Value| value == "" || value == false;
        match ["groupId", "replicationId", "snapshotFromCloud"].iter().find(|field| self.get(field).is_some_and(|v| !empty(v))) {
            Some(field) => Err(ApiError::bad(format!("{field} is not supported by this server; leave it out"))),
            None => Ok(()),
        }
    }

    /// The body of `POST /block/volumes`.
    pub(crate) fn volume(&self) -> Parsed<NewVolume> {
        self.without_unsupported()?;
        Ok(NewVolume {
            name: Self::required("name", self.name("name")?)?,
            description: self.text("description")?.unwrap_or_default(),
            metadata: self.metadata()?.unwrap_or_default(),
            size: self.size("size")?,
            zone: self.text("availabilityZone")?.unwrap_or_default(),
            profile: self.id::<ProfileId>("profileId")?,
            pool: self.id::<PoolId>("poolId")?,
            source: self.id::<SnapshotId>("snapshotId")?,
            multi_attach: self.flag("multiAttach")?,
        })
    }

    /// The body of `POST /block/snapshots`.
    pub(crate) fn snapshot(&self) -> Parsed<NewSnapshot> {
        Ok(NewSnapshot {
            volume: Self::required("volumeId", self.id::<VolumeId>("volumeId")?)?,
            name: self.name("name")?.unwrap_or_default(),
            description: self.text("description")?.unwrap_or_default(),
            metadata: self.metadata()?.unwrap_or_default(),
            profile: self.id::<ProfileId>("profileId")?,
        })
    }

    /// The body of `POST /block/attachments`.
    pub(crate) fn attachment(&self) -> Parsed<NewAttachment> {
        let mode = match self.one_of("attachMode", &["ro", "rw"])?.as_deref() {
            Some("ro") => Mode::ReadOnly,
            Some(_) | None => Mode::ReadWrite,
        };
        Ok(NewAttachment {
            volume: Self::required("volumeId", self.id::<VolumeId>("volumeId")?)?,
            host: Self::required("hostId", self.id::<HostId>("hostId")?)?,
            mode,
            mountpoint: self.text("mountpoint")?.unwrap_or_default(),
            protocol: self.text("accessProtocol")?.filter(|protocol| !protocol.is_empty()),
            metadata: self.metadata()?.unwrap_or_default(),
        })
    }

    /// The body of a `PUT`: names and free words. A status or size in it is ignored, as any unknown field.
    pub(crate) fn relabel(&self) -> Parsed<Relabel> {
        Ok(Relabel {
            name: self.name("name")?,
            description: self.text("description")?,
            metadata: self.metadata()?,
            mountpoint: self.text("mountpoint")?,
        })
    }

    /// The body of `PUT /host/hosts/{id}`.
    pub(crate) fn host_update(&self) -> Parsed<HostFields> {
        Ok(HostFields {
            name: self.host_name()?,
            ip: self.ip()?,
            port: self.port()?,
            access_mode: self.one_of("accessMode", &["agent", "agentless"])?,
            os_type: self.one_of("osType", &["linux", "windows", "esxi"])?,
            username: self.text("username")?,
            zones: self.zones()?,
            initiators: self.initiators()?,
        })
    }

    /// The body of `POST /host/hosts`.
    pub(crate) fn host(&self) -> Parsed<HostFields> {
        let fields = self.host_update()?;
        Self::required("hostName", fields.name.as_ref())?;
        Self::required("ip", fields.ip.as_ref())?;
        Self::required("accessMode", fields.access_mode.as_ref())?;
        Self::required("osType", fields.os_type.as_ref())?;
        Ok(fields)
    }

    /// A host name by RFC 952 as RFC 1123 widened it: labels of letters, digits and inner hyphens.
    fn host_name(&self) -> Parsed<Option<String>> {
        let label = |label: &str| {
            let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
            !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-') && label.chars().all(inner)
        };
        match self.text("hostName")? {
            Some(name) if name.len() > NAME_MAX || !name.split('.').all(label) => {
                wrong("hostName", "a host name: labels of letters, digits and inner hyphens, joined by dots")
            }
            other => Ok(other),
        }
    }

    fn ip(&self) -> Parsed<Option<String>> {
        match self.text("ip")? {
            Some(ip) if ip.parse::<Ipv4Addr>().is_err() => wrong("ip", "an IPv4 address"),
            other => Ok(other),
        }
    }

    fn port(&self) -> Parsed<Option<u16>> {
        match self.get("port") {
            None => Ok(None),
            Some(value) => match value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0) {
                Some(port) => Ok(Some(port)),
                None => wrong("port", "a number from 1 to 65535"),
            },
        }
    }

    fn zones(&self) -> Parsed<Option<Vec<String>>> {
        let Some(value) = self.get("availabilityZones") else { return Ok(None) };
        let words = |list: &Vec<Value>| list.iter().map(short).collect::<Option<Vec<_>>>();
        match value.as_array().and_then(words) {
            Some(zones) if zones.len() <= METADATA_MAX => Ok(Some(zones)),
            Some(_) | None => {
                wrong("availabilityZones", &format!("a list of at most {METADATA_MAX} strings of 1 to {NAME_MAX} bytes"))
            }
        }
    }

    fn initiators(&self) -> Parsed<Option<Vec<Initiator>>> {
        let Some(value) = self.get("initiators") else { return Ok(None) };
        let one = |value: &Value| {
            let word = |key: &str| value.get(key).and_then(short);
            Some(Initiator { port_name: word("portName")?, protocol: word("protocol")? })
        };
        match value.as_array().and_then(|list| list.iter().map(one).collect::<Option<Vec<_>>>()) {
            Some(initiators) if initiators.len() <= METADATA_MAX => Ok(Some(initiators)),
            Some(_) | None => wrong("initiators", &format!("a list of at most {METADATA_MAX} {{portName, protocol}}")),
        }
    }

    /// The body of `PUT /profiles/{id}`.
    pub(crate) fn profile_update(&self) -> Parsed<ProfileFields> {
        let custom = match self.get("customProperties") {
            Some(Value::Object(custom)) => Some(as_json("customProperties", custom)?),
            Some(_) => return wrong("customProperties", "an object"),
            None => None,
        };
        let mut properties = BTreeMap::new();
        for group in crate::wire::PROFILE_GROUPS {
            match self.get(group) {
                Some(value @ Value::Object(_)) => drop(properties.insert((*group).to_owned(), value.to_string())),
                Some(_) => return wrong(group, "an object"),
                None => {}
            }
        }
        Ok(ProfileFields {
            name: self.name("name")?,
            description: self.text("description")?,
            storage_type: self.one_of("storageType", &["block", "file", "object"])?,
            properties: Some(properties),
            custom,
            remove_custom: Vec::new(),
        })
    }

    /// The body of `POST /profiles`.
    pub(crate) fn profile(&self) -> Parsed<ProfileFields> {
        let fields = self.profile_update()?;
        Self::required("name", fields.name.as_ref())?;
        Self::required("storageType", fields.storage_type.as_ref())?;
        Ok(fields)
    }

    /// The body of `POST /profiles/{id}/customProperties`: every field is one.
    pub(crate) fn custom_properties(&self) -> Parsed<ProfileFields> {
        Ok(ProfileFields { custom: Some(as_json("the body", &self.fields)?), ..ProfileFields::default() })
    }
}

/// Custom properties, each as JSON text.
fn as_json(field: &str, object: &Map<String, Value>) -> Parsed<BTreeMap<String, String>> {
    if object.len() > METADATA_MAX || object.keys().any(|key| key.is_empty() || key.len() > NAME_MAX) {
        return wrong(field, &format!("an object of at most {METADATA_MAX} properties, each key of 1 to {NAME_MAX} bytes"));
    }
    Ok(object.iter().map(|(key, value)| (key.clone(), value.to_string())).collect())
}

/// A short word of a list.
fn short(value: &Value) -> Option<String> {
    value.as_str().filter(|text| (1..=NAME_MAX).contains(&text.len())).map(str::to_owned)
}
