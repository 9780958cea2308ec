//! The rules as tables: `docs/lifecycle.md` and the edges of the status diagrams, computed by asking `decide`.
//!
//! - Nothing here is written by hand but the words: which command leads where, and which edges exist, is what a walk over the
//!   rules finds (`walk`), so the page cannot disagree with the code.
//! - Deterministic: the same rules give the same bytes.
//! - What a walk found is kept in `table/edges.txt`, for those who cannot wait for one; a test holds it to the rules.
//!
//! Not here: what a backend makes possible (the model, `tests/model`).

mod walk;

use crate::{AttachmentStatus, SnapshotStatus, Subject, VolumeStatus};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use walk::{Cause, Effect, Happening};

/// What has a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// A volume.
    Volume,
    /// A snapshot.
    Snapshot,
    /// An attachment.
    Attachment,
}

impl Resource {
    /// Every kind of resource.
    pub const ALL: &'static [Self] = &[Self::Volume, Self::Snapshot, Self::Attachment];

    /// Which kind `subject` is of.
    #[must_use]
    pub const fn of(subject: Subject) -> Self {
        match subject {
            Subject::Volume(_) => Self::Volume,
            Subject::Snapshot(_) => Self::Snapshot,
            Subject::Attachment(_) => Self::Attachment,
        }
    }

    /// The word people read.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Volume => "volume",
            Self::Snapshot => "snapshot",
            Self::Attachment => "attachment",
        }
    }
}

/// What kind of status it is: what may be expected of it next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Stays until somebody asks for something else, or a look shows something else.
    Stable,
    /// Work is owed; it settles in bounded time once faults stop.
    Transient,
    /// Something failed or is not as it should be; the reason tells what.
    Error,
    /// The record is a tombstone, and goes by itself.
    Final,
}

impl Class {
    /// The word people read.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Transient => "transient",
            Self::Error => "error",
            Self::Final => "final",
        }
    }
}

/// One status, as it is told to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The seed's word.
    pub word: &'static str,
    /// What may be expected of it next.
    pub class: Class,
    /// What holds while it is shown, as of the last look.
    pub promise: &'static str,
}

/// One edge of a status diagram.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// Whose status changes.
    pub resource: Resource,
    /// The status before, in the seed's word; empty where the resource comes into being.
    pub from: &'static str,
    /// The status after; empty where the resource's record ends.
    pub to: &'static str,
    /// What brings it about: commands by their word, answers as `create done`, looks as `look: absent`.
    pub causes: Vec<String>,
}

/// Every change of a status that the rules allow, in a fixed order. Takes some hundred thousand decisions (many seconds
/// unoptimised): compute it once, or take [`kept_edges`].
#[must_use]
pub fn edges() -> Vec<Edge> {
    Tables::new().edges()
}

/// What [`edges`] gives, as it was kept when this was built: at once, for a server that tells it.
///
/// A line is the resource, from, to and the causes, with a bar between any two. Source: `cargo test -p lifecycle --test page`.
#[must_use]
pub fn kept_edges() -> Vec<Edge> {
    include_str!("table/edges.txt").lines().filter_map(kept_edge).collect()
}

fn kept_edge(line: &'static str) -> Option<Edge> {
    let mut words = line.split('|');
    let resource = words.next()?;
    let resource = Resource::ALL.iter().copied().find(|known| known.word() == resource)?;
    Some(Edge { resource, from: words.next()?, to: words.next()?, causes: words.map(ToString::to_string).collect() })
}

/// The lines that [`kept_edges`] reads.
#[must_use]
pub fn edges_to_keep(edges: &[Edge]) -> String {
    let line = |edge: &Edge| format!("{}|{}|{}|{}\n", edge.resource.word(), edge.from, edge.to, edge.causes.join("|"));
    edges.iter().map(line).collect()
}

