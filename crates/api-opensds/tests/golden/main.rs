//! Every body that the API sends, as golden files, each held to the API document; and the document held to the routes.
//!
//! `UPDATE_GOLDEN=1 cargo test -p api-opensds --test golden` rewrites `testdata`, `docs/openapi.json` and `docs/images`; the diff is read like code.

mod exchange;
mod routes;
mod schema;

use api_opensds::AttachmentWords;
use engine::ports::Client;
use exchange::Wire;
use lifecycle::{Bytes, Timestamp};
use serde_json::json;
use sim::Fault;

#[tokio::test(start_paused = true)]
async fn volumes() {
    let mut wire = Wire::new("volumes", AttachmentWords::Seed).await;
    let body = json!({"name": "data", "description": "words", "size": 1, "multiAttach": true, "metadata": {"key": "value"}});
    let id = wire.make("/block/volumes", &body).await;
    let path = format!("/block/volumes/{id}");
    wire.until(&path, "available").await;
    wire.send("PUT", &path, &json!({"name": "renamed", "status": "error", "size": 9})).await;
    wire.send("POST", &format!("{path}/resize"), &json!({"newSize": 2})).await;
    wire.until(&path, "available").await;
    wire.get("/block/volumes?name=renamed").await;
    wire.get("/block/volumes?status=error").await;
    wire.send("DELETE", &path, &json!(null)).await;
    wire.get(&format!("{path}?waitFor=deleted&timeout=5")).await;
    wire.get(&format!("{path}/journal")).await;
    wire.done();
}

#[tokio::test(start_paused = true)]
async fn failed_volumes() {
    let mut wire = Wire::new("failed-volumes", AttachmentWords::Seed).await;
    wire.driver.script.next("create", Fault::Refuse);
    let id = wire.make("/block/volumes", &json!({"name": "data", "size": 1})).await;
    let path = format!("/block/volumes/{id}");
    wire.until(&path, "error").await;
    wire.send("POST", &format!("{path}/resize"), &json!({"newSize": 2})).await;
    wire.send("POST", &format!("{path}/recover"), &json!(null)).await;
    wire.settled(&path).await;
    wire.send("POST", &format!("{path}/retry"), &json!(null)).await;
    wire.until(&path, "available").await;
    wire.send("POST", &format!("{path}/retry"), &json!(null)).await;
    wire.driver.script.next("delete", Fault::Hang);
    wire.send("DELETE", &format!("{path}?cascade=true"), &json!(null)).await;
    wire.until(&path, "errorDeleting").await;
    wire.done();
}

#[tokio::test(start_paused = true)]
async fn snapshots_and_clones() {
    let mut wire = Wire::new("snapshots", AttachmentWords::Seed).await;
    let volume = wire.make("/block/volumes", &json!({"name": "data", "size": 2})).await;
    wire.until(&format!("/block/volumes/{volume}"), "available").await;
    let id = wire.make("/block/snapshots", &json!({"name": "nightly", "volumeId": volume, "metadata": {"a": "b"}})).await;
    let path = format!("/block/snapshots/{id}");
    wire.until(&path, "available").await;
    wire.send("PUT", &path, &json!({"description": "kept"})).await;
    wire.get("/block/snapshots").await;
    let clone = wire.make("/block/volumes", &json!({"name": "copy", "size": 3, "snapshotId": id})).await;
    wire.until(&format!("/block/volumes/{clone}"), "available").await;
    wire.send("POST", "/block/volumes", &json!({"name": "small", "size": 1, "snapshotId": id})).await;
    wire.send("DELETE", &format!("/block/volumes/{volume}"), &json!(null)).await;
    wire.send("POST", &format!("{path}/retry"), &json!(null)).await;
    wire.send("POST", &format!("{path}/recover"), &json!(null)).await;
    wire.send("DELETE", &path, &json!(null)).await;
    wire.get(&format!("{path}?waitFor=deleted&timeout=5")).await;
    wire.get(&format!("{path}/journal")).await;
    wire.done();
}

