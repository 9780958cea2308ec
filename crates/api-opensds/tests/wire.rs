//! The whole router on the ports in memory: bodies, codes, hostile input.

use api_opensds::{AttachmentWords, Settings, openapi, router};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use engine::{Engine, PoolSetup};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sim::{Fault, MemDriver, MemExporter, MemStore, Reads, SteppedClock};
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt;

const ADMIN: &str = "/v1beta/e93b4c0934da416eb9c8d120c5d04d96";

async fn app(words: AttachmentWords) -> Router {
    let engine = engine_on(Arc::default(), Arc::new(MemDriver::able())).await;
    router(engine, Settings { attachment_words: words, ..Settings::default() })
}

async fn engine_on(store: Arc<MemStore>, driver: Arc<MemDriver>) -> Arc<Engine> {
    let pool = PoolSetup { overcommit: 20.0, ..PoolSetup::new("default", driver) };
    let (exporter, clock) = (Arc::new(MemExporter::default()), Arc::new(SteppedClock::default()));
    let engine = Engine::start(store, exporter, clock, vec![pool], engine::Settings::default()).await.expect("started");
    Arc::new(engine)
}

async fn send(app: &Router, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (StatusCode, Value) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = app.clone().oneshot(request.body(Body::from(body.to_owned())).expect("a request")).await.expect("infallible");
    let status = answer.status();
    let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

async fn post(app: &Router, path: &str, body: &Value) -> (StatusCode, Value) {
    send(app, "POST", &format!("{ADMIN}{path}"), &[], &body.to_string()).await
}

async fn get(app: &Router, path: &str) -> (StatusCode, Value) {
    send(app, "GET", &format!("{ADMIN}{path}"), &[], "").await
}

async fn until(app: &Router, path: &str, status: &str) -> Value {
    let (code, body) = get(app, &format!("{path}?waitFor={status}&timeout=10")).await;
    assert_eq!((code, body["status"].as_str()), (StatusCode::OK, Some(status)), "{body}");
    body
}

#[tokio::test(start_paused = true)]
async fn a_whole_life_over_the_wire() {
    let app = app(AttachmentWords::Seed).await;
    let (code, made) = post(&app, "/block/volumes", &json!({"name": "v", "size": 1, "AttachStatus": ""})).await;
    assert_eq!(code, 202, "{made}");
    assert_eq!(
        (made["status"].as_str(), made["AttachStatus"].as_str(), made["poolId"].as_str()),
        (Some("creating"), Some(""), None)
    );
    let volume = format!("/block/volumes/{}", made["id"].as_str().expect("an id"));
    let available = until(&app, &volume, "available").await;
    assert!(available["poolId"].is_string());
    let host = json!({"hostName": "h", "ip": "127.0.0.1", "osType": "linux", "accessMode": "agentless", "initiators": null});
    let (code, host) = post(&app, "/host/hosts", &host).await;
    assert_eq!(code, 200, "{host}");
    let (code, made) =
        post(&app, "/block/attachments", &json!({"volumeId": available["id"], "hostId": host["id"], "connectionInfo": {}})).await;
    assert_eq!((code.as_u16(), made["status"].as_str(), &made["connectionInfo"]), (202, Some("attaching"), &json!({})));
    let attachment = format!("/block/attachments/{}", made["id"].as_str().expect("an id"));
    let attached = until(&app, &attachment, "attached").await;
    assert_eq!(attached["connectionInfo"]["driverVolumeType"], "nbd");
    let (code, refused) = send(&app, "DELETE", &format!("{ADMIN}{volume}"), &[], "null").await;
    assert_eq!((code.as_u16(), refused["code"].as_u64(), refused["resourceStatus"].as_str()), (409, Some(409), Some("inUse")));
    assert!(refused["allowed"].as_array().expect("a list").contains(&json!("detach")), "{refused}");
    assert_eq!(send(&app, "DELETE", &format!("{ADMIN}{attachment}"), &[], "{\"connectionInfo\":{}}").await.0, 202);
    until(&app, &attachment, "detached").await;
    assert_eq!(
        post(&app, &format!("{volume}/resize"), &json!({"newSize": 2})).await.1["size"],
        1,
        "the old size, until it is done"
    );
    assert_eq!(until(&app, &volume, "available").await["size"], 2);
    assert_eq!(send(&app, "DELETE", &format!("{ADMIN}{volume}"), &[], "{\"AttachStatus\":\"\"}").await.0, 202);
    assert_eq!(until(&app, &volume, "deleted").await["status"], "deleted");
    assert_eq!(get(&app, &volume).await.0, 404);
    let (_, journal) = get(&app, &format!("{volume}/journal")).await;
    assert_eq!(journal.as_array().and_then(|list| list.last()).expect("entries")["to"], "deleted");
}

/// Requests that change volumes, and wait for what comes of it.
struct Waits {
    store: Arc<MemStore>,
    driver: Arc<MemDriver>,
    engine: Arc<Engine>,
    app: Router,
}

/// The code, how waiting ended, and the body.
type Told = (u16, Option<String>, Value);

impl Waits {
    async fn new() -> Self {
        let (store, driver) = (Arc::new(MemStore::default()), Arc::new(MemDriver::able()));
        let engine = engine_on(store.clone(), driver.clone()).await;
        let app = router(engine.clone(), Settings::default());
        Self { store, driver, engine, app }
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Told {
        let request = Request::builder().method(method).uri(format!("{ADMIN}/block/volumes{path}"));
        let request = request.body(Body::from(body.to_string())).expect("a request");
        let answer = self.app.clone().oneshot(request).await.expect("infallible");
        let how = answer.headers().get("x-wait").map(|how| how.to_str().expect("a word").to_owned());
        let (code, bytes) = (answer.status().as_u16(), answer.into_body().collect().await.expect("a body").to_bytes());
        (code, how, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn make(&self, query: &str, name: &str) -> Told {
        self.ask("POST", query, json!({"name": name, "size": 1})).await
    }

    /// One that its backend never makes.
    async fn make_in_vain(&self, query: &str, name: &str) -> Told {
        self.driver.script.next("create", Fault::Hang);
        self.make(query, name).await
    }

    /// The volumes of this name, after a second in which what is under way gets as far as it can.
    async fn named(&self, name: &str) -> Value {
        tokio::time::sleep(Duration::from_secs(1)).await;
        get(&self.app, &format!("/block/volumes?name={name}")).await.1
    }

    async fn path_of(&self, name: &str) -> String {
        format!("/{}", self.named(name).await[0]["id"].as_str().expect("an id"))
    }
}

/// That it was accepted, and what is told of it.
fn assert_accepted(told: &Told, how: Option<&str>, status: &str) {
    assert_eq!((told.0, told.1.as_deref(), told.2["status"].as_str()), (202, how, Some(status)), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_change_is_answered_once_it_is_as_it_was_waited_for_or_the_time_is_over() {
    let waits = Waits::new().await;
    assert_accepted(&waits.make("?waitFor=available", "v").await, Some("reached"), "available");
    assert_accepted(&waits.make_in_vain("?waitFor=available&timeout=1", "slow").await, Some("timeout"), "creating");
    // Nothing is made of what could not be waited for, nor of what is only tried.
    assert_eq!(waits.make("?waitFor=blue", "blue").await.0, 400);
    let (code, how, _) = waits.make("?waitFor=available&dryRun=true", "blue").await;
    assert_eq!((code, how), (200, None));
    assert_eq!(waits.named("blue").await, json!([]));
}

#[tokio::test(start_paused = true)]
async fn who_is_gone_has_its_change_done_and_waits_no_longer() {
    let waits = Waits::new().await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(waits.named("accepted").await, json!([]));
    let before = tasks();
    waits.make_in_vain("", "accepted").await;
    assert_eq!(waits.named("accepted").await[0]["status"], "creating");
    let of_one = tasks() - before;
    let left = tokio::time::timeout(Duration::from_secs(1), waits.make_in_vain("?waitFor=available", "left")).await;
    assert!(left.is_err(), "it waits");
    assert_eq!(waits.named("left").await[0]["status"], "creating");
    assert_eq!(tasks(), before + 2 * of_one, "as one that nobody waits for");
}

#[tokio::test(start_paused = true)]
async fn what_another_deletes_is_told_as_gone_to_who_waits_for_something_else() {
    let waits = Waits::new().await;
    let deletes = async {
        let path = waits.path_of("gone").await;
        let deleted = waits.ask("DELETE", &format!("{path}?waitFor=deleted"), Value::Null).await;
        assert_accepted(&deleted, Some("reached"), "deleted");
        path
    };
    let (path, ended) = tokio::join!(deletes, waits.make_in_vain("?waitFor=available", "gone"));
    assert_accepted(&ended, Some("gone"), "deleted");
    assert_eq!(ended.2["id"].as_str(), path.strip_prefix('/'));
    // Who only looks for its end is told the same.
    let (code, how, _) = waits.ask("GET", &format!("{path}?waitFor=deleted"), Value::Null).await;
    assert_eq!((code, how.as_deref()), (200, Some("reached")));
}

/// It is looked at again as somebody gave the volume a name, and what was seen is told when the time is over.
#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_read_while_one_waits_makes_no_error_of_what_was_accepted() {
    let waits = Waits::new().await;
    for (reads, is_named) in [(Reads::Fail, true), (Reads::Fail, false), (Reads::Hang, true), (Reads::Hang, false)] {
        let name = format!("{reads:?}-{is_named}");
        let breaks = async {
            let path = waits.path_of(&name).await;
            if is_named {
                assert_eq!(waits.ask("PUT", &path, json!({"name": "renamed"})).await.0, 200);
            }
            waits.store.let_reads(reads);
        };
        // In this order: who waits looks again once nothing can be read.
        let ((), told) = tokio::join!(biased; breaks, waits.make_in_vain("?waitFor=available&timeout=2", &name));
        waits.store.let_reads(Reads::Work);
        assert_accepted(&told, if is_named { None } else { Some("timeout") }, "creating");
    }
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_stops_keeps_nobody_waiting() {
    let waits = Waits::new().await;
    let begun = tokio::time::Instant::now();
    let stops = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        waits.engine.end();
    };
    let ((), told) = tokio::join!(stops, waits.make_in_vain("?waitFor=available&timeout=60", "last"));
    assert_accepted(&told, Some("timeout"), "creating");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn bad_input_gets_a_clear_error_and_leaves_nothing() {
    let app = app(AttachmentWords::Seed).await;
    let long = "x".repeat(256);
    let rows: [(&str, u16); 19] = [
        ("", 400),
        ("nonsense", 400),
        ("[]", 400),
        (r#"{"size": 1}"#, 400),
        (r#"{"name": "v"}"#, 400),
        (r#"{"name": 7, "size": 1}"#, 400),
        (r#"{"name": "", "size": 1}"#, 400),
        (r#"{"name": "a/b", "size": 1}"#, 400),
        (&format!(r#"{{"name": "{long}", "size": 1}}"#), 400),
        (r#"{"name": "v", "size": 0}"#, 400),
        (r#"{"name": "v", "size": -1}"#, 400),
        (r#"{"name": "v", "size": 1.5}"#, 400),
        (r#"{"name": "v", "size": 8589934592}"#, 400),
        (r#"{"name": "v", "size": 1, "id": "7f3a7f3a-7f3a-7f3a-7f3a-7f3a7f3a7f3a"}"#, 400),
        (r#"{"name": "v", "size": 1, "profileId": "x"}"#, 400),
        (r#"{"name": "v", "size": 1, "profileId": "7f3a7f3a-7f3a-7f3a-7f3a-7f3a7f3a7f3a"}"#, 400),
        (r#"{"name": "v", "size": 1, "snapshotId": "7f3a7f3a-7f3a-7f3a-7f3a-7f3a7f3a7f3a"}"#, 400),
        (r#"{"name": "v", "size": 1, "availabilityZone": "mars"}"#, 400),
        (r#"{"name": "v", "size": 100000}"#, 409),
    ];
    for (body, wanted) in rows {
        let (code, answer) = send(&app, "POST", &format!("{ADMIN}/block/volumes"), &[], body).await;
        assert_eq!(code, wanted, "{body}: {answer}");
        assert_eq!(answer["code"].as_u64(), Some(u64::from(wanted)), "{answer}");
        assert!(answer["message"].as_str().is_some_and(|message| !message.is_empty()) && answer["requestId"].is_string());
    }
    assert_eq!(get(&app, "/block/volumes").await.1, json!([]));
    let huge = format!(r#"{{"name": "v", "size": 1, "description": "{}"}}"#, "x".repeat(1 << 20));
    assert_eq!(send(&app, "POST", &format!("{ADMIN}/block/volumes"), &[], &huge).await.0, 413);
    assert_eq!(get(&app, &format!("/block/volumes?name={}", "x".repeat(20_000))).await.0, 414);
    assert_eq!(get(&app, &format!("/block/volumes/{}", "x".repeat(20_000))).await.0, 414);
    for path in ["/nonsense", "/v1beta/t/nonsense", "/v2", "/v1beta/t/block/volumes/nonsense"] {
        let (code, answer) = send(&app, "GET", path, &[], "").await;
        assert_eq!((code.as_u16(), answer["code"].as_u64()), (404, Some(404)), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idempotency_key_makes_one_volume_and_is_bound_to_its_request() {
    let app = app(AttachmentWords::Seed).await;
    let path = format!("{ADMIN}/block/volumes");
    let key = [("idempotency-key", "k")];
    let body = r#"{"name": "v", "size": 1}"#;
    let (_, first) = send(&app, "POST", &path, &key, body).await;
    let (code, second) = send(&app, "POST", &path, &key, body).await;
    assert_eq!((code.as_u16(), &second["id"]), (202, &first["id"]));
    assert_eq!(send(&app, "POST", &path, &key, r#"{"name": "w", "size": 1}"#).await.0, 422);
    assert_eq!(get(&app, "/block/volumes").await.1.as_array().map(Vec::len), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_put_changes_neither_status_nor_size() {
    let app = app(AttachmentWords::Seed).await;
    let (_, made) = post(&app, "/block/volumes", &json!({"name": "v", "size": 1})).await;
    let path = format!("/block/volumes/{}", made["id"].as_str().expect("an id"));
    until(&app, &path, "available").await;
    let body = json!({"name": "w", "status": "error", "size": 9, "metadata": {"a": "b"}}).to_string();
    let (code, changed) = send(&app, "PUT", &format!("{ADMIN}{path}"), &[], &body).await;
    assert_eq!((code.as_u16(), changed["status"].as_str(), changed["size"].as_u64()), (200, Some("available"), Some(1)));
    assert_eq!((changed["name"].as_str(), changed["metadata"]["a"].as_str()), (Some("w"), Some("b")));
    let stale = [("if-match", "\"1\"")];
    assert_eq!(send(&app, "PUT", &format!("{ADMIN}{path}"), &stale, &body).await.0, 412);
}

#[tokio::test(start_paused = true)]
async fn the_legacy_words_are_spoken_when_asked_for() {
    let app = app(AttachmentWords::Legacy).await;
    let (_, made) = post(&app, "/block/volumes", &json!({"name": "v", "size": 1})).await;
    until(&app, &format!("/block/volumes/{}", made["id"].as_str().expect("an id")), "available").await;
    let host = json!({"hostName": "h", "ip": "127.0.0.1", "osType": "linux", "accessMode": "agentless"});
    let (_, host) = post(&app, "/host/hosts", &host).await;
    let (_, made) = post(&app, "/block/attachments", &json!({"volumeId": made["id"], "hostId": host["id"]})).await;
    assert_eq!(made["status"], "creating");
    let path = format!("/block/attachments/{}", made["id"].as_str().expect("an id"));
    until(&app, &path, "available").await;
    assert_eq!(send(&app, "DELETE", &format!("{ADMIN}{path}"), &[], "").await.0, 202);
    until(&app, &path, "deleted").await;
    assert_eq!(get(&app, &path).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn tenants_see_their_own() {
    let app = app(AttachmentWords::Seed).await;
    let body = json!({"name": "v", "size": 1}).to_string();
    let (_, made) = send(&app, "POST", "/v1beta/a/block/volumes", &[], &body).await;
    let id = made["id"].as_str().expect("an id");
    for (tenant, seen) in [("a", 200), ("b", 404), ("e93b4c0934da416eb9c8d120c5d04d96", 200)] {
        assert_eq!(send(&app, "GET", &format!("/v1beta/{tenant}/block/volumes/{id}"), &[], "").await.0, seen, "{tenant}");
    }
    assert_eq!(send(&app, "GET", "/v1beta/b/block/volumes", &[], "").await.1, json!([]));
}

#[tokio::test(start_paused = true)]
async fn an_id_is_read_as_it_is_written_alone() {
    let app = app(AttachmentWords::Seed).await;
    let (_, made) = post(&app, "/block/volumes", &json!({"name": "v", "size": 1})).await;
    let id = made["id"].as_str().expect("an id");
    assert_eq!(get(&app, &format!("/block/volumes/{id}")).await.0, 200);
    for other in [id.to_uppercase(), id.replace('-', ""), format!("urn:uuid:{id}"), format!("%7B{id}%7D")] {
        assert_eq!(get(&app, &format!("/block/volumes/{other}")).await.0, 404, "{other}");
        assert_eq!(get(&app, &format!("/block/volumes?marker={other}")).await.0, 400, "{other}");
    }
    let snapshot = json!({"name": "s", "volumeId": id.to_uppercase()});
    assert_eq!(post(&app, "/block/snapshots", &snapshot).await.0, 400);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_is_a_word_that_nothing_reads_otherwise() {
    let app = app(AttachmentWords::Seed).await;
    let longest = "f".repeat(64);
    for tenant in ["a", "T_1", "7f3a7f3a-7f3a-4f3a-8f3a-7f3a7f3a7f3a", "me@example.org", "a:b", &longest] {
        assert_eq!(send(&app, "GET", &format!("/v1beta/{tenant}/block/volumes"), &[], "").await.0, 200, "{tenant}");
    }
    let longer = "f".repeat(65);
    for tenant in ["x;%20touch%20p;%20echo", "a%20b", "-x", ".", "..a", "a%27b", "%24(id)", "%C3%BC", "a%0Ab", "a%2Fb", &longer] {
        let (code, told) = send(&app, "GET", &format!("/v1beta/{tenant}/block/volumes"), &[], "").await;
        let message = told["message"].as_str().unwrap_or_default();
        assert!(code == 400 && message.contains("letters, digits"), "{tenant}: {code} {told}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_tenant_can_do_nothing_and_learns_nothing() {
    let app = app(AttachmentWords::Seed).await;
    let mine = async |method: &str, path: &str, body: Value| {
        send(&app, method, &format!("/v1beta/a{path}"), &[], &body.to_string()).await.1
    };
    let id = |body: &Value| body["id"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned();
    let host = json!({"hostName": "h", "ip": "127.0.0.1", "osType": "linux", "accessMode": "agentless"});
    let host = id(&mine("POST", "/host/hosts", host).await);
    let volume = id(&mine("POST", "/block/volumes", json!({"name": "v", "size": 1})).await);
    mine("GET", &format!("/block/volumes/{volume}?waitFor=available"), Value::Null).await;
    let snapshot = id(&mine("POST", "/block/snapshots", json!({"name": "s", "volumeId": volume})).await);
    mine("GET", &format!("/block/snapshots/{snapshot}?waitFor=available"), Value::Null).await;
    let attachment = id(&mine("POST", "/block/attachments", json!({"volumeId": volume, "hostId": host})).await);
    mine("GET", &format!("/block/attachments/{attachment}?waitFor=attached"), Value::Null).await;
    let before = mine("GET", "/block/volumes", Value::Null).await;

    let mut asked = Vec::new();
    for path in
        [format!("/block/volumes/{volume}"), format!("/block/snapshots/{snapshot}"), format!("/block/attachments/{attachment}")]
    {
        for (method, more) in
            [("GET", ""), ("PUT", ""), ("DELETE", ""), ("POST", "/retry"), ("POST", "/recover"), ("GET", "/journal")]
        {
            asked.push((method, format!("{path}{more}"), json!({"name": "theirs"}), 404));
        }
        asked.push(("GET", format!("{path}?waitFor=deleted&timeout=1"), Value::Null, 404));
    }
    asked.push(("POST", format!("/block/volumes/{volume}/resize"), json!({"newSize": 2}), 404));
    for method in ["GET", "PUT", "DELETE"] {
        asked.push((method, format!("/host/hosts/{host}"), json!({"ip": "127.0.0.9"}), 404));
    }
    asked.push(("POST", "/block/snapshots".into(), json!({"name": "s", "volumeId": volume}), 400));
    asked.push(("POST", "/block/attachments".into(), json!({"volumeId": volume, "hostId": host}), 400));
    asked.push(("POST", "/block/volumes".into(), json!({"name": "c", "size": 1, "snapshotId": snapshot}), 400));
    for (method, path, body, wanted) in asked {
        let (code, answer) = send(&app, method, &format!("/v1beta/b{path}"), &[], &body.to_string()).await;
        assert_eq!(code, wanted, "{method} {path}: {answer}");
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(message.contains("does not exist"), "{method} {path} tells more than that it is not there: {answer}");
    }
    for kind in ["block/volumes", "block/snapshots", "block/attachments", "host/hosts"] {
        assert_eq!(send(&app, "GET", &format!("/v1beta/b/{kind}"), &[], "").await.1, json!([]), "{kind}");
    }
    assert_eq!(mine("GET", "/block/volumes", Value::Null).await, before);
}

#[tokio::test(start_paused = true)]
async fn pools_profiles_zones_and_what_is_always_empty() {
    let app = app(AttachmentWords::Seed).await;
    let (_, pools) = get(&app, "/pools").await;
    assert_eq!((pools[0]["name"].as_str(), pools[0]["totalCapacity"].as_u64()), (Some("default"), Some(100)));
    let (_, docks) = get(&app, "/docks/").await;
    assert_eq!(docks[0]["id"], pools[0]["dockId"]);
    assert_eq!(get(&app, "/availabilityZones").await.1, json!(["default"]));
    let (_, profiles) = get(&app, "/profiles").await;
    assert_eq!(profiles[0]["name"], "default_block");
    let id = profiles[0]["id"].as_str().expect("an id").to_owned();
    let (code, custom) = post(&app, &format!("/profiles/{id}/customProperties"), &json!({"a": 1})).await;
    assert_eq!((code.as_u16(), custom), (200, json!({"a": 1})));
    for path in ["/block/replications", "/block/volumeGroups"] {
        assert_eq!(get(&app, path).await, (StatusCode::OK, json!([])));
    }
}

#[tokio::test(start_paused = true)]
async fn what_asks_for_no_profile_gets_the_one_that_has_the_name_now() {
    let app = app(AttachmentWords::Seed).await;
    let (_, profiles) = get(&app, "/profiles").await;
    let first = profiles[0]["id"].as_str().expect("an id").to_owned();
    let create = async || post(&app, "/block/volumes", &json!({"name": "v", "size": 1})).await;
    for _ in 0..2 {
        assert_eq!(create().await.1["profileId"], first.as_str());
    }
    let rename = json!({"name": "former"}).to_string();
    assert_eq!(send(&app, "PUT", &format!("{ADMIN}/profiles/{first}"), &[], &rename).await.0, 200);
    let (code, refused) = create().await;
    assert_eq!(code, 400, "{refused}");
    assert!(refused["message"].as_str().is_some_and(|told| told.contains("default_block")), "{refused}");
    let (_, second) = post(&app, "/profiles", &json!({"name": "default_block", "storageType": "block"})).await;
    for _ in 0..2 {
        assert_eq!(create().await.1["profileId"], second["id"]);
    }
}

#[tokio::test(start_paused = true)]
async fn every_described_operation_is_answered_by_a_route() {
    let app = app(AttachmentWords::Seed).await;
    let nobody = "00000000-0000-4000-8000-000000000000";
    for (template, item) in openapi()["paths"].as_object().expect("paths") {
        let filled = [("{tenant}", "t"), ("{id}", nobody), ("{key}", "k"), ("{version}", "v1beta")];
        let path = filled.iter().fold(template.clone(), |path, (name, value)| path.replace(name, value));
        // A stream that is answered has no end: one that is refused shows the route as well.
        let path = if template.ends_with("/events") { format!("{path}?kind=none") } else { path };
        for method in item.as_object().expect("methods").keys() {
            let (_, answer) = send(&app, &method.to_uppercase(), &path, &[], "{}").await;
            let message = answer["message"].as_str().unwrap_or_default();
            let served = !message.starts_with("there is no ") && !message.contains("is not served at");
            assert!(served, "{method} {template}: {answer}");
        }
    }
    let (code, answer) = send(&app, "GET", &format!("{ADMIN}/block/nothing"), &[], "{}").await;
    assert_eq!((code.as_u16(), answer["message"].as_str().map(|text| text.starts_with("there is no "))), (404, Some(true)));
}

#[tokio::test(start_paused = true)]
async fn a_method_that_is_not_served_is_told_which_are() {
    let app = app(AttachmentWords::Seed).await;
    let nobody = "00000000-0000-4000-8000-000000000000";
    let rows = [
        ("PATCH", format!("{ADMIN}/block/volumes"), "GET,HEAD,POST"),
        ("TRACE", "/".to_owned(), "GET,HEAD"),
        ("POST", format!("{ADMIN}/block/volumes/{nobody}"), "DELETE,GET,HEAD,PUT"),
        ("GET", format!("{ADMIN}/block/volumes/{nobody}/retry"), "POST"),
    ];
    for (method, path, wanted) in rows {
        let request = Request::builder().method(method).uri(&path).body(Body::empty()).expect("a request");
        let answer = app.clone().oneshot(request).await.expect("infallible");
        let mut allowed: Vec<_> = answer.headers()["allow"].to_str().expect("words").split(',').map(str::to_owned).collect();
        allowed.sort();
        assert_eq!((answer.status().as_u16(), allowed.join(",").as_str()), (405, wanted), "{method} {path}");
        let body: Value = serde_json::from_slice(&answer.into_body().collect().await.expect("a body").to_bytes()).expect("JSON");
        assert_eq!((body["code"].as_u64(), body["type"].as_str()), (Some(405), Some("method-not-allowed")), "{method} {path}");
    }
}

#[tokio::test(start_paused = true)]
async fn head_tells_the_length_of_what_get_answers_and_none_of_a_list_that_streams() {
    let app = app(AttachmentWords::Seed).await;
    for (path, is_told) in [("/pools", true), ("/block/volumes/none", true), ("/block/volumes", false)] {
        let ask = |method: &str| {
            let request = Request::builder().method(method).uri(format!("{ADMIN}{path}")).header("x-request-id", "one");
            app.clone().oneshot(request.body(Body::empty()).expect("a request"))
        };
        let told = ask("HEAD").await.expect("infallible").headers().get("content-length").cloned();
        let sent = ask("GET").await.expect("infallible").into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(told, is_told.then(|| sent.len().into()), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_of_another_type_is_refused_as_such() {
    let app = app(AttachmentWords::Seed).await;
    let path = format!("{ADMIN}/block/volumes");
    for kind in ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", "", "application/jsonp"] {
        let (code, answer) = send(&app, "POST", &path, &[("content-type", kind)], r#"{"name": "v", "size": 1}"#).await;
        assert_eq!((code.as_u16(), answer["type"].as_str()), (415, Some("unsupported-type")), "{kind}");
    }
    assert_eq!(get(&app, "/block/volumes").await.1, json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_page_of_another_site_changes_nothing() {
    let app = app(AttachmentWords::Seed).await;
    let (_, made) = post(&app, "/block/volumes", &json!({"name": "v", "size": 1})).await;
    let volume = format!("{ADMIN}/block/volumes/{}", made["id"].as_str().expect("an id"));
    let ours = ("host", "127.0.0.1:50040");
    for theirs in [
        ("sec-fetch-site", "cross-site"),
        // Another port of the same host is the same site, and not ours.
        ("sec-fetch-site", "same-site"),
        ("origin", "http://evil.example"),
        ("origin", "http://127.0.0.1:8000"),
        ("origin", "null"),
    ] {
        for (method, path) in [("POST", format!("{volume}/recover")), ("DELETE", volume.clone()), ("PUT", volume.clone())] {
            let (code, told) = send(&app, method, &path, &[ours, theirs], "").await;
            assert_eq!((code.as_u16(), told["type"].as_str()), (403, Some("forbidden")), "{method} {theirs:?}: {told}");
        }
        let (code, _) = send(&app, "GET", &volume, &[ours, theirs], "").await;
        assert_eq!(code, 200, "what it reads, its browser keeps from it");
    }
    for own in [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "none"), ("origin", "http://127.0.0.1:50040")] {
        let (code, told) = send(&app, "PUT", &volume, &[ours, own], r#"{"name": "w"}"#).await;
        assert_eq!(code, 200, "{own:?}: {told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_field_of_the_wrong_type_is_refused_and_leaves_nothing() {
    let app = app(AttachmentWords::Seed).await;
    let (_, volume) = post(&app, "/block/volumes", &json!({"name": "v", "size": 1})).await;
    until(&app, &format!("/block/volumes/{}", volume["id"].as_str().expect("an id")), "available").await;
    let host = json!({"hostName": "h", "ip": "127.0.0.1", "osType": "linux", "accessMode": "agentless"});
    let (_, host) = post(&app, "/host/hosts", &host).await;
    let lists = ["/block/volumes", "/block/snapshots", "/block/attachments", "/host/hosts", "/profiles", "/pools"];
    let held = async || {
        let mut held = Vec::new();
        for list in lists {
            held.push(get(&app, list).await.1);
        }
        held
    };
    let before = held().await;
    let volume_fields = "name size description availabilityZone profileId poolId snapshotId multiAttach metadata groupId id";
    let host_fields = "hostName ip osType accessMode port username availabilityZones initiators id";
    let bodies = [
        ("/block/volumes", json!({"name": "w", "size": 1}), volume_fields),
        ("/block/snapshots", json!({"name": "s", "volumeId": volume["id"]}), "name volumeId description profileId metadata id"),
        (
            "/block/attachments",
            json!({"volumeId": volume["id"], "hostId": host["id"]}),
            "volumeId hostId attachMode mountpoint accessProtocol metadata id",
        ),
        ("/host/hosts", json!({"hostName": "g", "ip": "127.0.0.1", "osType": "linux", "accessMode": "agent"}), host_fields),
        ("/profiles", json!({"name": "p", "storageType": "block"}), "name storageType description customProperties id"),
    ];
    for (path, base, fields) in bodies {
        for field in fields.split(' ') {
            for wrong in [json!(-7), json!(1.5), json!(1e300), json!([1]), json!("x".repeat(5000))] {
                let mut body = base.clone();
                body[field] = wrong.clone();
                let (code, answer) = post(&app, path, &body).await;
                assert_eq!(code, 400, "{path} with {field} {wrong}: {answer}");
            }
        }
    }
    assert_eq!(held().await, before);
}

#[tokio::test(start_paused = true)]
async fn updates_that_merge_have_a_bound() {
    let app = app(AttachmentWords::Seed).await;
    let words = |from: usize| -> Value {
        (from..from + 200).map(|at| (format!("k{at}"), json!("v"))).collect::<serde_json::Map<_, _>>().into()
    };
    let (_, made) = post(&app, "/block/volumes", &json!({"name": "v", "size": 1, "metadata": words(0)})).await;
    let path = format!("{ADMIN}/block/volumes/{}", made["id"].as_str().expect("an id"));
    let put = |metadata: Value| json!({"metadata": metadata}).to_string();
    assert_eq!(send(&app, "PUT", &path, &[], &put(words(0))).await.0, 200, "the same words again");
    let (code, told) = send(&app, "PUT", &path, &[], &put(words(200))).await;
    assert_eq!(code, 400, "{told}");
    let (_, made) = post(&app, "/profiles", &json!({"name": "p", "storageType": "block", "customProperties": words(0)})).await;
    let path = format!("/profiles/{}/customProperties", made["id"].as_str().expect("an id"));
    let (code, told) = post(&app, &path, &words(200)).await;
    assert_eq!(code, 400, "{told}");
}

/// Asks as a browser does: the status, the headers, and the body as text.
async fn fetched(app: &Router, path: &str, known: Option<&str>) -> (StatusCode, HeaderMap, String) {
    let mut request = Request::builder().uri(path);
    if let Some(tag) = known {
        request = request.header("if-none-match", tag);
    }
    let answer = app.clone().oneshot(request.body(Body::empty()).expect("a request")).await.expect("infallible");
    let (parts, body) = answer.into_parts();
    let bytes = body.collect().await.expect("a body").to_bytes();
    (parts.status, parts.headers, String::from_utf8(bytes.to_vec()).expect("text"))
}

fn said<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn the_state_machine_is_told_in_each_format_with_a_tag() {
    let app = app(AttachmentWords::Legacy).await;
    let rows = [
        ("", "application/json; charset=utf-8", "\"kind\":\"snapshot\""),
        ("?format=json&resource=attachment", "application/json; charset=utf-8", "\"word\":\"errorDetaching\""),
        ("?format=svg", "image/svg+xml", "The statuses of a volume"),
        ("?format=svg&resource=snapshot&state=deleted", "image/svg+xml", "class=\"box final lit\""),
        ("?format=mermaid&resource=attachment", "text/vnd.mermaid; charset=utf-8", "attached --> detached : unexport done"),
    ];
    for (query, kind, holds) in rows {
        let path = format!("/v1beta/statemachine{query}");
        let (code, headers, body) = fetched(&app, &path, None).await;
        assert_eq!((code.as_u16(), said(&headers, "content-type")), (200, kind), "{query}");
        assert!(body.contains(holds), "{query}: {body}");
        assert_eq!((said(&headers, "cache-control"), said(&headers, "x-content-type-options")), ("no-cache", "nosniff"));
        let tag = said(&headers, "etag");
        let (code, again, body) = fetched(&app, &path, Some(tag)).await;
        assert_eq!((code.as_u16(), said(&again, "etag"), body.as_str()), (304, tag, ""), "{query}");
        assert_eq!(fetched(&app, &path, Some("\"another\"")).await.0, 200);
    }
    let (_, one, _) = fetched(&app, "/v1beta/statemachine?format=svg", None).await;
    let (_, lit, _) = fetched(&app, "/v1beta/statemachine?format=svg&state=error", None).await;
    assert_ne!(one["etag"], lit["etag"], "two pictures under one tag");
}

#[tokio::test(start_paused = true)]
async fn what_the_state_machine_does_not_know_is_refused_naming_what_it_does() {
    let app = app(AttachmentWords::Seed).await;
    let rows = [
        ("format=png", "json, svg, mermaid"),
        ("format=svg&resource=pool", "volume, snapshot, attachment"),
        ("resource=Volume", "volume, snapshot, attachment"),
        ("format=svg&state=attached", "creating, available, attaching"),
        ("format=svg&resource=attachment&state=%3Cscript%3E", "attached, attaching, detached"),
    ];
    for (query, known) in rows {
        let (code, headers, body) = fetched(&app, &format!("/v1beta/statemachine?{query}"), None).await;
        assert_eq!((code.as_u16(), said(&headers, "content-type")), (400, "application/json; charset=utf-8"), "{query}");
        assert!(body.contains(known), "{query}: {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_reference_is_a_page_of_its_own_under_a_strict_policy() {
    let app = app(AttachmentWords::Seed).await;
    let (code, headers, page) = fetched(&app, "/docs", None).await;
    assert_eq!((code.as_u16(), said(&headers, "content-type")), (200, "text/html; charset=utf-8"));
    let policy = said(&headers, "content-security-policy");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    for (path, kind) in
        [("/docs/style.css", "text/css; charset=utf-8"), ("/v1beta/statemachine?format=svg&resource=volume", "image/svg+xml")]
    {
        assert!(page.contains(&format!("=\"{}\"", path.replace('&', "&amp;"))), "{path} is not on the page");
        let (code, headers, _) = fetched(&app, path, None).await;
        assert_eq!((code.as_u16(), said(&headers, "content-type")), (200, kind));
    }
    let (code, _, body) = fetched(&app, "/docs", Some(said(&headers, "etag"))).await;
    assert_eq!((code.as_u16(), body.as_str()), (304, ""));
}
