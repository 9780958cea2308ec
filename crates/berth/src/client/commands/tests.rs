//! Whole command lines against a server with canned answers: what is asked, what is printed where, and the exit code.

use crate::cli::{Cli, ClientCommand, Command, GlobalArgs};
use crate::client::exit::Failure;
use crate::client::fake::{Fake, api_of};
use crate::client::output::Shape;
use crate::client::{Session, end};
use clap::Parser;
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;

const V: &str = "11111111-1111-4111-8111-111111111111";
const H: &str = "22222222-2222-4222-8222-222222222222";
const A: &str = "33333333-3333-4333-8333-333333333333";

struct Done {
    code: i32,
    out: String,
    messages: String,
}

fn run(
    fake: &Fake,
    input: &str,
    global: &GlobalArgs,
    command: ClientCommand,
    out: &mut dyn Write,
    messages: &mut dyn Write,
) -> Result<(), Failure> {
    let (is_watched, pace, is_left): (_, _, fn() -> bool) = (false, Duration::ZERO, || false);
    let mut input = input.as_bytes();
    let mut session =
        Session { api: api_of(fake), shape: Shape::default(), input: &mut input, out, messages, is_watched, pace, is_left };
    super::run(&mut session, global, command)
}

fn check(fake: &Fake, line: &str) -> Done {
    check_with(fake, line, "")
}

/// The same with something on standard input.
fn check_with(fake: &Fake, line: &str, input: &str) -> Done {
    let cli = Cli::try_parse_from(line.split(' ')).expect(line);
    let Command::Client(command) = cli.command else { panic!("{line} is no client command") };
    let (mut out, mut messages) = (Vec::new(), Vec::new());
    let done = run(fake, input, &cli.global, command, &mut out, &mut messages);
    let code = end(done, &mut messages);
    let text = |bytes| String::from_utf8(bytes).expect("what is printed is text");
    Done { code, out: text(out), messages: text(messages) }
}

#[test]
fn a_look_that_goes_on_is_not_told_as_one_that_has_ended() {
    let told = json!({"pools": [{"id": "p", "name": "default", "volumes": 1, "lookedAt": "T"}], "findings": [], "more": 0});
    let mut unfinished = told.clone();
    unfinished["looking"] = json!(true);
    let fake = Fake::new().on("POST", "/doctor/look", 202, unfinished).on("GET", "/doctor", 200, told);
    let done = check(&fake, "berth doctor --look");
    assert!(done.code == 7 && done.out.starts_with("the look has not ended") && !done.out.contains("agrees"), "{}", done.out);
    assert!(done.messages.contains("goes on"), "{}", done.messages);
    assert_eq!(check(&fake, "berth -o json doctor --look").code, 7);
    let done = check(&fake, "berth doctor");
    assert!(done.code == 0 && done.out.contains("everything agrees"), "{}", done.out);
}

fn volume(status: &str) -> Value {
    json!({"id": V, "name": "data", "size": 10, "status": status})
}

#[test]
fn create_sends_what_was_typed_and_nothing_else() {
    let fake = Fake::new().on("POST", "/block/volumes", 202, volume("creating"));
    let done = check(&fake, "berth -o name volume create data --size 2TiB");
    assert_eq!((done.code, done.out), (0, format!("{V}\n")), "{}", done.messages);
    assert_eq!(fake.seen()[0].body, json!({"name": "data", "size": 2048}));
}

#[test]
fn create_takes_names_of_what_it_refers_to() {
    let fake = Fake::new()
        .on("GET", "/profiles?name=gold&limit=20", 200, json!([{"id": "p", "name": "gold"}]))
        .on("GET", "/pools?name=fast&limit=20", 200, json!([{"id": "q", "name": "fast"}]))
        .on("POST", "/block/volumes", 202, volume("creating"));
    let line = "berth volume create data --size 10 --profile gold --pool fast --multi-attach --metadata a=b --metadata c=d";
    assert_eq!(check(&fake, &format!("{line} --snapshot {A} --description words --zone z")).code, 0);
    let want = json!({
        "name": "data", "size": 10, "profileId": "p", "poolId": "q", "snapshotId": A, "multiAttach": true,
        "metadata": {"a": "b", "c": "d"}, "description": "words", "availabilityZone": "z",
    });
    assert_eq!(fake.seen().last().unwrap().body, want);
}

#[test]
fn create_waits_until_it_is_there() {
    let fake = Fake::new().on("POST", "/block/volumes", 202, volume("creating")).on(
        "GET",
        &format!("/block/volumes/{V}"),
        200,
        volume("available"),
    );
    let done = check(&fake, "berth -o json volume create data --size 10 --wait");
    assert_eq!((done.code, serde_json::from_str(&done.out).ok()), (0, Some(volume("available"))));
    assert_eq!(done.messages, format!("volume data ({V}) is creating; waiting\n"));
}

