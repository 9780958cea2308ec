//! Waiting for several resources of one kind at once.
//!
//! - They are asked for together, by lists: one request a round for [`TOGETHER`] of them, so that a thousand cost the server no more than a
//!   handful. What a list leaves out (tombstones, what is gone) is asked for by itself.
//! - So the first that fails is seen at once, whichever it is, and one deadline holds for all.
//! - Each is judged as by [`Wait`], and tells the same.

use super::{Aim, Verdict, Wait, is_passing, judge};
use crate::client::exit::{Exit, Failure, Outcome};
use crate::client::http::Api;
use crate::client::kind::Kind;
use crate::client::output;
use crate::client::progress::Meter;
use serde_json::Value;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How many are asked for in one list: so many ids make an address of 8 KiB, and the server reads 16.
const TOGETHER: usize = 200;
/// How long lies between two rounds, in paces of a single wait: a list is answered at once, never held back.
const PACES: u32 = 2;

/// Several waits.
#[derive(Debug)]
pub(crate) struct Several<'a> {
    /// The controller.
    pub(crate) api: &'a Api,
    /// What kind of resources.
    pub(crate) kind: Kind,
    /// Their ids, each with what it is waited for. Each id is there once.
    pub(crate) targets: &'a [(String, Aim)],
    /// For how long, all together.
    pub(crate) timeout: Duration,
    /// Whether it is known that they were there.
    pub(crate) was_there: bool,
    /// Whether somebody watches a terminal.
    pub(crate) is_watched: bool,
    /// As of a single wait.
    pub(crate) pace: Duration,
}

/// One that is still waited for.
struct Pending<'a> {
    place: usize,
    wait: Wait<'a>,
    last: Value,
}

/// How each ended, with its place among the targets.
type Ended = Vec<(usize, Outcome<Value>)>;

impl<'a> Several<'a> {
    /// Waits until each has ended, or, if it `stops`, until one has failed: then those that were still waited for are left out.
    pub(crate) fn run(self, stops: bool) -> Ended {
        let deadline = Instant::now() + self.timeout;
        let meter = Meter::new(self.is_watched);
        let mut ended = Ended::new();
        let mut pending: Vec<_> = (0..self.targets.len()).map(|place| self.begun(place)).collect();
        let mut trouble;
        loop {
            let began = Instant::now();
            match self.present(&pending) {
                Ok(mut present) => {
                    trouble = None;
                    let mut still = Vec::new();
                    for mut one in pending {
                        let body = present.remove(one.wait.id);
                        match look(&mut one, body) {
                            Some(over) => ended.push(over),
                            None => still.push(one),
                        }
                    }
                    pending = still;
                }
                Err(failure) if is_passing(failure.exit) && pending.iter().any(|one| one.wait.was_there) => trouble = Some(failure),
                Err(failure) => {
                    ended.extend(pending.iter().map(|one| (one.place, Err(failure.clone()))));
                    return ended;
                }
            }
            let has_failed = ended.iter().any(|(_, ended)| ended.is_err());
            if pending.is_empty() || (stops && has_failed) {
                return ended;
            }
            tell(&meter, &pending, self.targets.len());
            if Instant::now() >= deadline {
                drop(meter);
                let late = pending.iter().map(|one| (one.place, Err(one.wait.too_late(&one.last, trouble.as_ref()))));
                ended.extend(late.take(if stops { 1 } else { usize::MAX }));
                return ended;
            }
            let rest = (self.pace * PACES).saturating_sub(began.elapsed());
            std::thread::sleep(rest.min(deadline.saturating_duration_since(Instant::now())));
        }
    }

    fn begun(&self, place: usize) -> Pending<'a> {
        let Self { api, kind, targets, timeout, was_there, pace, .. } = *self;
        let (id, aim) = &targets[place];
        let wait = Wait { api, kind, id, aim: aim.clone(), timeout, was_there, is_watched: false, pace };
        Pending { place, wait, last: Value::Null }
    }

    /// The pending ones that are in the lists, by their ids.
    fn present(&self, pending: &[Pending<'_>]) -> Outcome<HashMap<String, Value>> {
        let mut found = HashMap::new();
        for some in pending.chunks(TOGETHER) {
            let ids = some.iter().map(|one| ("id", one.wait.id.to_owned()));
            let query: Vec<_> = ids.chain([("limit", TOGETHER.to_string())]).collect();
            let Value::Array(rows) = self.api.get(self.kind.path(), &query)? else {
                let message = format!("the server answered with something that is no list of {}s", self.kind.word());
                return Err(Failure::new(Exit::Server, message));
            };
            found.extend(rows.into_iter().filter_map(|row| Some((row["id"].as_str()?.to_owned(), row))));
        }
        Ok(found)
    }
}

/// Looks at one; how it ended, if it has. What no list shows is asked for by itself.
fn look(one: &mut Pending<'_>, body: Option<Value>) -> Option<(usize, Outcome<Value>)> {
    let body = match body {
        Some(body) => Ok(body),
        None => one.wait.poll(&Value::Null, Duration::ZERO, false),
    };
    let ended = match body {
        Ok(body) => {
            one.wait.was_there = true;
            one.last = body;
            match judge(one.wait.kind, &one.wait.aim, &one.last) {
                Verdict::Reached => Ok(one.last.clone()),
                Verdict::Failed(exit) => Err(one.wait.ended_badly(&one.last, exit)),
                Verdict::Going => return None,
            }
        }
        Err(failure) if failure.exit == Exit::NotFound && one.wait.was_there => one.wait.gone(&one.last),
        Err(failure) if is_passing(failure.exit) && one.wait.was_there => return None,
        Err(failure) => Err(failure),
    };
    Some((one.place, ended))
}

