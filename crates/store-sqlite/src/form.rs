//! The stored form of the rules' values: phases, reasons, looks. Version 1.
//!
//! Not here: the rows they are part of (`record`), and any rule. Invariants:
//! - every type here is this store's own, with one conversion each way, so that a change of the rules' types is a compile error here
//!   and never a silent change of what is on disk;
//! - names are short and readable: an operator may look at a row with the sqlite3 shell;
//! - a field that is absent has its default, an unknown field is ignored: both are what lets versions of Berth read each other's
//!   records. A variant that is not known is an error, since guessing a phase would be a lie.

use engine::store::Ending;
use lifecycle::{
    AttachmentId, AttachmentPhase, Bytes, Connection, Content, ErrorCause, ExportLook, Making, Mode, OperationKind, Reason,
    ReasonCode, Seen, SnapshotId, SnapshotPhase, Subject, Timestamp, VolumeId, VolumePhase,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Mirrors an enum without data: the stored type and both conversions.
macro_rules! mirror {
    ($(#[$doc:meta])* $form:ident = $original:ident { $($variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub(crate) enum $form { $($variant,)* }

        impl From<$original> for $form {
            fn from(value: $original) -> Self {
                match value { $($original::$variant => Self::$variant,)* }
            }
        }

        impl From<$form> for $original {
            fn from(form: $form) -> Self {
                match form { $($form::$variant => Self::$variant,)* }
            }
        }
    };
}

mirror!(
    /// The kind of a reason.
    CodeForm = ReasonCode {
        Refused,
        OutcomeUnknown,
        ProvenPresent,
        ProvenAbsent,
        BackendMissing,
        BackendDamaged,
        SizeDiffers,
        LeftoversRemain,
        StrayClient,
        ClientsConnected,
        NotExported,
        SnapshotRemains,
    }
);

mirror!(
    /// How much of an object's content is there.
    ContentForm = Content {
        Whole,
        Partial,
        Unknown,
    }
);

mirror!(
    /// Why a volume is in error.
    CauseForm = ErrorCause {
        Creation,
        Missing,
        Damaged,
    }
);

mirror!(
    /// Whether a host may write.
    ModeForm = Mode {
        ReadOnly,
        ReadWrite,
    }
);

mirror!(
    /// The kind of an operation.
    OperationForm = OperationKind {
        Create,
        Extend,
        Delete,
        Recover,
        Attach,
        Detach,
    }
);

mirror!(
    /// How an operation ended.
    EndingForm = Ending {
        Done,
        Failed,
        Superseded,
    }
);

/// A reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReasonForm {
    code: CodeForm,
    message: String,
    since: i64,
}

impl From<Reason> for ReasonForm {
    fn from(reason: Reason) -> Self {
        let Reason { code, message, since } = reason;
        Self { code: code.into(), message, since: since.0 }
    }
}

impl From<ReasonForm> for Reason {
    fn from(form: ReasonForm) -> Self {
        Self { code: form.code.into(), message: form.message, since: Timestamp(form.since) }
    }
}

/// What the backend object was last seen to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum SeenForm {
    #[default]
    Unknown,
    Absent,
    Present {
        size: u64,
        content: ContentForm,
    },
}

impl SeenForm {
    /// Whether it is the default, which is not written.
    pub(crate) fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }
}

impl From<Seen> for SeenForm {
    fn from(seen: Seen) -> Self {
        match seen {
            Seen::Unknown => Self::Unknown,
            Seen::Absent => Self::Absent,
            Seen::Present { size, content } => Self::Present { size: size.0, content: content.into() },
        }
    }
}

impl From<SeenForm> for Seen {
    fn from(form: SeenForm) -> Self {
        match form {
            SeenForm::Unknown => Self::Unknown,
            SeenForm::Absent => Self::Absent,
            SeenForm::Present { size, content } => Self::Present { size: Bytes(size), content: content.into() },
        }
    }
}

/// The phase of a volume. `creating` and `cleaningUp` are the two ways of [`Making`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum VolumePhaseForm {
    Creating,
    CleaningUp { reason: ReasonForm },
    Ready,
    Extending { target: u64 },
    Deleting,
    Error { cause: CauseForm, reason: ReasonForm },
    ErrorExtending { target: u64, reason: ReasonForm },
    ErrorDeleting { reason: ReasonForm },
    Gone { forgotten: bool },
}

