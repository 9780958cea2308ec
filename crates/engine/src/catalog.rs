//! Hosts and profiles: small records that tenants and administrators keep, with no lifecycle of their own.

use crate::engine::{DEFAULT_PROFILE, Engine, STALE_RETRIES, WORDS_MAX, not_found};
use crate::records::{About, HostRecord, Key, ProfileRecord, Record};
use crate::rehearsal::rehearse;
use crate::requests::{Caller, HostFields, ProfileFields, Refusal};
use crate::shared::{refusal, unavailable};
use crate::store::{Change, Commit, CommitError, Expected, Field, Filter, Item, Kind, ListQuery, Touched, Versioned};
use lifecycle::{HostId, ProfileId};

impl Engine {
    /// Makes a host.
    ///
    /// # Errors
    /// [`Refusal::Conflict`] if the name is taken.
    pub async fn create_host(&self, caller: &Caller, fields: HostFields) -> Result<HostRecord, Refusal> {
        let id = HostId(self.shared.settings.ids.next());
        let about = About { created_at: self.shared.clock.now(), ..About::default() };
        let mut record = HostRecord {
            id,
            tenant: caller.tenant.clone(),
            about,
            ip: String::new(),
            port: None,
            access_mode: String::new(),
            os_type: String::new(),
            username: String::new(),
            zones: None,
            initiators: None,
        };
        fill_host(&mut record, fields);
        record.about.revision =
            self.put(caller, Key::Host(id), Expected::Absent, Some(Record::Host(record.clone()))).await.map_err(refusal)?;
        Ok(record)
    }

    /// A host.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] also for another tenant's, unless the caller is an administrator.
    pub async fn host(&self, caller: &Caller, id: HostId) -> Result<HostRecord, Refusal> {
        self.host_version(caller, id).await.map(|found| found.record)
    }

    async fn host_version(&self, caller: &Caller, id: HostId) -> Result<Versioned<HostRecord>, Refusal> {
        match self.shared.store.read(Key::Host(id)).await.map_err(unavailable)? {
            Some(Versioned { record: Record::Host(record), version }) if caller.is_admin || caller.tenant == record.tenant => {
                Ok(Versioned { record, version })
            }
            Some(_) | None => Err(not_found("host", id)),
        }
    }

    /// Changes a host.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`Refusal::Conflict`] if the new name is taken.
    pub async fn update_host(&self, caller: &Caller, id: HostId, fields: HostFields) -> Result<HostRecord, Refusal> {
        for _ in 0..STALE_RETRIES {
            let Versioned { mut record, version } = self.host_version(caller, id).await?;
            let reached = (record.ip.clone(), record.initiators.clone());
            fill_host(&mut record, fields.clone());
            if reached != (record.ip.clone(), record.initiators.clone()) {
                self.unattached(id).await?;
            }
            record.about.updated_at = Some(self.shared.clock.now());
            match self.put(caller, Key::Host(id), Expected::Version(version), Some(Record::Host(record.clone()))).await {
                Ok(_) if caller.dry_run => return Ok(record),
                Ok(revision) => {
                    record.about.revision = revision;
                    return Ok(record);
                }
                Err(CommitError::Stale(_)) => {}
                Err(error) => return Err(refusal(error)),
            }
        }
        Err(Refusal::Unavailable(format!("host {id} is changed too often by others; try again")))
    }

    /// Who may connect to an export is settled when it is made: neither the address nor the names of a host change under one.
    async fn unattached(&self, id: HostId) -> Result<(), Refusal> {
        match self.shared.store.counted(Key::Host(id)).await.map_err(unavailable)? {
            0 => Ok(()),
            used => Err(Refusal::Conflict(format!(
                "the address and the initiators of host {id} cannot change while {used} attachments are served to it; detach them first"
            ))),
        }
    }

    /// Removes a host that no attachment names.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`Refusal::Conflict`] while attachments name it.
    pub async fn delete_host(&self, caller: &Caller, id: HostId) -> Result<(), Refusal> {
        let found = self.host_version(caller, id).await?;
        self.put(caller, Key::Host(id), Expected::Version(found.version), None).await.map(drop).map_err(refusal)
    }

