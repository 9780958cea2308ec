//! Several exporters as the engine sees them: each is asked about the attachments that speak its protocol, so that one that
//! hangs keeps no other's work waiting.

use crate::patience::within;
use crate::ports::{Client, Exporter};
use crate::records::VolumeRecord;
use lifecycle::{AttachmentId, AttachmentPhase, Connection, ExportSeen};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The exporters of a controller. At most one speaks a protocol; of several the first is taken.
pub struct Exporters(Vec<Arc<dyn Exporter>>);

impl<E: Exporter + 'static> From<Arc<E>> for Exporters {
    fn from(only: Arc<E>) -> Self {
        Self(vec![only])
    }
}

impl From<Vec<Arc<dyn Exporter>>> for Exporters {
    fn from(all: Vec<Arc<dyn Exporter>>) -> Self {
        Self(all)
    }
}

/// What each exporter said it serves; nothing where it did not answer.
pub(crate) struct Served(Vec<Option<BTreeMap<AttachmentId, Connection>>>);

impl Exporters {
    /// Every protocol that can be asked for.
    pub(crate) fn protocols(&self) -> Vec<&'static str> {
        self.0.iter().flat_map(|exporter| exporter.protocols()).copied().collect()
    }

    pub(crate) fn all(&self) -> &[Arc<dyn Exporter>] {
        &self.0
    }

    /// Which exporter speaks `protocol`.
    fn position(&self, protocol: &str) -> Option<usize> {
        self.0.iter().position(|exporter| exporter.protocols().contains(&protocol))
    }

    /// The exporter of an attachment of this record.
    pub(crate) fn of(&self, record: &VolumeRecord, attachment: AttachmentId) -> Option<&dyn Exporter> {
        self.position(protocol(record, attachment)).map(|position| &*self.0[position])
    }

    /// Who is connected to an attachment's export; nothing if that cannot be told.
    pub(crate) async fn clients(&self, record: &VolumeRecord, attachment: AttachmentId) -> Option<Vec<Client>> {
        self.of(record, attachment)?.clients(attachment).await.ok()
    }

    /// Asks every exporter what it serves.
    pub(crate) async fn served(&self, patience: Duration) -> Served {
        let mut served = Vec::with_capacity(self.0.len());
        for exporter in &self.0 {
            served.push(within(patience, exporter.list()).await.ok().and_then(Result::ok));
        }
        Served(served)
    }

    /// Each export that was listed, with its exporter.
    pub(crate) fn each<'a>(&'a self, served: &'a Served) -> impl Iterator<Item = (&'a dyn Exporter, AttachmentId)> {
        let listed = self.0.iter().zip(&served.0);
        listed.flat_map(|(exporter, listed)| listed.iter().flat_map(|all| all.keys()).map(|id| (&**exporter, *id)))
    }

    /// Whether the exporter of an attachment answers, as far as it knows.
    pub(crate) fn answers(&self, record: &VolumeRecord, attachment: AttachmentId) -> bool {
        self.of(record, attachment).is_some_and(Exporter::answers)
    }

    /// Which of the record's attachments are exported, as far as the rules must know. An export that was not listed, or
    /// otherwise than it is recorded, is looked at once more, as it may have been made since; one that cannot be asked about counts as it was: no answer is no news.
    pub(crate) async fn of_volume(
        &self,
        record: &VolumeRecord,
        served: &Served,
        patience: Duration,
    ) -> BTreeMap<AttachmentId, Connection> {
        let mut exports = BTreeMap::new();
        for (id, attachment) in record.state.attachments() {
            let known = match &attachment.phase {
                AttachmentPhase::Attached { connection } => Some(connection),
                AttachmentPhase::ErrorDetaching { connection, .. } => connection.as_ref(),
                AttachmentPhase::Attaching { .. } | AttachmentPhase::RollingBack { .. } => continue,
                AttachmentPhase::Detaching { .. } | AttachmentPhase::Detached | AttachmentPhase::ErrorAttaching { .. } => continue,
            };
            let unknown = || known.cloned().unwrap_or_default();
            let position = self.position(protocol(record, *id));
            let Some((exporter, listed)) = position.and_then(|at| Some((&self.0[at], served.0[at].as_ref()?))) else {
                exports.insert(*id, unknown());
                continue;
            };
            // What was listed has aged. Where it differs from the record the exporter is asked once more.
            let seen = match listed.get(id).filter(|listed| known == Some(*listed)) {
                Some(connection) => ExportSeen::Serving(connection.clone()),
                None => match within(patience, exporter.inspect(*id, None)).await {
                    Ok(Ok(seen)) => seen,
                    Ok(Err(_)) | Err(_) => ExportSeen::Unknown,
                },
            };
            match seen {
                ExportSeen::Serving(connection) => drop(exports.insert(*id, connection)),
                ExportSeen::Unknown => drop(exports.insert(*id, unknown())),
                ExportSeen::Absent => {}
            }
        }
        exports
    }
}

fn protocol(record: &VolumeRecord, attachment: AttachmentId) -> &str {
    record.attachments.get(&attachment).map_or("", |about| &about.protocol)
}
