//! One reader's life: what is now or what it has missed, then what comes, until it goes or the controller stops.
//!
//! - Its tray gathers from before it looks: nothing falls between what it saw and what it is told.
//! - An event that is older than what was seen is passed over: of one resource the revisions only increase.
//! - What overflowed is read from the journal, behind the last place that was sent.

use super::ask::{Since, Wanted, gone};
use super::desk::{Change, Desk, Taken, Tray};
use super::event::{About, Event, Format, host_event, place, pool_event};
use super::feed::whole;
use crate::Api;
use crate::error::ApiError;
use axum::body::Bytes;
use engine::Follower;
use engine::requests::Caller;
use engine::store::{Field, Filter, Head, Item, Kind, ListQuery, Mark, StoreError};
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How often a reader is told up to where it knows everything: long beside the cost, short beside what proxies take for silence.
const BOOKMARK_EVERY: Duration = Duration::from_secs(15);
/// How large a chunk may become before it is sent, in bytes: some events share a write, and the first does not wait for all.
const CHUNK: usize = 32 << 10;
/// How many changes are taken from the tray at once.
const TAKEN: usize = 64;
/// How many entries of the journal are read at once.
const PAGE: usize = 512;
/// How long a connection may take nothing at all before it is given up.
const STALLED_AFTER: Duration = Duration::from_secs(60);
/// How long to wait before a store that could not answer is asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// See the module.
pub(super) struct Reader {
    api: Api,
    caller: Caller,
    format: Format,
    sender: mpsc::Sender<Bytes>,
    desk: Arc<Desk>,
    number: u64,
    tray: Arc<Tray>,
    follower: Follower,
    epoch: String,
    /// What is looked for in the journal first, up to where the tray gathers.
    missed: Option<(Mark, Mark)>,
    /// Why it begins anew, if it asked to go on behind a place and cannot.
    lost: Option<String>,
    /// Everything up to here was sent.
    sent: Mark,
    /// Of what was passed over in the journal and waits in the tray: the first revision passed over.
    passed: HashMap<About, u64>,
    /// What was seen in a newer revision than the place up to which all was sent.
    ahead: HashMap<About, u64>,
    out: Vec<u8>,
}

/// The reader is gone, or the controller stops.
struct Over;

impl Reader {
    /// Takes its place at the desk.
    ///
    /// # Errors
    /// 410 if it goes on behind a place where that cannot be done, and asked for that; the store cannot answer.
    pub(super) async fn open(
        api: Api,
        caller: Caller,
        wanted: Wanted,
        format: Format,
        sender: mpsc::Sender<Bytes>,
    ) -> Result<Self, ApiError> {
        // Before the head is read: what is committed from here on is kept for those who follow.
        let follower = api.engine.follow();
        let head = api.engine.head().await?;
        let newest = Mark::behind(head.revision);
        let (since, lost) = match &wanted.since {
            Since::Snapshot => (None, None),
            Since::Now => (Some(newest), None),
            Since::Place(epoch, mark) => match gap(&head, epoch.as_deref(), *mark) {
                None => (Some(*mark), None),
                Some(why) if wanted.fails_on_gap => return Err(gone(&why)),
                Some(why) => (None, Some(why)),
            },
        };
        let desk = api.hub.desk.clone();
        let (number, tray, offered) = desk.open(wanted, newest);
        let missed = since.map(|since| (since, offered));
        let sent = since.unwrap_or(newest);
        let (epoch, passed, ahead, out) = (head.epoch, HashMap::new(), HashMap::new(), Vec::new());
        Ok(Self { api, caller, format, sender, desk, number, tray, follower, epoch, missed, lost, sent, passed, ahead, out })
    }

