//! The protocol document's list, one thing after another, as real clients and as bytes.

use crate::access::{ask, info};
use crate::hostile::{agreed, greeted, option, request};
use crate::served::{SIZE, Served, python, run, word};
use lifecycle::Mode;
use std::io::{Read, Write};

/// What opens a simple reply.
const SIMPLE: [u8; 4] = 0x6744_6698_u32.to_be_bytes();
/// `NBD_REP_ACK` and `NBD_REP_INFO`.
const ACK: u32 = 1;
const INFO: u32 = 3;

#[test]
fn a_block_status_answers_in_every_context_that_was_chosen() {
    let served = Served::new();
    let uri = served.uri();
    let script = "g=nbd.NBD()
for context in sys.argv[2:]: g.add_meta_context(context)
g.connect_uri(sys.argv[1])
g.pwrite(b'x'*65536, 1<<20)
told={}
def tell(context, offset, entries, error): told[context]=list(entries)
g.block_status(4<<20, 0, tell)
lengths=[1<<20, 65536, (3<<20)-65536]
zip2=lambda flags: [word for pair in zip(lengths, flags) for word in pair]
expected={'base:allocation': zip2([3,0,3]), 'qemu:allocation-depth': zip2([0,1,0])}
assert told == {context: expected[context] for context in sys.argv[2:]}, told
# One extent is enough.
g.block_status(4<<20, 0, tell, nbd.CMD_FLAG_REQ_ONE)
assert all(entries == expected[context][:2] for context, entries in told.items()), told";
    let script = format!("import nbd,sys\n{script}");
    let (base, depth) = ("base:allocation", "qemu:allocation-depth");
    for contexts in [vec![base, depth], vec![depth], vec![base]] {
        let args: Vec<&str> = ["-c", &script, &uri].into_iter().chain(contexts).collect();
        run("/usr/bin/python3", &args);
    }
    let map = run("nbdinfo", &["--map=qemu:allocation-depth", &uri]);
    assert!(map.contains("absent") && map.contains("local"), "{map}");
}

#[test]
fn contexts_are_found_by_name_and_by_namespace() {
    let served = Served::new();
    python(
        &served.uri(),
        "g=nbd.NBD()
g.set_opt_mode(True)
g.connect_uri(sys.argv[1])
def found(*queries):
    names=[]
    g.clear_meta_contexts()
    for query in queries: g.add_meta_context(query)
    g.opt_list_meta_context(names.append)
    return names
base, depth = 'base:allocation', 'qemu:allocation-depth'
assert found() == [base, depth]
assert found('base:') == [base]
assert found('qemu:') == [depth]
assert found(depth, 'base:') == [base, depth]
assert found('x-other:') == []
g.opt_abort()",
    );
}

#[test]
fn an_export_is_described_to_whoever_asks() {
    let served = Served::new();
    let (_, connection) = served.export(Mode::ReadOnly);
    let told = run("nbdinfo", &[&word(&connection, "uri")]);
    let volume = "volume 00000000-0000-0000-0000-000000000001";
    assert!(told.contains(volume) && told.contains("for reading"), "{told}");
    let (kind, text) = info(&served, 6, &word(&connection, "export"));
    assert_eq!((kind, text.contains("volume")), (INFO, false), "nobody asked");
}

#[test]
fn info_is_asked_before_go_and_a_wrong_name_ends_nothing() {
    let served = Served::new();
    python(
        &served.uri(),
        "g=nbd.NBD()
g.set_opt_mode(True)
g.set_full_info(True)
g.connect_uri(sys.argv[1])
name=g.get_export_name()
g.opt_info()
assert g.get_canonical_export_name() == name
assert g.get_size() == h.get_size()
g.set_export_name('another')
try:
    g.opt_go()
    sys.exit('it was served')
except nbd.Error as error: assert error.errno == 'ENOENT', error
g.set_export_name(name)
g.opt_go()
assert len(g.pread(512, 0)) == 512",
    );
}

#[test]
fn sizes_of_requests_are_told_and_kept_to() {
    let served = Served::new();
    python(
        &served.uri(),
        "size=lambda which: h.get_block_size(which)
assert size(nbd.SIZE_MINIMUM) == 1 and size(nbd.SIZE_PREFERRED) == 4096 and size(nbd.SIZE_MAXIMUM) == 32<<20
h.set_strict_mode(0)
h.pwrite(b'odd', 4095)
assert bytes(h.pread(5, 4094)) == b'\\0odd\\0'
assert len(h.pread(32<<20, 0)) == 32<<20
h.pwrite(bytes(32<<20), 32<<20)
assert bytes(h.pread(0, 4096)) == b''",
    );
}

