//! `berth watch`: every change as it happens, a line each, also across restarts of the controller.
//!
//! - The stream sees to it that nothing is lost or told twice; here a resource's revisions must increase besides, so that a line is never
//!   repeated.
//! - Hosts and pools have no revisions. They are told where something has changed that a person would look at; as JSON always.
//! - Where the server cannot tell what lay between, that is said on standard error, and it goes on with what is now.
//! - An end that was asked for (`--until`) is judged as by `berth wait`, with its exit codes.

use super::{Query, conditions};
use crate::cli::{Format, WatchArgs, WatchKind, word};
use crate::client::Session;
use crate::client::exit::{Exit, Failure, Outcome};
use crate::client::kind::Kind;
use crate::client::output::{self, clean};
use crate::client::stream::{Said, Stream};
use crate::client::wait::{Aim, Verdict, Wait, judge};
use jiff::{Timestamp, Unit};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// How long lies between two looks at whether somebody still reads.
const LOOK: Duration = Duration::from_secs(1);

/// Tells what happens until it was watched long enough.
///
/// # Errors
/// What asking ends in; of `--until` what a wait ends in; the time is over.
pub(super) fn run(session: &mut Session<'_>, args: &WatchArgs) -> Outcome<()> {
    until_can_come(args)?;
    let (query, ids) = query(session, args)?;
    let mut watch = Watch::new(args, ids);
    let deadline = args.timeout.map(|timeout| (Instant::now() + timeout, timeout));
    // The session is written to while the stream asks.
    let api = session.api.clone();
    let mut stream = Stream::new(&api, query).paced(session.pace);
    loop {
        let left = deadline.map_or(LOOK, |(deadline, _)| deadline.saturating_duration_since(Instant::now()).min(LOOK));
        match stream.next(left)? {
            Said::Event(event) => {
                if watch.hear(session, &event)? {
                    return Ok(());
                }
            }
            Said::Lost(why) => writeln!(session.messages, "berth: lost the stream ({}); connecting again", clean(&why))?,
            Said::Back => writeln!(session.messages, "berth: connected again")?,
            Said::Nothing if (session.is_left)() => return Ok(()),
            Said::Nothing => {}
        }
        if let Some((_, timeout)) = deadline.filter(|(deadline, _)| Instant::now() >= *deadline) {
            return Err(watch.too_late(timeout));
        }
    }
}

/// Whether what it is to end with can come.
///
/// # Errors
/// A usage failure for a word that is no status of any kind that is watched: it would be watched for in vain.
fn until_can_come(args: &WatchArgs) -> Outcome<()> {
    let Some(goal) = &args.until else { return Ok(()) };
    // Of named ones, they alone are waited for, whatever else is told of them.
    let also: &[WatchKind] = if args.ids.is_empty() { &args.kind } else { &[] };
    let watched: Vec<_> = args.of.iter().chain(also).copied().map(kind).collect();
    let all = [Kind::Volume, Kind::Snapshot, Kind::Attachment];
    let kinds: Vec<_> = all.into_iter().filter(|kind| watched.is_empty() || watched.contains(kind)).collect();
    if kinds.is_empty() {
        return Err(Failure::usage(
            "--until is for volumes, snapshots and attachments: nothing else has statuses that it could end with",
        ));
    }
    let is_known = |word: &String| {
        word == "deleted" || kinds.iter().any(|kind| conditions::statuses(*kind, std::slice::from_ref(word)).is_ok())
    };
    match goal.0.iter().find(|word| !is_known(word)) {
        // It is refused in the words of the first of them.
        Some(unknown) => conditions::statuses(kinds[0], std::slice::from_ref(unknown)).map(drop),
        None => Ok(()),
    }
}

/// What to ask the server for, and the ids that were named.
fn query(session: &mut Session<'_>, args: &WatchArgs) -> Outcome<(Query, BTreeSet<String>)> {
    let mut query = Query::new();
    let mut ids = BTreeSet::new();
    if let Some(of) = args.of.filter(|_| !args.ids.is_empty()) {
        for typed in session.typed(&args.ids)? {
            ids.insert(session.id(kind(of), &typed)?);
        }
        if ids.is_empty() {
            return Err(Failure::usage("there are no ids to watch; leave - out to watch everything"));
        }
    }
    let kinds = args.kind.iter().copied().chain(args.of.filter(|_| args.ids.is_empty()));
    query.extend(kinds.map(|kind| ("kind", word(kind))));
    query.extend(ids.iter().map(|id| ("id", id.clone())));
    query.extend(args.status.iter().map(|status| ("status", status.clone())));
    session.narrow(&mut query, "host", Kind::Host, args.host.as_ref())?;
    if args.all_transitions {
        query.push(("all", "true".into()));
    }
    match &args.since {
        Some(since) => query.push(("since", since.clone())),
        // What is now must be known to tell whether it is over already.
        None if args.present || args.until.is_some() => {}
        None => query.push(("since", "now".into())),
    }
    Ok((query, ids))
}

