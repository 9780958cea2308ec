//! Which command lines only ask what would come of them.

use super::{AttachmentCommand, ClientCommand, HostCommand, PoolCommand, ProfileCommand, SnapshotCommand, VolumeCommand};

impl ClientCommand {
    /// Whether nothing is to be changed. Every command is named here, so that none that changes something can be forgotten.
    pub(crate) const fn is_trial(&self) -> bool {
        match self {
            Self::Volume(command) => volume(command),
            Self::Snapshot(command) => snapshot(command),
            Self::Attachment(command) => attachment(command),
            Self::Attach(args) => args.wait.trial.dry_run,
            Self::Detach(args) => args.wait.trial.dry_run,
            Self::Host(command) => host(command),
            Self::Profile(command) => profile(command),
            Self::Pool(PoolCommand::RemoveObject(args)) => args.trial.dry_run,
            Self::Pool(PoolCommand::List(_) | PoolCommand::Show(_)) => false,
            #[cfg(feature = "top")]
            Self::Top(_) => false,
            Self::Doctor(_) | Self::Wait(_) | Self::Describe(_) | Self::Watch(_) => false,
        }
    }
}

const fn volume(command: &VolumeCommand) -> bool {
    match command {
        VolumeCommand::Create(args) => args.wait.trial.dry_run,
        VolumeCommand::Update(args) => args.trial.dry_run,
        VolumeCommand::Extend(args) => args.wait.trial.dry_run,
        VolumeCommand::Delete(args) => args.wait.trial.dry_run,
        VolumeCommand::Retry(args) | VolumeCommand::Recover(args) => args.wait.trial.dry_run,
        VolumeCommand::List(_) | VolumeCommand::Show(_) | VolumeCommand::Journal(_) => false,
    }
}

const fn snapshot(command: &SnapshotCommand) -> bool {
    match command {
        SnapshotCommand::Create(args) => args.wait.trial.dry_run,
        SnapshotCommand::Update(args) => args.trial.dry_run,
        SnapshotCommand::Delete(args) => args.wait.trial.dry_run,
        SnapshotCommand::Retry(args) | SnapshotCommand::Recover(args) => args.wait.trial.dry_run,
        SnapshotCommand::List(_) | SnapshotCommand::Show(_) | SnapshotCommand::Journal(_) => false,
    }
}

const fn attachment(command: &AttachmentCommand) -> bool {
    match command {
        AttachmentCommand::Retry(args) | AttachmentCommand::Recover(args) => args.wait.trial.dry_run,
        AttachmentCommand::List(_) | AttachmentCommand::Show(_) | AttachmentCommand::Journal(_) => false,
    }
}

const fn host(command: &HostCommand) -> bool {
    match command {
        HostCommand::Create(args) => args.trial.dry_run,
        HostCommand::Update(args) => args.trial.dry_run,
        HostCommand::Delete(args) => args.trial.dry_run,
        HostCommand::List(_) | HostCommand::Show(_) => false,
    }
}

const fn profile(command: &ProfileCommand) -> bool {
    match command {
        ProfileCommand::Create(args) => args.trial.dry_run,
        ProfileCommand::Update(args) => args.trial.dry_run,
        ProfileCommand::Delete(args) => args.trial.dry_run,
        ProfileCommand::List(_) | ProfileCommand::Show(_) => false,
    }
}
