//! Somebody removes what is on the backend behind the controller's back.

use super::{Row, volume};
use serde_json::Value;

#[test]
fn object_gone() {
    let mut row = Row::begin_with("a volume's file is taken away while the server runs", "[look]\ninterval = 1\n");
    let (id, other) = (row.written(), row.server().volume(1));
    let name = format!("{id}.raw");
    let away = row.data.join("away");
    std::fs::rename(row.file(&name), &away).unwrap();
    row.story.tell("mv of its file to somewhere else");
    let lost = row.ends_in(&volume(&id), "error");
    assert_eq!(lost["statusReason"]["code"], "backendMissing", "{lost}");
    let refused = row.post(&format!("{}/retry", volume(&id)), &Value::Null).expect(409);
    assert!(refused.body["message"].as_str().unwrap().contains("would pass off something else"), "{}", refused.body);
    assert!(!row.files().contains_key(&name), "an empty volume was passed off as the lost one");
    row.ends_in(&volume(&other), "available");

    std::fs::rename(&away, row.file(&name)).unwrap();
    row.story.tell("mv of its file back");
    row.post(&format!("{}/recover", volume(&id)), &Value::Null).expect(202);
    row.ends_in(&volume(&id), "available");
    row.holds_what_was_written(&name);
    row.agrees();

    std::fs::remove_file(row.file(&name)).unwrap();
    row.story.tell("rm of its file");
    row.ends_in(&volume(&id), "error");
    row.delete(&volume(&id)).expect(202);
    row.ends_in(&volume(&id), "gone");
    row.agrees();
}
