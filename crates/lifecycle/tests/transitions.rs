//! Every command in every phase, and every answer to what each phase owes, as rows of text.
//!
//! A phase is reached by a path in the small language of [`input`] (`.` is a new volume). Under it stands what each input leads
//! to: the phase of the resource afterwards, `nothing`, `refused` where the status does not allow it, or the obstacle by name.

use lifecycle::{
    AttachmentId, AttachmentPhase, Bytes, Capabilities, Command, Connection, Content, Context, ErrorCause, ExportLook, ExportSeen,
    Facts, HostId, Input, Look, Making, Mode, Obstacle, Outcome, Reason, Rejection, Seen, SnapshotId, SnapshotPhase, Subject,
    Timestamp, Volume, VolumeId, VolumePhase, Work,
};
use std::collections::BTreeMap;
use uuid::Uuid;

const NOW: Timestamp = Timestamp(0);
const ID: VolumeId = VolumeId(Uuid::from_u128(1));
const CLONE: VolumeId = VolumeId(Uuid::from_u128(2));
const SNAP: SnapshotId = SnapshotId(Uuid::from_u128(3));
const OTHER_SNAP: SnapshotId = SnapshotId(Uuid::from_u128(4));
const HELD: AttachmentId = AttachmentId(Uuid::from_u128(5));
const OTHER: AttachmentId = AttachmentId(Uuid::from_u128(6));
const CONTEXT: Context =
    Context { now: NOW, capabilities: Capabilities { attached_snapshot: false, online_extend: true }, retired: false };

const VOLUME: Subject = Subject::Volume(ID);
const SNAPSHOT: Subject = Subject::Snapshot(SNAP);
const ATTACHMENT: Subject = Subject::Attachment(HELD);

/// The input that a word stands for.
fn input(volume: &Volume, word: &str) -> Input {
    let seen = |what| Look { volume: seen(what), snapshots: BTreeMap::from([(SNAP, seen(what))]), stranger: None };
    let looked = |what| Input::Report { work: Work::Look, outcome: Outcome::Done(Facts::Look(seen(what))) };
    if let Some(command) = command(word) {
        return Input::Command(command);
    }
    match word.split_once(' ') {
        Some(("look", what)) => looked(what),
        Some(("drift", what)) => Input::Drift(seen(what)),
        Some(("export", what)) => {
            let seen = if what == "absent" { ExportSeen::Absent } else { ExportSeen::Serving(Connection::default()) };
            Input::Report { work: Work::LookExport(HELD), outcome: Outcome::Done(Facts::Export(seen)) }
        }
        _ if word == "stranger" => Input::Drift(Look { stranger: Some("somebody".into()), ..seen("whole") }),
        _ if word == "lost" => Input::Exports(BTreeMap::new()),
        _ => answer(volume, word),
    }
}

fn command(word: &str) -> Option<Command> {
    let attach = |id| Command::Attach { id, host: HostId(Uuid::nil()), mode: Mode::ReadWrite };
    Some(match word {
        "extend" => Command::Extend { size: Bytes(3) },
        "delete" => Command::Delete { cascade: false },
        "cascade" => Command::Delete { cascade: true },
        "forget" => Command::Forget,
        "retry" => Command::Retry(VOLUME),
        "recover" => Command::Recover(VOLUME),
        "attach" => attach(HELD),
        "attach another" => attach(OTHER),
        "detach" => Command::Detach { id: HELD, force: false },
        "force" => Command::Detach { id: HELD, force: true },
        "reattach" => Command::Retry(ATTACHMENT),
        "recover it" => Command::Recover(ATTACHMENT),
        "snapshot" => Command::Snapshot { id: SNAP },
        "snapshot another" => Command::Snapshot { id: OTHER_SNAP },
        "drop" => Command::DeleteSnapshot { id: SNAP },
        "clone" => Command::Clone { snapshot: SNAP, clone: CLONE, size: Bytes(3) },
        "retake" => Command::Retry(SNAPSHOT),
        "recover copy" => Command::Recover(SNAPSHOT),
        _ => return None,
    })
}