impl From<VolumePhase> for VolumePhaseForm {
    fn from(phase: VolumePhase) -> Self {
        match phase {
            VolumePhase::Creating(Making::Make) => Self::Creating,
            VolumePhase::Creating(Making::CleanUp(reason)) => Self::CleaningUp { reason: reason.into() },
            VolumePhase::Ready => Self::Ready,
            VolumePhase::Extending { target } => Self::Extending { target: target.0 },
            VolumePhase::Deleting => Self::Deleting,
            VolumePhase::Error { cause, reason } => Self::Error { cause: cause.into(), reason: reason.into() },
            VolumePhase::ErrorExtending { target, reason } => Self::ErrorExtending { target: target.0, reason: reason.into() },
            VolumePhase::ErrorDeleting { reason } => Self::ErrorDeleting { reason: reason.into() },
            VolumePhase::Gone { forgotten } => Self::Gone { forgotten },
        }
    }
}

impl From<VolumePhaseForm> for VolumePhase {
    fn from(form: VolumePhaseForm) -> Self {
        match form {
            VolumePhaseForm::Creating => Self::Creating(Making::Make),
            VolumePhaseForm::CleaningUp { reason } => Self::Creating(Making::CleanUp(reason.into())),
            VolumePhaseForm::Ready => Self::Ready,
            VolumePhaseForm::Extending { target } => Self::Extending { target: Bytes(target) },
            VolumePhaseForm::Deleting => Self::Deleting,
            VolumePhaseForm::Error { cause, reason } => Self::Error { cause: cause.into(), reason: reason.into() },
            VolumePhaseForm::ErrorExtending { target, reason } => {
                Self::ErrorExtending { target: Bytes(target), reason: reason.into() }
            }
            VolumePhaseForm::ErrorDeleting { reason } => Self::ErrorDeleting { reason: reason.into() },
            VolumePhaseForm::Gone { forgotten } => Self::Gone { forgotten },
        }
    }
}

/// The phase of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum SnapshotPhaseForm {
    Creating,
    CleaningUp { reason: ReasonForm },
    Available,
    Error { cause: CauseForm, reason: ReasonForm },
    Deleting,
    ErrorDeleting { reason: ReasonForm },
    Deleted,
}

impl From<SnapshotPhase> for SnapshotPhaseForm {
    fn from(phase: SnapshotPhase) -> Self {
        match phase {
            SnapshotPhase::Creating(Making::Make) => Self::Creating,
            SnapshotPhase::Creating(Making::CleanUp(reason)) => Self::CleaningUp { reason: reason.into() },
            SnapshotPhase::Available => Self::Available,
            SnapshotPhase::Error { cause, reason } => Self::Error { cause: cause.into(), reason: reason.into() },
            SnapshotPhase::Deleting => Self::Deleting,
            SnapshotPhase::ErrorDeleting { reason } => Self::ErrorDeleting { reason: reason.into() },
            SnapshotPhase::Deleted => Self::Deleted,
        }
    }
}

impl From<SnapshotPhaseForm> for SnapshotPhase {
    fn from(form: SnapshotPhaseForm) -> Self {
        match form {
            SnapshotPhaseForm::Creating => Self::Creating(Making::Make),
            SnapshotPhaseForm::CleaningUp { reason } => Self::Creating(Making::CleanUp(reason.into())),
            SnapshotPhaseForm::Available => Self::Available,
            SnapshotPhaseForm::Error { cause, reason } => Self::Error { cause: cause.into(), reason: reason.into() },
            SnapshotPhaseForm::Deleting => Self::Deleting,
            SnapshotPhaseForm::ErrorDeleting { reason } => Self::ErrorDeleting { reason: reason.into() },
            SnapshotPhaseForm::Deleted => Self::Deleted,
        }
    }
}

/// How a client reaches an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConnectionForm {
    protocol: String,
    data: BTreeMap<String, String>,
}

impl From<Connection> for ConnectionForm {
    fn from(connection: Connection) -> Self {
        let Connection { protocol, data } = connection;
        Self { protocol, data }
    }
}

