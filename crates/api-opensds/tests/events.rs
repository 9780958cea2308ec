//! The stream of events, through the router: what is, every change once and in order, going on where it was, and who sees what.

use api_opensds::{Settings, router};
use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::http::{Request, StatusCode};
use engine::{Engine, PoolSetup};
use futures_util::StreamExt;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sim::{MemDriver, MemExporter, MemStore, SteppedClock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt;

const ADMIN: &str = "e93b4c0934da416eb9c8d120c5d04d96";

struct Place {
    app: Router,
    engine: Engine,
    tenant: &'static str,
}

async fn place(streams: usize) -> Place {
    let pool = PoolSetup { overcommit: 20.0, ..PoolSetup::new("default", Arc::new(MemDriver::able())) };
    let (store, exporter) = (Arc::new(MemStore::default()), Arc::new(MemExporter::default()));
    let clock = Arc::new(SteppedClock::default());
    let engine = Engine::start(store, exporter, clock, vec![pool], engine::Settings::default()).await.unwrap();
    let app = router(Arc::new(engine.clone()), Settings { streams, ..Settings::default() });
    Place { app, engine, tenant: ADMIN }
}

impl Place {
    fn of(&self, tenant: &'static str) -> Self {
        Self { app: self.app.clone(), engine: self.engine.clone(), tenant }
    }

    async fn send(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let path = format!("/v1beta/{}{path}", self.tenant);
        let request = Request::builder().method(method).uri(path).body(Body::from(body.to_string())).unwrap();
        let answer = self.app.clone().oneshot(request).await.unwrap();
        let code = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn make(&self, path: &str, body: &Value) -> String {
        let (code, made) = self.send("POST", path, body).await;
        assert!(code < 300, "{made}");
        made["id"].as_str().unwrap().to_owned()
    }

    async fn volume(&self, name: &str) -> String {
        let id = self.make("/block/volumes", &json!({"name": name, "size": 1})).await;
        self.send("GET", &format!("/block/volumes/{id}?waitFor=available"), &Value::Null).await;
        id
    }

    async fn rename(&self, id: &str, name: &str) {
        let (code, body) = self.send("PUT", &format!("/block/volumes/{id}"), &json!({"name": name})).await;
        assert_eq!(code, 200, "{body}");
    }

    async fn host(&self, name: &str) -> String {
        let host = json!({"hostName": name, "ip": "127.0.0.1", "osType": "linux", "accessMode": "agentless"});
        self.make("/host/hosts", &host).await
    }

    async fn attach(&self, volume: &str, host: &str) -> String {
        let held = self.make("/block/attachments", &json!({"volumeId": volume, "hostId": host})).await;
        self.send("GET", &format!("/block/attachments/{held}?waitFor=attached"), &Value::Null).await;
        held
    }

    async fn detach(&self, held: &str) {
        let held = format!("/block/attachments/{held}");
        self.send("DELETE", &held, &Value::Null).await;
        self.send("GET", &format!("{held}?waitFor=detached"), &Value::Null).await;
    }

    /// A volume that is attached, extended, detached and deleted, with a snapshot.
    async fn life(&self) -> String {
        let id = self.volume("life").await;
        let path = format!("/block/volumes/{id}");
        let host = self.host(&format!("h-{id}")).await;
        let held = self.attach(&id, &host).await;
        self.rename(&id, "renamed").await;
        self.detach(&held).await;
        self.send("POST", &format!("{path}/resize"), &json!({"newSize": 2})).await;
        self.send("GET", &format!("{path}?waitFor=available"), &Value::Null).await;
        let snapshot = self.make("/block/snapshots", &json!({"name": "s", "volumeId": id})).await;
        self.send("GET", &format!("/block/snapshots/{snapshot}?waitFor=available"), &Value::Null).await;
        self.send("DELETE", &format!("{path}?cascade=true"), &Value::Null).await;
        self.send("GET", &format!("{path}?waitFor=deleted"), &Value::Null).await;
        self.send("DELETE", &format!("/host/hosts/{host}"), &Value::Null).await;
        id
    }

    async fn open(&self, query: &str, last: Option<&str>, accept: &str) -> (StatusCode, Stream) {
        let path = format!("/v1beta/{}/block/events{query}", self.tenant);
        let mut request = Request::builder().uri(path).header("accept", accept);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answer = self.app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = answer.into_parts();
        (parts.status, Stream { body: body.into_data_stream(), unread: String::new(), is_lines: accept.contains("ndjson") })
    }

    async fn stream(&self, query: &str) -> Stream {
        let (code, stream) = self.open(query, None, "text/event-stream").await;
        assert_eq!(code, 200, "{query}");
        stream
    }

    async fn from(&self, query: &str, id: &str) -> Stream {
        self.open(query, Some(id), "text/event-stream").await.1
    }

    async fn refused(&self, query: &str) -> (u16, String) {
        let (code, body) = self.send("GET", &format!("/block/events{query}"), &Value::Null).await;
        (code, body["message"].as_str().unwrap_or_default().to_owned())
    }
}

struct Stream {
    body: BodyDataStream,
    unread: String,
    is_lines: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Event {
    name: String,
    id: Option<String>,
    data: Value,
}

impl Event {
    fn is(&self, name: &str) -> bool {
        self.name == name
    }

    fn status(&self) -> &str {
        self.data["transition"]["to"].as_str().unwrap_or_default()
    }
}

impl Stream {
    /// The next event; none at the end of the stream.
    async fn next(&mut self) -> Option<Event> {
        let end = if self.is_lines { "\n" } else { "\n\n" };
        loop {
            if let Some((frame, rest)) = self.unread.split_once(end) {
                let (frame, rest) = (frame.to_owned(), rest.to_owned());
                self.unread = rest;
                match self.read(&frame) {
                    Some(event) => return Some(event),
                    None => continue,
                }
            }
            let chunk = self.body.next().await?.unwrap();
            self.unread.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    fn read(&self, frame: &str) -> Option<Event> {
        if self.is_lines {
            let data: Value = serde_json::from_str(frame).unwrap();
            let id = data["eventId"].as_str().map(str::to_owned);
            return Some(Event { name: data["event"].as_str().unwrap().to_owned(), id, data });
        }
        let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let data = serde_json::from_str(field("data")?).unwrap();
        Some(Event { name: field("event").unwrap().to_owned(), id: field("id").map(str::to_owned), data })
    }

    /// All up to and with the first that `is_last`.
    async fn until(&mut self, is_last: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let event = self.next().await.unwrap_or_else(|| panic!("it ended after {events:#?}"));
            events.push(event);
            if is_last(&events[events.len() - 1]) {
                return events;
            }
        }
    }

    async fn changes_until(&mut self, is_last: impl Fn(&Event) -> bool) -> Vec<Event> {
        let all = self.until(is_last).await;
        all.into_iter().filter(|event| event.is("change") && event.id.is_some()).collect()
    }
}

/// Of one resource the revisions strictly increase; ids are places in one order.
fn in_order(events: &[Event]) {
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for event in events.iter().filter(|event| event.data["revision"].is_u64() && event.data["id"].is_string()) {
        let revision = event.data["revision"].as_u64().unwrap();
        let before = seen.insert(event.data["id"].as_str().unwrap().to_owned(), revision);
        assert!(before.is_none_or(|before| before < revision), "{event:?} after {before:?}");
    }
}

fn gone(id: &str) -> impl Fn(&Event) -> bool {
    move |event| event.data["id"] == *id && event.data["deleted"] == true
}

#[tokio::test(start_paused = true)]
async fn what_is_comes_first_and_then_every_change() {
    let place = place(9).await;
    let before = place.volume("before").await;
    let mut stream = place.stream("").await;
    let first = stream.until(|event| event.is("synced")).await;
    let shown: Vec<_> = first.iter().filter(|event| event.is("snapshot")).map(|event| event.data["kind"].clone()).collect();
    assert_eq!(shown, ["pool", "volume"], "{first:#?}");
    let (_, now) = place.send("GET", &format!("/block/volumes/{before}"), &Value::Null).await;
    assert_eq!(first[1].data["object"], now, "as GET shows it");
    let mut every = place.stream("?since=now&all=true").await;
    let id = place.life().await;
    let events = every.until(gone(&id)).await;
    in_order(&events);
    let of_volume: Vec<_> = events.iter().filter(|event| event.data["id"] == id.as_str()).map(Event::status).collect();
    assert_eq!(of_volume.last(), Some(&"deleted"), "{of_volume:?}");
    let words = ["creating", "available", "attaching", "inUse", "detaching", "extending", "deleting"];
    for word in words {
        assert!(of_volume.contains(&word), "{word} is not among {of_volume:?}");
    }
    for kind in ["snapshot", "attachment"] {
        assert!(events.iter().any(|event| event.data["kind"] == kind && event.data["deleted"] == true), "no end of the {kind}");
    }
    let hosts = stream.until(|event| event.data["kind"] == "host" && event.data["deleted"] == true).await;
    assert!(hosts.iter().any(|event| event.is("change") && event.data["object"].is_null()), "no end of the host");
    let renamed = events.iter().find(|event| event.data["object"]["name"] == "renamed").unwrap();
    assert_eq!(renamed.data["transition"]["cause"], "update");
    let fresh = place.volume("fresh").await;
    let is_its_end = |event: &Event| event.data["id"] == fresh.as_str() && event.status() == "available";
    let changed = every.until(is_its_end).await.pop().unwrap();
    let (_, now) = place.send("GET", &format!("/block/volumes/{fresh}"), &Value::Null).await;
    assert_eq!(changed.data["object"], now, "a change shows it as GET does, too");
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_back_at_any_event_misses_nothing_and_sees_nothing_twice() {
    let place = place(9).await;
    let id = place.life().await;
    for query in ["?all=true", ""] {
        let since = if query.is_empty() { "?since=0" } else { "?all=true&since=0" };
        let whole = place.stream(since).await.changes_until(gone(&id)).await;
        in_order(&whole);
        assert!(!query.is_empty() || whole.len() < 12, "what has changed since is passed over: {whole:#?}");
        for (at, event) in whole.iter().enumerate().take(whole.len() - 1) {
            let rest = place.from(query, event.id.as_deref().unwrap()).await.changes_until(gone(&id)).await;
            let ids = |events: &[Event]| events.iter().map(|event| event.id.clone().unwrap()).collect::<Vec<_>>();
            assert_eq!(ids(&rest), ids(&whole[at + 1..]), "{query} behind {:?}", event.id);
        }
    }
}

/// Makes volumes, names them anew and deletes every second one.
async fn work(place: Arc<Place>) {
    for turn in 0..40 {
        let id = place.volume(&format!("v{turn}")).await;
        place.rename(&id, "renamed").await;
        if turn % 2 == 0 {
            place.send("DELETE", &format!("/block/volumes/{id}"), &Value::Null).await;
        }
    }
}

/// What a reader knows, who begins while it is worked, once it has heard of the volume that ends it.
async fn known(mut stream: Stream) -> BTreeMap<String, Value> {
    let mut known = BTreeMap::new();
    let (mut is_whole, mut has_last) = (false, false);
    // Who begins late has the last one among what is there already.
    while !(is_whole && has_last) {
        let event = stream.next().await.expect("it goes on");
        is_whole |= event.is("synced");
        if !event.is("snapshot") && !event.is("change") || event.data["kind"] != "volume" {
            continue;
        }
        let id = event.data["id"].as_str().unwrap().to_owned();
        let before = known.get(&id).and_then(|object: &Value| object["revision"].as_u64());
        assert!(before < event.data["revision"].as_u64(), "{event:?} after {before:?}");
        has_last |= event.data["object"]["name"] == "the last" && event.data["object"]["status"] == "available";
        match event.data["deleted"] == true {
            true => drop(known.remove(&id)),
            false => drop(known.insert(id, event.data["object"].clone())),
        }
    }
    known
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_begins_in_the_middle_of_things_knows_what_is_at_the_end() {
    let place = Arc::new(place(99).await);
    let workers: Vec<_> = (0..4).map(|_| tokio::spawn(work(place.clone()))).collect();
    let mut readers = Vec::new();
    for turn in 0..24 {
        let query = ["", "?kind=volume", "?kind=volume&all=true"][turn % 3];
        readers.push(tokio::spawn(known(place.stream(query).await)));
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    for worker in workers {
        worker.await.unwrap();
    }
    while place.send("GET", "/block/volumes?status=deleting", &Value::Null).await.1 != json!([]) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    place.volume("the last").await;
    let (_, all) = place.send("GET", "/block/volumes?limit=1000", &Value::Null).await;
    let is: BTreeMap<_, _> =
        all.as_array().unwrap().iter().map(|one| (one["id"].as_str().unwrap().to_owned(), one.clone())).collect();
    assert_eq!(is.len(), 81);
    for reader in readers {
        let known = tokio::time::timeout(Duration::from_secs(60), reader).await.expect("it hears of the end").unwrap();
        assert_eq!(known, is);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_gathered_meanwhile_is_the_latest_of_each_and_says_so() {
    let place = place(9).await;
    let id = place.volume("v").await;
    let (mut latest, mut all) = (place.stream("?kind=volume").await, place.stream("?kind=volume&all=true").await);
    latest.until(|event| event.is("synced")).await;
    let first = all.until(|event| event.is("synced")).await.pop().unwrap().data["revision"].as_u64().unwrap();
    for number in 0..100 {
        place.rename(&id, &format!("n{number}")).await;
    }
    let is_last = |event: &Event| event.data["object"]["name"] == "n99";
    let every = all.changes_until(is_last).await;
    assert_eq!(every.len(), 100);
    assert!(every.iter().all(|event| event.data.get("coalescedFrom").is_none()));
    let some = latest.changes_until(is_last).await;
    in_order(&some);
    assert!(some.len() < 100, "nothing was passed over");
    let mut expected = first + 1;
    for event in &some {
        // What was passed over is told without a gap.
        assert_eq!(event.data["coalescedFrom"].as_u64().unwrap_or(event.data["revision"].as_u64().unwrap()), expected, "{event:?}");
        expected = event.data["revision"].as_u64().unwrap() + 1;
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_for_whom_too_much_waits_reads_the_journal_when_it_is_back() {
    const MANY: usize = 5000;
    let place = place(9).await;
    let id = place.volume("v").await;
    let mut all = place.stream("?kind=volume&all=true").await;
    all.until(|event| event.is("synced")).await;
    for number in 0..MANY {
        place.rename(&id, &format!("n{number}")).await;
    }
    let last = format!("n{}", MANY - 1);
    let every = all.changes_until(|event| event.data["object"]["name"] == last.as_str()).await;
    in_order(&every);
    assert_eq!(every.len(), MANY);
}

#[tokio::test(start_paused = true)]
async fn nobody_sees_what_is_another_tenants() {
    let place = place(9).await;
    let (mine, theirs) = (place.of("mine"), place.of("theirs"));
    let other = theirs.volume("secret").await;
    let mut stream = mine.stream("").await;
    stream.until(|event| event.is("synced")).await;
    theirs.life().await;
    theirs.volume("another-secret").await;
    let own = mine.volume("own").await;
    let seen = stream.until(|event| event.data["id"] == own.as_str() && event.status() == "available").await;
    assert!(seen.iter().all(|event| event.data["id"] == own.as_str() || event.data["kind"] == "pool"), "{seen:#?}");
    let whole = mine.stream("?since=0&all=true").await.until(|event| event.is("synced")).await;
    assert!(!format!("{whole:?}").contains("secret") && !format!("{whole:?}").contains("theirs"), "{whole:#?}");
    assert_eq!(mine.refused(&format!("?id={other}")).await.0, 404);
    assert_eq!(place.stream(&format!("?id={other}")).await.next().await.unwrap().data["id"], other.as_str());
}

#[tokio::test(start_paused = true)]
async fn filters_show_what_was_asked_for_and_nothing_else() {
    let place = place(9).await;
    let (one, _other) = (place.volume("one").await, place.volume("other").await);
    let mut of_one = place.stream(&format!("?id={one}")).await;
    let mut failed = place.stream("?status=deleting").await;
    of_one.until(|event| event.is("synced")).await;
    failed.until(|event| event.is("synced")).await;
    let snapshot = place.make("/block/snapshots", &json!({"name": "s", "volumeId": one})).await;
    let gone_one = place.life().await;
    place.send("DELETE", &format!("/block/volumes/{one}?cascade=true"), &Value::Null).await;
    let seen = of_one.until(gone(&one)).await;
    assert!(seen.iter().any(|event| event.data["id"] == snapshot.as_str()), "{seen:#?}");
    assert!(seen.iter().filter(|event| event.is("change")).all(|event| event.data["transition"]["volumeId"] == one.as_str()));
    let seen = failed.changes_until(gone(&one)).await;
    let touches = |event: &Event| event.status() == "deleting" || event.data["transition"]["from"] == "deleting";
    assert!(seen.iter().all(|event| touches(event) || event.data["coalescedFrom"].is_u64()), "{seen:#?}");
    assert!(seen.iter().any(|event| event.data["id"] == gone_one.as_str()), "{seen:#?}");
}

#[tokio::test(start_paused = true)]
async fn who_names_a_host_is_told_of_what_is_attached_to_it_in_the_own_tenant() {
    let place = place(9).await;
    let (mine, theirs) = (place.of("mine"), place.of("theirs"));
    let (host, other) = (mine.host("host").await, mine.host("other").await);
    let query = format!("?host={host}&since=now&all=true");
    let [mut everybody, mut own, mut foreign] =
        [place.stream(&query).await, mine.stream(&query).await, theirs.stream(&query).await];
    let volume = mine.volume("v").await;
    let held = mine.attach(&volume, &host).await;
    let held_by_other = mine.attach(&mine.volume("w").await, &other).await;
    mine.detach(&held_by_other).await;
    mine.detach(&held).await;
    mine.send("DELETE", &format!("/host/hosts/{host}"), &Value::Null).await;
    for stream in [&mut everybody, &mut own] {
        let events = stream.until(|event| event.data["kind"] == "host" && event.data["deleted"] == true).await;
        let of = |id: &str| events.iter().filter(|event| event.data["id"] == id).map(Event::status).collect::<Vec<_>>();
        for word in ["attaching", "attached", "detached"] {
            assert!(of(&held).contains(&word), "{word} is not told: {events:#?}");
        }
        // What has ended does not tell to which host it was attached.
        let others = events
            .iter()
            .filter(|event| event.is("change") && ![held.as_str(), &host].contains(&event.data["id"].as_str().unwrap()));
        assert!(others.clone().all(|event| event.data["deleted"] == true), "{events:#?}");
        assert!(of(&volume).is_empty() && of(&other).is_empty(), "{events:#?}");
    }
    let seen = foreign.until(|event| event.is("bookmark")).await;
    assert!(seen.iter().all(|event| event.is("synced") || event.is("bookmark")), "{seen:#?}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_gone_on_behind_is_told() {
    let place = place(9).await;
    place.volume("v").await;
    let lost = ["memori-3", "memory-99999", "99999.1"];
    for id in lost {
        let (code, message) = place.refused(&format!("?since={id}&onGap=error")).await;
        assert!(code == 410 && message.contains("onGap=snapshot"), "{id}: {code} {message}");
        let events = place.stream(&format!("?since={id}")).await.until(|event| event.is("synced")).await;
        assert!(events[0].is("resync") && events.iter().any(|event| event.is("snapshot")), "{id}: {events:#?}");
    }
    let now = place.stream("?since=now&kind=volume").await.until(|event| event.is("synced")).await;
    assert_eq!(now.len(), 1, "{now:#?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_understood_is_refused_with_what_is() {
    let place = place(9).await;
    let rows = [
        ("?kind=disk", 400, "attachment"),
        ("?kind=volume,", 200, ""),
        ("?status=availble", 400, "available"),
        ("?id=7", 400, "id"),
        ("?id=00000000-0000-4000-8000-000000000000", 404, "no resource"),
        ("?host=h", 400, "host"),
        ("?since=soon", 400, "now"),
        ("?since=-1", 400, "revision"),
        ("?since=18446744073709551616", 400, "revision"),
        ("?onGap=maybe", 400, "snapshot or error"),
        ("?all=2", 400, "true or false"),
        ("?volume=7", 400, "kind"),
    ];
    for (query, wanted, words) in rows {
        if wanted == 200 {
            place.stream(query).await;
            continue;
        }
        let (code, message) = place.refused(query).await;
        assert!(code == wanted && message.contains(words), "{query}: {code} {message}");
    }
}

#[tokio::test(start_paused = true)]
async fn there_are_as_many_streams_as_may_be() {
    let place = place(2).await;
    let (one, _two) = (place.stream("").await, place.stream("").await);
    let path = format!("/v1beta/{ADMIN}/block/events");
    let third = place.app.clone().oneshot(Request::get(&path).body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!((third.status().as_u16(), third.headers()["retry-after"].to_str().unwrap()), (503, "5"));
    drop(one);
    // A place is free once the reader was seen to be gone.
    for _ in 0..1000 {
        let again = place.app.clone().oneshot(Request::get(&path).body(Body::empty()).unwrap()).await.unwrap();
        if again.status() == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("the place of the one that left stays taken");
}

#[tokio::test(start_paused = true)]
async fn lines_say_the_same() {
    let place = place(9).await;
    place.volume("v").await;
    let (_, mut lines) = place.open("?kind=volume", None, "application/x-ndjson").await;
    let (said, lines) = (place.stream("?kind=volume").await.until(|event| event.is("synced")).await, {
        lines.until(|event| event.is("synced")).await
    });
    assert_eq!(said.len(), lines.len());
    for (event, line) in said.iter().zip(&lines) {
        assert_eq!((&event.name, &event.id, &event.data["object"]), (&line.name, &line.id, &line.data["object"]));
    }
}

#[tokio::test(start_paused = true)]
async fn silence_is_told_and_so_is_the_end() {
    let place = place(9).await;
    let mut stream = place.stream("?kind=volume").await;
    let events = stream.until(|event| event.is("bookmark")).await;
    assert!(events.last().unwrap().id.is_some());
    place.engine.end();
    let last = stream.until(|event| event.is("end")).await.pop().unwrap();
    assert_eq!((last.id, stream.next().await), (None, None));
}

#[tokio::test(start_paused = true)]
async fn that_something_left_a_status_is_told_also_where_it_has_changed_since() {
    let place = place(9).await;
    let id = place.life().await;
    for query in ["?since=0&status=creating", "?since=0&status=extending"] {
        let events = place.stream(query).await.changes_until(|event| event.is("synced")).await;
        let of_it: Vec<_> = events.iter().filter(|event| event.data["id"] == id.as_str()).collect();
        let word = query.rsplit('=').next().unwrap();
        assert!(of_it.iter().any(|event| event.status() == word), "{query}: {of_it:#?}");
        assert_ne!(of_it.last().unwrap().status(), word, "{query}: that it left is not told");
    }
}
