//! What is really there: objects on the backends, exports, who uses them, and the newest tokens that were seen.
//!
//! The drivers' and the exporter's contract, obeyed: this is what a call does when it acts, fully or half. How calls fail is
//! not here (`errand`). Promises are compared with this.

use super::flaws::Flaws;
use engine::ports::ExportSpec;
use engine::tokens::Tokens;
use lifecycle::{
    AttachmentId, Bytes, Capabilities, Connection, Content, ExportSeen, Facts, Look, Mode, Seen, SnapshotId, Source, Token,
    VolumeId,
};
use std::collections::{BTreeMap, BTreeSet};

/// Names an object: a volume, or a snapshot of it.
pub(crate) type Name = (VolumeId, Option<SnapshotId>);

/// An object of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    /// On which pool's backend.
    pub(crate) pool: usize,
    pub(crate) size: Bytes,
    pub(crate) whole: bool,
    /// Which data it holds: made anew it holds other data, a copy holds the same.
    pub(crate) data: u64,
    /// A copy of more than one point in time.
    pub(crate) torn: bool,
}

impl Object {
    pub(crate) const fn seen(&self) -> Seen {
        Seen::Present { size: self.size, content: if self.whole { Content::Whole } else { Content::Partial } }
    }
}

/// An export that is served.
#[derive(Clone, Debug)]
pub(crate) struct Export {
    pub(crate) spec: ExportSpec,
    pub(crate) connection: Connection,
    /// How many clients are connected.
    pub(crate) clients: u32,
}

/// What a call is to do.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    Create { size: Bytes, source: Option<Source> },
    Delete,
    Extend { size: Bytes },
    Snapshot(SnapshotId),
    DeleteSnapshot(SnapshotId),
    Export(Box<ExportSpec>),
    Unexport { force: bool },
}

/// How far a deed is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Begun, anew.
    Half,
    /// What was left of a half.
    Rest,
    /// All at once.
    Full,
}

impl Extent {
    fn is_whole(self) -> bool {
        self != Self::Half
    }
}

#[derive(Debug)]
pub(crate) struct Truth {
    pub(crate) objects: BTreeMap<Name, Object>,
    pub(crate) exports: BTreeMap<AttachmentId, Export>,
    /// Who uses a volume and is none of our exports.
    pub(crate) strangers: BTreeMap<VolumeId, String>,
    pub(crate) newest: BTreeMap<VolumeId, Token>,
    pub(crate) tokens: Tokens,
    pub(crate) capabilities: Vec<Capabilities>,
    pub(crate) flaws: Flaws,
    made: u64,
}

type Acted = Result<Facts, String>;

impl Truth {
    pub(crate) fn new(capabilities: Vec<Capabilities>, flaws: Flaws) -> Self {
        Self {
            objects: BTreeMap::new(),
            exports: BTreeMap::new(),
            strangers: BTreeMap::new(),
            newest: BTreeMap::new(),
            tokens: Tokens::default(),
            capabilities,
            flaws,
            made: 0,
        }
    }

    /// Whether a driver's call with this token may act; a newer one voids the older.
    pub(crate) fn admits(&mut self, volume: VolumeId, token: Token) -> bool {
        let newest = self.newest.entry(volume).or_default();
        let admitted = token >= *newest;
        *newest = token.max(*newest);
        admitted || self.flaws.driver_ignores_tokens
    }

    /// The same of an exporter's call.
    pub(crate) fn admits_export(&mut self, attachment: AttachmentId, token: Token) -> bool {
        self.tokens.see(attachment, token).is_ok() || self.flaws.exporter_ignores_tokens
    }

    /// Whether a driver's call with this token could act still.
    pub(crate) fn could(&self, volume: VolumeId, token: Token) -> bool {
        self.flaws.driver_ignores_tokens || self.newest.get(&volume).is_none_or(|newest| token >= *newest)
    }

    /// Does `deed`, or says why it refuses.
    pub(crate) fn act(
        &mut self,
        pool: usize,
        volume: VolumeId,
        attachment: Option<AttachmentId>,
        deed: &Deed,
        to: Extent,
    ) -> Acted {
        match deed {
            Deed::Create { size, source } => self.create(pool, volume, *size, *source, to),
            Deed::Delete => self.delete(volume, to),
            Deed::Extend { size } => self.extend(volume, *size, to),
            Deed::Snapshot(id) => self.snapshot(volume, *id, to),
            Deed::DeleteSnapshot(id) => {
                self.remove((volume, Some(*id)), to);
                Ok(self.object_facts((volume, Some(*id))))
            }
            Deed::Export(spec) => self.export(spec),
            Deed::Unexport { force } => attachment.map_or(Ok(Facts::Export(ExportSeen::Absent)), |id| self.unexport(id, *force)),
        }
    }

    fn object_facts(&self, name: Name) -> Facts {
        Facts::Object(self.objects.get(&name).map_or(Seen::Absent, Object::seen))
    }

