//! Many requests on the way at once, however they are cut into packets, and a disk that hangs in the middle of it.

use crate::hostile::agreed;
use crate::served::{SIZE, Served, python, run};
use exporter::Options;
use ground::{Ground, Kind};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

const READ: u16 = 0;
const WRITE: u16 = 1;
const FLUSH: u16 = 3;
const FUA: u16 = 1;

/// A request with `payload`, whose cookie is its offset and length, so that its answer tells what it is for.
fn request(command: u16, flags: u16, offset: u64, length: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [0x2560_9513_u32.to_be_bytes().as_slice(), &flags.to_be_bytes(), &command.to_be_bytes()].concat();
    bytes.extend(cookie(command, offset).to_be_bytes());
    bytes.extend(offset.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn cookie(command: u16, offset: u64) -> u64 {
    u64::from(command) << 48 | offset
}

/// The next answer's cookie, which must be a success; the data stays to be read.
#[track_caller]
fn answer(stream: &mut TcpStream) -> u64 {
    let mut bytes = [0; 16];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes[..8], [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0], "not a success");
    u64::from_be_bytes(bytes[8..].try_into().unwrap())
}

fn take(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn name(uri: &str) -> &str {
    uri.rsplit('/').next().unwrap()
}

#[test]
fn requests_may_be_cut_anywhere() {
    let served = Served::new();
    let uri = served.uri();
    let mut stream = agreed(&served, name(&uri));
    stream.set_nodelay(true).unwrap();
    // A part of a page, a whole page, and a read of both in between.
    let parts = [
        (request(WRITE, 0, 5, 40, &[1; 40]), cookie(WRITE, 5), 0),
        (request(READ, 0, 4096, 10, &[]), cookie(READ, 4096), 10),
        (request(WRITE, 0, 8192, 4096, &[2; 4096]), cookie(WRITE, 8192), 0),
        (request(FLUSH, 0, 0, 0, &[]), cookie(FLUSH, 0), 0),
    ];
    let all: Vec<u8> = parts.iter().flat_map(|(bytes, ..)| bytes.clone()).collect();
    // Every place in and around the headers; in the middle of a page one is like another.
    let places = (1..all.len()).filter(|at| *at < 160 || at % 509 == 0 || *at > all.len() - 40);
    for place in places {
        stream.write_all(&all[..place]).unwrap();
        let mut end = 0;
        let whole = parts.iter().take_while(|(bytes, ..)| {
            end += bytes.len();
            end <= place
        });
        // What came whole is answered although more was begun.
        let before = whole.count();
        let mut got: Vec<u64> = Vec::new();
        for at in 0..parts.len() {
            if at == before {
                stream.write_all(&all[place..]).unwrap();
            }
            got.push(answer(&mut stream));
            let (.., data) = parts.iter().find(|(_, cookie, _)| got.last() == Some(cookie)).expect("one of ours");
            take(&mut stream, *data);
        }
        got.sort_unstable();
        let mut expected = parts.each_ref().map(|(_, cookie, _)| *cookie);
        expected.sort_unstable();
        assert_eq!(got, expected, "cut at {place}");
    }
    assert_eq!(served.bytes(5, 40), [1; 40]);
    assert_eq!(served.bytes(8192, 4096), [2; 4096]);
}

/// Lengths of every kind that is handled its own way: parts of pages, pages, and more than any buffer holds.
const LENGTHS: [u32; 10] = [1, 512, 4096, 4096, 16 << 10, 65_536, 100_000, 256 << 10, 260 << 10, (1 << 20) + 3];

#[test]
fn each_of_many_on_the_way_is_answered_once() {
    let served = Served::new();
    let uri = served.uri();
    let mut stream = agreed(&served, name(&uri));
    let (mut at, mut wanted) = (0, BTreeMap::new());
    while at + (2 << 20) < SIZE {
        let length = LENGTHS[wanted.len() % LENGTHS.len()];
        wanted.insert(at, (length, u8::try_from(wanted.len() % 251).unwrap()));
        at += (u64::from(length) + 1).next_multiple_of(4096);
    }
    let mut sender = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let writes = wanted.iter().map(|(at, (length, byte))| {
                let flags = if byte % 16 == 5 { FUA } else { 0 };
                request(WRITE, flags, *at, *length, &vec![*byte; *length as usize])
            });
            sender.write_all(&writes.collect::<Vec<_>>().concat()).unwrap();
        });
        let mut left = wanted.clone();
        while !left.is_empty() {
            let cookie = answer(&mut stream);
            assert!(left.remove(&(cookie ^ u64::from(WRITE) << 48)).is_some(), "{cookie:#x} was answered twice, or never asked");
        }
    });
    let reads: Vec<u8> = wanted.iter().flat_map(|(at, (length, _))| request(READ, 0, *at, *length, &[])).collect();
    stream.write_all(&reads).unwrap();
    let mut left = wanted.clone();
    while !left.is_empty() {
        let at = answer(&mut stream);
        let (length, byte) = left.remove(&at).expect("it was asked and not answered yet");
        assert!(take(&mut stream, length as usize).iter().all(|read| *read == byte), "{length} bytes at {at}");
    }
}

