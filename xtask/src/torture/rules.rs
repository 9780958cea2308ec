//! The published rules as a tiny model: what must, must not, or may be accepted in a state.
//!
//! Written from the lifecycle page, not from `crates/lifecycle`, so that a rule which is wrong there is not wrong here in the same way.
//! What depends on facts that the journal does not tell (a snapshot pinned by a clone, a look that runs) may be either.

use super::claim::State;
use super::history::Ask;

/// What the rules say of a request in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is accepted.
    Must,
    /// It is refused.
    MustNot,
    /// Either, for reasons that are not seen here.
    May,
}

use Verdict::{May, Must, MustNot};

/// What the rules say. Reading is no command.
pub(super) fn judge(state: &State, ask: &Ask) -> Verdict {
    let Some(word) = state.word.as_deref() else {
        return if matches!(ask, Ask::Create { .. }) { Must } else { MustNot };
    };
    match ask {
        Ask::Create { .. } | Ask::Read { .. } => May,
        Ask::Clone { snapshot, .. } => if_is(state.snapshots.get(snapshot).map(String::as_str) == Some("available"), May),
        Ask::Extend { size, .. } => extend(state, word, *size),
        Ask::Delete { cascade, .. } => delete(state, word, *cascade),
        Ask::Attach { .. } => attach(state, word),
        Ask::Detach { attachment, .. } => if_is(state.attachments.contains_key(attachment), May),
        Ask::Snapshot { .. } => match word {
            "available" => Must,
            "inUse" if state.live().next().is_none() => May,
            // A pool without reflinks copies, and nobody may write meanwhile.
            _ => MustNot,
        },
        Ask::DeleteSnapshot { snapshot, .. } => if_is(state.snapshots.contains_key(snapshot), May),
        Ask::Retry { .. } => if_is(word.starts_with("error"), May),
        Ask::Recover { .. } => if_is(word.starts_with("error") || word == "inUse", May),
    }
}

const fn if_is(is: bool, then: Verdict) -> Verdict {
    if is { then } else { MustNot }
}

fn extend(state: &State, word: &str, size: u64) -> Verdict {
    let is_busy = state.snapshots.values().any(|word| ["creating", "deleting"].contains(&word.as_str()));
    match word {
        "available" | "inUse" if is_busy => MustNot,
        "available" | "inUse" => match state.size {
            Some(now) if size <= now => MustNot,
            Some(_) if word == "available" => Must,
            Some(_) | None => May,
        },
        "errorExtending" => May,
        _ => MustNot,
    }
}

fn delete(state: &State, word: &str, cascade: bool) -> Verdict {
    let has_snapshots = state.kept().next().is_some();
    match word {
        "deleting" => Must,
        "extending" => MustNot,
        _ if state.live().next().is_some() => MustNot,
        _ if has_snapshots && !cascade => MustNot,
        // A snapshot may be pinned by a clone that is being made.
        _ if has_snapshots => May,
        "available" | "creating" => Must,
        _ => May,
    }
}

/// At most one writer, unless the volume may be attached many times.
fn attach(state: &State, word: &str) -> Verdict {
    let is_held = state.live().next().is_some() && !state.multi;
    match word {
        _ if is_held => MustNot,
        "available" => Must,
        "inUse" | "attaching" | "detaching" | "errorExtending" => May,
        _ => MustNot,
    }
}

/// Whether an accepted request had nothing to do in this state, so that the journal need not name it.
pub(super) fn is_done_already(state: &State, ask: &Ask) -> bool {
    match ask {
        Ask::Delete { .. } => state.word.as_deref().is_none_or(|word| word == "deleting"),
        Ask::Detach { attachment, .. } => {
            state.attachments.get(attachment).is_some_and(|held| held.leaves || held.word == "detached")
        }
        Ask::DeleteSnapshot { snapshot, .. } => {
            state.snapshots.get(snapshot).is_some_and(|word| ["deleting", "deleted"].contains(&word.as_str()))
        }
        // One that runs already is not begun again.
        Ask::Recover { .. } => true,
        Ask::Create { .. } | Ask::Clone { .. } | Ask::Extend { .. } | Ask::Attach { .. } => false,
        Ask::Snapshot { .. } | Ask::Retry { .. } | Ask::Read { .. } => false,
    }
}

/// Whether "not found" is true in this state: there never was such a thing, it is gone, or it is a tombstone. Those are kept for an hour
/// by the wall clock, which jumps here, and only so many of a volume.
pub(super) fn may_be_missing(state: &State, ask: &Ask) -> bool {
    let has_ended = |word: Option<&str>| word.is_none_or(|word| ["detached", "deleted"].contains(&word));
    state.word.is_none()
        || match ask {
            Ask::Detach { attachment, .. } => has_ended(state.word_of("attachment", attachment)),
            Ask::DeleteSnapshot { snapshot, .. } | Ask::Clone { snapshot, .. } => has_ended(state.word_of("snapshot", snapshot)),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn available() -> State {
        State { word: Some("available".into()), size: Some(2), ..State::default() }
    }

    #[test]
    fn the_rules_tell_apart_what_must_from_what_must_not() {
        let (volume, host) = ("v".to_owned(), "h".to_owned());
        let larger = Ask::Extend { volume: volume.clone(), size: 3 };
        let equal = Ask::Extend { volume: volume.clone(), size: 2 };
        assert_eq!([judge(&available(), &larger), judge(&available(), &equal)], [Must, MustNot]);
        assert_eq!(judge(&State::default(), &larger), MustNot);
        let attach = Ask::Attach { volume, host };
        let mut held = available();
        let attachment = super::super::claim::Attachment { word: "attached".into(), leaves: false };
        held.attachments.insert("a".into(), attachment);
        held.word = Some("inUse".into());
        assert_eq!([judge(&available(), &attach), judge(&held, &attach)], [Must, MustNot]);
        held.multi = true;
        assert_eq!(judge(&held, &attach), May);
    }
}
