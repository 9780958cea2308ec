//! Waiting for a resource to get where it was sent, by long polling.
//!
//! - An error status ends a wait at once, unless it was waited for or work still runs that may end it. The failure tells the
//!   reason and the last [`TOLD_TRANSITIONS`] transitions.
//! - Every wait ends: by its deadline at the latest, saying where the resource stood.
//! - A controller that restarts meanwhile is waited for too; only one that never answered ends the wait at once.
//! - Gone counts as `deleted` only for what was known to be there: an id that nobody knows is not found.
//!
//! Both vocabularies of attachments are understood, the default one and OpenSDS' own (setting `opensds.attachment-words`).

mod several;

pub(crate) use several::Several;

use super::exit::{Exit, Failure, Outcome};
use super::http::Api;
use super::kind::Kind;
use super::output;
use super::progress::Meter;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How many transitions a failed wait tells: enough to see how it came to this.
pub(crate) const TOLD_TRANSITIONS: usize = 5;
/// How long one poll is held back at most. Under the server's 60 s, so that its answer comes before ours gives up.
const POLL: Duration = Duration::from_secs(50);
/// The same while something is to be seen in between: progress on a terminal, or an operation that ends without a new status.
const SHORT_POLL: Duration = Duration::from_secs(1);
/// How long lies between two polls at least, where the server answers at once and it is not over: an idle client must not spin.
pub(crate) const PACE: Duration = Duration::from_millis(500);
/// How many entries of a journal are read at once.
const JOURNAL_PAGE: usize = 1000;
/// How many such pages are read at most: a million transitions of one resource, more than a journal keeps.
const JOURNAL_PAGES_MAX: usize = 1000;

/// What a wait is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// One of these statuses, as typed.
    Words(Vec<String>),
    /// Usable, with nothing of what was asked still to do.
    Ready,
    /// Nothing left of it.
    Gone,
    /// A `recover` has said what is true.
    Recovered,
}

/// One wait.
#[derive(Debug)]
pub(crate) struct Wait<'a> {
    /// The controller.
    pub(crate) api: &'a Api,
    /// What kind of resource.
    pub(crate) kind: Kind,
    /// Which one.
    pub(crate) id: &'a str,
    /// What for.
    pub(crate) aim: Aim,
    /// For how long.
    pub(crate) timeout: Duration,
    /// Whether it is known that the resource was there, so that not finding it means that it is gone.
    pub(crate) was_there: bool,
    /// Whether somebody watches a terminal.
    pub(crate) is_watched: bool,
    /// [`PACE`], other than in tests.
    pub(crate) pace: Duration,
}

/// What a status means for a wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is what was waited for.
    Reached,
    /// It is on its way, or nothing moves.
    Going,
    /// It will not come of itself.
    Failed(Exit),
}

impl Aim {
    /// What to wait for after a verb that answered with `body`: to be gone where that is what runs, else to be ready.
    #[must_use]
    pub(crate) fn of_answer(body: &Value) -> Self {
        match (body["operation"]["kind"].as_str(), body["status"].as_str()) {
            (Some("recover"), _) => Self::Recovered,
            (Some("delete" | "detach"), _) | (_, Some("deleting" | "detaching" | "deleted" | "detached")) => Self::Gone,
            _ => Self::Ready,
        }
    }
}