    /// Makes a profile.
    ///
    /// # Errors
    /// [`Refusal::Conflict`] if the name is taken, [`Refusal::Forbidden`] for tenants.
    pub async fn create_profile(&self, caller: &Caller, fields: ProfileFields) -> Result<ProfileRecord, Refusal> {
        administrator(caller)?;
        let id = ProfileId(self.shared.settings.ids.next());
        self.insert_profile(caller, id, fields).await.map_err(refusal)
    }

    async fn insert_profile(&self, caller: &Caller, id: ProfileId, fields: ProfileFields) -> Result<ProfileRecord, CommitError> {
        let about = About { created_at: self.shared.clock.now(), ..About::default() };
        let mut record =
            ProfileRecord { id, about, storage_type: "block".into(), properties: Default::default(), custom: Default::default() };
        fill_profile(&mut record, fields);
        record.about.revision = self.put(caller, Key::Profile(id), Expected::Absent, Some(Record::Profile(record.clone()))).await?;
        Ok(record)
    }

    /// A profile.
    ///
    /// # Errors
    /// [`Refusal::NotFound`].
    pub async fn profile(&self, id: ProfileId) -> Result<ProfileRecord, Refusal> {
        self.profile_version(id).await.map(|found| found.record)
    }

    async fn profile_version(&self, id: ProfileId) -> Result<Versioned<ProfileRecord>, Refusal> {
        match self.shared.store.read(Key::Profile(id)).await.map_err(unavailable)? {
            Some(Versioned { record: Record::Profile(record), version }) => Ok(Versioned { record, version }),
            Some(_) | None => Err(not_found("profile", id)),
        }
    }

    /// Changes a profile.
    ///
    /// # Errors
    /// As [`Engine::create_profile`], and [`Refusal::NotFound`].
    pub async fn update_profile(&self, caller: &Caller, id: ProfileId, fields: ProfileFields) -> Result<ProfileRecord, Refusal> {
        administrator(caller)?;
        for _ in 0..STALE_RETRIES {
            let Versioned { mut record, version } = self.profile_version(id).await?;
            fill_profile(&mut record, fields.clone());
            if record.custom.len() > WORDS_MAX {
                return Err(Refusal::BadReference(format!("at most {WORDS_MAX} custom properties are kept; remove some first")));
            }
            record.about.updated_at = Some(self.shared.clock.now());
            match self.put(caller, Key::Profile(id), Expected::Version(version), Some(Record::Profile(record.clone()))).await {
                Ok(_) if caller.dry_run => return Ok(record),
                Ok(revision) => {
                    record.about.revision = revision;
                    return Ok(record);
                }
                Err(CommitError::Stale(_)) => {}
                Err(error) => return Err(refusal(error)),
            }
        }
        Err(Refusal::Unavailable(format!("profile {id} is changed too often by others; try again")))
    }

    /// Removes a profile that no volume has.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`Refusal::Conflict`] while volumes have it, [`Refusal::Forbidden`] for tenants.
    pub async fn delete_profile(&self, caller: &Caller, id: ProfileId) -> Result<(), Refusal> {
        administrator(caller)?;
        let found = self.profile_version(id).await?;
        self.put(caller, Key::Profile(id), Expected::Version(found.version), None).await.map(drop).map_err(refusal)
    }

    /// The block profile with this name.
    pub(crate) async fn profile_named(&self, name: &str) -> Result<Option<ProfileId>, Refusal> {
        let query = ListQuery {
            filters: vec![Filter { field: Field::Name, values: vec![name.to_owned()] }],
            limit: 1,
            ..ListQuery::all(Kind::Profile)
        };
        let mut batches = self.shared.store.list(query).await.map_err(unavailable)?;
        let Some(batch) = batches.recv().await else { return Ok(None) };
        let named = batch.map_err(unavailable)?.into_iter().find_map(|item| match item {
            Item::Other(record) => match *record {
                Record::Profile(profile) if profile.storage_type == "block" => Some(profile.id),
                Record::Profile(_) | Record::Volume(_) | Record::Host(_) | Record::Pool(_) => None,
            },
            Item::Volume(_) | Item::Snapshot(..) | Item::Attachment(..) => None,
        });
        Ok(named)
    }

