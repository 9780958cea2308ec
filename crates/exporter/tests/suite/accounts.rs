//! What is told of a client is what it did.

use crate::hostile::{agreed, request};
use crate::served::{SIZE, STAYS, Served, Staying, word};
use lifecycle::{Bytes, Mode};
use std::io::{Read, Write};

#[test]
fn bytes_sizes_and_times_are_those_of_the_client() {
    let served = Served::new();
    let (id, connection) = served.export(Mode::ReadWrite);
    // Two reads of data and one of a hole; a write, zeroes, a trim; a write that is refused: 12 KiB read, 72 KiB written.
    let script = format!(
        "h.set_strict_mode(0)
h.pwrite(b'x'*65536, 0)
h.zero(8192, 1<<20)
h.pread(4096, 0); h.pread(4096, 512); h.pread(4096, 8<<20)
h.trim(4096, 2<<20)
h.flush()
try: h.pwrite(b'x'*512, h.get_size())
except nbd.Error: pass
{STAYS}"
    );
    let _client = Staying::new(&served, id, &word(&connection, "uri"), &script);
    served.file.set_len(SIZE * 2).unwrap();
    let told = || served.who(id).remove(0);
    ground::wait_until("all of it is counted", || (told().bytes_read, told().bytes_written) == (12 << 10, 72 << 10));
    ground::wait_until("all of it is answered", || told().in_flight == 0);
    let client = told();
    assert_eq!(client.size_seen, Some(Bytes(SIZE)), "what it was told when it connected");
    assert_eq!(client.identity, "127.0.0.1");
    assert!(client.address.starts_with("127.0.0.1:"), "{client:?}");
    assert!(client.since <= client.last_seen, "{client:?}");
}

#[test]
fn requests_are_in_flight_until_their_answers_are_sent() {
    let served = Served::new();
    let (id, connection) = served.export(Mode::ReadWrite);
    let length: u32 = 16 << 20;
    let mut stream = agreed(&served, &connection.data["export"]);
    // Far more than the sockets hold: nobody reads the answers.
    for _ in 0..2 {
        stream.write_all(&request(0, 0, length)).unwrap();
    }
    let told = || served.who(id).remove(0);
    ground::wait_until("both are in flight", || told().in_flight == 2);
    assert_eq!(told().bytes_read, 0, "nothing has been answered");
    let answer = 16 + u64::from(length);
    std::io::copy(&mut (&mut stream).take(2 * answer), &mut std::io::sink()).unwrap();
    ground::wait_until("both are answered", || told().in_flight == 0);
    assert_eq!(told().bytes_read, 2 * u64::from(length));
}

#[test]
fn the_last_request_tells_when_a_client_was_last_seen() {
    let served = Served::new();
    let (id, connection) = served.export(Mode::ReadWrite);
    let stream = agreed(&served, &connection.data["export"]);
    let told = || served.who(id).remove(0);
    let first = told();
    assert_eq!(first.since, first.last_seen);
    ground::wait_until("a request is later than the connection", || {
        (&stream).write_all(&request(0, 0, 512)).unwrap();
        (&stream).read_exact(&mut [0; 16 + 512]).unwrap();
        told().last_seen > first.last_seen
    });
    assert_eq!(told().since, first.since);
}