/// A diagram of one kind of resource in the notation of Mermaid.
#[must_use]
pub fn mermaid(resource: Resource, edges: &[Edge]) -> String {
    let mut text = String::from("stateDiagram-v2\n");
    let end = |status: &'static str| if status.is_empty() { "[*]" } else { status };
    for Edge { from, to, causes, .. } in edges.iter().filter(|edge| edge.resource == resource) {
        // A colon ends the arrow's ends, so none may stand in its label.
        let causes: Vec<_> = causes.iter().map(|cause| cause.replace(':', "")).collect();
        text.push_str(&format!("    {} --> {} : {}\n", end(from), end(to), causes.join(", ")));
    }
    text
}

const HEAD: &str = "\
# The lifecycle: what every status means

<!-- Generated from crates/lifecycle: `UPDATE_GOLDEN=1 cargo test -p lifecycle --test page`. Change `src/decide`, not this page. -->

A status is derived from the record, never assigned. This page is what the rules do, found by asking them: every aggregate that
they lead to was given every command, answer, look and deadline.

How to read the tables. A cell names the status right after; `same` is accepted and leaves the status; `nothing new` is accepted
because it is being done, or done, already; `—` is refused in this status. What stands after `unless` refuses it although the
status would allow it. Several statuses in a cell depend on the other attachments, on what the last look saw, or on what failed.
";