/// What it ends with.
struct Until {
    aim: Aim,
    /// The named ones that are still waited for.
    left: BTreeSet<String>,
    is_named: bool,
}

/// What is known of a resource.
#[derive(Default)]
struct Known {
    name: String,
    revision: u64,
    /// Of what has no revision: how it was told last.
    object: Value,
}

/// What was told so far, and what it ends with.
struct Watch {
    until: Option<Until>,
    ids: BTreeSet<String>,
    is_present_told: bool,
    tells_progress: bool,
    known: HashMap<String, Known>,
    /// Whether what was there at the beginning is known.
    is_live: bool,
}

impl Watch {
    fn new(args: &WatchArgs, ids: BTreeSet<String>) -> Self {
        let until = args.until.as_ref().map(|goal| {
            let (aim, left, is_named) = (Aim::Words(goal.0.clone()), ids.clone(), !ids.is_empty());
            Until { aim, left, is_named }
        });
        let (is_present_told, tells_progress) = (args.present, args.progress);
        Self { until, ids, is_present_told, tells_progress, known: HashMap::new(), is_live: false }
    }

    /// Tells one event. Returns whether it is over.
    fn hear(&mut self, session: &mut Session<'_>, event: &Value) -> Outcome<bool> {
        match event["event"].as_str() {
            Some("snapshot") => self.present(session, event),
            Some("change") => self.change(session, event),
            Some("synced") => self.synced(session),
            Some("progress") if self.tells_progress => {
                tell(session, event, || format!("{} {}: {}", now(), self.what(event), output::operation(event)))?;
                Ok(false)
            }
            Some("resync") => {
                let reason = clean(event["reason"].as_str().unwrap_or("no reason given"));
                writeln!(session.messages, "berth: what happened meanwhile cannot be told ({reason}); going on with what is now")?;
                self.known.values_mut().for_each(|known| known.revision = 0);
                if session.shape.format == Format::Json {
                    tell(session, event, String::new)?;
                }
                Ok(false)
            }
            // Bookmarks, and what later releases may say.
            _ => Ok(false),
        }
    }

    /// What is now.
    fn present(&mut self, session: &mut Session<'_>, event: &Value) -> Outcome<bool> {
        let before = self.learn(event);
        // At every connection hosts and pools come as they are: news only where they differ from before.
        let is_news = event["revision"].is_null() && before.is_some_and(|before| differs(event, &before));
        if (self.is_present_told && !self.is_live) || is_news {
            tell(session, event, || format!("{} {}: {}", now(), self.what(event), state(event)))?;
        }
        self.is_over(session, event)
    }

    fn change(&mut self, session: &mut Session<'_>, event: &Value) -> Outcome<bool> {
        let id = event["id"].as_str().unwrap_or_default();
        let revision = event["revision"].as_u64();
        let told = self.known.get(id).map_or(0, |known| known.revision);
        if revision.is_some_and(|revision| revision <= told) {
            return Ok(false);
        }
        let before = self.learn(event);
        let is_seen = match (revision, session.shape.format) {
            (Some(_), _) | (None, Format::Json) => true,
            (None, _) => before.is_none_or(|before| differs(event, &before)),
        };
        if is_seen {
            tell(session, event, || line(event, &self.what(event)))?;
        }
        if event["deleted"] == true {
            self.known.remove(id);
        }
        self.is_over(session, event)
    }

