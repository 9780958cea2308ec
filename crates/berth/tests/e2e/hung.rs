//! Pools on file systems that hang for real, by `fsfreeze`: writers wait where no signal reaches them.

use crate::plane::{pid, status};
use crate::server::{Answer, Server, data_plane, refuses, run, uri};
use ground::{Frozen, Ground, Kind, wait_until};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long any answer may take while a backend hangs. Far above what it takes, and far below what a hung call does.
const BOUNDED: Duration = Duration::from_secs(10);

/// A folder for the server and a file system for its pool `slow`, beside the pool `default` on the folder's own.
struct Place {
    folder: TempDir,
    ground: Ground,
}

impl Place {
    fn new() -> Option<Self> {
        let ground = Ground::new(Kind::Ext4, 200)?;
        let folder = tempfile::tempdir().expect("a folder");
        Some(Self { folder, ground })
    }

    fn config(&self, times: &str, of_slow: &str) -> PathBuf {
        let (path, slow) = (self.folder.path().join("berth.toml"), self.ground.root().join("pool"));
        let times = format!("[times]\ndown-after = 4\nprobe-interval = 1\ncall-timeout = 1\n{times}");
        let pools = "[[pool]]\nname = \"default\"\nreserved = 0\n[[pool]]\nname = \"slow\"\nreserved = 0\novercommit = 100.0\n";
        std::fs::write(&path, format!("{times}{pools}folder = {slow:?}\n{of_slow}\n")).expect("room");
        path
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn start(&self, of_slow: &str) -> Server {
        self.start_with("", of_slow)
    }

    /// With more of its times.
    fn start_with(&self, times: &str, of_slow: &str) -> Server {
        Server::start(&self.data(), &["--config", self.config(times, of_slow).to_str().expect("UTF-8")])
    }
}

fn pool(server: &Server, name: &str) -> Value {
    let pools = server.get("/pools").expect(200).body;
    pools.as_array().and_then(|all| all.iter().find(|pool| pool["name"] == name)).expect("configured").clone()
}

fn is(server: &Server, name: &str, state: &str) -> bool {
    pool(server, name)["availability"]["state"] == state
}

fn create(server: &Server, name: &str) -> Answer {
    server.post("/block/volumes", &json!({"name": "v", "size": 1, "poolId": pool(server, name)["id"]}))
}

fn made(server: &Server, name: &str) -> String {
    let id = create(server, name).expect(202).id();
    server.until(&path(&id), "available");
    id
}

fn path(volume: &str) -> String {
    format!("/block/volumes/{volume}")
}

/// What the answer to this takes.
fn timed(what: &str, ask: impl FnOnce()) {
    let begun = Instant::now();
    ask();
    assert!(begun.elapsed() < BOUNDED, "{what} took {:?}", begun.elapsed());
}

/// Whether nothing of the process runs any more. One whose thread is stuck in a frozen file system cannot be reaped before that thaws.
fn has_ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X'])))
}

fn tell_to_stop(server: &Server) {
    run("kill", &["-TERM", &server.pid().to_string()]);
    wait_until("it ends, whoever hangs", || has_ended(server.pid()));
}