/// One that tells everything, and one of an exporter that does not know which size it was told.
fn clients() -> [Client; 2] {
    let first = Client {
        address: "127.0.0.1:41234".into(),
        identity: "db-1".into(),
        since: Timestamp(1_790_000_000_000),
        last_seen: Timestamp(1_790_000_060_000),
        size_seen: Bytes::from_gib(1),
        bytes_read: 4096,
        bytes_written: 1 << 40,
        in_flight: 3,
    };
    let second = Client { address: "unix pid 17".into(), identity: "pid 17".into(), size_seen: None, ..first.clone() };
    [first, second]
}

async fn attachments_in(name: &str, words: AttachmentWords, attached: &str) {
    let mut wire = Wire::new(name, words).await;
    let host = wire.host().await;
    let volume = wire.make("/block/volumes", &json!({"name": "data", "size": 1})).await;
    wire.until(&format!("/block/volumes/{volume}"), "available").await;
    let body = json!({"volumeId": volume, "hostId": host, "attachMode": "rw", "mountpoint": "/mnt"});
    let id = wire.make("/block/attachments", &body).await;
    let path = format!("/block/attachments/{id}");
    wire.until(&path, attached).await;
    wire.get(&format!("/block/volumes/{volume}")).await;
    for client in clients() {
        wire.exporter.connect(id.parse().unwrap(), client);
    }
    // The attachment's revision is still that of the tag, but somebody has connected since.
    wire.with("GET", &path, &json!(null), &[("if-none-match", "\"7\"")]).await;
    // Those who are connected were told the size that the volume had then.
    wire.send("POST", &format!("/block/volumes/{volume}/resize"), &json!({"newSize": 2})).await;
    wire.until(&format!("/block/volumes/{volume}"), "inUse").await;
    wire.get(&path).await;
    wire.send("PUT", &path, &json!({"mountpoint": "/srv"})).await;
    wire.get("/block/attachments").await;
    wire.send("POST", "/block/attachments", &body).await;
    wire.send("DELETE", &format!("/block/volumes/{volume}"), &json!(null)).await;
    wire.send("DELETE", &format!("/host/hosts/{host}"), &json!(null)).await;
    wire.exporter.script.next("unexport", Fault::Refuse);
    wire.send("DELETE", &path, &json!(null)).await;
    wire.until(&path, if attached == "attached" { "errorDetaching" } else { "errorDeleting" }).await;
    wire.send("POST", &format!("{path}/recover"), &json!(null)).await;
    wire.until(&path, attached).await;
    wire.send("POST", &format!("{path}/retry"), &json!(null)).await;
    wire.send("DELETE", &format!("{path}?force=true"), &json!(null)).await;
    wire.get(&format!("{path}?waitFor=deleted&timeout=5")).await;
    wire.get(&format!("{path}/journal")).await;
    let again = wire.make(&format!("/block/attachments?waitFor={attached}"), &body).await;
    wire.send("DELETE", &format!("/block/attachments/{again}?waitFor=detached"), &json!(null)).await;
    wire.done();
}

#[tokio::test(start_paused = true)]
async fn attachments() {
    attachments_in("attachments", AttachmentWords::Seed, "attached").await;
}

#[tokio::test(start_paused = true)]
async fn attachments_in_legacy_words() {
    attachments_in("attachments-legacy", AttachmentWords::Legacy, "available").await;
}

