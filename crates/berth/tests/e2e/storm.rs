//! A storm: a dozen clients ask for everything at random, the server is killed amid it, again and again. After each restart every status
//! settles within five seconds and agrees with the files on disk.
//!
//! The seed is printed and can be set: `BERTH_STORM=SEED cargo test -p berth --test e2e storm -- --nocapture`.

use crate::life::{disagreements, settle};
use crate::server::Server;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const CLIENTS: u64 = 12;
/// Each round is killed after so many requests, plus some.
const REQUESTS: usize = 150;
const ROUNDS: u64 = 8;

/// xorshift: enough for choosing.
struct Dice(u64);

impl Dice {
    fn below(&mut self, many: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % many.max(1) as u64).unwrap()
    }

    fn pick(&mut self, all: &Value) -> Option<String> {
        let all = all.as_array()?;
        let one = all.get(self.below(all.len()))?;
        Some(one["id"].as_str()?.to_owned())
    }
}

/// One request at random; nothing if the server is gone.
fn ask(server: &Server, host: &str, dice: &mut Dice) -> Option<u16> {
    let list = |kind: &str| server.try_call("GET", &format!("/block/{kind}?limit=1000"), &Value::Null).map(|answer| answer.body);
    let (volumes, snapshots, attachments) = (list("volumes")?, list("snapshots")?, list("attachments")?);
    let volume = dice.pick(&volumes).unwrap_or_default();
    let snapshot = dice.pick(&snapshots).unwrap_or_default();
    let attachment = dice.pick(&attachments).unwrap_or_default();
    let none = Value::Null;
    let (method, path, body) = match dice.below(12) {
        0..=2 => ("POST", "/block/volumes".into(), json!({"name": "v", "size": 1, "multiAttach": dice.below(2) == 0})),
        3 => ("POST", format!("/block/volumes/{volume}/resize"), json!({"newSize": 1 + dice.below(6)})),
        4 => ("POST", "/block/attachments".into(), json!({"volumeId": volume, "hostId": host})),
        5 => ("DELETE", format!("/block/attachments/{attachment}"), none),
        6 => ("DELETE", format!("/block/attachments/{attachment}?force=true"), none),
        7 => ("POST", "/block/snapshots".into(), json!({"name": "s", "volumeId": volume})),
        8 => ("DELETE", format!("/block/snapshots/{snapshot}"), none),
        9 => ("POST", "/block/volumes".into(), json!({"name": "c", "size": 6, "snapshotId": snapshot})),
        10 => ("DELETE", format!("/block/volumes/{volume}?cascade=true"), none),
        _ => ("POST", format!("/block/volumes/{volume}/retry"), none),
    };
    server.try_call(method, &path, &body).map(|answer| answer.code)
}

fn rage(server: &Arc<Server>, host: &str, seed: u64, until: usize) {
    let (asked, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (asked, stop) = (&asked, &stop);
            scope.spawn(move || {
                let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (client + 1));
                while !stop.load(Ordering::Relaxed) {
                    match ask(server, host, &mut dice) {
                        Some(code) => assert!(code < 500 || code == 503, "it answered {code}"),
                        None => return,
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        ground::wait_until("enough was asked", || asked.load(Ordering::Relaxed) >= until);
        server.kill_now();
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
#[expect(clippy::print_stdout, reason = "a failure is repeated by its seed")]
fn after_every_kill_in_a_storm_all_settles_and_agrees() {
    let seed = std::env::var("BERTH_STORM").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("BERTH_STORM={seed}");
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let host = server.host("h");
    server.kill();
    for round in 0..ROUNDS {
        // Every other round with a slow backend, so that much is in flight.
        let slow = if round % 2 == 0 { "0" } else { "200" };
        let server = Arc::new(Server::start(folder.path(), &["--slow-ms", slow]));
        let more = Dice(seed + round + 1).below(REQUESTS);
        rage(&server, &host, seed + round, REQUESTS + more);
        drop(server);
        let server = Server::start(folder.path(), &[]);
        settle(&server, Duration::from_secs(5));
        // What the last forced ends left for the sweeping of tombstones changes no file.
        ground::wait_until("files and records agree", || disagreements(&server, folder.path()).is_empty());
        server.kill();
    }
}