fn seen(what: &str) -> Seen {
    match what {
        "absent" => Seen::Absent,
        "part" => Seen::Present { size: Bytes(2), content: Content::Partial },
        "whole" => whole(2),
        "larger" => whole(3),
        "smaller" => whole(1),
        "blind" => Seen::Unknown,
        other => panic!("nothing is seen as {other}"),
    }
}

const fn whole(size: u64) -> Seen {
    Seen::Present { size: Bytes(size), content: Content::Whole }
}

/// An answer to the first work that is owed and need not wait.
fn answer(volume: &Volume, word: &str) -> Input {
    let owed = volume.owed(CONTEXT.capabilities).into_iter().find(|owed| owed.waiting.is_none());
    let work = owed.unwrap_or_else(|| panic!("nothing is owed that could be {word}")).work;
    let facts = match work {
        Work::Create | Work::Snapshot(_) => Facts::Object(whole(2)),
        Work::Extend { target } => Facts::Object(whole(target.0)),
        Work::CleanUp | Work::Delete | Work::CleanUpSnapshot(_) | Work::DeleteSnapshot(_) => Facts::Object(Seen::Absent),
        Work::Export(_) => Facts::Export(ExportSeen::Serving(Connection::default())),
        Work::Unexport { .. } => Facts::Export(ExportSeen::Absent),
        Work::Look => Facts::Look(Look { volume: seen("whole"), ..Look::default() }),
        Work::LookExport(_) => Facts::Export(ExportSeen::Serving(Connection::default())),
    };
    let outcome = match word {
        "done" => Outcome::Done(facts),
        "odd" => Outcome::Done(Facts::Object(whole(1))),
        "refused" => Outcome::Refused("no".into()),
        "failed" => Outcome::Failed("not now".into()),
        "unknown" => Outcome::Unknown("no answer".into()),
        "late" => return Input::Deadline(work),
        other => panic!("{other} is no word of this language"),
    };
    Input::Report { work, outcome }
}

fn step(volume: &Volume, word: &str) -> Result<Volume, Box<Rejection>> {
    let transitions = volume.decide(&input(volume, word), &CONTEXT)?;
    Ok(volume.apply(&transitions, NOW))
}

fn reach(path: &str) -> Volume {
    let new = Volume::create(ID, Bytes(2), false, None, NOW);
    let words = path.split(", ").filter(|word| !word.is_empty());
    words.fold(new, |volume, word| step(&volume, word).unwrap_or_else(|no| panic!("{path}: {word}: {no}")))
}

/// What `word` leads to, as the phase of `subject`.
fn leads_to(volume: &Volume, word: &str, subject: Subject) -> String {
    match step(volume, word) {
        Err(rejection) if rejection.obstacle == Obstacle::Status => "refused".into(),
        Err(rejection) => name(&format!("{:?}", rejection.obstacle)),
        Ok(after) if after == *volume => "nothing".into(),
        Ok(after) => phase(&after, subject),
    }
}

