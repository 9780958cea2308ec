//! Ending exports: gently, by force, repeated, and out of order.

use crate::served::{STAYS, Served, Staying, connection, fails, run, token, word};
use engine::ports::Exporter;
use ground::{Ground, Kind, wait_until};
use lifecycle::{AttachmentId, ExportSeen, Facts, Mode, Outcome};
use std::time::Duration;
use uuid::Uuid;

const WRITES: &str = "n=0\nwhile True:\n    n+=1\n    h.pwrite(n.to_bytes(8,'big')*512, (n%4096)*4096)";

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
    wait_until("a write hangs", || served.who(id).iter().any(|client| client.in_flight > 0));
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
    wait_until("a write hangs", || served.who(id).iter().any(|client| client.in_flight > 0));
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
