//! The inputs that fuzzing begins with: what real clients say, and the near misses of it. Kept in `fuzz/corpus` as `seed-*`.
//!
//! `UPDATE_GOLDEN=1 cargo test -p exporter --lib seeds` rewrites them.

use super::{EXPORT, SIZE};
use ground::corpus::{Seeds, keep};

const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;
const TRIM: u16 = 4;
const CACHE: u16 = 5;
const ZEROES: u16 = 6;
const STATUS: u16 = 7;
/// The first byte of a conversation: see `Scene`.
const READ_ONLY: u8 = 1;
const OVER_TCP: u8 = 2;
const PAGE: u32 = 4096;
const ALLOCATION: &str = "base:allocation";
const DEPTH: &str = "qemu:allocation-depth";

fn option(number: u32, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).expect("short");
    [b"IHAVEOPT".as_slice(), &number.to_be_bytes(), &length.to_be_bytes(), data].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&u32::try_from(text.len()).expect("short").to_be_bytes(), text.as_bytes()].concat()
}

/// `NBD_OPT_INFO` (6) or `NBD_OPT_GO` (7), asking for the export's name (1) and the sizes of blocks (3).
fn info(number: u32, name: &str) -> Vec<u8> {
    option(number, &[text(name), vec![0, 2, 0, 1, 0, 3]].concat())
}

/// The same, asking for its description (2) too, twice, and for what nobody knows.
fn describe(number: u32, name: &str) -> Vec<u8> {
    option(number, &[text(name), vec![0, 4, 0, 2, 0, 1, 0xff, 0, 0, 2]].concat())
}

fn start_tls() -> Vec<u8> {
    option(5, &[])
}

/// `NBD_OPT_LIST_META_CONTEXT` (9) or `NBD_OPT_SET_META_CONTEXT` (10).
fn meta(number: u32, name: &str, queries: &[&str]) -> Vec<u8> {
    let count = u32::try_from(queries.len()).expect("few").to_be_bytes().to_vec();
    let queries = queries.iter().map(|query| text(query));
    option(number, &[text(name), count].into_iter().chain(queries).collect::<Vec<_>>().concat())
}

fn request(flags: u16, command: u16, offset: u64, length: u32) -> Vec<u8> {
    let front = [0x2560_9513_u32.to_be_bytes().as_slice(), &flags.to_be_bytes(), &command.to_be_bytes()].concat();
    [front.as_slice(), &7_u64.to_be_bytes(), &offset.to_be_bytes(), &length.to_be_bytes()].concat()
}

fn write(flags: u16, offset: u64, data: &[u8]) -> Vec<u8> {
    [request(flags, WRITE, offset, u32::try_from(data.len()).expect("short")), data.to_vec()].concat()
}

/// A conversation: the scene, the client's flags (fixed newstyle, no zeroes), and what it says then.
fn says(scene: u8, words: &[Vec<u8>]) -> Vec<u8> {
    [&[scene, 0, 0, 0, 3], words.concat().as_slice()].concat()
}

/// One that goes at once, with simple replies.
fn goes(scene: u8, words: &[Vec<u8>]) -> Vec<u8> {
    says(scene, &[[info(7, EXPORT)].as_slice(), words].concat())
}

/// One that asks for structured replies and these contexts first.
fn goes_with(contexts: &[&str], scene: u8, words: &[Vec<u8>]) -> Vec<u8> {
    let agreed = [option(8, &[]), meta(10, EXPORT, contexts), info(7, EXPORT)];
    says(scene, &[agreed.as_slice(), words].concat())
}

/// One that asks for structured replies and `base:allocation` first.
fn goes_structured(scene: u8, words: &[Vec<u8>]) -> Vec<u8> {
    goes_with(&[ALLOCATION], scene, words)
}