#[test]
fn a_creation_that_fails_says_why_and_ends_with_6() {
    let mut failed = volume("error");
    failed["statusReason"] = json!({"code": "refused", "message": "pool full"});
    let entries = json!([{"at": "t", "from": "creating", "to": "error", "cause": "create"}]);
    let fake = Fake::new()
        .on("POST", "/block/volumes", 202, volume("creating"))
        .on("GET", &format!("/block/volumes/{V}"), 200, failed)
        .on("GET", &format!("/block/volumes/{V}/journal?since=0&limit=1000"), 200, entries);
    let done = check(&fake, "berth volume create data --size 10 --wait");
    assert_eq!((done.code, done.out.as_str()), (6, ""));
    let told = format!("berth: volume data ({V}) is error: pool full (refused)\n  t creating -> error (create)\n");
    assert!(done.messages.ends_with(&told), "{}", done.messages);
}

#[test]
fn what_is_not_allowed_now_ends_with_5_in_the_servers_words() {
    let refusal = json!({"code": 409, "message": "cannot extend volume v: it is deleting (allowed now: nothing)", "allowed": []});
    let fake = Fake::new().on("POST", &format!("/block/volumes/{V}/resize"), 409, refusal);
    let done = check(&fake, &format!("berth volume extend {V} --size 20"));
    assert_eq!((done.code, done.out.as_str()), (5, ""));
    assert_eq!(done.messages, "berth: cannot extend volume v: it is deleting (allowed now: nothing)\n");
    assert_eq!(fake.seen()[0].body, json!({"newSize": 20}));
}

#[test]
fn a_list_asks_for_everything_that_matches() {
    let path = "/block/volumes?status=error&status=errorDeleting&poolId=q&limit=100000&sortKey=size&sortDir=desc&description=x%20y";
    let fake = Fake::new().on("GET", path, 200, json!([])).on(
        "GET",
        "/pools?name=fast&limit=20",
        200,
        json!([{"id": "q", "name": "fast"}]),
    );
    let line =
        "berth|volume|list|--status|error,errorDeleting|--pool|fast|--sort-key|size|--sort-dir|desc|--filter|description=x y";
    let cli = Cli::try_parse_from(line.split('|')).unwrap();
    let Command::Client(command) = cli.command else { panic!("no client command") };
    let (mut out, mut messages) = (Vec::new(), Vec::new());
    assert_eq!(run(&fake, "", &cli.global, command, &mut out, &mut messages), Ok(()));
    assert_eq!(fake.asked(), ["GET /pools?name=fast&limit=20".to_owned(), format!("GET {path}")]);
}

#[test]
fn several_are_shown_as_far_as_they_are_there() {
    let fake = Fake::new().on("GET", &format!("/block/volumes/{V}"), 200, volume("available")).on(
        "GET",
        &format!("/block/volumes/{H}"),
        404,
        json!({"code": 404, "message": "there is no volume 2222"}),
    );
    let done = check(&fake, &format!("berth -o json volume show {H} {V}"));
    assert_eq!((done.code, serde_json::from_str(&done.out).ok()), (3, Some(json!([volume("available")]))));
    assert_eq!(done.messages, "berth: there is no volume 2222\n");
}

#[test]
fn delete_shows_how_far_it_is() {
    let one = format!("/block/volumes/{V}");
    let fake = Fake::new().on("DELETE", &format!("{one}?cascade=true"), 202, Value::Null).on("GET", &one, 200, volume("deleting"));
    let done = check(&fake, &format!("berth -o json volume delete {V} --cascade"));
    assert_eq!((done.code, serde_json::from_str(&done.out).ok()), (0, Some(volume("deleting"))));
    let fake = Fake::new().on("DELETE", &one, 202, Value::Null).on("GET", &one, 404, json!({"message": "gone"}));
    let done = check(&fake, &format!("berth -o json volume delete {V} --wait"));
    assert_eq!((done.code, serde_json::from_str(&done.out).ok()), (0, Some(json!({"id": V, "status": "deleted"}))));
}

