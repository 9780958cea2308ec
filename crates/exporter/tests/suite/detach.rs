//! Ending exports: gently, by force, repeated, and out of order.

use crate::served::{STAYS, Served, Staying, connection, fails, run, token, word};
use engine::ports::Exporter;
use ground::{Ground, Kind, wait_until};
use lifecycle::{AttachmentId, ExportSeen, Facts, Mode, Outcome};
use std::cell::Cell;
use std::time::{Duration, Instant};
use uuid::Uuid;

const WRITES: &str = "n=0\nwhile True:\n    n+=1\n    h.pwrite(n.to_bytes(8,'big')*512, (n%4096)*4096)";

/// Waits until a client has had a request in flight for a while: it is in the file system's hands then.
fn until_a_write_hangs(served: &Served, id: AttachmentId) {
    let since = Cell::new(None);
    wait_until("a write hangs", || {
        let hangs = served.who(id).iter().any(|client| client.in_flight > 0);
        since.set(hangs.then(|| since.get().unwrap_or_else(Instant::now)));
        since.get().is_some_and(|since| since.elapsed() > Duration::from_millis(300))
    });
}

#[track_caller]
fn assert_gone(outcome: &Outcome) {
    assert!(matches!(outcome, Outcome::Done(Facts::Export(ExportSeen::Absent))), "{outcome:?}");
}

#[test]
fn a_client_that_stays_is_named_and_served_on() {
    let served = Served::new();
    let (id, connection) = served.export(Mode::ReadWrite);
    let uri = word(&connection, "uri");
    let client = Staying::new(&served, id, &uri, STAYS);
    match served.unexport(2, id, false) {
        Outcome::Refused(why) => assert!(why.contains("127.0.0.1") && why.contains("force"), "{why}"),
        other => panic!("{other:?}"),
    }
    run("nbdinfo", &["--size", &uri]);
    drop(client);
    wait_until("the client is gone", || served.clients(id) == 0);
    assert_gone(&served.unexport(3, id, false));
    fails("nbdinfo", &["--size", &uri]);
    assert_gone(&served.unexport(4, id, false));
}

#[test]
fn force_cuts_a_writer_and_nothing_comes_after() {
    let served = Served::new();
    let (id, connection) = served.export(Mode::ReadWrite);
    let client = Staying::new(&served, id, &word(&connection, "uri"), WRITES);
    wait_until("it writes", || served.bytes(4096, 8) != [0; 8]);
    assert_gone(&served.unexport(2, id, true));
    let all = || served.bytes(0, 16 << 20);
    let then = all();
    // The client would have written thousands of times by now.
    drop(client);
    assert!(all() == then, "something was written after the export had ended");
}

#[test]
fn an_end_by_force_that_nobody_waits_for_ends_when_its_backing_does() {
    let Some(ground) = Ground::new(Kind::Ext4, 128) else { return };
    let served = Served::inside(ground.root(), exporter::Options::default());
    let (id, connection) = served.export(Mode::ReadWrite);
    let frozen = ground.freeze();
    let client = Staying::new(&served, id, &word(&connection, "uri"), WRITES);
    until_a_write_hangs(&served, id);
    for counter in [2, 3] {
        served.run(async {
            let ending = served.exporter.unexport(token(counter), id, true);
            assert!(tokio::time::timeout(Duration::from_millis(200), ending).await.is_err(), "it waits for the write");
        });
        let told = served.run(served.exporter.inspect(id, None)).unwrap_err().0;
        assert!(told.contains("being ended"), "{told}");
    }
    let begun = served.exporter.unexport(token(4), id, false);
    drop(frozen);
    assert_gone(&served.run(begun));
    assert_eq!(served.run(served.exporter.inspect(id, None)), Ok(ExportSeen::Absent));
    drop(client);

    let (id, connection) = served.export(Mode::ReadWrite);
    let frozen = ground.freeze();
    let _client = Staying::new(&served, id, &word(&connection, "uri"), WRITES);
    until_a_write_hangs(&served, id);
    served.run(async {
        let ending = served.exporter.unexport(token(2), id, true);
        assert!(tokio::time::timeout(Duration::from_millis(200), ending).await.is_err(), "it waits for the write");
    });
    drop(frozen);
    wait_until("it is gone though nobody asked again", || served.run(served.exporter.inspect(id, None)) == Ok(ExportSeen::Absent));
}