fn handshakes() -> Seeds {
    let end = || request(0, DISCONNECT, 0, 0);
    let status = || request(0, STATUS, 0, 64 << 10);
    vec![
        ("silent", vec![0]),
        ("flags-not-offered", vec![0, 0, 0, 0, 7]),
        ("half-an-option", says(0, &[option(7, &[])[..9].to_vec()])),
        ("abort", says(0, &[option(2, &[])])),
        ("list", says(0, &[option(3, &[]), option(2, &[])])),
        ("list-over-tcp", says(OVER_TCP, &[option(3, &[]), option(2, &[])])),
        ("list-meta", says(0, &[option(8, &[]), meta(9, EXPORT, &[]), meta(9, EXPORT, &["base:"]), meta(9, EXPORT, &["qemu:"])])),
        ("set-meta-too-early", says(0, &[meta(10, EXPORT, &[ALLOCATION]), info(7, EXPORT), end()])),
        ("set-meta-of-another", says(0, &[option(8, &[]), meta(10, "another", &[ALLOCATION]), info(7, EXPORT), end()])),
        ("info-then-go", says(0, &[info(6, EXPORT), info(7, EXPORT), end()])),
        ("unknown-name", says(0, &[info(6, "another"), info(7, "another"), option(1, b"another")])),
        ("describe", says(0, &[describe(6, EXPORT), describe(6, "another"), describe(7, EXPORT), end()])),
        ("starttls", says(0, &[start_tls(), info(7, EXPORT), end()])),
        ("starttls-over-tcp", says(OVER_TCP, &[start_tls(), option(3, &[]), info(7, EXPORT), end()])),
        ("starttls-with-data", says(0, &[option(5, b"now"), start_tls(), start_tls(), info(7, EXPORT), end()])),
        (
            "starttls-forgets-nothing",
            says(0, &[option(8, &[]), meta(10, EXPORT, &[ALLOCATION]), start_tls(), info(7, EXPORT), status()]),
        ),
        ("starttls-then-a-record", says(0, &[start_tls(), vec![22, 3, 1, 0, 64, 1, 0, 0, 60, 3, 3], vec![0; 60]])),
        ("starttls-then-a-request", says(0, &[start_tls(), request(0, READ, 0, 16)])),
        ("option-malformed", says(0, &[option(7, &[0xff; 8]), option(10, &[0; 7]), info(7, EXPORT), end()])),
        ("option-read-past", says(0, &[[&option(7, &[])[..12], &20_000_u32.to_be_bytes()].concat(), vec![0; 900]])),
        ("option-too-long", says(0, &[[&option(7, &[])[..12], &u32::MAX.to_be_bytes()].concat()])),
        ("export-name", says(0, &[option(1, EXPORT.as_bytes()), request(0, READ, 0, 16), end()])),
        ("export-name-padded", [&[0, 0, 0, 0, 1], option(1, EXPORT.as_bytes()).as_slice(), &end()].concat()),
        ("read", goes(0, &[request(0, READ, 0, PAGE), request(0, READ, 40 << 10, PAGE), end()])),
        ("read-over-tcp", goes(OVER_TCP, &[request(0, READ, 100, 3), end()])),
        ("write", goes(0, &[write(0, 8000, &[1; 500]), write(1, SIZE - 1, &[2]), request(0, FLUSH, 0, 0), end()])),
        ("write-read-only", goes(READ_ONLY, &[write(0, 0, &[1; 64]), request(0, TRIM, 0, PAGE), request(0, FLUSH, 0, 0), end()])),
        ("write-half", goes(0, &[request(0, WRITE, 0, PAGE), vec![1; 100]])),
        ("write-too-large", goes(0, &[request(0, WRITE, 0, u32::MAX)])),
        ("trim-and-zero", goes(0, &[request(0, TRIM, 0, PAGE), request(3, ZEROES, 5000, 9000), request(16, ZEROES, 0, 64 << 10)])),
        ("cache-and-df", goes_structured(0, &[request(0, CACHE, 0, 64 << 10), request(4, READ, 30 << 10, PAGE), end()])),
        ("status", goes_structured(READ_ONLY, &[request(0, STATUS, 0, 64 << 10), request(8, STATUS, 32 << 10, 1), end()])),
        ("status-of-both", goes_with(&[DEPTH, ALLOCATION], 0, &[status(), request(8, STATUS, 32 << 10, 1), end()])),
        ("status-of-depth", goes_with(&[DEPTH], OVER_TCP, &[status(), end()])),
        ("status-of-none", goes_with(&["base:", "qemu:", ""], 0, &[status(), end()])),
        (
            "status-of-the-last-choice",
            says(0, &[option(8, &[]), meta(10, EXPORT, &[DEPTH]), meta(10, EXPORT, &[]), info(7, EXPORT), status()]),
        ),
        ("structured-hole", goes_structured(0, &[request(0, READ, 40 << 10, PAGE), request(0, READ, 31 << 10, PAGE), end()])),
        ("nothing-at-all", goes_structured(0, &[request(0, READ, 0, 0), request(0, WRITE, SIZE, 0), request(0, ZEROES, 9, 0)])),
        ("beyond-the-end", goes_structured(0, &[request(0, READ, SIZE, 1), request(0, ZEROES, u64::MAX, 2), write(0, SIZE, &[1])])),
        ("unknown-command", goes(0, &[request(0, 9, 0, 0), request(0xff, READ, 0, 1), request(0, READ, 0, 1)])),
        ("rubbish-amid", goes(0, &[request(0, READ, 0, 1), vec![0x55; 64]])),
        ("many", goes(0, &(0..50).map(|at| request(0, READ, at * 997, 13)).collect::<Vec<_>>())),
    ]
}