#[tokio::test(start_paused = true)]
async fn hosts_and_profiles() {
    let mut wire = Wire::new("hosts-and-profiles", AttachmentWords::Seed).await;
    let host = json!({"hostName": "db-1", "ip": "192.0.2.7", "port": 22, "osType": "linux", "accessMode": "agent",
        "username": "root", "password": "secret", "availabilityZones": ["default"],
        "initiators": [{"portName": "iqn.2017-08.org.example:x", "protocol": "iscsi"}]});
    let id = wire.make("/host/hosts", &host).await;
    wire.send("POST", "/host/hosts", &host).await;
    wire.get(&format!("/host/hosts/{id}")).await;
    wire.send("PUT", &format!("/host/hosts/{id}"), &json!({"ip": "192.0.2.8"})).await;
    wire.get("/host/hosts").await;
    wire.send("DELETE", &format!("/host/hosts/{id}"), &json!(null)).await;
    wire.get(&format!("/host/hosts/{id}")).await;

    let profile = json!({"name": "fast", "storageType": "block", "customProperties": {"diskType": "SSD"},
        "provisioningProperties": {"dataStorage": {"provisioningPolicy": "Thin"}}});
    let id = wire.make("/profiles", &profile).await;
    let path = format!("/profiles/{id}");
    wire.get(&path).await;
    wire.send("PUT", &path, &json!({"description": "very"})).await;
    wire.send("POST", &format!("{path}/customProperties"), &json!({"iops": 1000})).await;
    wire.get(&format!("{path}/customProperties")).await;
    wire.send("DELETE", &format!("{path}/customProperties/iops"), &json!(null)).await;
    wire.get("/profiles?sortKey=name&sortDir=asc").await;
    wire.send("PUT", &path, &json!({"provisioningProperties": {"ioConnectivity": {"accessProtocol": "iscsi"}}})).await;
    let volume = wire.make("/block/volumes", &json!({"name": "data", "size": 1, "profileId": id})).await;
    let volume_path = format!("/block/volumes/{volume}");
    wire.until(&volume_path, "available").await;
    let host = wire.make("/host/hosts", &host).await;
    let attachment = json!({"volumeId": volume, "hostId": host});
    wire.send("POST", "/block/attachments", &attachment).await;
    wire.send("POST", "/block/attachments", &json!({"volumeId": volume, "hostId": host, "accessProtocol": "rbd"})).await;
    wire.send("DELETE", &volume_path, &json!(null)).await;
    wire.get(&format!("{volume_path}?waitFor=deleted&timeout=5")).await;
    wire.tenant = "another".into();
    wire.send("POST", "/profiles", &json!({"name": "theirs", "storageType": "block"})).await;
    wire.send("PUT", &path, &json!({"description": "theirs"})).await;
    wire.send("POST", &format!("{path}/customProperties"), &json!({"iops": 1})).await;
    wire.send("DELETE", &format!("{path}/customProperties/diskType"), &json!(null)).await;
    wire.send("DELETE", &path, &json!(null)).await;
    wire.tenant = exchange::ADMIN.into();
    let stale = [("if-match", "\"1\"")];
    wire.with("POST", &format!("{path}/customProperties"), &json!({"iops": 1}), &stale).await;
    wire.with("DELETE", &format!("{path}/customProperties/diskType"), &json!(null), &stale).await;
    wire.get(&format!("{path}/customProperties")).await;
    wire.send("DELETE", &path, &json!(null)).await;
    wire.done();
}

#[tokio::test(start_paused = true)]
async fn pools_and_the_rest() {
    let mut wire = Wire::new("pools-and-the-rest", AttachmentWords::Seed).await;
    let pools = wire.get("/pools").await;
    let (pool, dock) = (pools[0]["id"].as_str().unwrap().to_owned(), pools[0]["dockId"].as_str().unwrap().to_owned());
    wire.get(&format!("/pools/{pool}")).await;
    wire.get("/docks").await;
    wire.get(&format!("/docks/{dock}")).await;
    for path in ["/availabilityZones", "/block/replications", "/block/volumeGroups", "/pools/none", "/docks/none"] {
        wire.get(path).await;
    }
    for path in ["//", "//v1beta", "//v9", "//version", "//livez", "//readyz"] {
        wire.get(path).await;
    }
    wire.get("//v1beta/statemachine?resource=attachment").await;
    wire.get("//v1beta/statemachine?resource=pool").await;
    wire.done();
}