#[test]
fn the_old_way_to_choose_an_export_works_with_padding_and_without() {
    let served = Served::new();
    let name = word(&served.export(Mode::ReadWrite).1, "export");
    for (flags, padding) in [(1_u32, 124), (3, 0)] {
        let mut stream = served.connect();
        stream.read_exact(&mut [0; 18]).unwrap();
        stream.write_all(&flags.to_be_bytes()).unwrap();
        stream.write_all(&option(1, name.as_bytes())).unwrap();
        let mut answer = vec![0xff; 10 + padding];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..8], SIZE.to_be_bytes());
        assert!(answer[10..].iter().all(|byte| *byte == 0));
        stream.write_all(&request(0, 0, 512)).unwrap();
        let mut reply = [0; 16 + 512];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(reply[..4], SIMPLE);
    }
}

#[test]
fn options_that_we_do_not_know_are_said_to_be_so() {
    let served = Served::new();
    let mut stream = greeted(&served);
    // Among them NBD_OPT_EXTENDED_HEADERS (11), after which clients go on without.
    for number in [0, 4, 11, 12, 1 << 20] {
        assert_eq!(ask(&mut stream, number, b"anything").0, 1 << 31 | 1, "option {number}");
    }
    assert_eq!(ask(&mut stream, 2, &[]).0, ACK);
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "giving up ends the connection");
}

#[test]
fn zeroes_are_made_in_each_of_the_ways() {
    let served = Served::new();
    python(
        &served.uri(),
        "assert h.can_fast_zero() and h.can_zero() and h.can_trim() and h.can_cache() and h.can_fua()
def holes(offset, length):
    told=[]
    h.block_status(length, offset, lambda context, at, entries, error: told.extend(entries))
    return any(told[1::2])
def zeroed(flags):
    h.pwrite(b'x'*(1<<20), 0)
    h.zero(1<<19, 1<<18, flags)
    assert bytes(h.pread(1<<20, 0)) == b'x'*(1<<18) + bytes(1<<19) + b'x'*(1<<18)
    return holes(0, 1<<20)
assert zeroed(0)
assert zeroed(nbd.CMD_FLAG_FUA)
assert not zeroed(nbd.CMD_FLAG_NO_HOLE), 'what must stay allocated is a hole'
try: zeroed(nbd.CMD_FLAG_FAST_ZERO)
except nbd.Error as error: assert error.errno == 'EOPNOTSUPP', error
h.pwrite(b'y'*65536, 0, nbd.CMD_FLAG_FUA)
h.trim(65536, 0, nbd.CMD_FLAG_FUA)
assert holes(0, 65536) and bytes(h.pread(65536, 0)) == bytes(65536)
h.cache(1<<20, 0)
h.flush()",
    );
}

#[test]
fn a_disconnect_ends_what_was_asked_before_it() {
    let served = Served::new();
    let (id, connection) = served.export(Mode::ReadWrite);
    let mut stream = agreed(&served, &word(&connection, "export"));
    let length: u32 = 256 << 10;
    for place in 0..20_u8 {
        stream.write_all(&request(1, u64::from(place) * u64::from(length), length)).unwrap();
        stream.write_all(&vec![place + 1; length as usize]).unwrap();
    }
    stream.write_all(&request(2, 0, 0)).unwrap();
    let mut replies = Vec::new();
    stream.read_to_end(&mut replies).unwrap();
    assert_eq!(replies.len(), 20 * 16);
    for reply in replies.chunks_exact(16) {
        assert_eq!(reply[..8], [SIMPLE, [0; 4]].concat());
    }
    for place in 0..20_u8 {
        let bytes = served.bytes(u64::from(place) * u64::from(length), length as usize);
        assert!(bytes.iter().all(|byte| *byte == place + 1), "write {place} is missing");
    }
    ground::wait_until("it is gone", || served.clients(id) == 0);
}

#[test]
fn a_client_that_vanishes_leaves_nothing_behind() {
    let served = Served::new();
    let (id, connection) = served.export(Mode::ReadWrite);
    for _ in 0..10 {
        let mut stream = agreed(&served, &word(&connection, "export"));
        for _ in 0..8 {
            stream.write_all(&request(0, 0, 8 << 20)).unwrap();
        }
        // With answers under way, half of a request sent, and nothing said.
        stream.write_all(&request(1, 0, 4096)[..13]).unwrap();
    }
    ground::wait_until("all of them are gone", || served.clients(id) == 0);
    run("nbdinfo", &["--size", &word(&connection, "uri")]);
}
