//! Eight at once: one wins, and the backend does what was asked once.

use super::{Row, attach, attachment, volume};
use crate::life::settle;
use crate::server::{Answer, Server};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Barrier;
use std::time::Duration;

/// How many ask at once.
const RACERS: usize = 8;
/// How often; the peers let more than one in within the first few.
const ROUNDS: usize = 20;
/// How long eight things at once may take to settle on a busy machine.
const SETTLED: Duration = Duration::from_secs(20);

/// Asks all of these at once.
fn at_once(server: &Server, asked: &[(&str, String, Value)]) -> Vec<Answer> {
    let barrier = Barrier::new(asked.len());
    let ask = |(method, path, body): &(&str, String, Value)| {
        barrier.wait();
        server.call(method, path, body)
    };
    std::thread::scope(|scope| {
        let racers: Vec<_> = asked.iter().map(|one| scope.spawn(|| ask(one))).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    })
}

/// One was accepted, the others were told that it is not allowed now, and why; gives the accepted one's body.
#[track_caller]
fn winner(answers: Vec<Answer>, told: &[&str]) -> Value {
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.code == 202);
    assert_eq!((won.len(), lost.len()), (1, RACERS - 1), "{:?}", lost.iter().map(|answer| &answer.body).collect::<Vec<_>>());
    for answer in lost {
        let message = answer.expect(409).body["message"].as_str().unwrap().to_owned();
        assert!(told.iter().any(|words| message.contains(words)), "{message}");
    }
    won.into_iter().next().unwrap().body
}

fn tally(answers: &[Answer], tally: &mut BTreeMap<u16, usize>) {
    for answer in answers {
        *tally.entry(answer.code).or_default() += 1;
    }
}

#[test]
fn of_deletes() {
    let mut row = Row::begin("eight deletes of one volume at once");
    let mut codes = BTreeMap::new();
    for _ in 0..ROUNDS {
        let id = row.server().volume(1);
        let answers = at_once(row.server(), &vec![("DELETE", volume(&id), Value::Null); RACERS]);
        assert!(answers.iter().any(|answer| answer.code == 202));
        assert!(answers.iter().all(|answer| [202, 404].contains(&answer.code)), "a repeated delete is no error");
        tally(&answers, &mut codes);
        row.server().until(&volume(&id), "gone");
        let journal = row.server().get(&format!("{}/journal", volume(&id))).expect(200).body;
        let deleted = |key: &str, value: &str| journal.as_array().unwrap().iter().filter(|entry| entry[key] == value).count();
        assert_eq!((deleted("to", "deleting"), deleted("to", "deleted")), (1, 1), "{journal}");
    }
    row.story.tell(&format!("{ROUNDS} rounds: answers by code {codes:?}; each volume was deleted once and is gone"));
    row.agrees();
}

#[test]
fn of_extends() {
    let mut row = Row::begin("eight extends of one volume at once");
    let mut codes = BTreeMap::new();
    for _ in 0..ROUNDS {
        let id = row.server().volume(1);
        let path = format!("{}/resize", volume(&id));
        let answers = at_once(row.server(), &vec![("POST", path, json!({"newSize": 2})); RACERS]);
        tally(&answers, &mut codes);
        winner(answers, &["it is extending (extend runs since", "it has 2 GiB already"]);
        assert_eq!(row.server().until(&volume(&id), "available")["size"], 2);
    }
    row.story.tell(&format!(
        "{ROUNDS} rounds: answers by code {codes:?}; the 409s name the extend that runs, or the size it has already"
    ));
    row.agrees();
}

#[test]
fn of_attaches() {
    let mut row = Row::begin("eight attaches of one volume to eight hosts at once");
    let hosts: Vec<String> = (0..RACERS).map(|host| row.server().host(&format!("host-{host}"))).collect();
    let mut codes = BTreeMap::new();
    for round in 1..=ROUNDS {
        let id = row.server().volume(1);
        let asked: Vec<_> = hosts.iter().map(|host| ("POST", "/block/attachments".to_owned(), attach(&id, host))).collect();
        let answers = at_once(row.server(), &asked);
        tally(&answers, &mut codes);
        let won = winner(answers, &["exports it to host"]);
        row.server().until(&attachment(won["id"].as_str().unwrap()), "attached");
        assert_eq!(row.exports(), round, "one export for each volume");
    }
    row.story.tell(&format!("{ROUNDS} rounds: answers by code {codes:?}; {} exports; the 409s name the attachment", row.exports()));
    row.agrees();
}

#[test]
fn of_a_delete_an_extend_and_a_snapshot() {
    let mut row = Row::begin("a delete, an extend and a snapshot of one volume at once");
    let mut endings = BTreeMap::new();
    for _ in 0..ROUNDS {
        let id = row.server().volume(1);
        let asked = [
            ("DELETE", volume(&id), Value::Null),
            ("POST", format!("{}/resize", volume(&id)), json!({"newSize": 2})),
            ("POST", "/block/snapshots".to_owned(), json!({"name": "s", "volumeId": id})),
        ];
        let codes: Vec<u16> = at_once(row.server(), &asked).iter().map(|answer| answer.code).collect();
        settle(row.server(), SETTLED);
        let is_gone = row.server().get(&volume(&id)).code == 404;
        let snapshots = row.server().get(&format!("/block/snapshots?volumeId={id}")).expect(200).body.as_array().unwrap().len();
        assert_eq!(is_gone, codes[0] == 202, "what was accepted was done: {codes:?}");
        assert_eq!(snapshots, usize::from(codes[2] == 202), "a snapshot lives exactly if it was accepted: {codes:?}");
        assert!(!(is_gone && snapshots > 0), "the volume is gone and its snapshot is listed: {codes:?}");
        *endings.entry(if is_gone { "gone with nothing left" } else { "kept" }).or_insert(0) += 1;
    }
    row.story.tell(&format!("{ROUNDS} rounds: {endings:?}"));
    row.agrees();
}