#[tokio::test(start_paused = true)]
async fn diagnosis() {
    let mut wire = Wire::new("diagnosis", AttachmentWords::Seed).await;
    let volume = wire.make("/block/volumes", &json!({"name": "data", "size": 1})).await;
    let path = format!("/block/volumes/{volume}");
    wire.until(&path, "available").await;
    wire.get("/doctor").await;
    let unknown: lifecycle::VolumeId = "00000000-0000-4000-8000-00000000000a".parse().unwrap();
    wire.driver.meddle((volume.parse().unwrap(), None), None);
    wire.driver.meddle((unknown, None), Some(sim::Object { size: Bytes(1 << 30), whole: true }));
    let found = wire.send("POST", "/doctor/look", &json!(null)).await;
    let pool = found["pools"][0]["id"].as_str().unwrap().to_owned();
    let never = "00000000-0000-4000-8000-00000000000b";
    let never_of_it = format!("{volume}@{never}");
    // Asked for once more, as a client does whose answer was lost: done.
    for object in [volume.as_str(), "not-an-object", never, &never_of_it, &unknown.to_string(), &unknown.to_string()] {
        wire.send("DELETE", &format!("/pools/{pool}/objects/{object}"), &json!(null)).await;
    }
    wire.get(&path).await;
    wire.driver.script.next("list", Fault::Fail);
    wire.send("POST", "/doctor/look", &json!(null)).await;
    wire.driver.script.next("list", Fault::Hang);
    wire.send("POST", "/doctor/look", &json!(null)).await;
    wire.tenant = "another".into();
    wire.get("/doctor").await;
    wire.send("POST", "/doctor/look", &json!(null)).await;
    wire.done();
}

/// What mends it: the best first, and of a volume only its attachments are detached.
async fn what_mends_in(name: &str, words: AttachmentWords, attached: &str, stays: &str) {
    let mut wire = Wire::new(name, words).await;
    let host = wire.host().await;
    let mut both = Vec::new();
    for name in ["lost", "used"] {
        let volume = wire.make("/block/volumes", &json!({"name": name, "size": 1})).await;
        wire.until(&format!("/block/volumes/{volume}"), "available").await;
        let attachment = wire.make("/block/attachments", &json!({"volumeId": volume, "hostId": host})).await;
        wire.until(&format!("/block/attachments/{attachment}"), attached).await;
        both.push((volume, attachment));
    }
    wire.driver.meddle((both[0].0.parse().unwrap(), None), None);
    wire.exporter.script.next("unexport", Fault::Refuse);
    wire.send("DELETE", &format!("/block/attachments/{}", both[1].1), &json!(null)).await;
    wire.until(&format!("/block/attachments/{}", both[1].1), stays).await;
    let found = wire.send("POST", "/doctor/look", &json!(null)).await;
    let of = |id: &str| {
        let mut findings = found["findings"].as_array().unwrap().iter();
        findings.find(|finding| finding["resource"]["id"] == id).unwrap_or_else(|| panic!("no {id} in {found}")).clone()
    };
    let lost = of(&both[0].0);
    assert_eq!((&lost["mend"], &lost["attachments"]), (&json!(["recover", "detach"]), &json!([both[0].1])));
    let used = of(&both[1].1);
    assert_eq!((&used["mend"], &used["attachments"]), (&json!(["detach", "retry", "recover"]), &json!([both[1].1])));
    assert_eq!(used["resource"]["status"], stays);
    // What is told must do it; and of two volumes nobody knows which is told first.
    wire.send("DELETE", &format!("/block/attachments/{}", both[0].1), &json!(null)).await;
    wire.get(&format!("/block/attachments/{}?waitFor=deleted&timeout=5", both[0].1)).await;
    wire.send("DELETE", &format!("/block/volumes/{}", both[0].0), &json!(null)).await;
    wire.get(&format!("/block/volumes/{}?waitFor=deleted&timeout=5", both[0].0)).await;
    wire.driver.script.next("create", Fault::Refuse);
    let refused = wire.make("/block/volumes", &json!({"name": "refused", "size": 1})).await;
    wire.until(&format!("/block/volumes/{refused}"), "error").await;
    let found = wire.get("/doctor").await;
    assert_eq!(found["findings"][0]["mend"], json!(["retry", "recover", "delete"]), "{found}");
    wire.done();
}

#[tokio::test(start_paused = true)]
async fn what_mends() {
    what_mends_in("what-mends", AttachmentWords::Seed, "attached", "errorDetaching").await;
}

#[tokio::test(start_paused = true)]
async fn what_mends_in_legacy_words() {
    what_mends_in("what-mends-legacy", AttachmentWords::Legacy, "available", "errorDeleting").await;
}