    fn create(&mut self, pool: usize, volume: VolumeId, size: Bytes, source: Option<Source>, to: Extent) -> Acted {
        let name = (volume, None);
        match self.objects.get(&name) {
            Some(held) if held.whole && held.size == size && !self.flaws.creates_anew => return Ok(self.object_facts(name)),
            Some(held) if held.whole && held.size != size => return Err(format!("it is there already, with {}", held.size)),
            Some(_) | None => {}
        }
        let (data, torn) = match source {
            None => {
                self.made += 1;
                (self.made, false)
            }
            Some(Source { volume, snapshot }) => match self.objects.get(&(volume, Some(snapshot))) {
                Some(held) if held.whole && held.size <= size => (held.data, held.torn),
                Some(_) | None => return Err(format!("its source {snapshot} is not there")),
            },
        };
        self.objects.insert(name, Object { pool, size, whole: to.is_whole(), data, torn });
        Ok(self.object_facts(name))
    }

    fn delete(&mut self, volume: VolumeId, to: Extent) -> Acted {
        if let Some((_, Some(snapshot))) = self.objects_of(volume).map(|(name, _)| *name).find(|(_, snapshot)| snapshot.is_some()) {
            return Err(format!("its snapshot {snapshot} is there"));
        }
        if let Some(stranger) = self.strangers.get(&volume) {
            return Err(format!("{stranger} uses it"));
        }
        self.remove((volume, None), to);
        Ok(self.object_facts((volume, None)))
    }

    fn remove(&mut self, name: Name, to: Extent) {
        match (to, self.objects.get_mut(&name)) {
            (Extent::Full | Extent::Rest, _) => drop(self.objects.remove(&name)),
            (Extent::Half, Some(object)) => object.whole = false,
            (Extent::Half, None) => {}
        }
    }

    fn extend(&mut self, volume: VolumeId, size: Bytes, to: Extent) -> Acted {
        match self.objects.get_mut(&(volume, None)) {
            Some(object) if object.whole => {
                if to.is_whole() {
                    object.size = object.size.max(size);
                }
                Ok(self.object_facts((volume, None)))
            }
            Some(_) => Err("only part of it is there".into()),
            None => Err("it is not there".into()),
        }
    }

    fn snapshot(&mut self, volume: VolumeId, id: SnapshotId, to: Extent) -> Acted {
        let name = (volume, Some(id));
        let was = self.objects.get(&name).copied();
        if was.is_some_and(|held| held.whole) {
            return Ok(self.object_facts(name));
        }
        let Some(origin) = self.objects.get(&(volume, None)).copied().filter(|origin| origin.whole) else {
            return Err("its volume is not there, or not whole".into());
        };
        // Whoever goes on with a copy keeps what tore it.
        let begun_torn = to == Extent::Rest && was.is_some_and(|held| held.torn);
        let torn = origin.torn || begun_torn || self.is_written_while_copied(origin.pool, volume);
        self.objects.insert(name, Object { whole: to.is_whole(), torn, ..origin });
        Ok(self.object_facts(name))
    }

    fn is_written_while_copied(&self, pool: usize, volume: VolumeId) -> bool {
        let writes = |export: &Export| export.spec.volume == volume && export.spec.mode == Mode::ReadWrite;
        !self.capabilities[pool].attached_snapshot && self.exports.values().any(writes)
    }

    fn export(&mut self, spec: &ExportSpec) -> Acted {
        let Some(origin) = self.objects.get(&(spec.volume, None)).copied() else {
            return Err("its backing cannot be opened".into());
        };
        let data = BTreeMap::from([("export".to_owned(), spec.attachment.to_string())]);
        let connection = Connection { protocol: spec.protocol.clone(), data };
        let fresh = || Export { spec: spec.clone(), connection: connection.clone(), clients: 0 };
        let served = self.exports.entry(spec.attachment).or_insert_with(fresh).connection.clone();
        if self.is_written_while_copied(origin.pool, spec.volume) {
            let copies = self.objects.iter_mut().filter(|((of, snapshot), _)| *of == spec.volume && snapshot.is_some());
            copies.filter(|(_, copy)| !copy.whole).for_each(|(_, copy)| copy.torn = true);
        }
        Ok(Facts::Export(ExportSeen::Serving(served)))
    }

    fn unexport(&mut self, attachment: AttachmentId, force: bool) -> Acted {
        match self.exports.get(&attachment) {
            Some(export) if export.clients > 0 && !force => Err(format!("{} clients are connected", export.clients)),
            Some(export) if export.clients > 0 && self.flaws.forced_end_serves_on => Ok(Facts::Export(ExportSeen::Absent)),
            Some(_) | None => {
                self.exports.remove(&attachment);
                Ok(Facts::Export(ExportSeen::Absent))
            }
        }
    }

    /// A volume and its snapshots.
    pub(crate) fn objects_of(&self, volume: VolumeId) -> impl Iterator<Item = (&Name, &Object)> {
        self.objects.range((volume, None)..).take_while(move |((of, _), _)| *of == volume)
    }

    /// A faithful look.
    pub(crate) fn look(&self, volume: VolumeId) -> Look {
        let stranger = self.strangers.get(&volume).cloned();
        let mut look = Look { volume: Seen::Absent, stranger, ..Look::default() };
        for ((_, snapshot), object) in self.objects_of(volume) {
            match snapshot {
                Some(id) => drop(look.snapshots.insert(*id, object.seen())),
                None => look.volume = object.seen(),
            }
        }
        look
    }

    /// The attachments that a volume is served for.
    pub(crate) fn served(&self, volume: VolumeId) -> BTreeSet<AttachmentId> {
        self.exports.iter().filter(|(_, export)| export.spec.volume == volume).map(|(id, _)| *id).collect()
    }
}