fn tell(meter: &Meter, pending: &[Pending<'_>], of: usize) {
    if let Some(first) = pending.first() {
        let what = first.wait.kind.call(&first.last, first.wait.id);
        let status = output::clean(first.last["status"].as_str().unwrap_or("?"));
        meter.say(&format!("{} of {of}; {what} is {status}", of - pending.len()), of - pending.len(), of);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake::{Fake, api_of};
    use serde_json::json;

    const LIST: &str = "/block/volumes?id=a&id=b&id=c&limit=200";

    fn volume(id: &str, status: &str) -> Value {
        json!({"id": id, "name": "data", "status": status})
    }

    fn check(fake: &Fake, aim: Aim, stops: bool, timeout: Duration) -> Ended {
        let api = api_of(fake);
        let targets = ["a", "b", "c"].map(|id| (id.to_owned(), aim.clone()));
        let (kind, was_there, is_watched, pace) = (Kind::Volume, false, false, Duration::ZERO);
        Several { api: &api, kind, targets: &targets, timeout, was_there, is_watched, pace }.run(stops)
    }

    const LONG: Duration = Duration::from_secs(600);

    fn available() -> Aim {
        Aim::Words(vec!["available".into()])
    }

    #[test]
    fn all_are_waited_for_in_one_request_a_round() {
        let there = |id: &str| volume(id, "available");
        let fake = Fake::new()
            .on("GET", LIST, 200, json!([there("a"), volume("b", "creating"), volume("c", "creating")]))
            .on("GET", "/block/volumes?id=b&id=c&limit=200", 503, json!({"message": "starting"}))
            .on("GET", "/block/volumes?id=b&id=c&limit=200", 200, json!([there("c"), volume("b", "creating")]))
            .on("GET", "/block/volumes?id=b&limit=200", 200, json!([there("b")]));
        let mut ended = check(&fake, available(), true, LONG);
        ended.sort_by_key(|(place, _)| *place);
        assert_eq!(ended, [(0, Ok(there("a"))), (1, Ok(there("b"))), (2, Ok(there("c")))]);
        assert_eq!(fake.seen().len(), 4);
    }

    #[test]
    fn the_first_failure_ends_it_whichever_it_is() {
        let mut failed = volume("c", "error");
        failed["statusReason"] = json!({"code": "refused", "message": "pool full"});
        let fake = Fake::new().on("GET", LIST, 200, json!([volume("a", "creating"), volume("b", "creating"), failed])).on(
            "GET",
            "/block/volumes/c/journal?since=0&limit=1000",
            200,
            json!([]),
        );
        let ended = check(&fake, available(), true, LONG);
        let [(2, Err(failure))] = &ended[..] else { panic!("{ended:?}") };
        assert_eq!((failure.exit, failure.message.as_str()), (Exit::ErrorStatus, "volume data (c) is error: pool full (refused)"));
    }

    #[test]
    fn what_a_list_leaves_out_is_asked_for() {
        let gone = json!({"code": 404, "message": "no volume"});
        let known = json!({"id": "b", "status": "deleted"});
        let fake = Fake::new()
            .on("GET", LIST, 200, json!([volume("a", "deleting")]))
            .on("GET", "/block/volumes?id=a&limit=200", 200, json!([]))
            .on("GET", "/block/volumes/a", 404, gone.clone())
            .on("GET", "/block/volumes/b", 404, gone.clone())
            .on("GET", "/block/volumes/b?waitFor=deleted&timeout=1", 200, known.clone())
            .on("GET", "/block/volumes/c", 404, gone.clone())
            .on("GET", "/block/volumes/c?waitFor=deleted&timeout=1", 404, gone);
        let mut ended = check(&fake, Aim::Gone, false, LONG);
        ended.sort_by_key(|(place, _)| *place);
        assert_eq!(ended[0], (0, Ok(json!({"id": "a", "status": "deleted"}))));
        assert_eq!(ended[1], (1, Ok(known)));
        assert_eq!(ended[2].1.as_ref().unwrap_err().exit, Exit::NotFound);
    }

    #[test]
    fn one_deadline_holds_for_all() {
        let fake = Fake::new().on("GET", LIST, 200, json!(["a", "b", "c"].map(|id| volume(id, "creating"))));
        let fake = ["a", "b", "c"]
            .iter()
            .fold(fake, |fake, id| fake.on("GET", &format!("/block/volumes/{id}/journal?since=0&limit=1000"), 200, json!([])));
        assert_eq!(check(&fake, available(), true, Duration::ZERO).len(), 1);
        let ended = check(&fake, available(), false, Duration::ZERO);
        assert_eq!(ended.iter().filter(|(_, ended)| ended.as_ref().is_err_and(|one| one.exit == Exit::TimedOut)).count(), 3);
    }

    #[test]
    fn nobody_there_ends_it_at_once() {
        let fake = Fake::new().on("GET", LIST, 503, json!({"message": "starting"}));
        assert!(check(&fake, available(), true, LONG).iter().all(|(_, ended)| ended.as_ref().unwrap_err().exit == Exit::Server));
    }
}