#[test]
fn attach_and_detach_go_by_the_attachment() {
    let attachment = |status: &str| json!({"id": A, "volumeId": V, "hostId": H, "status": status, "connectionInfo": {"data": {"uri": "nbd://x"}}});
    let one = format!("/block/attachments/{A}");
    let fake = Fake::new()
        .on("GET", "/host/hosts?hostName=db&limit=20", 200, json!([{"id": H, "hostName": "db"}]))
        .on("POST", "/block/attachments", 202, attachment("attaching"))
        .on("GET", &one, 200, attachment("attached"));
    let done = check(&fake, &format!("berth attach {V} --host db --mode ro --wait"));
    assert_eq!((done.code, done.out.contains("nbd://x")), (0, true), "{}", done.messages);
    assert_eq!(fake.seen()[1].body, json!({"volumeId": V, "hostId": H, "attachMode": "ro"}));
    let fake =
        Fake::new().on("DELETE", &format!("{one}?force=true"), 202, Value::Null).on("GET", &one, 200, attachment("detached"));
    assert_eq!(check(&fake, &format!("berth detach {A} --force --wait")).code, 0);
}

#[test]
fn attach_sends_a_protocol_only_if_one_was_named() {
    let fake = Fake::new().on("POST", "/block/attachments", 202, json!({"id": A, "status": "attaching"}));
    assert_eq!(check(&fake, &format!("berth attach {V} --host {H} --protocol local")).code, 0);
    assert_eq!(check(&fake, &format!("berth attach {V} --host {H}")).code, 0);
    let bodies: Vec<_> = fake.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies[0], json!({"volumeId": V, "hostId": H, "attachMode": "rw", "accessProtocol": "local"}));
    assert_eq!(bodies[1], json!({"volumeId": V, "hostId": H, "attachMode": "rw"}));
}

#[test]
fn an_attachment_is_shown_with_its_clients_and_as_json_as_it_came() {
    let client = json!({"address": "10.0.0.5:41234", "identity": "db-1", "since": "t", "lastSeen": "t", "bytesRead": 1,
        "bytesWritten": 2, "inFlight": 0, "sizeBytesSeen": 1 << 30});
    let body = json!({"id": A, "status": "attached", "sizeBytes": 2_u64 << 30, "clients": [client]});
    let fake = Fake::new().on("GET", &format!("/block/attachments/{A}"), 200, body.clone());
    let done = check(&fake, &format!("berth attachment show {A}"));
    assert!(done.code == 0 && done.out.contains("1 GiB of 2 GiB"), "{}", done.out);
    let done = check(&fake, &format!("berth -o json attachment show {A}"));
    assert_eq!((done.code, serde_json::from_str(&done.out).ok()), (0, Some(body)));
}

#[test]
fn initiators_are_sent_with_their_protocol() {
    let host = json!({"id": H, "hostName": "db"});
    let fake = Fake::new().on("POST", "/host/hosts", 200, host.clone()).on("PUT", &format!("/host/hosts/{H}"), 200, host);
    assert_eq!(check(&fake, "berth host create db --ip 10.0.0.1 --initiator nbd:CN=db --initiator iscsi:iqn.2026:x").code, 0);
    assert_eq!(check(&fake, &format!("berth host update {H} --initiator nbd:CN=db-2")).code, 0);
    let bodies: Vec<_> = fake.seen().into_iter().map(|seen| seen.body).collect();
    let both = json!([{"portName": "CN=db", "protocol": "nbd"}, {"portName": "iqn.2026:x", "protocol": "iscsi"}]);
    assert_eq!(bodies[0]["initiators"], both);
    assert_eq!(bodies[1], json!({"initiators": [{"portName": "CN=db-2", "protocol": "nbd"}]}));
}

#[test]
fn recover_waits_until_it_is_over_although_the_status_stays() {
    let one = format!("/block/volumes/{V}");
    let mut recovering = volume("error");
    recovering["operation"] = json!({"kind": "recover"});
    let polled = format!("{one}?waitFor=available%2CinUse%2Cattaching%2Cdetaching&timeout=1");
    let fake = Fake::new()
        .on("POST", &format!("{one}/recover"), 202, recovering.clone())
        .on("GET", &one, 200, recovering.clone())
        .on("GET", &polled, 200, recovering)
        .on("GET", &polled, 200, volume("available"));
    let done = check(&fake, &format!("berth -o name volume recover {V} --wait"));
    assert_eq!((done.code, done.out), (0, format!("{V}\n")), "{}", done.messages);
}