impl Wait<'_> {
    /// Waits, and returns the resource as it is then; one that is gone is its id with the status `deleted`.
    ///
    /// # Errors
    /// `ErrorStatus` with reason and last transitions; `TimedOut`; `Failed` where it went another way for good; and what asking
    /// the server may end in.
    pub(crate) fn run(mut self) -> Outcome<Value> {
        let deadline = Instant::now() + self.timeout;
        let meter = Meter::new(self.is_watched);
        let mut last = Value::Null;
        let mut trouble;
        loop {
            let began = Instant::now();
            let left = deadline.saturating_duration_since(began);
            match self.poll(&last, left, meter.is_shown()) {
                Ok(body) => {
                    self.was_there = true;
                    trouble = None;
                    last = body;
                    meter.update(&self.kind.call(&last, self.id), &last);
                    match judge(self.kind, &self.aim, &last) {
                        Verdict::Reached => return Ok(last),
                        Verdict::Failed(exit) => return Err(self.ended_badly(&last, exit)),
                        Verdict::Going => {}
                    }
                }
                Err(failure) if failure.exit == Exit::NotFound && self.was_there => return self.gone(&last),
                Err(failure) if self.was_there && is_passing(failure.exit) => trouble = Some(failure),
                Err(failure) => return Err(failure),
            }
            if Instant::now() >= deadline {
                drop(meter);
                return Err(self.too_late(&last, trouble.as_ref()));
            }
            std::thread::sleep(self.pace.saturating_sub(began.elapsed()).min(deadline.saturating_duration_since(Instant::now())));
        }
    }

    /// Asks once. The first time it asks for the present state, since that may be all there is to wait for.
    fn poll(&self, last: &Value, left: Duration, is_shown: bool) -> Outcome<Value> {
        let path = self.kind.path_of(self.id);
        if last.is_null() {
            return match self.api.get(&path, &[]) {
                Err(failure) if failure.exit == Exit::NotFound && self.awaits_end() && !self.was_there => {
                    // The journal may know that it was there; asking with waitFor is what looks there.
                    self.api.get_patiently(&path, &hold("deleted".into(), SHORT_POLL), SHORT_POLL)
                }
                answer => answer,
            };
        }
        let is_short = is_shown || self.aim == Aim::Recovered || (is_error(last) && is_running(last));
        let patience = left.min(if is_short { SHORT_POLL } else { POLL });
        self.api.get_patiently(&path, &hold(words(self.kind, &self.aim, last).join(","), patience), patience)
    }

    fn awaits_end(&self) -> bool {
        match &self.aim {
            Aim::Words(words) => words.iter().any(|word| word == "deleted"),
            Aim::Gone | Aim::Recovered => true,
            Aim::Ready => false,
        }
    }

    /// It was there, and is not found any more.
    fn gone(&self, last: &Value) -> Outcome<Value> {
        let body = json!({"id": self.id, "status": "deleted"});
        let ended = self.awaits_end() || matches!(&self.aim, Aim::Words(words) if words.iter().any(|word| word == "detached"));
        match ended {
            true => Ok(body),
            false => Err(Failure::new(Exit::Failed, format!("{} was deleted meanwhile", self.kind.describe(last, self.id)))),
        }
    }

    /// Why it ended otherwise: status, reason and the last transitions.
    pub(crate) fn ended_badly(&self, last: &Value, exit: Exit) -> Failure {
        let status = output::clean(last["status"].as_str().unwrap_or_default());
        let reason = output::reason_message(last);
        let colon = if reason.is_empty() { "" } else { ": " };
        let message = format!("{} is {status}{colon}{reason}", self.kind.describe(last, self.id));
        Failure::new(exit, message + &self.history())
    }

    fn too_late(&self, last: &Value, trouble: Option<&Failure>) -> Failure {
        let mut message = format!("timed out after {} s: {} ", self.timeout.as_secs(), self.kind.describe(last, self.id));
        match trouble {
            Some(trouble) => message += &format!("could not be asked any more: {trouble}"),
            None => {
                message += &format!("is still {}", output::clean(last["status"].as_str().unwrap_or("there")));
                for more in [output::operation(last), output::reason_message(last)].iter().filter(|more| !more.is_empty()) {
                    message += &format!("; {more}");
                }
                message += &self.history();
            }
        }
        Failure::new(Exit::TimedOut, message)
    }

    /// The last transitions, a line each; nothing if they cannot be had, as this only explains another failure.
    fn history(&self) -> String {
        let Ok(entries) = journal(self.api, self.kind, self.id, 0, None) else { return String::new() };
        let last = entries.iter().skip(entries.len().saturating_sub(TOLD_TRANSITIONS));
        last.map(|entry| format!("\n  {}", output::journal_line(entry))).collect()
    }
}

/// The journal of one resource after revision `since`, oldest first, at most `limit` entries.
///
/// # Errors
/// What asking the server may end in.
pub(crate) fn journal(api: &Api, kind: Kind, id: &str, since: u64, limit: Option<usize>) -> Outcome<Vec<Value>> {
    let path = format!("{}/journal", kind.path_of(id));
    let mut entries = Vec::new();
    let mut since = since;
    for _ in 0..JOURNAL_PAGES_MAX {
        let wanted = limit.map_or(JOURNAL_PAGE, |limit| (limit - entries.len()).min(JOURNAL_PAGE));
        let Value::Array(page) = api.get(&path, &[("since", since.to_string()), ("limit", wanted.to_string())])? else {
            return Err(Failure::new(Exit::Server, "the server answered with something that is no journal"));
        };
        let newest = page.iter().filter_map(|entry| entry["revision"].as_u64()).max();
        let is_whole = page.len() < wanted;
        entries.extend(page);
        let is_enough = limit.is_some_and(|limit| entries.len() >= limit);
        match newest.filter(|newest| *newest > since && !is_whole && !is_enough) {
            Some(newest) => since = newest,
            None => break,
        }
    }
    Ok(entries)
}

