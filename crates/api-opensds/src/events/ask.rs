//! What a reader asked for. Everything that is not understood is refused, telling what is accepted: a filter that is passed over in
//! silence shows another's things, or none.

use super::event::{About, Facts};
use crate::error::ApiError;
use crate::lists::as_written;
use crate::query::{Query, wait_words};
use crate::wire::seed_word;
use crate::{Api, AttachmentWords};
use axum::http::{HeaderMap, StatusCode};
use engine::records::TenantId;
use engine::requests::{Caller, Refusal};
use engine::store::{Kind, Mark};
use lifecycle::{AttachmentId, HostId, PoolId, SnapshotId, Subject, VolumeId};
use std::collections::BTreeSet;
use uuid::Uuid;

/// The kinds that can be asked for.
pub(crate) const KINDS: [&str; 5] = ["volume", "snapshot", "attachment", "host", "pool"];
/// Everything that may stand in the query.
pub(crate) const PARAMETERS: [&str; 7] = ["kind", "id", "status", "host", "since", "onGap", "all"];
/// How many ids one stream may name: each is a place in an index, and looked up once.
const IDS_MAX: usize = 1000;

/// Where a stream begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// With what is now.
    Snapshot,
    /// With what comes.
    Now,
    /// Behind a place in the journal, of the store of this epoch if one is named.
    Place(Option<String>, Mark),
}

/// What a reader asked for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Whose; none for everybody's.
    pub(super) tenant: Option<TenantId>,
    pub(super) kinds: BTreeSet<&'static str>,
    pub(super) ids: BTreeSet<Uuid>,
    pub(super) statuses: BTreeSet<String>,
    /// The statuses of attachments, whose words may be others on the wire.
    pub(super) of_attachments: BTreeSet<String>,
    pub(super) host: Option<HostId>,
    pub(super) since: Since,
    /// Whether to fail where the journal is not whole any more behind the place, instead of beginning with what is now.
    pub(super) fails_on_gap: bool,
    /// Every transition, none passed over.
    pub(super) all: bool,
}

impl Wanted {
    /// # Errors
    /// 400 for what is not understood; 404 for an id that is nobody's, or another tenant's.
    pub(super) async fn parse(api: &Api, caller: &Caller, query: &Query, headers: &HeaderMap) -> Result<Self, ApiError> {
        let unknown = query.keys().find(|key| !PARAMETERS.contains(key));
        if let Some(unknown) = unknown {
            return Err(ApiError::bad(format!("{unknown} is no parameter of events (there are: {})", PARAMETERS.join(", "))));
        }
        let statuses = statuses(query)?;
        let seed = |word: &String| match api.settings.attachment_words {
            AttachmentWords::Seed => word.clone(),
            AttachmentWords::Legacy => seed_word(word).to_owned(),
        };
        let wanted = Self {
            of_attachments: statuses.iter().map(seed).collect(),
            tenant: (!caller.is_admin).then(|| caller.tenant.clone()),
            kinds: kinds(query)?,
            ids: ids(query)?,
            statuses,
            host: host(query)?,
            since: since(query, headers)?,
            fails_on_gap: fails_on_gap(query)?,
            all: query.flag("all")?,
        };
        let pools = if wanted.ids.is_empty() { Vec::new() } else { api.engine.pools().await? };
        for id in &wanted.ids {
            if !pools.iter().any(|pool| pool.id == PoolId(*id)) && !is_known(api, caller, *id).await? {
                return Err(ApiError::not_found(format!("there is no resource {id}")));
            }
        }
        Ok(wanted)
    }

    /// Whether this is of interest. What decides it is known to `index`, too, which must find whoever is interested.
    pub(super) fn matches(&self, facts: &Facts) -> bool {
        let is_seen = self.tenant.is_none() || facts.tenant.is_none() || self.tenant == facts.tenant;
        let is_named = || {
            let volume = facts.volume.filter(|_| !matches!(facts.about, About::Volume(_)));
            self.ids.is_empty() || self.ids.contains(&facts.about.id()) || volume.is_some_and(|volume| self.ids.contains(&volume))
        };
        let statuses = self.statuses(matches!(facts.about, About::Attachment(_)));
        let has_status = || statuses.is_empty() || facts.statuses.iter().any(|status| statuses.contains(status));
        let is_of_host = || self.host.is_none() || self.host == facts.host || facts.may_be_of_any_host();
        is_seen && self.has(facts.about.kind()) && is_named() && has_status() && is_of_host()
    }

    /// Whether a change may be passed over that another one has followed. Where statuses are asked for, the later one may be of none of them.
    pub(super) fn passes_over(&self) -> bool {
        !self.all && self.statuses.is_empty()
    }

    /// Whether this kind is of interest.
    pub(super) fn has(&self, kind: &str) -> bool {
        self.kinds.is_empty() || self.kinds.contains(kind)
    }

    /// The statuses asked for, in the seed's words: of attachments, or of everything else. None means all of them.
    pub(super) const fn statuses(&self, of_attachments: bool) -> &BTreeSet<String> {
        if of_attachments { &self.of_attachments } else { &self.statuses }
    }
}

fn kinds(query: &Query) -> Result<BTreeSet<&'static str>, ApiError> {
    query
        .words("kind")
        .map(|word| {
            let known = KINDS.into_iter().find(|known| *known == word);
            known.ok_or_else(|| ApiError::bad(format!("kind: {word:?} is none (there are: {})", KINDS.join(", "))))
        })
        .collect()
}