#[test]
fn hosts_are_made_changed_and_removed_at_once() {
    let host = json!({"id": H, "hostName": "db", "ip": "10.0.0.1"});
    let fake = Fake::new().on("POST", "/host/hosts", 200, host.clone()).on("PUT", &format!("/host/hosts/{H}"), 200, host).on(
        "DELETE",
        &format!("/host/hosts/{H}"),
        200,
        Value::Null,
    );
    assert_eq!(check(&fake, "berth host create db --ip 10.0.0.1").code, 0);
    assert_eq!(fake.seen()[0].body, json!({"hostName": "db", "ip": "10.0.0.1", "osType": "linux", "accessMode": "agentless"}));
    assert_eq!(check(&fake, &format!("berth host update {H} --port 99 --zone a --zone b")).code, 0);
    assert_eq!(fake.seen()[1].body, json!({"port": 99, "availabilityZones": ["a", "b"]}));
    let done = check(&fake, &format!("berth host delete {H}"));
    assert_eq!((done.code, done.out, done.messages), (0, String::new(), format!("host {H} deleted\n")));
}

#[test]
fn profiles_and_snapshots_send_their_own_fields() {
    let fake = Fake::new()
        .on("POST", "/profiles", 200, json!({"id": "p"}))
        .on("POST", "/block/snapshots", 202, json!({"id": A, "status": "creating"}))
        .on("PUT", &format!("/block/snapshots/{A}"), 200, json!({"id": A, "status": "available"}));
    assert_eq!(check(&fake, "berth profile create gold --property tier=ssd").code, 0);
    assert_eq!(check(&fake, &format!("berth snapshot create {V} --name s")).code, 0);
    assert_eq!(check(&fake, &format!("berth snapshot update {A} --name t")).code, 0);
    let bodies: Vec<_> = fake.seen().into_iter().map(|seen| seen.body).collect();
    let want = [
        json!({"name": "gold", "storageType": "block", "customProperties": {"tier": "ssd"}}),
        json!({"volumeId": V, "name": "s"}),
        json!({"name": "t"}),
    ];
    assert_eq!(bodies, want);
}

#[test]
fn wait_ends_with_what_was_waited_for() {
    let one = format!("/block/volumes/{V}");
    let fake = Fake::new().on("GET", &one, 200, volume("error"));
    assert_eq!(check(&fake, &format!("berth wait volume {V} --for status=error")).code, 0);
    assert_eq!(check(&fake, &format!("berth wait volume {V} --for status=available --timeout 10s")).code, 6);
    let fake = Fake::new().on("GET", &one, 404, json!({"message": "no"})).on(
        "GET",
        &format!("{one}?waitFor=deleted&timeout=1"),
        404,
        json!({"message": "no"}),
    );
    assert_eq!(check(&fake, &format!("berth wait volume {V} --for deleted")).code, 3);
}

