//! What real clients write is in the file, and what is in the file they read.

use crate::served::{SIZE, Served, python, run, word};
use lifecycle::Mode;
use std::os::unix::fs::FileExt;

#[test]
fn its_size_and_abilities_are_told_on_both_sockets() {
    let served = Served::new();
    let (_, connection) = served.export(Mode::ReadWrite);
    for uri in [word(&connection, "uri"), word(&connection, "unixUri")] {
        assert_eq!(run("nbdinfo", &["--size", &uri]).trim(), SIZE.to_string());
        for ability in ["flush", "fua", "trim", "zero", "multi-conn", "df", "cache"] {
            run("nbdinfo", &["--can", ability, &uri]);
        }
        let told = run("nbdinfo", &[&uri]);
        assert!(told.contains("base:allocation") && told.contains("is_read_only: false"), "{told}");
    }
}

#[test]
fn what_is_written_is_in_the_file() {
    let served = Served::new();
    let uri = served.uri();
    run("qemu-io", &["-f", "raw", "-c", "write -P 1 0 64k", "-c", "write -f -P 2 1M 4k", "-c", "flush", &uri]);
    assert!(served.bytes(0, 65536).iter().all(|byte| *byte == 1));
    assert!(served.bytes(1 << 20, 4096).iter().all(|byte| *byte == 2));
    served.file.write_all_at(&[3; 512], 2 << 20).unwrap();
    run("qemu-io", &["-r", "-f", "raw", "-c", "read -P 3 2M 512", "-c", "read -P 0 4M 1M", &uri]);
}

#[test]
fn copies_come_back_as_they_went() {
    let served = Served::new();
    let uri = served.uri();
    let bytes: Vec<u8> = (0..SIZE / 2).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    let (there, back) = (served.path("there"), served.path("back"));
    std::fs::write(&there, &bytes).unwrap();
    std::fs::File::options().write(true).open(&there).unwrap().set_len(SIZE).unwrap();
    run("nbdcopy", &[there.to_str().unwrap(), &uri]);
    assert!(served.bytes(0, bytes.len()) == bytes);
    run("nbdcopy", &[&uri, back.to_str().unwrap()]);
    assert!(std::fs::read(&back).unwrap() == std::fs::read(&there).unwrap());
}

#[test]
fn holes_are_told_and_made() {
    let served = Served::new();
    let uri = served.uri();
    let data = |uri: &str| -> u64 {
        let map: Vec<String> = run("nbdinfo", &["--map", uri]).lines().map(str::to_owned).collect();
        // offset, length, type, words
        let rows = map.iter().map(|row| row.split_whitespace().collect::<Vec<_>>());
        rows.filter(|row| row[2] == "0").map(|row| row[1].parse::<u64>().unwrap()).sum()
    };
    assert_eq!(data(&uri), 0);
    run("qemu-io", &["-f", "raw", "-c", "write -P 1 1M 1M", "-c", "write -P 1 8M 1M", &uri]);
    assert_eq!(data(&uri), 2 << 20);
    run("qemu-io", &["-d", "unmap", "-f", "raw", "-c", "discard 1M 1M", &uri]);
    assert_eq!(data(&uri), 1 << 20);
    run("qemu-io", &["-f", "raw", "-c", "write -z 8M 512k", "-c", "read -P 0 8M 512k", "-c", "read -P 1 8704k 512k", &uri]);
    run("qemu-io", &["-f", "raw", "-c", "read -P 0 1M 1M", &uri]);
}

#[test]
fn a_read_only_export_takes_no_change() {
    let served = Served::new();
    served.file.write_all_at(&[9; 4096], 0).unwrap();
    let uri = word(&served.export(Mode::ReadOnly).1, "uri");
    python(
        &uri,
        "assert h.is_read_only()
h.set_strict_mode(0)
for change in (lambda: h.pwrite(b'x'*512, 0), lambda: h.trim(4096, 0), lambda: h.zero(4096, 0)):
    try:
        change()
        sys.exit('it was taken')
    except nbd.Error as error:
        assert error.errno == 'EPERM', error
assert bytes(h.pread(4096, 0)) == b'\\x09'*4096",
    );
    assert_eq!(served.bytes(0, 4096), [9; 4096]);
}

#[test]
fn a_range_beyond_the_end_is_refused() {
    let served = Served::new();
    python(
        &served.uri(),
        "h.set_strict_mode(0)
def refused(errno, ask):
    try:
        ask()
        sys.exit('it was taken')
    except nbd.Error as error:
        assert error.errno == errno, error
size = h.get_size()
refused('EINVAL', lambda: h.pread(512, size))
refused('EINVAL', lambda: h.pread(512, size - 256))
refused('ENOSPC', lambda: h.pwrite(b'x'*512, size - 256))
refused('EINVAL', lambda: h.pread(512, 2**63))
assert len(h.pread(512, 0)) == 512",
    );
}

#[test]
fn simple_replies_do_as_well() {
    let served = Served::new();
    let (_, connection) = served.export(Mode::ReadWrite);
    let script = "import nbd,sys
h=nbd.NBD()
h.set_request_structured_replies(False)
h.connect_uri(sys.argv[1])
assert not h.get_structured_replies_negotiated()
h.pwrite(b'abcd'*1024, 4096, nbd.CMD_FLAG_FUA)
assert bytes(h.pread(4096, 4096)) == b'abcd'*1024
assert bytes(h.pread(4096, 1<<20)) == bytes(4096)";
    run("/usr/bin/python3", &["-c", script, &word(&connection, "uri")]);
}

#[test]
fn what_one_connection_flushed_another_reads() {
    let served = Served::new();
    let script = "g=nbd.NBD()
g.connect_uri(sys.argv[1])
h.pwrite(b'x'*4096, 0)
h.flush()
assert bytes(g.pread(4096, 0)) == b'x'*4096
# Many at once, in whatever order they end.
bufs=[nbd.Buffer.from_bytearray(bytearray([n%251])*4096) for n in range(400)]
cookies=[(h if n%2 else g).aio_pwrite(bufs[n], 8192+n*4096) for n in range(400)]
while h.aio_in_flight() or g.aio_in_flight():
    for c in (g, h):
        if c.aio_in_flight(): c.poll(100)
for n in range(400):
    assert bytes(g.pread(4096, 8192+n*4096)) == bytes([n%251])*4096, n";
    python(&served.uri(), script);
}

#[test]
fn a_grown_file_is_grown_for_the_next_client() {
    let served = Served::new();
    let uri = served.uri();
    served.file.set_len(SIZE * 2).unwrap();
    assert_eq!(run("nbdinfo", &["--size", &uri]).trim(), (SIZE * 2).to_string());
}