#[test]
fn an_abandoned_end_lets_clients_in_again() {
    let served = Served::with(exporter::Options { grace: Duration::from_secs(60), ..Default::default() });
    let (id, connection) = served.export(Mode::ReadWrite);
    let uri = word(&connection, "uri");
    let _client = Staying::new(&served, id, &uri, STAYS);
    served.run(async {
        let ending = served.exporter.unexport(token(2), id, false);
        assert!(tokio::time::timeout(Duration::from_millis(200), ending).await.is_err(), "it waits for the client");
    });
    run("nbdinfo", &["--size", &uri]);
}

#[test]
fn a_file_that_was_replaced_is_served_no_longer() {
    let served = Served::new();
    let (id, first) = served.export(Mode::ReadWrite);
    let uri = word(&first, "uri");
    let replace = |aside: &str| {
        std::fs::rename(served.path("volume"), served.path(aside)).unwrap();
        std::fs::File::create(served.path("volume")).unwrap().set_len(1 << 20).unwrap();
    };
    // Asked for once more before anybody has looked, or just after.
    let client = Staying::new(&served, id, &uri, STAYS);
    replace("aside");
    wait_until("what is there now is served", || {
        let again = served.try_export(2, served.spec(id, Mode::ReadWrite));
        matches!(again, Outcome::Done(Facts::Export(ExportSeen::Serving(again))) if again == first)
    });
    assert_eq!(served.clients(id), 0, "the client of the former file was cut");
    drop(client);
    assert_eq!(run("nbdinfo", &["--size", &uri]).trim(), (1 << 20).to_string());

    // By looking alone.
    let client = Staying::new(&served, id, &uri, STAYS);
    replace("aside too");
    wait_until("it is absent", || served.run(served.exporter.inspect(id, None)) == Ok(ExportSeen::Absent));
    assert!(served.run(served.exporter.list()).unwrap().is_empty());
    drop(client);
}

#[test]
fn repeating_is_harmless_and_old_tokens_are_refused() {
    let served = Served::new();
    let (id, first) = served.export(Mode::ReadWrite);
    let spec = || served.spec(id, Mode::ReadWrite);
    assert_eq!(connection(served.try_export(2, spec())), first);
    assert!(matches!(served.try_export(3, served.spec(id, Mode::ReadOnly)), Outcome::Refused(_)), "another spec");
    assert!(matches!(served.unexport(1, id, true), Outcome::Refused(_)), "an older token");
    assert_gone(&served.unexport(5, id, true));
    assert!(matches!(served.try_export(4, spec()), Outcome::Refused(_)), "older than the end");
    let listed = served.run(served.exporter.list()).unwrap();
    assert!(listed.is_empty(), "{listed:?}");
}

#[test]
fn what_cannot_be_opened_or_spoken_is_refused_or_failed() {
    let served = Served::new();
    let id = AttachmentId(Uuid::new_v4());
    let mut spec = served.spec(id, Mode::ReadWrite);
    spec.protocol = "iscsi".into();
    assert!(matches!(served.try_export(1, spec), Outcome::Refused(why) if why.contains("nbd")));
    let mut spec = served.spec(id, Mode::ReadWrite);
    spec.backing = engine::ports::Backing::File(served.path("nothing"));
    assert!(!matches!(served.try_export(2, spec), Outcome::Done(_)));
    assert!(served.run(served.exporter.list()).unwrap().is_empty());
}
