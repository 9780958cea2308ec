//! Whether all that was answered can be true together: the history against the journals.
//!
//! The controller claims an order: the revisions of its journal. So nothing needs to be searched, as a checker of linearizability
//! that gets no order must (exponential in what overlaps, or memoised per volume): the claimed order either explains every answer or
//! it does not. That is stronger too, as it also holds the journal to the answers, and revisions to real time across all volumes. What
//! is checked:
//!
//! - an accepted request is exactly one step (or had nothing to do in a state within its window), a refused one is none, one whose
//!   answer was lost is at most one, and no step names a request that nobody sent;
//! - a request that was answered before another was sent comes before it in the claimed order, over all volumes;
//! - an accepted request was allowed in the very state before its step; a refused one, and one that was told "not found", must have
//!   been refusable in some state that the volume had between its sending and its answer; so must the status that a refusal names;
//! - what was read is exactly the state at the revision that was read, within its window, and never goes back.

use super::claim::Claim;
use super::history::{Answer, Ask, Asked};
use super::rules::{Verdict, is_done_already, judge, may_be_missing};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Everything that contradicts something else.
pub(super) fn contradictions(asked: &[Asked], claims: &[Claim]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for claim in claims {
        found.extend(claim.gaps.iter().map(|gap| format!("journal of {}: {gap}", claim.volume)));
    }
    let steps = steps(claims);
    let known: BTreeSet<&str> = asked.iter().map(|asked| asked.id.as_str()).collect();
    for (request, revisions) in steps.iter().filter(|(request, _)| !known.contains(*request)) {
        found.push(format!("revisions {revisions:?} name request {request}, which nobody sent"));
    }
    found.extend(asked.iter().filter_map(|one| counted(one, steps.get(one.id.as_str())).map(|why| tell(one, &why))));
    found.extend(out_of_order(asked, &steps));
    let by_volume: BTreeMap<&str, &Claim> = claims.iter().map(|claim| (claim.volume.as_str(), claim)).collect();
    for (volume, of_it) in per_volume(asked) {
        let Some(claim) = by_volume.get(volume) else {
            found.push(format!("volume {volume} was asked for {} times, and has no journal", of_it.len()));
            continue;
        };
        found.extend(of_it.iter().filter_map(|one| explained(one, &of_it, claim, &steps).map(|why| tell(one, &why))));
    }
    found
}

fn tell(asked: &Asked, why: &str) -> String {
    format!("{why}: {asked:?}")
}

/// The revisions at which each request shows in the journals.
fn steps(claims: &[Claim]) -> BTreeMap<&str, BTreeSet<u64>> {
    let mut steps: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for step in claims.iter().flat_map(|claim| &claim.steps).filter(|step| !step.request.is_empty()) {
        steps.entry(&step.request).or_default().insert(step.revision);
    }
    steps
}

/// Whether it was done as often as it was answered to be.
fn counted(asked: &Asked, revisions: Option<&BTreeSet<u64>>) -> Option<String> {
    let count = revisions.map_or(0, BTreeSet::len);
    let first = revisions.and_then(|all| all.first().copied());
    match &asked.answer {
        _ if count > 1 => Some(format!("it was done {count} times, at {revisions:?}")),
        Answer::Accepted { id: Some(_), .. } | Answer::Repeated if count == 0 => Some("it was acknowledged and is lost".into()),
        Answer::Accepted { revision: Some(told), .. } if first.is_some_and(|first| *told < first) => {
            Some(format!("it was answered at revision {told} and done at {first:?}"))
        }
        // A later revision is no lie: others may have changed it before the answer was read.
        Answer::Accepted { id: Some(_), revision: None } if asked.tries == 1 => Some("it was answered without a revision".into()),
        Answer::Refused { .. } | Answer::Shown { .. } if count > 0 => Some(format!("it was refused, and done at {first:?}")),
        Answer::Refused { code, .. } if *code >= 500 => Some("the server failed inside".into()),
        _ => None,
    }
}

/// Requests whose order in real time is not their order in the journals.
fn out_of_order(asked: &[Asked], steps: &BTreeMap<&str, BTreeSet<u64>>) -> Vec<String> {
    let revision = |one: &Asked| steps.get(one.id.as_str()).and_then(|all| all.first().copied());
    let mut done: Vec<(Instant, u64, &str)> = asked
        .iter()
        .filter(|one| !matches!(one.answer, Answer::Unknown))
        .filter_map(|one| Some((one.answered, revision(one)?, one.id.as_str())))
        .collect();
    done.sort_unstable();
    let (mut found, mut newest, mut next) = (Vec::new(), (0, ""), done.iter().peekable());
    for one in asked {
        while let Some((_, revision, id)) = next.next_if(|(answered, ..)| *answered < one.sent) {
            newest = newest.max((*revision, *id));
        }
        match revision(one) {
            Some(revision) if revision < newest.0 => {
                found.push(tell(
                    one,
                    &format!("it is revision {revision}, but {} was answered before it as {}", newest.1, newest.0),
                ));
            }
            Some(_) | None => {}
        }
    }
    found
}