#[test]
fn a_reader_that_left_ends_a_list_quietly() {
    struct Left;
    impl std::io::Write for Left {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let fake = Fake::new().on("GET", "/pools?limit=100000", 200, json!([{"id": "q"}]));
    for format in ["table", "json", "name"] {
        let cli = Cli::try_parse_from(["berth", "-o", format, "pool", "list"]).unwrap();
        let Command::Client(command) = cli.command else { panic!("no client command") };
        let mut messages = Vec::new();
        let done = run(&fake, "", &cli.global, command, &mut Left, &mut messages);
        assert_eq!((end(done, &mut messages), messages.len()), (0, 0));
    }
}

#[test]
fn every_verb_that_changes_something_can_be_tried() {
    let tried = json!({"dryRun": true, "status": "deleting", "object": {"id": V, "name": "data"}});
    let [volume, snapshot, attachment, host, profile] =
        ["block/volumes", "block/snapshots", "block/attachments", "host/hosts", "profiles"].map(|path| format!("/{path}/{V}"));
    let rows = [
        ("volume create data --size 1".to_owned(), "POST", "/block/volumes".to_owned()),
        (format!("volume update {V} --name x"), "PUT", volume.clone()),
        (format!("volume extend {V} --size 2"), "POST", format!("{volume}/resize")),
        (format!("volume delete {V}"), "DELETE", volume.clone()),
        (format!("volume retry {V}"), "POST", format!("{volume}/retry")),
        (format!("volume recover {V}"), "POST", format!("{volume}/recover")),
        (format!("snapshot create {V} --name s"), "POST", "/block/snapshots".to_owned()),
        (format!("snapshot update {V} --name x"), "PUT", snapshot.clone()),
        (format!("snapshot delete {V}"), "DELETE", snapshot.clone()),
        (format!("snapshot retry {V}"), "POST", format!("{snapshot}/retry")),
        (format!("snapshot recover {V}"), "POST", format!("{snapshot}/recover")),
        (format!("attach {V} --host {H}"), "POST", "/block/attachments".to_owned()),
        (format!("detach {V}"), "DELETE", attachment.clone()),
        (format!("attachment retry {V}"), "POST", format!("{attachment}/retry")),
        (format!("attachment recover {V}"), "POST", format!("{attachment}/recover")),
        ("host create h --ip 10.0.0.1".to_owned(), "POST", "/host/hosts".to_owned()),
        (format!("host update {V} --name x"), "PUT", host.clone()),
        (format!("host delete {V}"), "DELETE", host),
        ("profile create p".to_owned(), "POST", "/profiles".to_owned()),
        (format!("profile update {V} --name x"), "PUT", profile.clone()),
        (format!("profile delete {V}"), "DELETE", profile),
        (format!("pool remove-object {V} {A}"), "DELETE", format!("/pools/{V}/objects/{A}")),
    ];
    for (line, method, path) in rows {
        // Nothing else is known to the server: a verb that forgot would be answered with 500.
        let fake = Fake::new().on(method, &format!("{path}?dryRun=true"), 200, tried.clone());
        let done = check(&fake, &format!("berth {line} --dry-run"));
        assert_eq!(done.code, 0, "{line}: {}", done.messages);
        assert!(done.out.contains("would be") && done.messages.is_empty(), "{line}: {}{}", done.out, done.messages);
        assert_eq!(fake.asked(), [format!("{method} {path}?dryRun=true")], "{line}");
        let done = check(&fake, &format!("berth -o json {line} --dry-run"));
        assert_eq!(serde_json::from_str::<Value>(&done.out).ok(), Some(tried.clone()), "{line}: {}", done.messages);
    }
}

#[test]
fn a_trial_that_would_be_refused_says_why_and_ends_the_same() {
    let one = format!("/block/volumes/{V}?dryRun=true");
    let fake =
        Fake::new().on("DELETE", &one, 409, json!({"message": "cannot delete volume v: it is inUse", "allowed": ["detach"]}));
    let done = check(&fake, &format!("berth volume delete {V} --dry-run"));
    assert_eq!((done.code, done.out.as_str()), (5, ""));
    assert_eq!(done.messages, "berth: cannot delete volume v: it is inUse (allowed now: detach)\n");
    assert!(
        Cli::try_parse_from(["berth", "volume", "delete", "v", "--dry-run", "--wait"]).is_err(),
        "there is nothing to wait for"
    );
}

#[test]
fn ids_come_from_standard_input() {
    let gone = |id: &str| (format!("/block/volumes/{id}"), json!({"id": id, "status": "deleting"}));
    let ((v, deleting_v), (h, deleting_h)) = (gone(V), gone(H));
    let fake = Fake::new()
        .on("DELETE", &v, 202, Value::Null)
        .on("GET", &v, 200, deleting_v.clone())
        .on("DELETE", &h, 202, Value::Null)
        .on("GET", &h, 200, deleting_h.clone());
    let done = check_with(&fake, "berth -o json volume delete -", &format!("{V}\n\n{H}\n{V}\n"));
    assert_eq!((done.code, serde_json::from_str(&done.out).ok()), (0, Some(json!([deleting_v, deleting_h]))), "{}", done.messages);
    assert_eq!(fake.seen().len(), 4, "what stands there twice is done once");
    let done = check_with(&fake, "berth -o json volume delete -", &format!("{V}\n"));
    assert_eq!(serde_json::from_str::<Value>(&done.out).ok(), Some(json!([deleting_v])), "an array, however many they are");
    let done = check_with(&Fake::new(), "berth volume delete -", "");
    assert_eq!((done.code, done.out.as_str()), (0, ""));
    assert!(done.messages.contains("nothing to do"), "{}", done.messages);
    let done = check_with(&Fake::new(), "berth volume delete -", "\u{1b}[2J\n");
    assert_eq!((done.code, done.out.as_str()), (2, ""));
    assert_eq!(check_with(&Fake::new(), "berth volume delete - -", "").code, 2);
}

#[test]
fn all_is_what_a_list_shows() {
    let list = "/block/volumes?status=error&status=errorDeleting&poolId=q&limit=100000&sortDir=asc";
    let one = format!("/block/volumes/{V}");
    let fake =
        Fake::new().on("GET", list, 200, json!([volume("error")])).on("POST", &format!("{one}/retry"), 202, volume("creating"));
    let done = check(&fake, "berth -o json volume retry --all --status error,errorDeleting --filter poolId=q");
    assert_eq!((done.code, serde_json::from_str(&done.out).ok()), (0, Some(json!([volume("creating")]))), "{}", done.messages);
    let attached = format!("/block/attachments/{A}");
    let fake = Fake::new()
        .on("GET", "/host/hosts?hostName=db&limit=20", 200, json!([{"id": H, "hostName": "db"}]))
        .on("GET", &format!("/block/attachments?hostId={H}&limit=100000&sortDir=asc"), 200, json!([{"id": A}]))
        .on("DELETE", &format!("{attached}?force=true"), 202, Value::Null)
        .on("GET", &attached, 200, json!({"id": A, "status": "attached"}));
    assert_eq!(check(&fake, "berth detach --all --host db --force").code, 0);
    let fake = Fake::new().on("GET", "/block/snapshots?status=error&limit=100000&sortDir=asc", 200, json!([]));
    let done = check(&fake, "berth snapshot delete --all --status error");
    assert!(done.code == 0 && done.out.is_empty() && done.messages.contains("nothing to do"), "{}", done.messages);
}

#[test]
fn all_without_a_condition_must_be_meant() {
    let fake = Fake::new();
    let done = check(&fake, "berth volume delete --all");
    assert!(done.code == 2 && done.messages.contains("--yes") && fake.seen().is_empty(), "{}", done.messages);
    let fake = Fake::new().on("GET", "/block/volumes?limit=100000&sortDir=asc", 200, json!([]));
    assert_eq!(check(&fake, "berth volume delete --all --yes").code, 0);
    assert_eq!(check(&fake, "berth volume delete --all --dry-run").code, 0, "trying is always allowed");
    for line in ["volume delete --all v", "volume delete", "volume delete v --status error", "detach --host h", "detach a --host h"]
    {
        assert!(Cli::try_parse_from(std::iter::once("berth").chain(line.split(' '))).is_err(), "{line}");
    }
}

#[test]
fn a_condition_that_would_be_none_is_refused_by_all() {
    let fake = Fake::new();
    for condition in ["--filter nmae=v", "--filter name=", "--filter limit=1", "--status=", "--status eror", "--status error,"] {
        for verb in ["volume delete", "volume retry", "snapshot recover", "detach"] {
            let done = check(&fake, &format!("berth {verb} --all --yes {condition}"));
            assert!(done.code == 2 && fake.seen().is_empty(), "{verb} {condition}: {} {}", done.code, done.messages);
        }
    }
    for line in
        ["volume list --filter nmae=v", "host list --filter name=v", "pool list --sort-key nmae", "volume list --status eror"]
    {
        assert_eq!(check(&fake, &format!("berth {line}")).code, 2, "{line}");
    }
    assert!(fake.seen().is_empty());
    assert!(Cli::try_parse_from(["berth", "volume", "list", "--name", ""]).is_err(), "a list by no name would show all");
}

#[test]
fn what_a_server_lists_against_a_condition_is_not_touched() {
    let rows = json!([{"id": V, "name": "v"}, {"id": H, "name": "other"}]);
    let fake = Fake::new().on("GET", "/block/volumes?name=v&limit=100000&sortDir=asc", 200, rows);
    let done = check(&fake, "berth volume delete --all --filter name=v");
    assert!(done.code == 10 && done.messages.contains("volume other") && fake.seen().len() == 1, "{}", done.messages);
}

#[test]
fn lists_begin_with_the_newest() {
    let fake = Fake::new().on("GET", "/block/volumes?limit=100000&sortKey=createdAt", 200, json!([]));
    assert_eq!(check(&fake, "berth volume list").code, 0);
}

#[test]
fn several_are_waited_for_together() {
    let list = format!("/block/volumes?id={V}&id={H}&limit=200");
    let row = |id: &str, status: &str| json!({"id": id, "name": "data", "status": status});
    let fake = Fake::new().on("GET", &list, 200, json!([row(H, "available"), row(V, "available")]));
    let done = check(&fake, &format!("berth -o name wait volume {V} {H} {V} --for status=available"));
    assert_eq!((done.code, done.out), (0, format!("{V}\n{H}\n")), "{}", done.messages);
    let fake = Fake::new().on("GET", &list, 200, json!([row(V, "creating"), row(H, "error")])).on(
        "GET",
        &format!("/block/volumes/{H}/journal?since=0&limit=1000"),
        200,
        json!([]),
    );
    let done = check(&fake, &format!("berth wait volume {V} {H} --until status=available"));
    assert_eq!((done.code, done.out.as_str()), (6, ""));
    assert_eq!(done.messages, format!("berth: volume data ({H}) is error\n  and 1 more were still waited for\n"));
}

#[test]
fn columns_are_refused_before_anything_is_done() {
    let fake = Fake::new().on("POST", "/block/volumes", 202, volume("creating"));
    let done = check(&fake, "berth volume create data --size 1 --columns status,name,metadata.team --no-headers");
    assert_eq!((done.code, done.out.as_str()), (0, "creating  data  -\n"), "{}", done.messages);
    let fake = Fake::new();
    for line in [
        "volume create d --size 1 --columns nme",
        "volume list -o json --columns id",
        "doctor --columns id",
        "host delete h --columns id",
    ] {
        let done = check(&fake, &format!("berth {line}"));
        assert_eq!(done.code, 2, "{line}: {}", done.messages);
    }
    assert_eq!(fake.seen().len(), 0);
}

/// A line of the stream.
fn event(revision: u64, id: &str, from: &str, to: &str) -> String {
    let transition =
        json!({"revision": revision, "at": "T", "kind": "volume", "id": id, "from": from, "to": to, "cause": "create"});
    let object = json!({"id": id, "name": "data", "status": to, "revision": revision});
    let line = json!({"event": "change", "eventId": format!("e-{revision}"), "kind": "volume", "id": id, "revision": revision,
        "object": object, "transition": transition});
    format!("{line}\n")
}

fn synced(revision: u64) -> String {
    format!("{}\n", json!({"event": "synced", "eventId": format!("e-{revision}"), "revision": revision}))
}

#[test]
fn a_watch_tells_each_change_once_across_connections() {
    let path = format!("/block/events?id={V}");
    let present =
        format!("{}\n", json!({"event": "snapshot", "kind": "volume", "id": V, "revision": 3, "object": volume("creating")}));
    let first = [present, synced(3), event(4, V, "creating", "error"), "{\"event\":\"cha".into()].concat();
    // Told again, as a careless server might; then what is new.
    let second =
        [event(4, V, "creating", "error"), event(5, V, "error", "creating"), event(6, V, "creating", "available")].concat();
    let fake = Fake::new().on_text("GET", &path, 200, &first).on_text("GET", &path, 200, &second);
    let done = check(&fake, &format!("berth watch volume {V} --until status=available,error"));
    assert_eq!((done.code, done.out), (0, format!("T volume data ({V}): creating -> error (create)\n")), "{}", done.messages);
    let journal = format!("/block/volumes/{V}/journal?since=0&limit=1000");
    let fake = Fake::new().on_text("GET", &path, 200, &first).on("GET", &journal, 200, json!([]));
    let done = check(&fake, &format!("berth watch volume {V} --until status=inUse,available"));
    assert_eq!(done.code, 6, "an error ends it at once: {}", done.messages);
    let all = path + "&all=true&since=e-3";
    let rest = [synced(3), event(4, V, "", "creating")].concat();
    let fake = Fake::new().on_text("GET", &all, 200, &rest).on_text("GET", &all, 200, &second).on_text(
        "GET",
        &all,
        400,
        "{\"message\":\"enough\"}",
    );
    let done = check(&fake, &format!("berth -o json watch volume {V} --all-transitions --since e-3"));
    let told: Vec<_> = done.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["revision"].clone()).collect();
    assert_eq!((done.code, told), (2, vec![json!(4), json!(5), json!(6)]), "{}", done.messages);
    assert!(done.messages.contains("connected again\n") && done.messages.ends_with("berth: enough\n"), "{}", done.messages);
    assert_eq!(fake.seen()[2].header("last-event-id").as_deref(), Some("e-6"));
}