fn hold(words: String, patience: Duration) -> [(&'static str, String); 2] {
    [("waitFor", words), ("timeout", patience.as_secs().max(1).to_string())]
}

/// Troubles that a restart of the controller brings with it.
pub(crate) const fn is_passing(exit: Exit) -> bool {
    matches!(exit, Exit::Server | Exit::CannotConnect | Exit::TimedOut)
}

fn is_error(body: &Value) -> bool {
    body["status"].as_str().is_some_and(|status| status.starts_with("error"))
}

fn is_running(body: &Value) -> bool {
    body["operation"].is_object()
}

/// Whether the server speaks OpenSDS' own words of attachments, which share none with the default ones.
fn is_legacy(body: &Value) -> bool {
    matches!(body["status"].as_str(), Some("creating" | "available" | "deleting" | "error" | "errorDeleting"))
}

const fn ready_words(kind: Kind) -> &'static [&'static str] {
    match kind {
        // A volume that is being attached or detached is whole and of its size: what made it ready is over.
        Kind::Volume => &["available", "inUse", "attaching", "detaching"],
        Kind::Snapshot => &["available"],
        Kind::Attachment => &["attached", "available"],
        Kind::Host | Kind::Profile | Kind::Pool => &[],
    }
}

/// The words to ask the server to wait for: those of the aim, and of the errors, so that it answers when either comes.
fn words(kind: Kind, aim: &Aim, last: &Value) -> Vec<String> {
    let is_legacy = kind == Kind::Attachment && is_legacy(last);
    let wanted: Vec<&str> = match (aim, kind) {
        (Aim::Words(words), _) => words.iter().map(String::as_str).collect(),
        (Aim::Ready | Aim::Recovered, Kind::Attachment) => vec![if is_legacy { "available" } else { "attached" }],
        (Aim::Ready | Aim::Recovered, _) => ready_words(kind).to_vec(),
        (Aim::Gone, Kind::Attachment) if !is_legacy => vec!["detached"],
        (Aim::Gone, _) => vec!["deleted"],
    };
    let errors: &[&str] = match kind {
        // What is in an error already while work runs is waited out of it, not into it.
        _ if is_error(last) => &[],
        Kind::Volume => &["error", "errorDeleting", "errorExtending"],
        Kind::Attachment if !is_legacy => &["errorAttaching", "errorDetaching"],
        _ => &["error", "errorDeleting"],
    };
    let more = errors.iter().filter(|error| !wanted.contains(error)).copied();
    wanted.iter().copied().chain(more).map(Into::into).collect()
}