/// Each dry run is answered as the real request would be, and the store's revision says that nothing came of it.
#[tokio::test(start_paused = true)]
async fn dry_runs() {
    let mut wire = Wire::new("dry-run", AttachmentWords::Seed).await;
    let body = json!({"hostName": "h", "ip": "127.0.0.1", "osType": "linux", "accessMode": "agentless"});
    let host = wire.make("/host/hosts", &body).await;
    let volume = wire.make("/block/volumes", &json!({"name": "data", "size": 2})).await;
    let path = format!("/block/volumes/{volume}");
    wire.until(&path, "available").await;
    let snapshot = wire.make("/block/snapshots", &json!({"name": "nightly", "volumeId": volume})).await;
    wire.until(&format!("/block/snapshots/{snapshot}"), "available").await;
    let attachment = wire.make("/block/attachments", &json!({"volumeId": volume, "hostId": host})).await;
    let attached = format!("/block/attachments/{attachment}");
    wire.until(&attached, "attached").await;
    let profile = wire.get("/profiles").await[0]["id"].as_str().unwrap().to_owned();
    wire.driver.script.next("create", Fault::Refuse);
    let failed = wire.make("/block/volumes", &json!({"name": "failed", "size": 1})).await;
    wire.until(&format!("/block/volumes/{failed}"), "error").await;
    let nobody = "00000000-0000-4000-8000-000000000000";
    let before = engine::store::Store::head(&*wire.store).await.unwrap();
    let none = json!(null);
    let rows = [
        ("POST", "/block/volumes".to_owned(), json!({"name": "new", "size": 1})),
        ("POST", "/block/volumes".to_owned(), json!({"name": "clone", "size": 2, "snapshotId": snapshot})),
        ("POST", "/block/volumes".to_owned(), json!({"name": "clone", "size": 1, "snapshotId": snapshot})),
        ("POST", "/block/volumes".to_owned(), json!({"name": "huge", "size": 1_000_000})),
        ("POST", "/block/volumes".to_owned(), json!({"name": "v", "size": 1, "profileId": nobody})),
        ("PUT", path.clone(), json!({"name": "renamed"})),
        ("POST", format!("{path}/resize"), json!({"newSize": 3})),
        ("POST", format!("{path}/resize"), json!({"newSize": 1})),
        ("DELETE", path.clone(), none.clone()),
        ("DELETE", format!("/block/volumes/{failed}"), none.clone()),
        ("POST", format!("/block/volumes/{failed}/retry"), none.clone()),
        ("POST", format!("/block/volumes/{failed}/recover"), none.clone()),
        ("POST", format!("{path}/retry"), none.clone()),
        ("POST", "/block/snapshots".to_owned(), json!({"name": "second", "volumeId": volume})),
        ("PUT", format!("/block/snapshots/{snapshot}"), json!({"name": "weekly"})),
        ("DELETE", format!("/block/snapshots/{snapshot}"), none.clone()),
        ("POST", format!("/block/snapshots/{snapshot}/recover"), none.clone()),
        ("POST", "/block/attachments".to_owned(), json!({"volumeId": failed, "hostId": host})),
        ("POST", "/block/attachments".to_owned(), json!({"volumeId": volume, "hostId": host, "accessProtocol": "carrier-pigeon"})),
        ("PUT", attached.clone(), json!({"mountpoint": "/mnt"})),
        ("DELETE", attached.clone(), none.clone()),
        ("POST", format!("{attached}/recover"), none.clone()),
        (
            "POST",
            "/host/hosts".to_owned(),
            json!({"hostName": "i", "ip": "127.0.0.2", "osType": "linux", "accessMode": "agentless"}),
        ),
        ("POST", "/host/hosts".to_owned(), body),
        ("PUT", format!("/host/hosts/{host}"), json!({"osType": "esxi"})),
        ("PUT", format!("/host/hosts/{host}"), json!({"ip": "127.0.0.9"})),
        ("DELETE", format!("/host/hosts/{host}"), none.clone()),
        ("POST", "/profiles".to_owned(), json!({"name": "gold", "storageType": "block"})),
        ("POST", "/profiles".to_owned(), json!({"name": "default_block", "storageType": "block"})),
        ("POST", format!("/profiles/{profile}/customProperties"), json!({"tier": "ssd"})),
        ("DELETE", format!("/profiles/{profile}"), none.clone()),
        ("POST", "/doctor/look".to_owned(), none.clone()),
    ];
    for (method, path, body) in &rows {
        wire.send(method, &format!("{path}?dryRun=true"), body).await;
    }
    wire.send("DELETE", &format!("{path}?cascade=true&dryRun=perhaps"), &none).await;
    let bodies = |name: &str| json!({"name": name, "size": 1});
    wire.with("POST", "/block/volumes?dryRun=true", &bodies("a"), &[("idempotency-key", "once")]).await;
    wire.with("PUT", &format!("{path}?dryRun=true"), &bodies("b"), &[("if-match", "\"1\"")]).await;
    assert_eq!(engine::store::Store::head(&*wire.store).await.unwrap(), before, "nothing was committed");
    // The key was not used, so the real request goes through; and a dry run of what was done tells what that made.
    let made = wire.with("POST", "/block/volumes", &bodies("a"), &[("idempotency-key", "once")]).await;
    wire.until(&format!("/block/volumes/{}", made["id"].as_str().unwrap()), "available").await;
    wire.with("POST", "/block/volumes?dryRun=true", &bodies("a"), &[("idempotency-key", "once")]).await;
    wire.with("POST", "/block/volumes?dryRun=true", &bodies("b"), &[("idempotency-key", "once")]).await;
    wire.done();
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_is_down() {
    let mut wire = Wire::new("backend-down", AttachmentWords::Seed).await;
    let host = wire.host().await;
    let volume = wire.make("/block/volumes", &json!({"name": "data", "size": 1})).await;
    let path = format!("/block/volumes/{volume}");
    wire.until(&path, "available").await;
    let snapshot = wire.make("/block/snapshots", &json!({"name": "nightly", "volumeId": volume})).await;
    wire.until(&format!("/block/snapshots/{snapshot}"), "available").await;
    let attachment = wire.make("/block/attachments", &json!({"volumeId": volume, "hostId": host})).await;
    wire.until(&format!("/block/attachments/{attachment}"), "attached").await;
    wire.driver.script.next("create", Fault::Fail);
    let failing = wire.make("/block/volumes", &json!({"name": "failing", "size": 1})).await;
    let failing = format!("/block/volumes/{failing}");
    wire.shown(&failing, |body| body["operation"]["nextTryAt"].is_string()).await;
    wire.driver.freeze();
    let pool = wire.get("/pools").await[0]["id"].as_str().unwrap().to_owned();
    wire.shown(&format!("/pools/{pool}"), |body| body["availability"]["state"] == "down").await;
    wire.get("/docks").await;
    wire.get("/doctor").await;
    for path in [path.clone(), format!("/block/snapshots/{snapshot}"), format!("/block/attachments/{attachment}"), failing] {
        wire.get(&path).await;
    }
    // Its revision is still that of before, but what is shown is not: no 304, unless this very body is known.
    wire.with("GET", &path, &json!(null), &[("if-none-match", "\"9\"")]).await;
    wire.with("GET", &path, &json!(null), &[("if-none-match", "\"9-backendUnreachable\"")]).await;
    wire.with("PUT", &path, &json!({"description": "kept"}), &[("if-match", "\"9-backendUnreachable\"")]).await;
    wire.send("POST", "/block/volumes", &json!({"name": "more", "size": 1})).await;
    wire.send("POST", &format!("{path}/resize"), &json!({"newSize": 2})).await;
    wire.send("DELETE", &format!("/block/snapshots/{snapshot}"), &json!(null)).await;
    wire.shown(&format!("/block/snapshots/{snapshot}"), |body| body["operation"]["waitingFor"].is_string()).await;
    wire.send("DELETE", &format!("/block/attachments/{attachment}"), &json!(null)).await;
    wire.until(&format!("/block/attachments/{attachment}"), "detached").await;
    wire.driver.thaw();
    wire.shown(&format!("/pools/{pool}"), |body| body["availability"]["state"] == "up").await;
    wire.with("GET", &path, &json!(null), &[("if-none-match", "\"14-backendUnreachable\"")]).await;
    wire.done();
}

#[tokio::test(start_paused = true)]
async fn changes_that_are_waited_for() {
    let mut wire = Wire::new("waits", AttachmentWords::Seed).await;
    let host = wire.host().await;
    let id = wire.make("/block/volumes?waitFor=available,error", &json!({"name": "data", "size": 1})).await;
    let volume = format!("/block/volumes/{id}");
    wire.send("POST", &format!("{volume}/resize?waitFor=available,errorExtending"), &json!({"newSize": 2})).await;
    let snapshot = wire.make("/block/snapshots?waitFor=available,error", &json!({"name": "nightly", "volumeId": id})).await;
    wire.send("DELETE", &format!("/block/snapshots/{snapshot}?waitFor=deleted"), &json!(null)).await;
    let attach = json!({"volumeId": id, "hostId": host});
    let attachment = wire.make("/block/attachments?waitFor=attached", &attach).await;
    wire.send("DELETE", &format!("/block/attachments/{attachment}?waitFor=detached"), &json!(null)).await;
    wire.send("DELETE", &format!("{volume}?waitFor=deleted"), &json!(null)).await;
    // What does not come to be as it was wanted, in time or at all.
    wire.driver.script.next("create", Fault::Refuse);
    let failed = wire.make("/block/volumes?waitFor=available,error", &json!({"name": "failed", "size": 1})).await;
    wire.send("POST", &format!("/block/volumes/{failed}/retry?waitFor=available,error"), &json!(null)).await;
    wire.driver.script.next("create", Fault::Hang);
    wire.make("/block/volumes?waitFor=available&timeout=1", &json!({"name": "slow", "size": 1})).await;
    wire.send("POST", "/block/volumes?waitFor=blue", &json!({"name": "never-made", "size": 1})).await;
    wire.get("/block/volumes?name=never-made").await;
    wire.done();
}

#[tokio::test(start_paused = true)]
async fn errors() {
    let mut wire = Wire::new("errors", AttachmentWords::Seed).await;
    let nobody = "00000000-0000-4000-8000-000000000000";
    wire.get(&format!("/block/volumes/{nobody}")).await;
    wire.get("/block/volumes/not-an-id").await;
    wire.send("POST", "/block/volumes", &json!([1])).await;
    wire.send("POST", "/block/volumes", &json!({"name": "v"})).await;
    wire.send("POST", "/block/volumes", &json!({"name": "v", "size": 1, "id": nobody})).await;
    wire.send("POST", "/block/volumes", &json!({"name": "v", "size": 1, "profileId": nobody})).await;
    wire.send("POST", "/block/volumes", &json!({"name": "v", "size": 1_000_000})).await;
    wire.send("POST", "/block/attachments", &json!({"volumeId": nobody, "hostId": nobody})).await;
    wire.send("POST", "/block/volumes", &json!({"name": "v", "size": 1, "description": "x".repeat(1 << 20)})).await;
    wire.get("/block/volumes?offset=10001").await;
    wire.get("/block/volumes?marker=x").await;
    let id = wire.make("/block/volumes", &json!({"name": "v", "size": 1})).await;
    let path = format!("/block/volumes/{id}");
    wire.until(&path, "available").await;
    wire.get(&format!("{path}?waitFor=blue")).await;
    wire.with("PUT", &path, &json!({"name": "w"}), &[("if-match", "\"1\"")]).await;
    wire.with("GET", &path, &json!(null), &[("if-none-match", "\"4\"")]).await;
    for body in [json!({"name": "a", "size": 1}), json!({"name": "b", "size": 1})] {
        wire.with("POST", "/block/volumes", &body, &[("idempotency-key", "once")]).await;
    }
    wire.tenant = "another".into();
    wire.get(&path).await;
    wire.send("DELETE", &format!("{path}?forget=true"), &json!(null)).await;
    wire.tenant = exchange::ADMIN.into();
    wire.send("DELETE", &format!("{path}?forget=true"), &json!(null)).await;
    wire.store.refuse_next(engine::store::CommitError::Unavailable("the disk is on fire".into()));
    wire.send("POST", "/block/volumes", &json!({"name": "v", "size": 1})).await;
    wire.done();
}