fn options() -> Seeds {
    let long = "n".repeat(4097);
    vec![
        ("export-name", option(1, EXPORT.as_bytes())),
        ("abort", option(2, &[])),
        ("list", option(3, &[])),
        ("starttls", start_tls()),
        ("starttls-with-data", option(5, b"now")),
        ("info", info(6, EXPORT)),
        ("describe", describe(6, EXPORT)),
        ("describe-short", option(7, &[text(EXPORT), vec![0, 2, 0, 2, 0]].concat())),
        ("go", info(7, "")),
        ("go-short", info(7, EXPORT)[..40].to_vec()),
        ("structured", option(8, &[])),
        ("list-meta", meta(9, EXPORT, &["base:", "qemu:dirty-bitmap:x"])),
        ("set-meta", meta(10, EXPORT, &[ALLOCATION])),
        ("set-meta-none", meta(10, EXPORT, &[])),
        ("set-meta-both", meta(10, EXPORT, &[DEPTH, ALLOCATION, DEPTH])),
        ("list-meta-depth", meta(9, EXPORT, &["qemu:", DEPTH, "qemu:allocation-depth:"])),
        ("queries-that-lie", option(10, &[text("d"), u32::MAX.to_be_bytes().to_vec()].concat())),
        ("name-too-long", option(1, long.as_bytes())[..1500].to_vec()),
        ("name-with-nul", option(1, b"di\0sk")),
        ("extended-headers", option(11, &[])),
    ]
}

fn requests() -> Seeds {
    const READ_ONLY: u8 = 1;
    const STRUCTURED: u8 = 2;
    const ALLOCATION: u8 = 4;
    const DEPTH: u8 = 8;
    // The size stands on the wire of this target shifted by one, as a backing's has 63 bits.
    let of = |agreed: u8, size: u64, request: Vec<u8>| [&[agreed], (size << 1).to_be_bytes().as_slice(), &request].concat();
    vec![
        ("read", of(0, SIZE, request(0, READ, 0, PAGE))),
        ("read-df", of(STRUCTURED, SIZE, request(4, READ, 0, PAGE))),
        ("read-the-last", of(0, SIZE, request(0, READ, SIZE - 1, 1))),
        ("read-beyond", of(0, SIZE, request(0, READ, SIZE, 1))),
        ("read-wrapping", of(0, u64::MAX >> 1, request(0, READ, u64::MAX, 2))),
        ("read-too-much", of(0, 1 << 40, request(0, READ, 0, (32 << 20) + 1))),
        ("write", of(0, SIZE, request(1, WRITE, 0, PAGE))),
        ("write-read-only", of(READ_ONLY, SIZE, request(0, WRITE, 0, PAGE))),
        ("zeroes", of(0, 1 << 40, request(0x13, ZEROES, 1 << 39, u32::MAX))),
        ("trim", of(0, 1 << 40, request(0, TRIM, 1 << 39, u32::MAX))),
        ("cache", of(READ_ONLY, SIZE, request(0, CACHE, 0, PAGE))),
        ("flush", of(0, SIZE, request(0, FLUSH, 0, 0))),
        ("flush-of-a-range", of(0, SIZE, request(0, FLUSH, 0, 1))),
        ("status", of(STRUCTURED | ALLOCATION, SIZE, request(8, STATUS, 0, PAGE))),
        ("status-of-depth", of(STRUCTURED | DEPTH, SIZE, request(0, STATUS, SIZE - 1, 1))),
        ("status-not-agreed", of(STRUCTURED, SIZE, request(0, STATUS, 0, PAGE))),
        ("disconnect", of(0, 0, request(0, DISCONNECT, 0, 0))),
        ("unknown", of(0, SIZE, request(0, 8, 0, 0))),
        ("without-magic", of(0, SIZE, vec![0; 28])),
    ]
}

#[test]
fn the_seeds_are_kept() {
    for (target, seeds) in [("nbd_handshake", handshakes()), ("nbd_option", options()), ("nbd_request", requests())] {
        keep(target, seeds);
    }
}