impl From<ConnectionForm> for Connection {
    fn from(form: ConnectionForm) -> Self {
        Self { protocol: form.protocol, data: form.data }
    }
}

/// Whether a look at an export is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ExportLookForm {
    Owed,
    Recover(i64),
    Done,
}

impl From<ExportLook> for ExportLookForm {
    fn from(look: ExportLook) -> Self {
        match look {
            ExportLook::Owed => Self::Owed,
            ExportLook::Recover(since) => Self::Recover(since.0),
            ExportLook::Done => Self::Done,
        }
    }
}

impl From<ExportLookForm> for ExportLook {
    fn from(form: ExportLookForm) -> Self {
        match form {
            ExportLookForm::Owed => Self::Owed,
            ExportLookForm::Recover(since) => Self::Recover(Timestamp(since)),
            ExportLookForm::Done => Self::Done,
        }
    }
}

/// The phase of an attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum AttachmentPhaseForm {
    Attaching {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        again: Option<ReasonForm>,
    },
    RollingBack {
        reason: ReasonForm,
    },
    Attached {
        connection: ConnectionForm,
    },
    Detaching {
        force: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        connection: Option<ConnectionForm>,
    },
    Detached,
    ErrorAttaching {
        reason: ReasonForm,
    },
    ErrorDetaching {
        reason: ReasonForm,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        connection: Option<ConnectionForm>,
        look: ExportLookForm,
    },
}

impl From<AttachmentPhase> for AttachmentPhaseForm {
    fn from(phase: AttachmentPhase) -> Self {
        match phase {
            AttachmentPhase::Attaching { again } => Self::Attaching { again: again.map(Into::into) },
            AttachmentPhase::RollingBack { reason } => Self::RollingBack { reason: reason.into() },
            AttachmentPhase::Attached { connection } => Self::Attached { connection: connection.into() },
            AttachmentPhase::Detaching { force, connection } => Self::Detaching { force, connection: connection.map(Into::into) },
            AttachmentPhase::Detached => Self::Detached,
            AttachmentPhase::ErrorAttaching { reason } => Self::ErrorAttaching { reason: reason.into() },
            AttachmentPhase::ErrorDetaching { reason, connection, look } => {
                Self::ErrorDetaching { reason: reason.into(), connection: connection.map(Into::into), look: look.into() }
            }
        }
    }
}

impl From<AttachmentPhaseForm> for AttachmentPhase {
    fn from(form: AttachmentPhaseForm) -> Self {
        match form {
            AttachmentPhaseForm::Attaching { again } => Self::Attaching { again: again.map(Into::into) },
            AttachmentPhaseForm::RollingBack { reason } => Self::RollingBack { reason: reason.into() },
            AttachmentPhaseForm::Attached { connection } => Self::Attached { connection: connection.into() },
            AttachmentPhaseForm::Detaching { force, connection } => {
                Self::Detaching { force, connection: connection.map(Into::into) }
            }
            AttachmentPhaseForm::Detached => Self::Detached,
            AttachmentPhaseForm::ErrorAttaching { reason } => Self::ErrorAttaching { reason: reason.into() },
            AttachmentPhaseForm::ErrorDetaching { reason, connection, look } => {
                Self::ErrorDetaching { reason: reason.into(), connection: connection.map(Into::into), look: look.into() }
            }
        }
    }
}

/// The kind of a [`Subject`] as a column: 0 volume, 1 snapshot, 2 attachment; with its id.
pub(crate) fn subject_columns(subject: Subject) -> (i64, Uuid) {
    let kind = match subject {
        Subject::Volume(_) => 0,
        Subject::Snapshot(_) => 1,
        Subject::Attachment(_) => 2,
    };
    (kind, subject.id())
}

/// The subject that [`subject_columns`] stored, if the kind is one of its own.
pub(crate) fn subject_from(kind: i64, id: Uuid) -> Option<Subject> {
    match kind {
        0 => Some(Subject::Volume(VolumeId(id))),
        1 => Some(Subject::Snapshot(SnapshotId(id))),
        2 => Some(Subject::Attachment(AttachmentId(id))),
        _ => None,
    }
}