    /// The profile of a volume that asks for none.
    pub(crate) async fn default_profile(&self) -> Result<ProfileId, Refusal> {
        let memo = &self.shared.default_profile;
        if let Some(known) = memo.get() {
            return Ok(known);
        }
        let since = memo.reading();
        let found = self.profile_named(DEFAULT_PROFILE).await?;
        let found = found
            .ok_or_else(|| Refusal::BadReference(format!("there is no profile named {DEFAULT_PROFILE}; name one by its id")))?;
        memo.keep(&since, found);
        Ok(found)
    }

    pub(crate) async fn ensure_default_profile(&self) -> Result<(), Refusal> {
        if self.profile_named(DEFAULT_PROFILE).await?.is_some() {
            return Ok(());
        }
        let fields = ProfileFields {
            name: Some(DEFAULT_PROFILE.into()),
            description: Some("what a volume gets that asks for no profile".into()),
            ..ProfileFields::default()
        };
        match self.insert_profile(&Caller::default(), ProfileId(self.shared.settings.ids.next()), fields).await {
            // An administrator gave the name to a profile of another storage type: theirs stands.
            Ok(_) | Err(CommitError::NameTaken(_)) => Ok(()),
            Err(error) => Err(refusal(error)),
        }
    }

    /// Commits a record, or its end; of a dry run only looks whether that would go through. The revision that it has then.
    async fn put(&self, caller: &Caller, key: Key, expected: Expected, record: Option<Record>) -> Result<u64, CommitError> {
        let unused = record.is_none();
        let change = Change { key, expected, record, touched: Touched::default(), unused };
        let commit = Commit { changes: vec![change], ..Commit::default() };
        if caller.dry_run {
            return rehearse(&*self.shared.store, &commit).await.map(|()| 0);
        }
        let is_profile = matches!(key, Key::Profile(_));
        if is_profile {
            self.shared.default_profile.changing();
        }
        let committed = self.shared.store.commit(commit).await;
        if is_profile && !matches!(committed, Err(CommitError::Unknown(_))) {
            self.shared.default_profile.changed();
        }
        if matches!(key, Key::Host(_)) && matches!(committed, Ok(_) | Err(CommitError::Unknown(_))) {
            self.shared.news.hosts_changed();
        }
        committed.map(|committed| committed.revision)
    }
}

fn administrator(caller: &Caller) -> Result<(), Refusal> {
    if caller.is_admin { Ok(()) } else { Err(Refusal::Forbidden("changing profiles")) }
}

fn fill_host(record: &mut HostRecord, fields: HostFields) {
    let HostFields { name, ip, port, access_mode, os_type, username, zones, initiators } = fields;
    set(&mut record.about.name, name);
    set(&mut record.ip, ip);
    set(&mut record.access_mode, access_mode);
    set(&mut record.os_type, os_type);
    set(&mut record.username, username);
    record.port = port.or(record.port);
    record.zones = zones.or_else(|| record.zones.take());
    record.initiators = initiators.or_else(|| record.initiators.take());
}

fn fill_profile(record: &mut ProfileRecord, fields: ProfileFields) {
    let ProfileFields { name, description, storage_type, properties, custom, remove_custom } = fields;
    set(&mut record.about.name, name);
    set(&mut record.about.description, description);
    set(&mut record.storage_type, storage_type);
    record.properties.extend(properties.unwrap_or_default());
    record.custom.extend(custom.unwrap_or_default());
    record.custom.retain(|key, _| !remove_custom.contains(key));
}

fn set(field: &mut String, value: Option<String>) {
    if let Some(value) = value {
        *field = value;
    }
}