fn per_volume(asked: &[Asked]) -> BTreeMap<&str, Vec<&Asked>> {
    let mut all: BTreeMap<&str, Vec<&Asked>> = BTreeMap::new();
    for one in asked {
        let volume = match (&one.ask, &one.answer) {
            (Ask::Create { .. }, Answer::Accepted { id, .. }) => id.as_deref(),
            (ask, _) => ask.volume(),
        };
        if let Some(volume) = volume {
            all.entry(volume).or_default().push(one);
        }
    }
    all
}

/// The states, as indices into those of the claim, that the volume can have had while this was under way: from the newest step that
/// was known to somebody before it was sent, to the last before one that was sent after it was answered.
fn window(asked: &Asked, of_it: &[&Asked], claim: &Claim) -> (usize, usize) {
    let (mut from, mut to) = (0, claim.states.len() - 1);
    for other in of_it.iter().filter(|other| other.id != asked.id) {
        let step = claim.step_of(&other.id);
        if other.answered < asked.sent {
            let read = match &other.answer {
                Answer::Shown { revision, .. } => claim.until(*revision),
                _ => 0,
            };
            let done = step.filter(|_| !matches!(other.answer, Answer::Unknown)).map_or(0, |step| step + 1);
            from = from.max(read).max(done);
        } else if let Some(step) = step.filter(|_| other.sent > asked.answered) {
            to = to.min(step);
        }
    }
    (from, to)
}

/// Why the answer cannot have been true, if it cannot.
fn explained(asked: &Asked, of_it: &[&Asked], claim: &Claim, steps: &BTreeMap<&str, BTreeSet<u64>>) -> Option<String> {
    let (from, to) = window(asked, of_it, claim);
    if from > to {
        return Some(format!("no state can explain it: states {from} to {to}"));
    }
    let states = &claim.states[from..=to];
    match &asked.answer {
        Answer::Shown { revision, status } => {
            let (first, last) = claim.read_at(*revision);
            let word = claim.states[first].word.as_deref();
            if word != Some(status) {
                return Some(format!("at revision {revision} it was {word:?}"));
            }
            (last < from || first > to).then(|| format!("it read states {first} to {last}, which were none of {from} to {to}"))
        }
        Answer::Accepted { .. } if !steps.contains_key(asked.id.as_str()) => {
            let is_done = states.iter().any(|state| is_done_already(state, &asked.ask));
            (!is_done).then(|| "it was acknowledged and is lost".to_owned())
        }
        Answer::Accepted { .. } => {
            let Some(before) = claim.step_of(&asked.id).map(|step| &claim.states[step]) else {
                // What clones is a step of the new volume's journal, not of this one.
                let is_never = states.iter().all(|state| judge(state, &asked.ask) == Verdict::MustNot);
                return is_never.then(|| format!("it was accepted against the rules in all of {states:?}"));
            };
            (judge(before, &asked.ask) == Verdict::MustNot).then(|| format!("it was accepted against the rules in {before:?}"))
        }
        Answer::Refused { code: 404, .. } => {
            let is_missing = states.iter().any(|state| may_be_missing(state, &asked.ask));
            (!is_missing).then(|| "it was not found, and was there all the time".to_owned())
        }
        Answer::Refused { kind, status, .. } if kind == "not-allowed-now" => refused(asked, states, status.as_deref()),
        Answer::Refused { .. } | Answer::Repeated | Answer::Unknown => None,
    }
}