#[test]
fn a_watch_tells_of_hosts_and_pools_what_a_person_would_look_at() {
    let pool = |event: &str, free: u64, state: &str| {
        let object =
            json!({"id": "p", "name": "default", "status": "available", "freeCapacity": free, "availability": {"state": state}});
        format!("{}\n", json!({"event": event, "kind": "pool", "id": "p", "object": object}))
    };
    let host = json!({"event": "change", "kind": "host", "id": H, "object": {"hostName": "db\u{1b}", "ip": "10.0.0.1", "osType": "linux"}});
    let gone = json!({"event": "change", "kind": "host", "id": H, "object": null, "deleted": true});
    let resync = json!({"event": "resync", "reason": "another store"});
    let lines = [
        pool("snapshot", 9, "up"),
        synced(1),
        pool("change", 8, "up"),
        pool("change", 8, "down"),
        format!("{host}\n{gone}\n{resync}\n"),
    ];
    let fake = Fake::new().on_text("GET", "/block/events?since=now", 200, &lines.concat()).on_text(
        "GET",
        "/block/events?since=now",
        400,
        "{}",
    );
    let done = check(&fake, "berth watch");
    let told: Vec<_> = done.out.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    let want = [
        "pool default (p): available, backend down".to_owned(),
        format!("host db\u{fffd} ({H}): at 10.0.0.1, linux"),
        format!("host db\u{fffd} ({H}): deleted"),
    ];
    assert_eq!(told, want, "{}", done.messages);
    assert!(done.messages.contains("another store"), "{}", done.messages);
}