#[test]
fn a_frozen_pool_is_told_and_harms_nobody() {
    let Some(place) = Place::new() else { return };
    let server = place.start("");
    wait_until("both answer", || ["default", "slow"].iter().all(|name| is(&server, name, "up")));
    let (kept, removed, attached) = (made(&server, "slow"), made(&server, "slow"), made(&server, "slow"));
    let host = server.host("h");
    let frozen: Frozen = place.ground.freeze();
    let creating = create(&server, "slow").expect(202).id();
    wait_until("it says who is waited for", || {
        server.get(&path(&creating)).body["operation"]["waitingFor"] == "driver file of pool slow"
    });
    let attachment = server.post("/block/attachments", &json!({"volumeId": attached, "hostId": host})).expect(202).id();
    let attachment = format!("/block/attachments/{attachment}");
    // Whether its backing can be opened now depends on what the file system has to write for that; it is detached in either case.
    timed("another pool", || drop(made(&server, "default")));
    timed("detaching", || {
        server.delete(&attachment).expect(202);
        server.until(&attachment, "detached");
        server.until(&path(&attached), "available");
    });
    timed("deleting while creating", || drop(server.delete(&path(&creating)).expect(202)));
    assert_eq!(server.get(&path(&creating)).body["status"], "deleting");
    timed("deleting", || drop(server.delete(&path(&removed)).expect(202)));

    wait_until("the pool is down", || is(&server, "slow", "down"));
    let slow = pool(&server, "slow");
    assert_eq!((&slow["status"], &slow["whenDown"]), (&json!("unavailable"), &json!("refuse")));
    assert!(is(&server, "default", "up"));
    let shown = server.get(&path(&kept)).body;
    assert_eq!((&shown["status"], &shown["health"]["state"]), (&json!("available"), &json!("unknown")));
    assert_eq!(shown["health"]["code"], "backendUnreachable");
    assert_eq!(shown["health"]["since"], slow["availability"]["since"]);
    let refused = create(&server, "slow").expect(503);
    assert_eq!(refused.body["type"], "pool-down");
    for list in ["/pools", "/block/volumes", "/block/snapshots", "/block/attachments"] {
        timed(list, || drop(server.get(list).expect(200)));
    }
    timed("a volume without a pool", || drop(server.volume(1)));
    let listed = run(env!("CARGO_BIN_EXE_berth"), &["pool", "list", "--endpoint", server.base()]);
    assert!(listed.lines().any(|line| line.contains("slow") && line.contains("down since 20")), "{listed}");

    drop(frozen);
    wait_until("the pool is up again", || is(&server, "slow", "up"));
    for gone in [&creating, &removed] {
        server.until(&path(gone), "gone");
    }
    wait_until("all is looked at anew", || server.get(&path(&kept)).body["health"]["state"] == "ok");
    made(&server, "slow");
    assert!(server.terminate().success());
}

/// A client with a write that hangs in the frozen file system.
struct Stuck(Child);