fn ids(query: &Query) -> Result<BTreeSet<Uuid>, ApiError> {
    let id = |word: &str| as_written(word).ok_or_else(|| ApiError::bad(format!("id must be the id of a resource, not {word:?}")));
    let ids: BTreeSet<Uuid> = query.words("id").map(id).collect::<Result<_, _>>()?;
    if ids.len() > IDS_MAX {
        return Err(ApiError::bad(format!("a stream names at most {IDS_MAX} ids; open several, or filter otherwise")));
    }
    Ok(ids)
}

/// The statuses, as they were spelled.
fn statuses(query: &Query) -> Result<BTreeSet<String>, ApiError> {
    let mut statuses = BTreeSet::new();
    let known: BTreeSet<_> = [Kind::Volume, Kind::Snapshot, Kind::Attachment].into_iter().flat_map(wait_words).collect();
    for word in query.words("status") {
        if !known.contains(word) {
            let known: Vec<_> = known.into_iter().collect();
            return Err(ApiError::bad(format!("status: {word:?} is none (there are: {})", known.join(", "))));
        }
        statuses.insert(word.to_owned());
    }
    Ok(statuses)
}

fn host(query: &Query) -> Result<Option<HostId>, ApiError> {
    let mut named = query.words("host");
    let Some(word) = named.next() else { return Ok(None) };
    match (as_written(word), named.next()) {
        (Some(host), None) => Ok(Some(host)),
        (Some(_), Some(_)) => Err(ApiError::bad("host is one id; open a stream for each host")),
        (None, _) => Err(ApiError::bad(format!("host must be the id of a host, not {word:?}"))),
    }
}

fn fails_on_gap(query: &Query) -> Result<bool, ApiError> {
    match query.words("onGap").last() {
        None | Some("snapshot") => Ok(false),
        Some("error") => Ok(true),
        Some(other) => Err(ApiError::bad(format!("onGap must be snapshot or error, not {other:?}"))),
    }
}

/// What the client saw last: the header wins, as a browser that comes back sends it with the address of the first time.
fn since(query: &Query, headers: &HeaderMap) -> Result<Since, ApiError> {
    let said = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?").to_owned());
    let given = said.filter(|id| !id.is_empty()).or_else(|| query.words("since").last().map(str::to_owned));
    match given.as_deref() {
        None => Ok(Since::Snapshot),
        Some("now") => Ok(Since::Now),
        Some(text) => position(text).ok_or_else(|| {
            ApiError::bad(format!(
                "since must be the id of an event, a revision, or now, and Last-Event-ID the id of an event, not {text:?}"
            ))
        }),
    }
}

fn position(text: &str) -> Option<Since> {
    // An epoch has hyphens of its own.
    let (epoch, place) = text.rsplit_once('-').map_or((None, text), |(epoch, place)| (Some(epoch.to_owned()), place));
    let whole = |text: &str| text.parse::<u64>().ok().filter(|number| number.to_string() == text && *number <= i64::MAX as u64);
    let mark = match place.split_once('.') {
        Some((revision, seq)) => Mark { revision: whole(revision)?, seq: u32::try_from(whole(seq)?).ok()? },
        None => Mark::behind(whole(place)?),
    };
    epoch.as_ref().is_none_or(|epoch| !epoch.is_empty()).then_some(Since::Place(epoch, mark))
}

/// Whether the caller may see something of this id, or could before it was gone.
async fn is_known(api: &Api, caller: &Caller, id: Uuid) -> Result<bool, ApiError> {
    let engine = &api.engine;
    let (volume, snapshot, attachment) = (VolumeId(id), SnapshotId(id), AttachmentId(id));
    let is_there = there(engine.volume(caller, volume).await)?
        || there(engine.snapshot(caller, snapshot).await)?
        || there(engine.attachment(caller, attachment).await)?
        || there(engine.host(caller, HostId(id)).await)?;
    if is_there {
        return Ok(true);
    }
    for subject in [Subject::Volume(volume), Subject::Snapshot(snapshot), Subject::Attachment(attachment)] {
        if there(engine.journal(caller, subject, 0, 1).await)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn there<T>(found: Result<T, Refusal>) -> Result<bool, ApiError> {
    match found {
        Ok(_) => Ok(true),
        Err(Refusal::NotFound { .. }) => Ok(false),
        Err(other) => Err(other.into()),
    }
}

/// The answer where the journal is not whole behind the place asked for.
pub(super) fn gone(why: &str) -> ApiError {
    ApiError::new(StatusCode::GONE, "gone", format!("{why}; leave since out, or say onGap=snapshot, to begin with what is now"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_events_are_read_as_they_are_written() {
        let epoch = || Some("0a1b-2c".to_owned());
        let rows = [
            ("7", Some(Since::Place(None, Mark::behind(7)))),
            ("7.2", Some(Since::Place(None, Mark { revision: 7, seq: 2 }))),
            ("0a1b-2c-7", Some(Since::Place(epoch(), Mark::behind(7)))),
            ("0a1b-2c-7.0", Some(Since::Place(epoch(), Mark { revision: 7, seq: 0 }))),
            ("", None),
            ("-7", None),
            ("+7", None),
            ("07", None),
            ("7.", None),
            ("7.4294967296", None),
            ("9223372036854775808", None),
            ("e-", None),
        ];
        for (text, want) in rows {
            assert_eq!(position(text), want, "{text:?}");
        }
    }
}