#[test]
fn a_large_read_comes_in_chunks_unless_it_may_not() {
    let served = Served::new();
    let uri = served.uri();
    run("qemu-io", &["-f", "raw", "-c", "write -P 7 0 3M", &uri]);
    python(
        &uri,
        "size = (3<<20) - 5
def chunks(flags):
    seen = []
    def chunk(data, offset, status, error):
        assert status == nbd.READ_DATA and set(data) == {7}, (status, offset)
        seen.append((offset, len(data)))
    h.pread_structured(size, 3, chunk, flags)
    at = 3
    for offset, length in sorted(seen):
        assert offset == at, seen
        at += length
    assert at == 3 + size, seen
    return len(seen)
assert chunks(0) > 1
assert chunks(nbd.CMD_FLAG_DF) == 1",
    );
}

/// A file system that takes no writes, until dropped.
struct Frozen<'a>(&'a Ground);

impl<'a> Frozen<'a> {
    fn new(ground: &'a Ground) -> Self {
        assert!(Command::new("fsfreeze").arg("-f").arg(ground.root()).status().unwrap().success());
        Self(ground)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        assert!(Command::new("fsfreeze").arg("-u").arg(self.0.root()).status().unwrap().success());
    }
}

#[test]
fn writes_that_hang_keep_no_request_from_being_read() {
    let Some(ground) = Ground::new(Kind::Ext4, 128) else { return };
    let served = Served::inside(ground.root(), Options::default());
    let uri = served.uri();
    let mut stream = agreed(&served, name(&uri));
    // Until a thread stands by, and then some.
    for _ in 0..8 {
        stream.write_all(&request(WRITE, 0, 0, 4096, &[9; 4096])).unwrap();
        assert_eq!(answer(&mut stream), cookie(WRITE, 0));
    }
    let hanging: Vec<u64> = (1..=40).map(|turn| turn * 8192).collect();
    let frozen = Frozen::new(&ground);
    for at in &hanging {
        stream.write_all(&request(WRITE, 0, *at, 4096, &[5; 4096])).unwrap();
        stream.write_all(&request(READ, 0, 0, 512, &[])).unwrap();
        assert_eq!(answer(&mut stream), cookie(READ, 0), "the write at {at} was answered, or hangs all");
        assert_eq!(take(&mut stream, 512), [9; 512]);
    }
    drop(frozen);
    let mut answered: Vec<u64> = hanging.iter().map(|_| answer(&mut stream) ^ cookie(WRITE, 0)).collect();
    answered.sort_unstable();
    assert_eq!(answered, hanging);
    for at in hanging {
        assert_eq!(served.bytes(at, 4096), [5; 4096]);
    }
}
