//! One reader's life: what is now or what it has missed, then what comes, until it goes or the controller stops.
//!
//! - Its tray gathers from before it looks: nothing falls between what it saw and what it is told.
//! - An event that is older than what was seen is passed over: of one resource the revisions only increase.
//! - What overflowed is read from the journal, behind the last place that was sent.

use super::ask::{Since, Wanted, gone};
use super::desk::{Change, Desk, Taken, Tray};
use super::event::{About, Event, Facts, Format, host_event, place, pool_event};
use crate::Api;
use crate::error::ApiError;
use axum::body::Bytes;
use engine::Follower;
use engine::requests::{Caller, Refusal};
use engine::store::{Field, Filter, Head, Item, Kind, ListQuery, Mark, StoreError};
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How often a reader is told up to where it knows everything: long beside the cost, short beside what proxies take for silence.
const BOOKMARK_EVERY: Duration = Duration::from_secs(15);
/// How large a chunk may become before it is sent, in bytes: some events share a write, and the first does not wait for all.
const CHUNK: usize = 32 << 10;
/// How many changes are taken from the tray at once.
const TAKEN: usize = 64;
/// How many entries of the journal are read at once.
const PAGE: usize = 512;
/// How long a connection may take for one chunk before it is given up.
const STALLED_AFTER: Duration = Duration::from_secs(60);
/// How long to wait before a store that could not answer is asked again.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest such wait: a store that cannot list everything for minutes is not helped by asking.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How soon the one who follows the journal has offered what a list has seen already.
const OFFERED_SOON: Duration = Duration::from_millis(5);

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
    /// Whether what is told has its place: not while what is is told, of which some may be of later places.
    is_placed: bool,
    /// When a bookmark is due.
    bookmark_at: Instant,
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
        let (sent, is_placed, bookmark_at) = (since.unwrap_or(newest), false, Instant::now() + BOOKMARK_EVERY);
        let (epoch, passed, ahead, out) = (head.epoch, HashMap::new(), HashMap::new(), Vec::new());
        Ok(Self {
            api,
            caller,
            format,
            sender,
            desk,
            number,
            tray,
            follower,
            epoch,
            missed,
            lost,
            sent,
            is_placed,
            bookmark_at,
            passed,
            ahead,
            out,
        })
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
        match self.missed.take() {
            Some((since, until)) => {
                while let Err(error) = self.hosts_and_pools("snapshot").await? {
                    tracing::debug!(%error, "a stream cannot list hosts and pools now; it tries again");
                    tokio::time::sleep(PAUSE).await;
                }
                self.is_placed = true;
                self.catch_up(since, until).await?;
            }
            None => self.what_is().await?,
        }
        loop {
            if let Some(offered) = self.take().await? {
                self.sent = self.sent.max(offered);
                self.ahead.clear();
                self.flush().await?;
                let _ = tokio::time::timeout_at(self.bookmark_at, self.tray.bell.notified()).await;
            }
            if self.bookmark_at <= Instant::now() {
                self.bookmark("bookmark");
            }
        }
    }

    /// Tells what waits. Returns up to where everything was offered, if nothing does.
    async fn take(&mut self) -> Result<Option<Mark>, Over> {
        match self.desk.take(&self.tray, TAKEN) {
            Taken::Some { changes, aside, has_lost_aside } => {
                for change in &changes {
                    self.change(change);
                    self.flush_if(CHUNK).await?;
                }
                for event in &aside {
                    self.write(event, None);
                    self.flush_if(CHUNK).await?;
                }
                if has_lost_aside {
                    self.all_aside().await?;
                }
                Ok(None)
            }
            Taken::Nothing(offered) => Ok(Some(offered)),
            Taken::Overflown => {
                let until = self.desk.reopen(&self.tray);
                self.all_aside().await?;
                self.catch_up(self.sent, until).await?;
                Ok(None)
            }
        }
    }

    fn write(&mut self, event: &Event, from: Option<u64>) {
        let epoch = self.is_placed.then_some(self.epoch.as_str());
        event.write(&mut self.out, self.format, epoch, from);
    }

    /// Whether a change is news: behind what was sent, and newer than what was seen of the resource.
    fn is_news(&self, about: About, mark: Mark) -> bool {
        mark > self.sent && self.ahead.get(&about).is_none_or(|seen| mark.revision > *seen)
    }

    /// A change that was gathered, unless it was seen already.
    fn change(&mut self, change: &Change) {
        let Some(mark) = change.event.mark else { return };
        let about = change.event.facts.about;
        if self.is_news(about, mark) {
            let from = self.passed.remove(&about).or(change.from);
            self.write(&change.event, from);
        }
        self.sent = self.sent.max(mark);
    }

    /// What is now, of everything that was asked for; again from the beginning if it cannot be told whole.
    async fn what_is(&mut self) -> Result<(), Over> {
        self.is_placed = false;
        let mut pause = PAUSE;
        loop {
            self.ahead.clear();
            match self.snapshot().await? {
                Ok(()) => break,
                Err(error) => {
                    tracing::warn!(%error, "a stream cannot tell what is; it tries again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                    self.resync("not everything could be listed");
                }
            }
        }
        // Some of it may be newer than the place before it: until that is reached nothing has a place to come back to.
        let newest = self.ahead.values().max().copied().unwrap_or(0);
        loop {
            match self.take().await? {
                Some(offered) if offered.revision >= newest => {
                    self.sent = self.sent.max(offered);
                    break;
                }
                Some(_) => tokio::time::sleep(OFFERED_SOON).await,
                None => {}
            }
        }
        self.is_placed = true;
        self.bookmark("synced");
        Ok(())
    }

    async fn snapshot(&mut self) -> Result<Result<(), StoreError>, Over> {
        if let Err(error) = self.hosts_and_pools("snapshot").await? {
            return Ok(Err(error));
        }
        for kind in [Kind::Volume, Kind::Snapshot, Kind::Attachment] {
            let mut seen = HashSet::new();
            for query in self.lists(kind) {
                if let Err(error) = self.list(query, &mut seen).await? {
                    return Ok(Err(error));
                }
            }
        }
        Ok(Ok(()))
    }

    /// Sends what a list finds.
    async fn list(&mut self, query: ListQuery, seen: &mut HashSet<About>) -> Result<Result<(), StoreError>, Over> {
        let mut batches = match self.api.engine.list_patiently(&self.caller, query).await {
            Ok(batches) => batches,
            Err(refusal) => return Ok(Err(StoreError::Unavailable(refusal.to_string()))),
        };
        while let Some(batch) = batches.recv().await {
            let items = match batch {
                Ok(items) => items,
                Err(error) => return Ok(Err(error)),
            };
            for item in &items {
                self.show(item, seen);
                self.flush_if(CHUNK).await?;
            }
        }
        Ok(Ok(()))
    }

    fn show(&mut self, item: &Item, seen: &mut HashSet<About>) {
        let Some((event, revision)) = self.api.shown(item) else { return };
        let about = event.facts.about;
        // Only lists by several ids can find something twice.
        let is_again = !self.tray.wanted.ids.is_empty() && !seen.insert(about);
        if is_again || !self.tray.wanted.matches(&event.facts) {
            return;
        }
        if revision > self.sent.revision {
            self.ahead.insert(about, revision);
        }
        self.write(&event, None);
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
        let mut query = ListQuery::all(kind);
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
            match self.missed(at, until).await? {
                Ok(Some(last)) => at = last,
                Ok(None) => break,
                Err(StoreError::Corrupt(..)) => {
                    self.sent = until;
                    return self.begin_anew("an entry of the journal is damaged").await;
                }
                Err(error) => {
                    tracing::debug!(%error, "a stream cannot read the journal now; it tries again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        self.sent = self.sent.max(until);
        // Swept under the reader: what was swept before it was read is lost to it.
        let head = loop {
            match self.api.engine.head().await {
                Ok(head) => break head,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        };
        if since < Mark::behind(head.compacted) {
            return self.begin_anew("the journal was swept while it was read").await;
        }
        if self.is_placed {
            self.bookmark("synced");
        }
        Ok(())
    }

    /// Tells why something is missing, and then what is.
    async fn begin_anew(&mut self, why: &str) -> Result<(), Over> {
        self.resync(why);
        Box::pin(self.what_is()).await
    }

    /// Sends one page. Returns its end, or nothing if there was no more.
    async fn missed(&mut self, at: Mark, until: Mark) -> Result<Result<Option<Mark>, StoreError>, Over> {
        let entries = match self.follower.read(at, self.tray.wanted.tenant.as_ref(), PAGE).await {
            Ok(entries) => entries,
            Err(error) => return Ok(Err(error)),
        };
        for entry in entries.iter().filter(|entry| entry.mark <= until) {
            // Before its record is read: most of a busy journal is not of interest to most.
            if self.tray.wanted.matches(&Facts::of(entry)) {
                match self.api.change(&self.follower, entry).await {
                    Ok(event) => self.caught(&event, entry.mark),
                    Err(error) => return Ok(Err(error)),
                }
                self.flush_if(CHUNK).await?;
            }
            self.sent = self.sent.max(entry.mark);
        }
        Ok(Ok(entries.last().map(|entry| entry.mark)))
    }

    fn caught(&mut self, event: &Event, mark: Mark) {
        let about = event.facts.about;
        if !self.tray.wanted.matches(&event.facts) || !self.is_news(about, mark) {
            return;
        }
        if event.is_passed && self.tray.wanted.passes_over() {
            self.passed.entry(about).or_insert(mark.revision);
            return;
        }
        let from = self.passed.remove(&about).filter(|_| self.tray.wanted.passes_over());
        self.write(event, from);
    }

    /// Hosts and pools, which have no places in the journal: whole at every beginning.
    async fn hosts_and_pools(&mut self, name: &'static str) -> Result<Result<(), StoreError>, Over> {
        let unavailable = |refusal: Refusal| StoreError::Unavailable(refusal.to_string());
        if self.tray.wanted.has("host") {
            let hosts = async { self.api.engine.list_patiently(&self.caller, ListQuery::all(Kind::Host)).await?.hosts().await };
            match hosts.await {
                Ok(hosts) => hosts.iter().for_each(|host| self.aside(&host_event(name, host))),
                Err(refusal) => return Ok(Err(unavailable(refusal))),
            }
        }
        if self.tray.wanted.has("pool") {
            match self.api.engine.pools().await {
                Ok(pools) => pools.iter().for_each(|pool| self.aside(&pool_event(name, pool))),
                Err(refusal) => return Ok(Err(unavailable(refusal))),
            }
        }
        self.flush_if(CHUNK).await?;
        Ok(Ok(()))
    }

    /// The same in the middle of a stream, where some of their changes had no room.
    async fn all_aside(&mut self) -> Result<(), Over> {
        while let Err(error) = self.hosts_and_pools("change").await? {
            tracing::debug!(%error, "a stream cannot list hosts and pools now; it tries again");
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    fn aside(&mut self, event: &Event) {
        if self.tray.wanted.matches(&event.facts) {
            self.write(event, None);
        }
    }

    fn resync(&mut self, why: &str) {
        self.say("resync", None, &json!({"reason": why}).to_string());
    }

    /// Tells up to where everything is known.
    fn bookmark(&mut self, name: &str) {
        self.bookmark_at = Instant::now() + BOOKMARK_EVERY;
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
    } else if mark < Mark::behind(head.compacted) {
        Some(format!("the journal was swept up to revision {}", head.compacted))
    } else {
        None
    }
}