impl Stuck {
    fn new(place: &Place, attached: &Value) -> Self {
        let mut client = Command::new("qemu-io");
        client.args(["-f", "raw", "-c", "write -P 7 0 64k", "-c", "flush", &uri(attached)]);
        let client = client.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        wait_until("its write hangs", || {
            let exports = status(&place.data())["exports"].as_array().expect("a list").clone();
            exports.iter().flat_map(|export| export["clients"].as_array().expect("a list")).any(|one| one["in_flight"] != 0)
        });
        Self(client)
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_forced_detach_that_hung_is_finished_when_the_file_system_thaws() {
    let Some(place) = Place::new() else { return };
    let server = place.start_with("detach-grace = 1\nexport-deadline = 3\n", "");
    let volume = made(&server, "slow");
    let (attachment, attached) = server.attach(&volume, &server.host("h"));
    let attachment = format!("/block/attachments/{attachment}");
    let frozen = place.ground.freeze();
    let client = Stuck::new(&place, &attached);
    server.delete(&attachment).expect(202);
    server.until(&attachment, "errorDetaching");
    server.delete(&format!("{attachment}?force=true")).expect(202);
    let told = server.until(&attachment, "errorDetaching");
    assert_eq!(told["statusReason"]["code"], "outcomeUnknown", "{told}");
    assert_eq!(status(&place.data())["exports"][0]["is_fenced"], true);
    drop(frozen);
    server.until(&attachment, "detached");
    server.until(&path(&volume), "available");
    assert_eq!(status(&place.data())["exports"], json!([]));
    drop(client);
    server.attach(&volume, &server.host("other"));
}

#[test]
fn told_to_stop_while_a_pool_is_frozen_it_stops_and_another_starts() {
    let Some(place) = Place::new() else { return };
    // Dropped after what thaws the file system: before, they could not be reaped.
    let (old, new);
    old = place.start("");
    let kept = made(&old, "slow");
    let frozen = place.ground.freeze();
    let creating = create(&old, "slow").expect(202).id();
    old.delete(&path(&kept)).expect(202);
    wait_until("both calls hang", || {
        let shows = |id| old.get(&path(id)).body["operation"]["waitingFor"] == "driver file of pool slow";
        shows(&creating) && shows(&kept)
    });
    tell_to_stop(&old);

    // The old one's threads are stuck in the folder still, and it cannot be written either.
    new = place.start("");
    timed("another pool", || drop(made(&new, "default")));
    wait_until("the pool is down", || is(&new, "slow", "down"));
    assert_eq!(new.get(&path(&creating)).body["status"], "creating");
    tell_to_stop(&new);
    drop(frozen);
    assert!(old.terminate_alone().success());
    assert!(new.terminate_alone().success());

    let server = place.start("");
    wait_until("the pool is up", || is(&server, "slow", "up"));
    server.until(&path(&creating), "available");
    server.until(&path(&kept), "gone");
}

#[test]
fn a_controller_killed_while_a_pool_hangs_is_followed_by_another_at_once() {
    let Some(place) = Place::new() else { return };
    // Dropped after what thaws the file system: before, it could not be reaped.
    let (old, server);
    old = place.start("");
    wait_until("both answer", || ["default", "slow"].iter().all(|name| is(&old, name, "up")));
    let frozen = place.ground.freeze();
    let creating = create(&old, "slow").expect(202).id();
    wait_until("the call hangs", || old.get(&path(&creating)).body["operation"]["waitingFor"] == "driver file of pool slow");
    old.kill_now();
    wait_until("it is dead, but for a thread in the kernel", || has_ended(old.pid()));

    server = place.start("");
    wait_until("the other pool answers", || is(&server, "default", "up"));
    timed("another pool", || drop(made(&server, "default")));
    let told = refuses(&place.data(), &[]);
    assert!(told.contains(&format!("process {}", server.pid())), "it is locked as ever: {told}");
    drop(frozen);
    server.until(&path(&creating), "available");
    assert!(server.terminate().success());
}

#[test]
fn a_data_plane_killed_while_a_pool_hangs_keeps_nothing_of_another_pool_from_being_served() {
    let Some(place) = Place::new() else { return };
    let server = place.start("");
    wait_until("both answer", || ["default", "slow"].iter().all(|name| is(&server, name, "up")));
    let (slow, healthy, host) = (made(&server, "slow"), made(&server, "default"), server.host("h"));
    let (_, stuck) = server.attach(&slow, &host);
    let (attachment, attached) = server.attach(&healthy, &host);
    let frozen = place.ground.freeze();
    let client = Stuck::new(&place, &stuck);
    let dead = pid(&place.data());
    run("kill", &["-KILL", &dead.to_string()]);
    wait_until("another serves", || data_plane(&place.data(), &["status"]).is_some() && pid(&place.data()) != dead);
    assert!(has_ended(u32::try_from(dead).expect("a process")), "the dead one is stuck still");
    let again = server.until(&format!("/block/attachments/{attachment}"), "attached");
    assert_eq!(uri(&again), uri(&attached), "on the same port");
    run("qemu-io", &["-f", "raw", "-c", "write -P 2 0 64k", "-c", "flush", &uri(&again)]);
    let in_slow = format!("/block/attachments/{}", stuck["id"].as_str().expect("an id"));
    server.until(&in_slow, "attaching");
    wait_until("it says what it waits for", || {
        let operation = server.get(&in_slow).body["operation"].clone();
        operation["lastError"].as_str().is_some_and(|told| told.contains(&format!("process {dead}")))
    });
    drop(frozen);
    drop(client);
    let stuck = server.until(&in_slow, "attached");
    run("qemu-io", &["-f", "raw", "-c", "write -P 3 0 64k", "-c", "flush", "-c", "read -P 3 0 64k", &uri(&stuck)]);
}

#[test]
fn work_queued_for_a_frozen_pool_is_done_when_it_thaws() {
    let Some(place) = Place::new() else { return };
    let server = place.start("when-down = \"queue\"\n[pool.deadline]\ncreate = 1\n");
    made(&server, "slow");
    let frozen = place.ground.freeze();
    wait_until("the pool is down", || is(&server, "slow", "down"));
    let queued = create(&server, "slow").expect(202).id();
    wait_until("it says what is waited for", || {
        let shown = server.get(&path(&queued)).body;
        shown["operation"]["waitingFor"]
            .as_str()
            .is_some_and(|whom| whom.starts_with("the backend of pool slow, unreachable since"))
    });
    let begun = Instant::now();
    wait_until("its deadline would have passed", || begun.elapsed() > Duration::from_secs(2));
    assert_eq!(server.get(&path(&queued)).body["status"], "creating");
    drop(frozen);
    server.until(&path(&queued), "available");
    assert_eq!(server.get("/block/volumes").expect(200).body.as_array().map(Vec::len), Some(2));
}
