//! About how much memory records take, in bytes. Tenants choose how long their words are, and how many there are.

use engine::records::{About, AttachmentAbout, Record, VolumeRecord};

/// What a record, a snapshot or an attachment takes beside its words.
pub(crate) const PART_BYTES: usize = 768;

/// Of a volume with its parts.
pub(crate) fn of_volume(record: &VolumeRecord) -> usize {
    let attachment = |held: &AttachmentAbout| words(&held.about) + held.mountpoint.len() + held.protocol.len();
    let own = words(&record.about) + record.tenant.len() + record.zone.len();
    let snapshots: usize = record.snapshots.values().map(|snapshot| words(&snapshot.about)).sum();
    let attachments: usize = record.attachments.values().map(attachment).sum();
    let parts = 1 + record.state.snapshots().len() + record.state.attachments().len();
    parts * PART_BYTES + own + snapshots + attachments
}

/// Of any record.
pub(crate) fn of_record(record: &Record) -> usize {
    let each = |words: &[String]| words.iter().map(|word| size_of::<String>() + word.len()).sum::<usize>();
    let pair = |one: &str, other: &str| 2 * size_of::<String>() + one.len() + other.len();
    let own = match record {
        Record::Volume(volume) => return of_volume(volume),
        Record::Host(host) => {
            let names = host.initiators.iter().flatten().map(|one| pair(&one.port_name, &one.protocol));
            words(&host.about) + each(host.zones.as_deref().unwrap_or_default()) + names.sum::<usize>()
        }
        Record::Profile(profile) => {
            let pairs = profile.properties.iter().chain(&profile.custom).map(|(key, word)| pair(key, word));
            words(&profile.about) + pairs.sum::<usize>()
        }
        Record::Pool(pool) => words(&pool.about),
    };
    PART_BYTES + own
}

fn words(about: &About) -> usize {
    let metadata = about.metadata.iter().map(|(key, word)| key.len() + word.len() + size_of::<(String, String)>());
    about.name.len() + about.description.len() + metadata.sum::<usize>()
}
