//! The inputs that fuzzing begins with: the kept golden bodies, damaged ones, and rows with a value of each wrong type.
//!
//! `UPDATE_GOLDEN=1 cargo test -p store-sqlite --lib seeds` rewrites them.

use super::TABLES;
use ground::corpus::{Seeds, keep};

const NUL: u8 = 1;
const INTEGER: u8 = 2;
const REAL: u8 = 3;
const TEXT: u8 = 4;
const BLOB: u8 = 5;

/// A volume alone is 0, one that is made from a snapshot 4.
fn of(kind: u8, text: &str) -> Vec<u8> {
    [&[kind], text.as_bytes()].concat()
}

fn bodies() -> Seeds {
    let reason = r#"{"code":"refused","message":"no","since":1}"#;
    let volume = |phase: &str, more: &str| format!(r#"{{"v":1,"size":1073741824,"phase":{phase},"since":1{more}}}"#);
    let with = |reason_in: &str| reason_in.replace("REASON", reason);
    let ready = volume(r#""ready""#, "");
    let snapshot =
        |phase: &str| format!("{ready}\n{}", volume(&with(phase), r#","pins":["00000000-0000-0000-0000-000000000030"]"#));
    let attachment =
        |phase: &str| format!(r#"{ready}{}{{"v":1,"protocol":"nbd","mode":"readOnly","phase":{},"since":1}}"#, "\n\n", with(phase));
    let connection = r#"{"protocol":"nbd","data":{"uri":"nbd://127.0.0.1/x"}}"#;
    vec![
        ("creating", of(0, &volume(r#""creating""#, ""))),
        ("creating-a-clone", of(4, &volume(r#""creating""#, r#","sourceVolume":"00000000-0000-0000-0000-000000000030""#))),
        ("cleaning-up", of(0, &volume(&with(r#"{"cleaningUp":{"reason":REASON}}"#), ""))),
        ("ready", of(0, &volume(r#""ready""#, r#","seen":{"present":{"size":1073741824,"content":"whole"}},"seenAt":2"#))),
        ("extending", of(0, &volume(r#"{"extending":{"target":2147483648}}"#, r#","multiAttach":true,"zone":"z""#))),
        ("deleting", of(0, &volume(r#""deleting""#, r#","metadata":{"a":"b"},"description":"d","updatedAt":2"#))),
        ("error", of(0, &volume(&with(r#"{"error":{"cause":"missing","reason":REASON}}"#), r#","recover":3"#))),
        ("error-extending", of(0, &volume(&with(r#"{"errorExtending":{"target":0,"reason":REASON}}"#), ""))),
        ("stranger", of(0, &volume(r#""ready""#, &format!(r#","stranger":{reason}"#)))),
        ("gone", of(0, &volume(r#"{"gone":{"forgotten":true}}"#, ""))),
        (
            "times-at-their-ends",
            of(0, r#"{"v":1,"size":0,"phase":"ready","since":-9223372036854775808,"seenAt":9223372036854775807}"#),
        ),
        (
            "size-at-its-end",
            of(0, r#"{"v":1,"size":18446744073709551615,"phase":{"extending":{"target":18446744073709551615}},"since":1}"#),
        ),
        ("snapshot", of(0, &snapshot(r#""available""#))),
        ("snapshot-error", of(0, &snapshot(r#"{"error":{"cause":"damaged","reason":REASON}}"#))),
        (
            "snapshot-deleting-gone-volume",
            of(0, &snapshot(r#""deleting""#).replacen(r#""ready""#, r#"{"gone":{"forgotten":false}}"#, 1)),
        ),
        ("attaching", of(0, &attachment(r#"{"attaching":{"again":REASON}}"#))),
        ("attached", of(0, &attachment(&format!(r#"{{"attached":{{"connection":{connection}}}}}"#)))),
        ("detaching", of(0, &attachment(&format!(r#"{{"detaching":{{"force":true,"connection":{connection}}}}}"#)))),
        ("error-detaching", of(0, &attachment(r#"{"errorDetaching":{"reason":REASON,"look":{"recover":4}}}"#))),
        (
            "host",
            of(
                1,
                r#"{"v":1,"ip":"192.0.2.7","port":22,"accessMode":"agent","osType":"linux","zones":[],"initiators":[{"portName":"p","protocol":"iscsi"}]}"#,
            ),
        ),
        ("profile", of(2, r#"{"v":1,"storageType":"block","properties":{"a":"{}"},"custom":{"diskType":"\"SSD\""}}"#)),
        ("pool", of(3, r#"{"v":1,"description":"d"}"#)),
        ("without-version", of(3, "{}")),
        ("newer", of(0, r#"{"v":2,"everything":"else"}"#)),
        ("version-beyond", of(3, r#"{"v":4294967296}"#)),
        ("twice-a-key", of(3, r#"{"v":1,"v":1}"#)),
        ("unknown-phase", of(0, &volume(r#""resting""#, ""))),
        ("half-a-source", of(4, &ready)),
        ("source-no-id", of(4, &volume(r#""ready""#, r#","sourceVolume":"x""#))),
        ("cut", of(0, &ready[..20])),
        ("empty", of(0, "")),
        ("null", of(0, "null")),
    ]
}

/// A row of the table with this number in which the column of this number has another value than a sound one.
fn but(table: u8, column: usize, value: &[u8]) -> Vec<u8> {
    [&[table], vec![0; column].as_slice(), value].concat()
}

fn number(kind: u8, bits: u64) -> Vec<u8> {
    [&[kind], bits.to_be_bytes().as_slice()].concat()
}

fn bytes(kind: u8, bytes: &[u8]) -> Vec<u8> {
    [&[kind], u16::try_from(bytes.len()).expect("short").to_be_bytes().as_slice(), bytes].concat()
}

fn rows() -> Seeds {
    let sound = TABLES.iter().zip(0..).map(|((name, _), number)| (*name, vec![number]));
    let wrong = vec![
        ("volume-id-short", but(0, 0, &bytes(BLOB, &[1; 15]))),
        ("volume-name-not-utf-8", but(0, 2, &bytes(TEXT, &[0xff]))),
        ("volume-name-blob", but(0, 2, &bytes(BLOB, b"name"))),
        ("volume-pool-text", but(0, 4, &bytes(TEXT, b"pool"))),
        ("volume-source-without-volume", but(0, 6, &bytes(BLOB, &[7; 16]))),
        ("volume-created-real", but(0, 7, &number(REAL, 1.5_f64.to_bits()))),
        ("volume-owes-7", but(0, 8, &number(INTEGER, 7))),
        ("volume-version-below", but(0, 9, &number(INTEGER, u64::MAX))),
        ("volume-body-null", but(0, 11, &[NUL])),
        ("volume-body-blob", but(0, 11, &bytes(BLOB, b"{}"))),
        ("volume-body-newer", but(0, 11, &bytes(TEXT, br#"{"v":7}"#))),
        ("volume-has-snapshots-text", but(0, 12, &bytes(TEXT, b"some"))),
        ("snapshot-profile-short", but(1, 5, &bytes(BLOB, &[]))),
        ("attachment-host-integer", but(2, 4, &number(INTEGER, 1))),
        ("attachment-body-number", but(2, 7, &number(INTEGER, 1))),
        ("host-name-not-utf-8", but(3, 2, &bytes(TEXT, &[0xc3, 0x28]))),
        ("profile-body-empty", but(4, 5, &bytes(TEXT, b""))),
        ("pool-created-text", but(5, 3, &bytes(TEXT, b"yesterday"))),
        ("counter-text", but(6, 2, &bytes(TEXT, b"many"))),
        ("counter-below", but(6, 2, &number(INTEGER, u64::MAX))),
        ("journal-kind-unknown", but(7, 5, &number(INTEGER, 3))),
        ("journal-at-real", but(7, 2, &number(REAL, f64::INFINITY.to_bits()))),
        ("key-of-an-unknown-kind", but(8, 3, &number(INTEGER, 9))),
        ("key-of-a-short-request", but(8, 2, &bytes(BLOB, &[0; 31]))),
    ];
    sound.chain(wrong).collect()
}

#[test]
fn the_seeds_are_kept() {
    keep("store_body", bodies());
    keep("store_rows", rows());
}