    /// What was named and is not there has ended before.
    fn synced(&mut self, session: &Session<'_>) -> Outcome<bool> {
        let is_first = !std::mem::replace(&mut self.is_live, true);
        let missing: Vec<_> = self.ids.iter().filter(|id| is_first && !self.known.contains_key(*id)).cloned().collect();
        for id in missing {
            if self.is_over(session, &json!({"id": id, "deleted": true}))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Notes what is known now, and returns how it was told before.
    fn learn(&mut self, event: &Value) -> Option<Value> {
        let known = self.known.entry(event["id"].as_str()?.to_owned()).or_default();
        known.revision = event["revision"].as_u64().unwrap_or(known.revision);
        let object = &event["object"];
        if let Some(name) = ["name", "hostName"].into_iter().find_map(|field| object[field].as_str()) {
            known.name = clean(name);
        }
        let kept = if event["revision"].is_null() { object.clone() } else { Value::Null };
        Some(std::mem::replace(&mut known.object, kept)).filter(|before| !before.is_null())
    }

    fn what(&self, event: &Value) -> String {
        let (kind, id) = (text(&event["kind"]), text(&event["id"]));
        match self.known.get(&id).map(|known| &known.name).filter(|name| !name.is_empty()) {
            Some(name) => format!("{kind} {name} ({id})"),
            None => format!("{kind} {id}"),
        }
    }

    /// Whether what was waited for is there with this.
    fn is_over(&mut self, session: &Session<'_>, event: &Value) -> Outcome<bool> {
        let Some(until) = &mut self.until else { return Ok(false) };
        let id = event["id"].as_str().unwrap_or_default();
        if until.is_named && !until.left.contains(id) {
            return Ok(false);
        }
        let Some(kind) = kind_of(event, until.is_named) else { return Ok(false) };
        let body = match &event["object"] {
            Value::Null => {
                let to = event["transition"]["to"].as_str().filter(|_| event["deleted"] != true);
                json!({"id": id, "status": to.unwrap_or("deleted")})
            }
            object => object.clone(),
        };
        match judge(kind, &until.aim, &body) {
            Verdict::Reached => {
                until.left.remove(id);
                Ok(until.left.is_empty())
            }
            Verdict::Failed(Exit::Failed) if until.is_named => {
                Err(Failure::new(Exit::Failed, format!("{} was deleted meanwhile", kind.describe(&body, id))))
            }
            // A failure of something that nobody named ends nothing.
            Verdict::Failed(exit) if until.is_named => {
                let (api, aim, timeout, pace) = (&session.api, until.aim.clone(), Duration::ZERO, Duration::ZERO);
                let wait = Wait { api, kind, id, aim, timeout, was_there: true, is_watched: false, pace };
                Err(wait.ended_badly(&body, exit))
            }
            Verdict::Failed(_) | Verdict::Going => Ok(false),
        }
    }

    fn too_late(&self, timeout: Duration) -> Failure {
        let left: Vec<_> = self.until.iter().flat_map(|until| &until.left).map(String::as_str).collect();
        let what = if left.is_empty() { String::new() } else { format!("; still waited for: {}", left.join(", ")) };
        Failure::new(Exit::TimedOut, format!("timed out after {} s of watching{what}", timeout.as_secs()))
    }
}

/// Writes one event as it was asked for, at once: whoever reads it waits for it.
fn tell(session: &mut Session<'_>, event: &Value, line: impl FnOnce() -> String) -> Outcome<()> {
    match session.shape.format {
        Format::Table => writeln!(session.out, "{}", line())?,
        Format::Json => writeln!(session.out, "{event}")?,
        Format::Name => writeln!(session.out, "{}", text(&event["id"]))?,
    }
    Ok(session.out.flush()?)
}

/// A change as a sentence.
pub(super) fn line(event: &Value, what: &str) -> String {
    let entry = &event["transition"];
    if !entry.is_object() {
        return format!("{} {what}: {}", now(), state(event));
    }
    // What was passed over is told, so that the line is not taken for the whole way.
    let passed = if event["coalescedFrom"].is_null() { "" } else { "... " };
    let from = entry["from"].as_str().filter(|from| !from.is_empty()).map_or_else(|| "new".to_owned(), clean);
    let reason = output::reason_message(entry);
    let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
    format!("{} {what}: {passed}{from} -> {} ({}){reason}", text(&entry["at"]), text(&entry["to"]), text(&entry["cause"]))
}

/// How something is, in words.
fn state(event: &Value) -> String {
    let object = &event["object"];
    match event["kind"].as_str() {
        _ if event["deleted"] == true => "deleted".into(),
        Some("host") => format!("at {}, {}", text(&object["ip"]), text(&object["osType"])),
        Some("pool") => {
            let availability = &object["availability"];
            let words =
                [text(&object["status"]), format!("backend {}", text(&availability["state"])), text(&availability["message"])];
            words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", ")
        }
        _ => {
            let reason = output::reason_message(object);
            let colon = if reason.is_empty() { "" } else { ": " };
            format!("is {}{colon}{reason}", text(&object["status"]))
        }
    }
}

/// Whether a person would see that something has changed: the capacity of a pool changes with every write.
fn differs(event: &Value, before: &Value) -> bool {
    let seen = |object: &Value| match event["kind"].as_str() {
        Some("pool") => json!([object["name"], object["status"], object["availability"]["state"], object["retired"]]),
        _ => object.clone(),
    };
    seen(&event["object"]) != seen(before)
}

fn text(value: &Value) -> String {
    clean(value.as_str().unwrap_or_default())
}

/// The time, for what tells none.
fn now() -> String {
    Timestamp::now().round(Unit::Second).map_or_else(|_| "-".into(), |now| now.to_string())
}

const fn kind(kind: WatchKind) -> Kind {
    match kind {
        WatchKind::Volume => Kind::Volume,
        WatchKind::Snapshot => Kind::Snapshot,
        WatchKind::Attachment => Kind::Attachment,
        WatchKind::Host => Kind::Host,
        WatchKind::Pool => Kind::Pool,
    }
}

/// The kind of what an event is about, if it has statuses; of what was named and is not there, any.
fn kind_of(event: &Value, is_named: bool) -> Option<Kind> {
    match event["kind"].as_str() {
        Some("volume") => Some(Kind::Volume),
        Some("snapshot") => Some(Kind::Snapshot),
        Some("attachment") => Some(Kind::Attachment),
        None if is_named => Some(Kind::Volume),
        _ => None,
    }
}