type Cells = BTreeMap<(Resource, &'static str, Cause), BTreeSet<Effect>>;

/// What a walk over the rules found.
pub struct Tables {
    direct: Cells,
    edges: BTreeMap<(Resource, &'static str, &'static str), BTreeSet<String>>,
}

impl Default for Tables {
    fn default() -> Self {
        Self::new()
    }
}

impl Tables {
    /// Walks: some hundred thousand decisions, many seconds unoptimised.
    #[must_use]
    pub fn new() -> Self {
        let mut tables = Self { direct: BTreeMap::new(), edges: BTreeMap::new() };
        walk::walk(&mut |happening| tables.note(happening));
        tables
    }

    /// The page `docs/lifecycle.md`: promises, commands, answers and diagrams, per resource.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut page = String::from(HEAD);
        for resource in Resource::ALL {
            self.section(*resource, &mut page);
        }
        page
    }

    fn note(&mut self, Happening { subject, from, cause, effect, is_direct }: Happening) {
        let resource = Resource::of(subject);
        if let Effect::Status(to) = effect
            && from != to
        {
            self.edges.entry((resource, from, to)).or_default().insert(cause.to_string());
        }
        if is_direct && !from.is_empty() {
            self.direct.entry((resource, from, cause)).or_default().insert(effect);
        }
    }

    /// Every change of a status that the rules allow, in a fixed order.
    #[must_use]
    pub fn edges(&self) -> Vec<Edge> {
        let edge = |(key, causes): (&(Resource, &'static str, &'static str), &BTreeSet<String>)| {
            let (resource, from, to) = *key;
            Edge { resource, from, to, causes: causes.iter().cloned().collect() }
        };
        self.edges.iter().map(edge).collect()
    }

    fn section(&self, resource: Resource, page: &mut String) {
        let word = resource.word();
        let article = if resource == Resource::Attachment { "an" } else { "a" };
        page.push_str(&format!("\n## {}{}\n\n### What each status promises\n\n", word[..1].to_uppercase(), &word[1..]));
        page.push_str("| status | what holds, as of the last look |\n|---|---|\n");
        for Status { word, promise, .. } in statuses(resource) {
            page.push_str(&format!("| `{word}` | {promise} |\n"));
        }
        page.push_str("\n### What each command does\n\n");
        self.commands(resource, page);
        page.push_str("\n### What each answer means\n\n");
        self.answers(resource, page);
        page.push_str("\n### Diagram\n\n");
        page.push_str(&format!("![The statuses of {article} {word}](images/lifecycle-{word}.svg)\n\n"));
        page.push_str(
            "Solid arrows are drawn one by one. A dashed one stands for all changes to its status that no solid arrow shows; the\n",
        );
        page.push_str("line below the picture names them. The same, with every cause:\n\n```mermaid\n");
        page.push_str(&mermaid(resource, &self.edges()));
        page.push_str("```\n");
    }

    fn commands(&self, resource: Resource, page: &mut String) {
        let is_command = |cause: &Cause| matches!(cause, Cause::Command(_));
        let columns: BTreeSet<&Cause> = self.keys(resource).map(|(_, cause)| cause).filter(|cause| is_command(cause)).collect();
        let head: Vec<_> = columns.iter().map(ToString::to_string).collect();
        page.push_str(&format!("| status | {} |\n|---|{}\n", head.join(" | "), "---|".repeat(head.len())));
        for Status { word: status, .. } in statuses(resource) {
            let cells: Vec<_> = columns.iter().map(|cause| self.cell(resource, status, cause)).collect();
            page.push_str(&format!("| `{status}` | {} |\n", cells.join(" | ")));
        }
    }

    fn answers(&self, resource: Resource, page: &mut String) {
        const COLUMNS: [&str; 7] = ["done", "done with another size", "absent", "serving", "refused", "failed", "deadline"];
        page.push_str(&format!("| status | owed | {} |\n|---|---|{}\n", COLUMNS.join(" | "), "---|".repeat(COLUMNS.len())));
        for Status { word: status, .. } in statuses(resource) {
            let works: BTreeSet<_> =
                self.keys(resource).filter(|(from, _)| *from == status).filter_map(|(_, cause)| work(cause)).collect();
            for work in works {
                let cells: Vec<_> =
                    COLUMNS.iter().map(|column| self.cell(resource, status, &Cause::Report(work, column))).collect();
                page.push_str(&format!("| `{status}` | {work} | {} |\n", cells.join(" | ")));
            }
        }
        page.push_str(
            "\nAn answer `unknown` means what `failed` means: the work is owed still, and driven again until its deadline.\n",
        );
        page.push_str("What looks show is in the diagram.\n");
    }

    fn keys(&self, resource: Resource) -> impl Iterator<Item = (&'static str, &Cause)> {
        self.direct.keys().filter(move |(of, ..)| *of == resource).map(|(_, from, cause)| (*from, cause))
    }

    fn cell(&self, resource: Resource, status: &'static str, cause: &Cause) -> String {
        let Some(effects) = self.direct.get(&(resource, status, cause.clone())) else { return "".into() };
        let (mut to, mut unless) = (Vec::new(), Vec::new());
        for effect in effects {
            match effect {
                Effect::Refused(why) => unless.extend((!why.is_empty()).then(|| why.clone())),
                Effect::Nothing => to.push("nothing new".to_string()),
                Effect::Status("") => to.push("gone".to_string()),
                Effect::Status(after) if *after == status => to.push("same".to_string()),
                Effect::Status(after) => to.push(format!("`{after}`")),
            }
        }
        match (to.is_empty(), unless.is_empty()) {
            (true, true) => "—".into(),
            (true, false) => format!("— ({})", unless.join("; ")),
            (false, true) => to.join(" or "),
            (false, false) => format!("{}, unless: {}", to.join(" or "), unless.join("; ")),
        }
    }
}

const fn work(cause: &Cause) -> Option<&'static str> {
    match cause {
        Cause::Report(work, _) => Some(*work),
        Cause::Command(_) | Cause::Seen(_) | Cause::Look(..) => None,
    }
}

impl core::fmt::Display for Cause {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Command(word) | Self::Seen(word) | Self::Look(word, _) => f.write_str(word),
            Self::Report(work, answer) => write!(f, "{work} {answer}"),
        }
    }
}

/// Every status of one kind of resource, in the seed's order.
#[must_use]
pub fn statuses(resource: Resource) -> Vec<Status> {
    match resource {
        Resource::Volume => VolumeStatus::ALL.iter().copied().map(volume_status).collect(),
        Resource::Snapshot => SnapshotStatus::ALL.iter().copied().map(snapshot_status).collect(),
        Resource::Attachment => AttachmentStatus::ALL.iter().copied().map(attachment_status).collect(),
    }
}