/// The first word of a value's debug form.
fn name(debug: &str) -> String {
    debug.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

fn phase(volume: &Volume, subject: Subject) -> String {
    match subject {
        Subject::Volume(_) => {
            let recovering =
                if volume.operation(subject).is_some_and(|running| running.kind.word() == "recover") { "+look" } else { "" };
            format!("{}{recovering}", volume_phase(volume))
        }
        Subject::Snapshot(id) => volume.snapshots().get(&id).map_or("none".into(), |held| {
            let look = if held.recover.is_some() { "+look" } else { "" };
            let pins = if held.pins.is_empty() { "" } else { "+pin" };
            format!("{}{look}{pins}", snapshot_phase(&held.phase))
        }),
        Subject::Attachment(id) => volume.attachments().get(&id).map_or("none".into(), |held| attachment_phase(&held.phase)),
    }
}

fn volume_phase(volume: &Volume) -> String {
    match volume.phase() {
        VolumePhase::Creating(making) => made(making),
        VolumePhase::Ready => volume.status().expect("a ready volume has a status").word().into(),
        VolumePhase::Extending { target } => format!("extending({})", target.0),
        VolumePhase::Deleting => "deleting".into(),
        VolumePhase::Error { cause, reason } => failed(*cause, reason),
        VolumePhase::ErrorExtending { target, reason } => format!("errorExtending({},{:?})", target.0, reason.code),
        VolumePhase::ErrorDeleting { reason } => format!("errorDeleting({:?})", reason.code),
        VolumePhase::Gone { forgotten } => if *forgotten { "forgotten" } else { "gone" }.into(),
    }
}

fn made(making: &Making) -> String {
    match making {
        Making::Make => "creating".into(),
        Making::CleanUp(reason) => format!("cleaning({:?})", reason.code),
    }
}

fn failed(cause: ErrorCause, reason: &Reason) -> String {
    format!("error({cause:?},{:?})", reason.code)
}

fn snapshot_phase(phase: &SnapshotPhase) -> String {
    match phase {
        SnapshotPhase::Creating(making) => made(making),
        SnapshotPhase::Available => "available".into(),
        SnapshotPhase::Error { cause, reason } => failed(*cause, reason),
        SnapshotPhase::Deleting => "deleting".into(),
        SnapshotPhase::ErrorDeleting { reason } => format!("errorDeleting({:?})", reason.code),
        SnapshotPhase::Deleted => "deleted".into(),
    }
}

fn attachment_phase(phase: &AttachmentPhase) -> String {
    match phase {
        AttachmentPhase::Attaching { again } => if again.is_some() { "attaching(again)" } else { "attaching" }.into(),
        AttachmentPhase::RollingBack { .. } => "rollingBack".into(),
        AttachmentPhase::Attached { .. } => "attached".into(),
        AttachmentPhase::Detaching { force, .. } => if *force { "detaching(force)" } else { "detaching" }.into(),
        AttachmentPhase::Detached => "detached".into(),
        AttachmentPhase::ErrorAttaching { .. } => "errorAttaching".into(),
        AttachmentPhase::ErrorDetaching { reason, look, .. } => {
            let look = match look {
                ExportLook::Owed => "owed",
                ExportLook::Recover(_) => "recover",
                ExportLook::Done => "seen",
            };
            format!("errorDetaching({:?},{look})", reason.code)
        }
    }
}

/// Holds a table against the rules: after each path, what each word leads to, as `result <- words`. Shows all of it where it
/// is wrong.
#[track_caller]
fn check(subject: Subject, words: &[&str], table: &str) {
    let lines = || table.lines().filter(|line| !line.trim().is_empty());
    let mut now = String::new();
    for path in lines().filter(|line| !line.contains("<-")).map(str::trim) {
        let volume = reach(path.trim_matches('.'));
        now.push_str(&format!("        {path}\n"));
        let mut results: Vec<(String, Vec<&str>)> = vec![];
        for word in words {
            let result = leads_to(&volume, word, subject);
            match results.iter_mut().find(|(known, _)| *known == result) {
                Some((_, led)) => led.push(word),
                None => results.push((result, vec![word])),
            }
        }
        results.iter().for_each(|(result, led)| now.push_str(&format!("            {result} <- {}\n", led.join(", "))));
    }
    let kept: String = lines().map(|line| format!("{line}\n")).collect();
    assert!(kept == now, "the rules now say:\n{now}");
}

#[test]
fn volume_commands() {
    let words = ["extend", "delete", "cascade", "forget", "retry", "recover", "attach another", "snapshot another"];
    check(
        VOLUME,
        &words,
        "
        .
            refused <- extend, retry, recover, attach another, snapshot another
            deleting <- delete, cascade
            NotRetired <- forget
        refused
            refused <- extend, retry, recover, attach another, snapshot another
            deleting <- delete, cascade
            NotRetired <- forget
        done
            extending(3) <- extend
            deleting <- delete, cascade
            NotRetired <- forget
            refused <- retry, recover
            attaching <- attach another
            available <- snapshot another
        done, extend
            refused <- extend, delete, cascade, retry, recover, attach another, snapshot another
            NotRetired <- forget
        done, delete
            refused <- extend, retry, recover, attach another, snapshot another
            nothing <- delete, cascade
            NotRetired <- forget
        done, delete, done
            refused <- extend, retry, recover, attach another, snapshot another
            nothing <- delete, cascade
            NotRetired <- forget
        late
            refused <- extend, attach another, snapshot another
            deleting <- delete, cascade
            NotRetired <- forget
            creating <- retry
            error(Creation,OutcomeUnknown)+look <- recover
        late, look absent
            refused <- extend, attach another, snapshot another
            deleting <- delete, cascade
            NotRetired <- forget
            creating <- retry
            error(Creation,ProvenAbsent)+look <- recover
        late, recover
            refused <- extend, attach another, snapshot another
            deleting <- delete, cascade
            NotRetired <- forget
            Recovering <- retry
            nothing <- recover
        done, drift absent
            refused <- extend, attach another, snapshot another
            deleting <- delete, cascade
            NotRetired <- forget
            WouldReplaceData <- retry
            error(Missing,BackendMissing)+look <- recover
        done, drift part
            refused <- extend, attach another, snapshot another
            deleting <- delete, cascade
            NotRetired <- forget
            WouldReplaceData <- retry
            error(Damaged,BackendDamaged)+look <- recover
        done, drift larger
            extending(3) <- extend, retry
            deleting <- delete, cascade
            NotRetired <- forget
            errorExtending(3,SizeDiffers)+look <- recover
            attaching <- attach another
            refused <- snapshot another
        done, extend, late
            extending(3) <- extend, retry
            deleting <- delete, cascade
            NotRetired <- forget
            errorExtending(3,OutcomeUnknown)+look <- recover
            SizeUnproven <- attach another
            refused <- snapshot another
        done, extend, late, look whole
            extending(3) <- extend, retry
            deleting <- delete, cascade
            NotRetired <- forget
            errorExtending(3,ProvenPresent)+look <- recover
            attaching <- attach another
            refused <- snapshot another
        done, delete, late
            refused <- extend, attach another, snapshot another
            deleting <- delete, cascade, retry
            NotRetired <- forget
            errorDeleting(OutcomeUnknown)+look <- recover
        done, delete, late, recover
            refused <- extend, attach another, snapshot another
            deleting <- delete, cascade, retry
            NotRetired <- forget
            nothing <- recover
        done, stranger
            Stranger <- extend, delete, cascade, attach another, snapshot another
            NotRetired <- forget
            refused <- retry
            inUse+look <- recover
        done, stranger, recover
            Recovering <- extend, attach another, snapshot another
            Stranger <- delete, cascade
            NotRetired <- forget
            refused <- retry
            nothing <- recover
        done, attach
            refused <- extend, retry, recover, snapshot another
            Attached <- delete, cascade, attach another
            NotRetired <- forget
        done, attach, refused
            refused <- extend, retry, recover, snapshot another
            Attached <- delete, cascade, attach another
            NotRetired <- forget
        done, attach, refused, done
            extending(3) <- extend
            deleting <- delete, cascade
            NotRetired <- forget
            refused <- retry, recover
            attaching <- attach another
            available <- snapshot another
        done, attach, done
            extending(3) <- extend
            Attached <- delete, cascade, attach another
            NotRetired <- forget
            refused <- retry, recover
            Writer <- snapshot another
        done, attach, done, detach
            refused <- extend, retry, recover, snapshot another
            Attached <- delete, cascade, attach another
            NotRetired <- forget
        done, attach, done, detach, done
            extending(3) <- extend
            deleting <- delete, cascade
            NotRetired <- forget
            refused <- retry, recover
            attaching <- attach another
            available <- snapshot another
        done, attach, done, detach, refused
            extending(3) <- extend
            Attached <- delete, cascade, attach another
            NotRetired <- forget
            refused <- retry, recover
            Writer <- snapshot another
        done, attach, done, drift absent
            refused <- extend, attach another, snapshot another
            Attached <- delete, cascade
            NotRetired <- forget
            WouldReplaceData <- retry
            error(Missing,BackendMissing)+look <- recover
        done, snapshot
            SnapshotBusy <- extend
            Snapshots <- delete
            deleting <- cascade
            NotRetired <- forget
            refused <- retry, recover
            attaching <- attach another
            available <- snapshot another
        done, snapshot, done
            extending(3) <- extend
            Snapshots <- delete
            deleting <- cascade
            NotRetired <- forget
            refused <- retry, recover
            attaching <- attach another
            available <- snapshot another
        done, snapshot, done, clone
            extending(3) <- extend
            Pinned <- delete, cascade
            NotRetired <- forget
            refused <- retry, recover
            attaching <- attach another
            available <- snapshot another
        done, snapshot, done, drop
            SnapshotBusy <- extend
            Snapshots <- delete
            deleting <- cascade
            NotRetired <- forget
            refused <- retry, recover
            attaching <- attach another
            available <- snapshot another
        done, snapshot, done, drop, done
            extending(3) <- extend
            deleting <- delete, cascade
            NotRetired <- forget
            refused <- retry, recover
            attaching <- attach another
            available <- snapshot another
        done, snapshot, done, drop, refused
            extending(3) <- extend
            Snapshots <- delete
            deleting <- cascade
            NotRetired <- forget
            refused <- retry, recover
            attaching <- attach another
            available <- snapshot another
        done, snapshot, done, cascade
            refused <- extend, retry, recover, attach another, snapshot another
            nothing <- delete, cascade
            NotRetired <- forget
        ",
    );
}

#[test]
fn attachment_commands() {
    check(
        ATTACHMENT,
        &["attach", "detach", "force", "reattach", "recover it"],
        "
        done
            attaching <- attach
            Missing <- detach, force, reattach, recover it
        done, attach
            Taken <- attach
            detaching <- detach
            detaching(force) <- force
            refused <- reattach, recover it
        done, attach, refused
            Taken <- attach
            detaching <- detach
            detaching(force) <- force
            refused <- reattach, recover it
        done, attach, refused, done
            Taken <- attach
            detached <- detach, force
            attaching <- reattach
            refused <- recover it
        done, attach, done
            Taken <- attach
            detaching <- detach
            detaching(force) <- force
            refused <- reattach, recover it
        done, attach, done, lost
            Taken <- attach
            detaching <- detach
            detaching(force) <- force
            refused <- reattach, recover it
        done, attach, done, detach
            Taken <- attach
            nothing <- detach
            detaching(force) <- force
            refused <- reattach, recover it
        done, attach, done, force
            Taken <- attach
            nothing <- detach, force
            refused <- reattach, recover it
        done, attach, done, detach, done
            Taken <- attach
            nothing <- detach, force
            refused <- reattach, recover it
        done, attach, done, detach, refused
            Taken <- attach
            detaching <- detach, reattach
            detaching(force) <- force
            errorDetaching(ClientsConnected,recover) <- recover it
        done, attach, done, detach, refused, export serving
            Taken <- attach
            detaching <- detach, reattach
            detaching(force) <- force
            errorDetaching(ClientsConnected,recover) <- recover it
        done, attach, done, detach, refused, recover it
            Taken <- attach
            detaching <- detach, reattach
            detaching(force) <- force
            nothing <- recover it
        done, attach, late
            Taken <- attach
            detaching <- detach, reattach
            detaching(force) <- force
            errorDetaching(OutcomeUnknown,recover) <- recover it
        done, attach, refused, done, stranger
            Taken <- attach
            detached <- detach, force
            Stranger <- reattach
            refused <- recover it
        ",
    );
}

#[test]
fn snapshot_commands() {
    check(
        SNAPSHOT,
        &["snapshot", "drop", "clone", "retake", "recover copy", "delete", "cascade"],
        "
        done
            creating <- snapshot
            Missing <- drop, clone, retake, recover copy
            none <- delete, cascade
        done, snapshot
            Taken <- snapshot
            deleting <- drop, cascade
            refused <- clone, retake, recover copy
            Snapshots <- delete
        done, snapshot, refused
            Taken <- snapshot
            deleting <- drop, cascade
            refused <- clone, retake, recover copy
            Snapshots <- delete
        done, snapshot, late
            Taken <- snapshot
            deleting <- drop, cascade
            refused <- clone
            creating <- retake
            error(Creation,OutcomeUnknown)+look <- recover copy
            Snapshots <- delete
        done, snapshot, late, recover copy
            Taken <- snapshot
            deleting <- drop, cascade
            refused <- clone
            Recovering <- retake
            nothing <- recover copy
            Snapshots <- delete
        done, snapshot, done
            Taken <- snapshot
            deleting <- drop, cascade
            available+pin <- clone
            refused <- retake, recover copy
            Snapshots <- delete
        done, snapshot, done, clone
            Taken <- snapshot
            Pinned <- drop, delete, cascade
            nothing <- clone
            refused <- retake, recover copy
        done, snapshot, done, drift absent
            Taken <- snapshot
            deleting <- drop, cascade
            refused <- clone
            WouldReplaceData <- retake
            error(Missing,BackendMissing)+look <- recover copy
            Snapshots <- delete
        done, snapshot, done, drop
            Taken <- snapshot
            nothing <- drop
            refused <- clone, retake, recover copy
            Snapshots <- delete
            deleting <- cascade
        done, snapshot, done, drop, late
            Taken <- snapshot
            deleting <- drop, retake, cascade
            refused <- clone
            errorDeleting(OutcomeUnknown)+look <- recover copy
            Snapshots <- delete
        done, snapshot, done, drop, late, recover copy
            Taken <- snapshot
            deleting <- drop, retake, cascade
            refused <- clone
            nothing <- recover copy
            Snapshots <- delete
        done, snapshot, done, drop, done
            Taken <- snapshot
            nothing <- drop
            refused <- clone, retake, recover copy
            deleted <- delete, cascade
        done, snapshot, refused, done, attach
            Taken <- snapshot
            deleting <- drop
            refused <- clone, retake
            error(Creation,Refused)+look <- recover copy
            Attached <- delete, cascade
        ",
    );
}

#[test]
fn volume_answers() {
    check(
        VOLUME,
        &["done", "odd", "refused", "failed", "unknown", "late"],
        "
        .
            available <- done
            cleaning(SizeDiffers) <- odd
            cleaning(Refused) <- refused
            nothing <- failed, unknown
            error(Creation,OutcomeUnknown) <- late
        refused
            error(Creation,Refused) <- done
            nothing <- odd, failed, unknown
            error(Creation,LeftoversRemain) <- refused
            error(Creation,OutcomeUnknown) <- late
        done, extend
            available <- done
            error(Damaged,BackendDamaged) <- odd
            errorExtending(3,Refused) <- refused
            nothing <- failed, unknown
            errorExtending(3,OutcomeUnknown) <- late
        done, delete
            gone <- done
            nothing <- odd, failed, unknown
            errorDeleting(Refused) <- refused
            errorDeleting(OutcomeUnknown) <- late
        done, snapshot, done, cascade
            deleting <- done
            nothing <- odd, failed, unknown
            errorDeleting(SnapshotRemains) <- refused, late
        late
            error(Creation,ProvenPresent) <- done
            nothing <- odd, refused, failed, unknown, late
        done, stranger, recover
            available <- done
            nothing <- odd, refused, failed, unknown
            inUse <- late
        done, extend, late
            errorExtending(3,ProvenPresent) <- done
            nothing <- odd, refused, failed, unknown, late
        done, extend, late, recover
            available <- done
            nothing <- odd, refused, failed, unknown
            errorExtending(3,OutcomeUnknown) <- late
        done, delete, late
            errorDeleting(ProvenPresent) <- done
            nothing <- odd, refused, failed, unknown, late
        done, delete, late, recover
            available <- done
            nothing <- odd, refused, failed, unknown
            errorDeleting(OutcomeUnknown) <- late
        ",
    );
}

#[test]
fn attachment_answers() {
    check(
        ATTACHMENT,
        &["done", "odd", "refused", "failed", "unknown", "late"],
        "
        done, attach
            attached <- done
            nothing <- odd, failed, unknown
            rollingBack <- refused
            errorDetaching(OutcomeUnknown,owed) <- late
        done, attach, refused
            errorAttaching <- done
            nothing <- odd, failed, unknown
            errorDetaching(Refused,owed) <- refused
            errorDetaching(OutcomeUnknown,owed) <- late
        done, attach, done, lost
            attached <- done
            nothing <- odd, failed, unknown, late
            rollingBack <- refused
        done, attach, done, detach
            detached <- done
            nothing <- odd, failed, unknown
            errorDetaching(ClientsConnected,owed) <- refused
            errorDetaching(OutcomeUnknown,owed) <- late
        done, attach, done, force
            detached <- done
            nothing <- odd, failed, unknown
            errorDetaching(Refused,owed) <- refused
            errorDetaching(OutcomeUnknown,owed) <- late
        done, attach, late
            errorDetaching(ProvenPresent,seen) <- done
            nothing <- odd, refused, failed, unknown, late
        done, attach, late, recover it
            attached <- done
            nothing <- odd, refused, failed, unknown
            errorDetaching(OutcomeUnknown,owed) <- late
        ",
    );
}

#[test]
fn snapshot_answers() {
    check(
        SNAPSHOT,
        &["done", "odd", "refused", "failed", "unknown", "late"],
        "
        done, snapshot
            available <- done
            cleaning(SizeDiffers) <- odd
            cleaning(Refused) <- refused
            nothing <- failed, unknown
            error(Creation,OutcomeUnknown) <- late
        done, snapshot, refused
            error(Creation,Refused) <- done
            nothing <- odd, failed, unknown
            error(Creation,LeftoversRemain) <- refused
            error(Creation,OutcomeUnknown) <- late
        done, snapshot, done, drop
            deleted <- done
            nothing <- odd, failed, unknown
            errorDeleting(Refused) <- refused
            errorDeleting(OutcomeUnknown) <- late
        done, snapshot, late
            error(Creation,ProvenAbsent) <- done
            nothing <- odd, refused, failed, unknown, late
        done, snapshot, late, recover copy
            error(Creation,ProvenAbsent) <- done
            nothing <- odd, refused, failed, unknown
            error(Creation,OutcomeUnknown) <- late
        done, snapshot, done, drop, late, recover copy
            deleted <- done
            nothing <- odd, refused, failed, unknown
            errorDeleting(OutcomeUnknown) <- late
        ",
    );
}

#[test]
fn volume_looks() {
    check(
        VOLUME,
        &["look absent", "look part", "look whole", "look larger", "look smaller", "look blind", "drift absent", "drift larger"],
        "
        .
            nothing <- look absent, look part, look larger, look smaller, look blind, drift absent, drift larger
            available <- look whole
        refused
            error(Creation,Refused) <- look absent
            nothing <- look part, look whole, look larger, look smaller, look blind, drift absent, drift larger
        done
            error(Missing,BackendMissing) <- look absent, drift absent
            error(Damaged,BackendDamaged) <- look part, look smaller
            nothing <- look whole, look blind
            errorExtending(3,SizeDiffers) <- look larger, drift larger
        done, extend
            error(Missing,BackendMissing) <- look absent
            error(Damaged,BackendDamaged) <- look part, look smaller
            nothing <- look whole, look blind, drift absent, drift larger
            available <- look larger
        done, delete
            gone <- look absent
            nothing <- look part, look whole, look larger, look smaller, look blind, drift absent, drift larger
        late
            error(Creation,ProvenAbsent) <- look absent
            error(Creation,ProvenPresent) <- look part, look whole, look larger, look smaller
            nothing <- look blind, drift absent, drift larger
        late, recover
            error(Creation,ProvenAbsent) <- look absent
            error(Creation,ProvenPresent) <- look part, look smaller
            available <- look whole
            errorExtending(3,SizeDiffers) <- look larger
            nothing <- look blind, drift absent, drift larger
        done, drift absent
            nothing <- look absent, look blind, drift absent, drift larger
            error(Missing,BackendMissing) <- look part, look whole, look larger, look smaller
        done, drift absent, recover
            error(Missing,BackendMissing) <- look absent
            error(Damaged,BackendDamaged) <- look part, look smaller
            available <- look whole
            errorExtending(3,SizeDiffers) <- look larger
            nothing <- look blind, drift absent, drift larger
        done, drift larger
            error(Missing,BackendMissing) <- look absent, drift absent
            error(Damaged,BackendDamaged) <- look part, look smaller
            errorExtending(3,SizeDiffers) <- look whole
            nothing <- look larger, look blind, drift larger
        done, drift larger, recover
            error(Missing,BackendMissing) <- look absent
            error(Damaged,BackendDamaged) <- look part, look smaller
            available <- look whole, look larger
            nothing <- look blind, drift absent, drift larger
        done, extend, late
            error(Missing,BackendMissing) <- look absent, drift absent
            error(Damaged,BackendDamaged) <- look part, look smaller
            errorExtending(3,ProvenPresent) <- look whole, look larger
            nothing <- look blind, drift larger
        done, extend, late, recover
            error(Missing,BackendMissing) <- look absent
            error(Damaged,BackendDamaged) <- look part, look smaller
            available <- look whole, look larger
            nothing <- look blind, drift absent, drift larger
        done, delete, late
            errorDeleting(ProvenAbsent) <- look absent
            errorDeleting(ProvenPresent) <- look part, look whole, look larger, look smaller
            nothing <- look blind, drift absent, drift larger
        done, delete, late, recover
            gone <- look absent
            errorDeleting(ProvenPresent) <- look part, look smaller
            available <- look whole
            errorExtending(3,SizeDiffers) <- look larger
            nothing <- look blind, drift absent, drift larger
        ",
    );
}

#[test]
fn snapshot_looks() {
    check(
        SNAPSHOT,
        &["look absent", "look part", "look whole", "look larger", "look blind", "drift absent", "drift larger"],
        "
        done, snapshot
            creating <- look absent, look part, look larger, drift absent, drift larger
            available <- look whole
            nothing <- look blind
        done, snapshot, refused
            error(Creation,Refused) <- look absent
            cleaning(Refused) <- look part, look larger, drift absent, drift larger
            nothing <- look whole, look blind
        done, snapshot, done
            error(Missing,BackendMissing) <- look absent, drift absent
            error(Damaged,BackendDamaged) <- look part, look larger, drift larger
            nothing <- look whole, look blind
        done, snapshot, late
            error(Creation,ProvenAbsent) <- look absent
            error(Creation,ProvenPresent) <- look part, look whole, look larger
            nothing <- look blind
            error(Creation,OutcomeUnknown) <- drift absent, drift larger
        done, snapshot, late, recover copy
            error(Creation,ProvenAbsent) <- look absent
            error(Creation,ProvenPresent) <- look part, look larger
            available <- look whole
            nothing <- look blind
            error(Creation,OutcomeUnknown)+look <- drift absent, drift larger
        done, snapshot, done, drop
            deleted <- look absent
            deleting <- look part, look larger, drift absent, drift larger
            nothing <- look whole, look blind
        done, snapshot, done, drop, late
            errorDeleting(ProvenAbsent) <- look absent
            errorDeleting(ProvenPresent) <- look part, look whole, look larger
            nothing <- look blind
            errorDeleting(OutcomeUnknown) <- drift absent, drift larger
        done, snapshot, done, drop, late, recover copy
            deleted <- look absent
            errorDeleting(ProvenPresent) <- look part, look whole, look larger
            nothing <- look blind
            errorDeleting(OutcomeUnknown)+look <- drift absent, drift larger
        done, snapshot, done, drop, done
            deleted <- look absent, look part, look larger, drift absent, drift larger
            nothing <- look whole, look blind
        ",
    );
}

#[test]
fn export_looks() {
    check(
        ATTACHMENT,
        &["export absent", "export serving", "lost"],
        "
        done, attach
            nothing <- export absent, export serving, lost
        done, attach, refused
            nothing <- export absent, export serving, lost
        done, attach, done
            nothing <- export absent, export serving
            attaching(again) <- lost
        done, attach, done, detach
            nothing <- export absent, export serving, lost
        done, attach, done, detach, done
            nothing <- export absent, export serving, lost
        done, attach, late
            detached <- export absent
            errorDetaching(ProvenPresent,seen) <- export serving
            nothing <- lost
        done, attach, late, recover it
            detached <- export absent
            attached <- export serving
            nothing <- lost
        done, attach, late, export serving
            detached <- export absent
            nothing <- export serving
            errorDetaching(ProvenPresent,owed) <- lost
        ",
    );
}