#[test]
fn a_watch_that_names_what_is_gone_or_takes_too_long_says_so() {
    let path = format!("/block/events?id={V}");
    let fake = Fake::new().on_text("GET", &path, 200, &synced(3));
    let done = check(&fake, &format!("berth watch volume {V} --until available"));
    assert!(done.code == 1 && done.messages.contains("was deleted meanwhile"), "{}", done.messages);
    assert_eq!(check(&fake, &format!("berth watch volume {V} --until deleted")).code, 0);
    let fake = Fake::new().on_open("GET", "/block/events?kind=volume", &synced(3));
    let done = check(&fake, "berth watch volume --until error --timeout 1s");
    assert!(done.code == 124 && done.messages.contains("timed out after 1 s"), "{}", done.messages);
    let fake = Fake::new().on_text("GET", "/block/events?since=now", 404, "{\"message\":\"there is no GET /x\"}");
    let done = check(&fake, "berth watch");
    assert!(done.code == 3 && done.messages.contains("older release"), "{}", done.messages);
}

#[test]
fn a_description_is_put_together() {
    let fake = Fake::new()
        .on("GET", &format!("/block/volumes/{V}"), 200, json!({"id": V, "name": "data", "status": "inUse", "poolId": "p"}))
        .on("GET", "/pools/p", 404, json!({"message": "no"}))
        .on("GET", &format!("/block/attachments?volumeId={V}&limit=21&sortKey=createdAt"), 200, json!([{"id": A, "hostId": H}]))
        .on("GET", &format!("/block/attachments/{A}"), 200, json!({"id": A, "hostId": H, "status": "attached", "clients": []}))
        .on("GET", &format!("/host/hosts/{H}"), 200, json!({"id": H, "hostName": "db"}))
        .on("GET", &format!("/block/snapshots?volumeId={V}&limit=21&sortKey=createdAt"), 200, json!([]))
        .on(
            "GET",
            &format!("/block/volumes/{V}/journal?since=0&limit=1000"),
            200,
            json!([{"revision": 1, "id": V}, {"revision": 9, "id": V}]),
        )
        .on("GET", &format!("/block/attachments/{A}/journal?since=0&limit=1000"), 200, json!([{"revision": 5, "id": A}]));
    let done = check(&fake, &format!("berth -o json describe volume {V} --transitions 2"));
    let all: Value = serde_json::from_str(&done.out).unwrap_or_else(|_| panic!("{}", done.messages));
    assert_eq!(all["journal"], json!([{"revision": 5, "id": A}, {"revision": 9, "id": V}]));
    assert_eq!((&all["names"], &all["attachments"][0]["status"]), (&json!({H: "db"}), &json!("attached")));
    let done = check(&fake, &format!("berth describe volume {V}"));
    assert!(done.code == 0 && done.out.contains("no snapshots") && done.out.contains("db"), "{}", done.out);
    assert_eq!(check(&fake, &format!("berth describe volume {V} --follow")).code, 2, "nothing is animated where nobody watches");
}