fn refused(asked: &Asked, states: &[super::claim::State], status: Option<&str>) -> Option<String> {
    if states.iter().all(|state| judge(state, &asked.ask) == Verdict::Must) {
        return Some(format!("it was refused, and was allowed in each of {} states", states.len()));
    }
    let (kind, id) = match &asked.ask {
        Ask::Detach { attachment, .. } => ("attachment", attachment.as_str()),
        Ask::DeleteSnapshot { snapshot, .. } | Ask::Clone { snapshot, .. } => ("snapshot", snapshot.as_str()),
        _ => ("volume", ""),
    };
    let is_true = states.iter().any(|state| state.word_of(kind, id) == status);
    (!is_true).then(|| format!("it was told to be {status:?}, which it was in none of {} states", states.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::claim::{State, Step};
    use std::time::Duration;

    fn asked(id: &str, ask: Ask, at: u64, answer: Answer) -> Asked {
        // One beginning for all, so that times can be compared.
        static BEGUN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        let sent = *BEGUN.get_or_init(Instant::now) + Duration::from_secs(at);
        Asked { id: id.into(), ask, sent, answered: sent + Duration::from_millis(500), tries: 1, answer }
    }

    fn claim(steps: &[(u64, &str, &str)]) -> Claim {
        let mut claim = Claim { volume: "v".into(), states: vec![State::default()], ..Claim::default() };
        for (revision, request, word) in steps {
            claim.steps.push(Step { revision: *revision, request: (*request).into(), is_own: true });
            let word = (*word != "deleted").then(|| (*word).to_owned());
            claim.states.push(State { word, size: Some(1), ..State::default() });
        }
        claim
    }

    fn accepted(id: Option<&str>, revision: u64) -> Answer {
        Answer::Accepted { id: id.map(str::to_owned), revision: Some(revision) }
    }

    fn shown(revision: u64, status: &str) -> Answer {
        Answer::Shown { revision, status: status.into() }
    }

    fn made() -> Asked {
        asked("a", Ask::Create { size: 1, multi: false }, 0, accepted(Some("v"), 1))
    }

    fn read(at: u64, answer: Answer) -> Asked {
        asked("r", Ask::Read { volume: "v".into() }, at, answer)
    }

    fn extend(id: &str, at: u64, answer: Answer) -> Asked {
        asked(id, Ask::Extend { volume: "v".into(), size: 2 }, at, answer)
    }

    const LIFE: &[(u64, &str, &str)] = &[(1, "a", "creating"), (2, "", "available"), (3, "b", "extending"), (4, "", "available")];

    /// Whether exactly this is found, or nothing.
    fn check(history: &[Asked], steps: &[(u64, &str, &str)], expected: &str) {
        let found = contradictions(history, &[claim(steps)]);
        match expected {
            "" => assert_eq!(found, [""; 0]),
            words => assert!(found.iter().any(|told| told.contains(words)), "{words} is not among {found:?}"),
        }
    }

    #[test]
    fn a_true_history_is_explained() {
        check(&[made(), extend("b", 1, accepted(None, 3)), read(2, shown(4, "available"))], LIFE, "");
        check(&[made(), extend("b", 1, Answer::Unknown)], LIFE, "");
        check(&[made(), extend("b", 1, Answer::Unknown)], &LIFE[..2], "");
    }

    #[test]
    fn what_was_acknowledged_must_be_there_once() {
        check(&[made(), extend("b", 1, accepted(None, 3))], &LIFE[..2], "is lost");
        check(&[made()], LIFE, "which nobody sent");
        let twice = [LIFE, &[(5, "b", "extending")]].concat();
        check(&[made(), extend("b", 1, Answer::Unknown)], &twice, "done 2 times");
        let refused = Answer::Refused { code: 409, kind: "not-allowed-now".into(), status: None, message: String::new() };
        check(&[made(), extend("b", 1, refused)], LIFE, "was refused, and done");
    }

    #[test]
    fn a_read_is_a_state_of_its_time() {
        check(&[made(), extend("b", 1, accepted(None, 3)), read(2, shown(2, "available"))], LIFE, "none of");
        check(&[made(), extend("b", 1, accepted(None, 3)), read(2, shown(4, "inUse"))], LIFE, "at revision 4 it was");
    }

    #[test]
    fn a_refusal_must_have_had_its_reason() {
        let refused = |status: &str| Answer::Refused {
            code: 409,
            kind: "not-allowed-now".into(),
            status: Some(status.into()),
            message: "".into(),
        };
        let history = [made(), read(1, shown(2, "available")), extend("c", 2, refused("available"))];
        check(&history, &LIFE[..2], "was allowed in each");
        let history = [made(), extend("b", 1, accepted(None, 3)), extend("c", 2, refused("extending"))];
        check(&history, LIFE, "");
        let history = [made(), extend("b", 1, accepted(None, 3)), extend("c", 2, refused("inUse"))];
        check(&history, LIFE, "which it was in none");
    }

    #[test]
    fn real_time_is_the_order_of_revisions() {
        let later = asked("b", Ask::Create { size: 1, multi: false }, 1, accepted(Some("w"), 1));
        let mut other = claim(&[(1, "b", "creating")]);
        other.volume = "w".into();
        let mut first = made();
        first.answer = accepted(Some("v"), 2);
        let found = contradictions(&[first, later], &[claim(&[(2, "a", "creating")]), other]);
        assert!(found.iter().any(|told| told.contains("was answered before it")), "{found:?}");
    }
}