/// What the status in `body` means for `aim`.
pub(crate) fn judge(kind: Kind, aim: &Aim, body: &Value) -> Verdict {
    let status = body["status"].as_str().unwrap_or_default();
    let is_gone = matches!(status, "deleted" | "detached");
    let runs = body["operation"]["kind"].as_str();
    let reached = match aim {
        // A detached attachment is as gone as one can see it: whoever waits for `deleted` waits for that.
        Aim::Words(words) => {
            words.iter().any(|word| word == status || (is_gone && matches!(word.as_str(), "deleted" | "detached")))
        }
        Aim::Ready => ready_words(kind).contains(&status) && (kind == Kind::Volume || runs.is_none()),
        Aim::Gone => is_gone,
        Aim::Recovered => runs != Some("recover") && !is_error(body),
    };
    if reached {
        Verdict::Reached
    } else if is_gone {
        Verdict::Failed(Exit::Failed)
    } else if is_error(body) && !is_running(body) {
        Verdict::Failed(Exit::ErrorStatus)
    } else {
        Verdict::Going
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Fake, api_of};
    use super::*;

    const POLLED: &str =
        "/block/volumes/v?waitFor=available%2CinUse%2Cattaching%2Cdetaching%2Cerror%2CerrorDeleting%2CerrorExtending&timeout=50";
    const JOURNAL: &str = "/block/volumes/v/journal?since=0&limit=1000";

    fn volume(status: &str) -> Value {
        json!({"id": "v", "name": "data", "status": status})
    }

    fn check(fake: &Fake, kind: Kind, aim: Aim, was_there: bool) -> Outcome<Value> {
        let api = api_of(fake);
        let timeout = Duration::from_secs(600);
        Wait { api: &api, kind, id: "v", aim, timeout, was_there, is_watched: false, pace: Duration::ZERO }.run()
    }

    #[test]
    fn every_status_is_judged() {
        let words = |words: &[&str]| Aim::Words(words.iter().map(|word| (*word).into()).collect());
        let rows = [
            (Kind::Volume, Aim::Ready, "creating", None, Verdict::Going),
            (Kind::Volume, Aim::Ready, "available", None, Verdict::Reached),
            (Kind::Volume, Aim::Ready, "attaching", Some("attach"), Verdict::Reached),
            (Kind::Volume, Aim::Ready, "errorExtending", None, Verdict::Failed(Exit::ErrorStatus)),
            (Kind::Volume, Aim::Ready, "errorExtending", Some("recover"), Verdict::Going),
            (Kind::Volume, Aim::Ready, "deleting", Some("delete"), Verdict::Going),
            (Kind::Attachment, Aim::Ready, "attached", None, Verdict::Reached),
            (Kind::Attachment, Aim::Ready, "attached", Some("detach"), Verdict::Going),
            (Kind::Attachment, Aim::Ready, "available", None, Verdict::Reached),
            (Kind::Attachment, Aim::Ready, "detached", None, Verdict::Failed(Exit::Failed)),
            (Kind::Attachment, Aim::Gone, "attached", Some("detach"), Verdict::Going),
            (Kind::Attachment, Aim::Gone, "detached", None, Verdict::Reached),
            (Kind::Attachment, Aim::Gone, "errorDetaching", None, Verdict::Failed(Exit::ErrorStatus)),
            (Kind::Snapshot, Aim::Gone, "deleted", None, Verdict::Reached),
            (Kind::Volume, Aim::Recovered, "error", Some("recover"), Verdict::Going),
            (Kind::Volume, Aim::Recovered, "error", None, Verdict::Failed(Exit::ErrorStatus)),
            (Kind::Volume, Aim::Recovered, "available", None, Verdict::Reached),
            (Kind::Volume, words(&["error"]), "error", None, Verdict::Reached),
            (Kind::Volume, words(&["available", "inUse"]), "inUse", None, Verdict::Reached),
            (Kind::Volume, words(&["available"]), "error", None, Verdict::Failed(Exit::ErrorStatus)),
            (Kind::Volume, words(&["available"]), "inUse", None, Verdict::Going),
            (Kind::Attachment, words(&["deleted"]), "detached", None, Verdict::Reached),
            (Kind::Snapshot, words(&["available"]), "deleted", None, Verdict::Failed(Exit::Failed)),
        ];
        for (kind, aim, status, runs, want) in rows {
            let mut body = json!({ "status": status });
            if let Some(runs) = runs {
                body["operation"] = json!({ "kind": runs });
            }
            assert_eq!(judge(kind, &aim, &body), want, "{kind:?} {aim:?} {status} {runs:?}");
        }
    }

    #[test]
    fn a_volume_is_waited_for_by_long_polling() {
        let fake = Fake::new()
            .on("GET", "/block/volumes/v", 200, volume("creating"))
            .on("GET", POLLED, 200, volume("creating"))
            .on("GET", POLLED, 200, volume("available"));
        assert_eq!(check(&fake, Kind::Volume, Aim::Ready, true), Ok(volume("available")));
        assert_eq!(fake.seen().len(), 3);
    }

    #[test]
    fn an_error_status_ends_it_with_reason_and_history() {
        let mut failed = volume("error");
        failed["statusReason"] = json!({"code": "refused", "message": "pool full"});
        let entry = |n: u64| json!({"revision": n, "at": format!("t{n}"), "from": "creating", "to": "error", "cause": "create"});
        let entries = Value::Array((1..=7).map(entry).collect());
        let fake = Fake::new().on("GET", "/block/volumes/v", 200, failed).on("GET", JOURNAL, 200, entries);
        let failure = check(&fake, Kind::Volume, Aim::Ready, true).unwrap_err();
        assert_eq!(failure.exit, Exit::ErrorStatus);
        let mut lines = failure.message.lines();
        assert_eq!(lines.next(), Some("volume data (v) is error: pool full (refused)"));
        assert_eq!(lines.next(), Some("  t3 creating -> error (create)"));
        assert_eq!(lines.count(), TOLD_TRANSITIONS - 1);
    }

    #[test]
    fn gone_is_deleted_for_what_was_there() {
        let gone = json!({"code": 404, "message": "no volume v"});
        let fake = || Fake::new().on("GET", "/block/volumes/v", 404, gone.clone());
        let deleted = json!({"id": "v", "status": "deleted"});
        assert_eq!(check(&fake(), Kind::Volume, Aim::Gone, true), Ok(deleted.clone()));
        assert_eq!(check(&fake(), Kind::Volume, Aim::Ready, true).unwrap_err().exit, Exit::Failed);
        let asked = "/block/volumes/v?waitFor=deleted&timeout=1";
        assert_eq!(check(&fake().on("GET", asked, 200, deleted.clone()), Kind::Volume, Aim::Gone, false), Ok(deleted));
        assert_eq!(
            check(&fake().on("GET", asked, 404, gone.clone()), Kind::Volume, Aim::Gone, false).unwrap_err().exit,
            Exit::NotFound
        );
    }

    #[test]
    fn a_restart_meanwhile_is_waited_out() {
        let fake = Fake::new()
            .on("GET", "/block/volumes/v", 200, volume("creating"))
            .on("GET", POLLED, 503, json!({"message": "starting"}))
            .lose("GET", POLLED)
            .on("GET", POLLED, 200, volume("available"));
        assert_eq!(check(&fake, Kind::Volume, Aim::Ready, false), Ok(volume("available")));
        let fake = Fake::new().on("GET", "/block/volumes/v", 503, json!({"message": "starting"}));
        assert_eq!(check(&fake, Kind::Volume, Aim::Ready, false).unwrap_err().exit, Exit::Server);
    }

    #[test]
    fn a_deadline_ends_it_and_tells_where_it_stood() {
        let mut body = volume("creating");
        body["operation"] = json!({"kind": "create", "attempt": 3});
        let fake = Fake::new().on("GET", "/block/volumes/v", 200, body).on("GET", JOURNAL, 200, json!([]));
        let api = api_of(&fake);
        let (aim, timeout) = (Aim::Ready, Duration::ZERO);
        let wait = Wait { api: &api, kind: Kind::Volume, id: "v", aim, timeout, was_there: false, is_watched: false, pace: PACE };
        let failure = wait.run().unwrap_err();
        assert_eq!(failure.exit, Exit::TimedOut);
        assert_eq!(failure.message, "timed out after 0 s: volume data (v) is still creating; create, attempt 3");
    }

    #[test]
    fn the_other_words_of_attachments_are_understood() {
        let body = |status: &str| json!({"id": "v", "status": status});
        let polled = "/block/attachments/v?waitFor=available%2Cerror%2CerrorDeleting&timeout=50";
        let fake = Fake::new().on("GET", "/block/attachments/v", 200, body("creating")).on("GET", polled, 200, body("available"));
        assert_eq!(check(&fake, Kind::Attachment, Aim::Ready, true), Ok(body("available")));
        let polled = "/block/attachments/v?waitFor=detached%2CerrorAttaching%2CerrorDetaching&timeout=50";
        let fake = Fake::new().on("GET", "/block/attachments/v", 200, body("attached")).on("GET", polled, 200, body("detached"));
        assert_eq!(check(&fake, Kind::Attachment, Aim::Gone, true), Ok(body("detached")));
    }

    #[test]
    fn an_answer_tells_what_to_wait_for() {
        let rows = [
            (json!({"status": "creating", "operation": {"kind": "create"}}), Aim::Ready),
            (json!({"status": "error", "operation": {"kind": "recover"}}), Aim::Recovered),
            (json!({"status": "attached", "operation": {"kind": "detach"}}), Aim::Gone),
            (json!({"status": "deleting"}), Aim::Gone),
            (json!({"status": "available"}), Aim::Ready),
        ];
        for (body, want) in rows {
            assert_eq!(Aim::of_answer(&body), want, "{body}");
        }
    }

    #[test]
    fn a_journal_is_read_page_by_page() {
        let page = |from: u64, to: u64| Value::Array((from..=to).map(|n| json!({ "revision": n })).collect());
        let fake = Fake::new()
            .on("GET", JOURNAL, 200, page(1, 1000))
            .on("GET", "/block/volumes/v/journal?since=1000&limit=1000", 200, page(1001, 1003))
            .on("GET", "/block/volumes/v/journal?since=5&limit=2", 200, page(6, 7));
        let api = api_of(&fake);
        assert_eq!(journal(&api, Kind::Volume, "v", 0, None).unwrap().len(), 1003);
        assert_eq!(journal(&api, Kind::Volume, "v", 5, Some(2)).unwrap().len(), 2);
    }
}