#[test]
fn what_can_never_come_is_not_watched_for() {
    let fake = Fake::new();
    for line in [
        "watch --until bogus",
        "watch pool --until available",
        "watch --kind snapshot --until inUse",
        &format!("watch volume {V} --kind attachment --until attached"),
    ] {
        let done = check(&fake, &format!("berth {line}"));
        assert!(done.code == 2 && fake.seen().is_empty(), "{line}: {} {}", done.code, done.messages);
    }
    assert!(check(&fake, "berth watch --until attached").messages.contains("the fake knows no"), "any kind may come to that");
}

#[test]
fn who_names_a_volume_to_detach_is_told_how() {
    let done = check(&Fake::new(), "berth detach data");
    assert!(done.code == 2 && done.messages.contains("berth detach --all --volume"), "{}", done.messages);
}

#[test]
fn what_is_deleted_is_told_by_the_name_it_was_typed_by() {
    let one = format!("/block/volumes/{V}");
    let fake = Fake::new()
        .on("GET", "/block/volumes?name=data&limit=20", 200, json!([volume("available")]))
        .on("DELETE", &one, 202, Value::Null)
        .on("GET", &one, 404, json!({"message": "gone"}));
    let done = check(&fake, "berth volume delete data --wait --columns name,status --no-headers");
    assert_eq!((done.code, done.out.as_str()), (0, "data  deleted\n"), "{}", done.messages);
    let done = check(&fake, "berth -o json volume delete data --wait");
    assert_eq!(serde_json::from_str::<Value>(&done.out).unwrap(), json!({"id": V, "status": "deleted"}));
}
