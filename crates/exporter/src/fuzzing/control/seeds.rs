//! What fuzzing of the control socket begins with: what a controller says, and the near misses of it. See `fuzzing/seeds.rs`.

use ground::corpus::{Seeds, keep};

const ID: &str = "00000000-0000-0000-0000-000000000001";

fn framed(text: &str) -> Vec<u8> {
    [&u32::try_from(text.len()).expect("short").to_be_bytes(), text.as_bytes()].concat()
}

fn hello(role: &str) -> Vec<u8> {
    framed(&format!(r#"{{"protocol":1,"role":"{role}"}}"#))
}

fn asked(number: u64, ask: &str) -> Vec<u8> {
    framed(&format!(r#"{{"number":{number},"ask":{ask}}}"#))
}

fn answered(number: u64, answer: &str) -> Vec<u8> {
    framed(&format!(r#"{{"number":{number},"answer":{answer}}}"#))
}

fn export(counter: u64, file: &str, address: &str) -> String {
    format!(
        r#"{{"export":{{"token":{{"incarnation":1,"counter":{counter}}},"spec":{{"attachment":"{ID}","volume":"{ID}","file":"{file}","host":"{ID}","address":"{address}","initiators":["db"],"read_only":false,"shared":true,"protocol":"nbd"}}}}}}"#
    )
}

fn unexport(counter: u64, force: bool) -> String {
    format!(r#"{{"unexport":{{"token":{{"incarnation":1,"counter":{counter}}},"attachment":"{ID}","force":{force}}}}}"#)
}

fn inspect(fence: &str) -> String {
    format!(r#"{{"inspect":{{"attachment":"{ID}"{fence}}}}}"#)
}

fn stop(force: bool) -> String {
    format!(r#"{{"stop":{{"force":{force},"only_if_idle":true}}}}"#)
}

fn served() -> Vec<u8> {
    asked(1, &export(1, "/pool/volume", "127.0.0.1"))
}

fn words() -> Seeds {
    let client = r#"{"address":"10.0.0.5:1","identity":"db","since":-1,"last_seen":2,"size_seen":null,"bytes_read":0,"bytes_written":18446744073709551615,"in_flight":3}"#;
    let status = format!(
        r#"{{"status":{{"pid":1,"release":"0.1.0","listen":"[::1]:10809","exports":[{{"attachment":"{ID}","volume":"{ID}","mode":"ro","size":5,"is_fenced":true,"clients":[{client}]}}]}}}}"#
    );
    let serving = r#"{"serving":{"protocol":"nbd","data":{"uri":"nbd://h/x","uri":"twice"}}}"#;
    vec![
        ("nothing", Vec::new()),
        ("hello", hello("controller")),
        ("hello-of-nobody", hello("spectator")),
        ("hello-with-more", framed(r#"{"protocol":4294967295,"role":"operator","more":[1,{}]}"#)),
        ("welcome", framed(r#"{"protocol":1,"release":"0.1.0","pid":7,"listen":"127.0.0.1:10809"}"#)),
        ("length-alone", u32::MAX.to_be_bytes().to_vec()),
        ("length-of-the-most", [&(64_u32 << 20).to_be_bytes(), b"{".as_slice()].concat()),
        ("empty-frame", vec![0; 4]),
        ("half-a-length", vec![0, 0]),
        ("export", served()),
        ("export-escaped", asked(1, &export(1, r"/\u0000\ud83d\ude00", "x"))),
        ("unexport", asked(u64::MAX, &unexport(u64::MAX, true))),
        ("inspects", [asked(3, &inspect("")), asked(4, &inspect(r#","fence":{"incarnation":2,"counter":0}"#))].concat()),
        ("list-status-cancel", [asked(5, r#""list""#), asked(6, r#""status""#), asked(5, r#""cancel""#)].concat()),
        ("number-too-large", framed(r#"{"number":18446744073709551616,"ask":"list"}"#)),
        ("number-of-a-kind", framed(r#"{"number":1e3,"ask":"list"}"#)),
        ("twice-the-field", framed(r#"{"number":1,"number":2,"ask":"list"}"#)),
        ("as-a-list", framed(r#"[1,"list"]"#)),
        ("deep", framed(&"[".repeat(400))),
        ("not-utf8", [&[0, 0, 0, 5], b"\"\xff\xfe\x80\"".as_slice()].concat()),
        ("outcome", answered(5, &format!(r#"{{"outcome":{{"done":{serving}}}}}"#))),
        ("seen-and-refused", [answered(5, r#"{"seen":"absent"}"#), answered(6, r#"{"refused":"no"}"#)].concat()),
        ("exports", answered(7, &format!(r#"{{"exports":[["{ID}",{{"protocol":"nbd","data":{{}}}}]]}}"#))),
        ("clients", answered(8, &format!(r#"{{"clients":[{client},{client}]}}"#))),
        ("status", answered(9, &status)),
        ("stopping", answered(10, r#""stopping""#)),
    ]
}

fn sessions() -> Seeds {
    let says = |words: &[Vec<u8>]| [[hello("controller")].as_slice(), words].concat().concat();
    let status = |number| asked(number, r#""status""#);
    vec![
        ("silent", Vec::new()),
        ("hello", hello("operator")),
        ("hello-of-later", framed(r#"{"protocol":2,"role":"controller"}"#)),
        ("no-hello", status(1)),
        ("hello-twice", [hello("operator"), hello("operator"), status(1)].concat()),
        ("hello-too-long", [&(2_u32 << 20).to_be_bytes(), b"{}".as_slice()].concat()),
        ("hello-cut", hello("controller")[..20].to_vec()),
        ("status", says(&[status(1)])),
        ("list", says(&[asked(1, r#""list""#), asked(2, &format!(r#"{{"clients":{{"attachment":"{ID}"}}}}"#))])),
        ("export", says(&[served(), asked(2, &inspect("")), asked(3, r#""list""#), status(4)])),
        ("export-again", says(&[served(), asked(2, &export(2, "volume", "127.0.0.1")), asked(3, &export(2, "volume", "::1"))])),
        ("export-nothing", says(&[asked(1, &export(1, "/pool/absent", "127.0.0.1")), asked(2, &export(1, "/", "localhost"))])),
        (
            "export-the-lock",
            says(&[asked(1, &export(1, "data-plane.lock", "::1")), asked(2, &export(2, "data-plane.sock", "::1"))]),
        ),
        ("export-a-nul", says(&[asked(1, &export(1, r"a\u0000b", "127.0.0.1"))])),
        ("unexport", says(&[served(), asked(2, &unexport(2, false)), asked(3, &unexport(3, true)), asked(4, &inspect(""))])),
        ("unexport-late", says(&[served(), asked(2, &unexport(0, true)), asked(3, &unexport(u64::MAX, false)), served()])),
        ("fence", says(&[asked(1, &inspect(r#","fence":{"incarnation":9,"counter":0}"#)), served(), status(2)])),
        ("cancel", says(&[served(), asked(1, r#""cancel""#), asked(7, r#""cancel""#), status(2)])),
        ("one-number", says(&vec![status(1); 50])),
        (
            "one-number-of-slow",
            says(&[served(), asked(1, &export(2, "absent", "127.0.0.1")), asked(1, &unexport(3, true)), status(1)]),
        ),
        ("many", says(&(0..100).map(|number| asked(number, &inspect(""))).collect::<Vec<_>>())),
        ("rubbish-amid", says(&[status(1), framed("{}"), status(2)])),
        ("cut-amid", says(&[status(1), status(2)[..9].to_vec()])),
        ("too-long-amid", says(&[status(1), u32::MAX.to_be_bytes().to_vec()])),
        ("stop", says(&[asked(1, &stop(true)), status(2)])),
        ("stop-of-busy", says(&[served(), asked(2, &inspect("")), asked(3, &stop(false)), status(4)])),
    ]
}

#[test]
fn the_seeds_of_control_are_kept() {
    keep("control_words", words());
    keep("control_session", sessions());
}