const fn volume_status(status: VolumeStatus) -> Status {
    let class = match status {
        VolumeStatus::Available | VolumeStatus::InUse => Class::Stable,
        VolumeStatus::Creating | VolumeStatus::Attaching | VolumeStatus::Detaching => Class::Transient,
        VolumeStatus::Deleting | VolumeStatus::Extending => Class::Transient,
        VolumeStatus::Error | VolumeStatus::ErrorDeleting | VolumeStatus::ErrorExtending => Class::Error,
    };
    Status { word: status.word(), class, promise: volume_promise(status) }
}

const fn snapshot_status(status: SnapshotStatus) -> Status {
    let class = match status {
        SnapshotStatus::Available => Class::Stable,
        SnapshotStatus::Creating | SnapshotStatus::Deleting => Class::Transient,
        SnapshotStatus::Error | SnapshotStatus::ErrorDeleting => Class::Error,
        SnapshotStatus::Deleted => Class::Final,
    };
    Status { word: status.word(), class, promise: snapshot_promise(status) }
}

const fn attachment_status(status: AttachmentStatus) -> Status {
    let class = match status {
        AttachmentStatus::Attached => Class::Stable,
        AttachmentStatus::Attaching => Class::Transient,
        AttachmentStatus::ErrorAttaching | AttachmentStatus::ErrorDetaching => Class::Error,
        AttachmentStatus::Detached => Class::Final,
    };
    Status { word: status.word(), class, promise: attachment_promise(status) }
}

const fn volume_promise(status: VolumeStatus) -> &'static str {
    match status {
        VolumeStatus::Creating => "nothing usable yet; it will settle in `available` or `error`",
        VolumeStatus::Available => {
            "the backend volume exists, its content is whole, it has exactly the recorded size, it is exported to nobody, and no \
             call that could change any of this can still act"
        }
        VolumeStatus::Attaching => "whole, of the recorded size; at least one attachment is being connected, or connected again",
        VolumeStatus::Detaching => "whole, of the recorded size; at least one attachment is being released, none connected",
        VolumeStatus::InUse => {
            "whole, of the recorded size; at least one attachment is, or may be, exported, or somebody unknown uses it (the reason \
             says so)"
        }
        VolumeStatus::Deleting => "being removed; nothing is attached",
        VolumeStatus::Error => {
            "creation failed (leftovers removed, or the reason says that they may not be), or the backend volume was found missing \
             or damaged"
        }
        VolumeStatus::ErrorDeleting => "removal failed: the data may be partly gone; nothing is attached",
        VolumeStatus::ErrorExtending => {
            "an extend failed, or the size is not what it should be; the data is intact, and never smaller than recorded"
        }
        VolumeStatus::Extending => "of the old or the new size; no data is lost; it will settle",
    }
}

const fn snapshot_promise(status: SnapshotStatus) -> &'static str {
    match status {
        SnapshotStatus::Creating => "not usable yet; it will settle in `available` or `error`",
        SnapshotStatus::Available => "a complete copy of one point in time exists",
        SnapshotStatus::Deleting => "being removed",
        SnapshotStatus::Error => {
            "creation failed (leftovers removed, or the reason says not), or the copy was found missing or damaged"
        }
        SnapshotStatus::Deleted => "nothing is left; the record is a tombstone",
        SnapshotStatus::ErrorDeleting => "removal failed; it may be partly gone",
    }
}

const fn attachment_promise(status: AttachmentStatus) -> &'static str {
    match status {
        AttachmentStatus::Attached => {
            "exported to exactly the host named, with the connection shown; or being released (its operation says so)"
        }
        AttachmentStatus::Attaching => "being exported, exported again, or rolled back",
        AttachmentStatus::Detached => "not exported, and no call can export it; the record is a tombstone",
        AttachmentStatus::ErrorAttaching => "failed, and provably not exported",
        AttachmentStatus::ErrorDetaching => "the export may still be there: counts as in use until proven otherwise",
    }
}