    /// Tells until the reader is gone or the controller stops.
    pub(super) async fn run(mut self) {
        let api = self.api.clone();
        let sender = self.sender.clone();
        let told = tokio::select! {
            Err(Over) = self.tell() => true,
            () = sender.closed() => true,
            () = api.engine.ended() => false,
        };
        if !told {
            self.say("end", None, r#"{"reason":"the server is stopping; connect again"}"#);
            // Whoever does not read now has no need of it.
            let _ = self.sender.try_send(std::mem::take(&mut self.out).into());
        }
    }

    async fn tell(&mut self) -> Result<std::convert::Infallible, Over> {
        self.out.extend_from_slice(self.format.preamble().as_bytes());
        if let Some(why) = self.lost.take() {
            self.resync(&why);
        }
        self.hosts_and_pools().await?;
        match self.missed.take() {
            Some((since, until)) => self.catch_up(since, until).await?,
            None => self.snapshot().await?,
        }
        loop {
            match self.desk.take(&self.tray, TAKEN) {
                Taken::Some(changes, aside) => {
                    changes.iter().for_each(|change| self.change(change));
                    aside.iter().for_each(|event| event.write(&mut self.out, self.format, &self.epoch, None));
                    self.flush_if(CHUNK).await?;
                }
                Taken::Nothing(offered) => {
                    self.sent = self.sent.max(offered);
                    self.ahead.retain(|_, revision| *revision > offered.revision);
                    self.flush().await?;
                    if tokio::time::timeout(BOOKMARK_EVERY, self.tray.bell.notified()).await.is_err() {
                        self.bookmark("bookmark");
                    }
                }
                Taken::Overflown => {
                    let until = self.desk.reopen(&self.tray);
                    self.catch_up(self.sent, until).await?;
                }
            }
        }
    }

    /// A change that was gathered, unless it was seen already.
    fn change(&mut self, change: &Change) {
        let Some(mark) = change.event.mark else { return };
        let about = change.event.facts.about;
        let is_new = mark > self.sent && self.ahead.get(&about).is_none_or(|seen| mark.revision > *seen);
        if is_new {
            let from = self.passed.remove(&about).or(change.from);
            change.event.write(&mut self.out, self.format, &self.epoch, from);
        }
        self.sent = self.sent.max(mark);
    }

    /// What is now, of everything that was asked for.
    async fn snapshot(&mut self) -> Result<(), Over> {
        for kind in [Kind::Volume, Kind::Snapshot, Kind::Attachment] {
            let mut seen = HashSet::new();
            for query in self.lists(kind) {
                while let Err(error) = self.list(query.clone(), &mut seen).await? {
                    tracing::warn!(%error, "a stream cannot list what is; it tries again");
                    tokio::time::sleep(PAUSE).await;
                    seen.clear();
                    self.resync("the store could not list everything");
                }
            }
        }
        self.bookmark("synced");
        Ok(())
    }

    /// Sends what a list finds.
    async fn list(&mut self, query: ListQuery, seen: &mut HashSet<About>) -> Result<Result<(), StoreError>, Over> {
        let mut batches = match self.api.engine.list(&self.caller, query).await {
            Ok(batches) => batches,
            Err(refusal) => return Ok(Err(StoreError::Unavailable(refusal.to_string()))),
        };
        while let Some(batch) = batches.recv().await {
            let items = match batch {
                Ok(items) => items,
                Err(error) => return Ok(Err(error)),
            };
            items.iter().for_each(|item| self.show(item, seen));
            self.flush_if(CHUNK).await?;
        }
        Ok(Ok(()))
    }

    fn show(&mut self, item: &Item, seen: &mut HashSet<About>) {
        let Some((event, revision)) = self.api.shown(item) else { return };
        if !self.tray.wanted.matches(&event.facts) || !seen.insert(event.facts.about) {
            return;
        }
        if revision > self.sent.revision {
            self.ahead.insert(event.facts.about, revision);
        }
        event.write(&mut self.out, self.format, &self.epoch, None);
    }

    /// The lists that find everything of a kind that was asked for: the store looks by an index where it can.
    fn lists(&self, kind: Kind) -> Vec<ListQuery> {
        let wanted = &self.tray.wanted;
        let word = match kind {
            Kind::Volume => "volume",
            Kind::Snapshot => "snapshot",
            _ => "attachment",
        };
        if !wanted.has(word) || (wanted.host.is_some() && kind != Kind::Attachment) {
            return Vec::new();
        }
        let mut query = whole(kind);
        let statuses: Vec<_> = wanted.statuses(kind == Kind::Attachment).iter().cloned().collect();
        if !statuses.is_empty() {
            query.filters.push(Filter { field: Field::Status, values: statuses });
        }
        if let Some(host) = wanted.host {
            query.filters.push(Filter { field: Field::HostId, values: vec![host.to_string()] });
        }
        if wanted.ids.is_empty() {
            return vec![query];
        }
        let fields = if kind == Kind::Volume { &[Field::Id][..] } else { &[Field::Id, Field::VolumeId][..] };
        let ids: Vec<_> = wanted.ids.iter().map(ToString::to_string).collect();
        let by = |field: &Field| {
            let mut query = query.clone();
            query.filters.push(Filter { field: *field, values: ids.clone() });
            query
        };
        fields.iter().map(by).collect()
    }

    /// What the journal tells between two places. What has changed again since is told where it did so last.
    async fn catch_up(&mut self, since: Mark, until: Mark) -> Result<(), Over> {
        let mut at = since;
        while at < until {
            match self.missed(at, until).await {
                Ok(Some(last)) => at = last,
                Ok(None) => break,
                Err(StoreError::Corrupt(..)) => {
                    self.resync("an entry of the journal is damaged");
                    self.sent = until;
                    return self.snapshot().await;
                }
                Err(error) => {
                    tracing::debug!(%error, "a stream cannot read the journal now; it tries again");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            }
            self.flush_if(CHUNK).await?;
        }
        self.sent = self.sent.max(until);
        // Compacted under the reader: what was swept before it was read is lost to it.
        if let Ok(head) = self.api.engine.head().await
            && head.compacted > since.revision
        {
            self.resync("the journal was swept while it was read");
            return self.snapshot().await;
        }
        self.bookmark("synced");
        Ok(())
    }

    /// Sends one page. Returns its end, or nothing if there was no more.
    async fn missed(&mut self, at: Mark, until: Mark) -> Result<Option<Mark>, StoreError> {
        let entries = self.follower.read(at, self.tray.wanted.tenant.as_ref(), PAGE).await?;
        let mut events = Vec::new();
        for entry in entries.iter().filter(|entry| entry.mark <= until) {
            events.push(self.api.change(&self.follower, entry).await?);
        }
        events.iter().for_each(|event| self.caught(event));
        Ok(entries.last().map(|entry| entry.mark))
    }

    fn caught(&mut self, event: &Event) {
        let Some(mark) = event.mark else { return };
        let (about, wanted) = (event.facts.about, &self.tray.wanted);
        let from = match (event.is_passed, wanted.all) {
            (true, false) => {
                if wanted.matches(&event.facts) {
                    self.passed.entry(about).or_insert(mark.revision);
                }
                return;
            }
            (true, true) => None,
            (false, _) => self.passed.remove(&about),
        };
        if wanted.matches(&event.facts) || from.is_some() {
            event.write(&mut self.out, self.format, &self.epoch, from);
        }
        self.sent = self.sent.max(mark);
    }

    /// Hosts and pools, which have no places in the journal: whole at every beginning.
    async fn hosts_and_pools(&mut self) -> Result<(), Over> {
        if self.tray.wanted.has("host")
            && let Ok(hosts) = self.api.all_hosts(&self.caller).await
        {
            hosts.iter().for_each(|host| self.aside(&host_event("snapshot", host)));
        }
        if self.tray.wanted.has("pool")
            && let Ok(pools) = self.api.engine.pools().await
        {
            pools.iter().for_each(|pool| self.aside(&pool_event("snapshot", pool)));
        }
        self.flush_if(CHUNK).await
    }

    fn aside(&mut self, event: &Event) {
        if self.tray.wanted.matches(&event.facts) {
            event.write(&mut self.out, self.format, &self.epoch, None);
        }
    }

    fn resync(&mut self, why: &str) {
        self.say("resync", None, &json!({"reason": why}).to_string());
    }

    /// Tells up to where everything is known.
    fn bookmark(&mut self, name: &str) {
        let id = place(&self.epoch, self.sent);
        self.say(name, Some(&id), &json!({"revision": self.sent.revision}).to_string());
    }

    fn say(&mut self, name: &str, id: Option<&str>, data: &str) {
        self.format.write(&mut self.out, name, id, data);
    }

    async fn flush_if(&mut self, size: usize) -> Result<(), Over> {
        if self.out.len() >= size { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Over> {
        if self.out.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::take(&mut self.out).into();
        match tokio::time::timeout(STALLED_AFTER, self.sender.send(chunk)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Over),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.desk.close(self.number);
    }
}

/// Why nobody can go on behind this place; nothing if they can.
fn gap(head: &Head, epoch: Option<&str>, mark: Mark) -> Option<String> {
    if epoch.is_some_and(|epoch| epoch != head.epoch) {
        Some("the id is of another store".into())
    } else if mark.revision > head.revision {
        Some(format!("revision {} is of the future: the newest is {}", mark.revision, head.revision))
    } else if mark.revision < head.compacted {
        Some(format!("the journal was swept up to revision {}", head.compacted))
    } else {
        None
    }
}
