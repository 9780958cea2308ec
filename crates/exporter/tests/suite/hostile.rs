//! Bytes that no client would send: they end their own connection and nothing else.

use crate::served::{Served, run};
use exporter::Options;
use lifecycle::Mode;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

const OPTION_MAGIC: u64 = 0x4948_4156_454F_5054;
pub(crate) const GREETING: usize = 18;

/// A connection that has read the greeting and sent the client's flags.
pub(crate) fn greeted(served: &Served) -> TcpStream {
    let mut stream = served.connect();
    stream.read_exact(&mut [0; GREETING]).unwrap();
    stream.write_all(&3_u32.to_be_bytes()).unwrap();
    stream
}

pub(crate) fn option(number: u32, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap();
    [OPTION_MAGIC.to_be_bytes().as_slice(), &number.to_be_bytes(), &length.to_be_bytes(), data].concat()
}

/// A connection in transmission.
pub(crate) fn agreed(served: &Served, name: &str) -> TcpStream {
    go(greeted(served), name)
}

/// Asks for the export on a connection that has sent the client's flags, and gets it.
#[track_caller]
pub(crate) fn go(stream: TcpStream, name: &str) -> TcpStream {
    try_go(stream, name).unwrap_or_else(|kind| panic!("refused with {kind:#x}"))
}

/// The same; or the kind of reply that refused it.
pub(crate) fn try_go(mut stream: TcpStream, name: &str) -> Result<TcpStream, u32> {
    let length = u32::try_from(name.len()).unwrap().to_be_bytes();
    stream.write_all(&option(7, &[&length, name.as_bytes(), &[0, 0]].concat())).unwrap();
    loop {
        let mut header = [0; 20];
        stream.read_exact(&mut header).unwrap();
        let kind = u32::from_be_bytes(header[12..16].try_into().unwrap());
        let length = u32::from_be_bytes(header[16..20].try_into().unwrap());
        stream.read_exact(&mut vec![0; length as usize]).unwrap();
        match kind {
            1 => return Ok(stream),
            3 => {}
            other => return Err(other),
        }
    }
}

pub(crate) fn request(command: u16, offset: u64, length: u32) -> Vec<u8> {
    let front = [0x2560_9513_u32.to_be_bytes().as_slice(), &0_u16.to_be_bytes(), &command.to_be_bytes()].concat();
    [front.as_slice(), &7_u64.to_be_bytes(), &offset.to_be_bytes(), &length.to_be_bytes()].concat()
}

/// Sends `bytes` and no more; the server must end the connection.
#[track_caller]
pub(crate) fn ends(mut stream: TcpStream, bytes: &[u8]) {
    // It may be cut before all of it is sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("it is still open: {error}"),
    }
}

#[test]
fn rubbish_ends_its_own_connection_only() {
    let served = Served::new();
    let uri = served.uri();
    let name = uri.rsplit('/').next().unwrap().to_owned();
    let mut seed = 0x5EED_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for _ in 0..40 {
        let length = 1 + random() % 3000;
        let rubbish: Vec<u8> = (0..length).map(|_| random().to_le_bytes()[0]).collect();
        ends(served.connect(), &rubbish);
        ends(greeted(&served), &rubbish);
        ends(greeted(&served), &option(u32::try_from(random() % 16).unwrap(), &rubbish));
        ends(agreed(&served, &name), &rubbish);
    }
    run("nbdinfo", &["--size", &uri]);
}

#[test]
fn lengths_that_lie_are_survived() {
    let served = Served::new();
    let uri = served.uri();
    let name = uri.rsplit('/').next().unwrap().to_owned();
    let huge = [OPTION_MAGIC.to_be_bytes().as_slice(), &7_u32.to_be_bytes(), &u32::MAX.to_be_bytes()].concat();
    ends(greeted(&served), &huge);
    ends(greeted(&served), &option(7, &[0xff; 8]));
    ends(greeted(&served), &option(10, &[[0, 0, 0, 0].as_slice(), &u32::MAX.to_be_bytes()].concat()));
    for command in 0..12 {
        ends(agreed(&served, &name), &request(command, 0, u32::MAX));
        ends(agreed(&served, &name), &request(command, u64::MAX, 512));
        // Half a request, and a write without its data.
        ends(agreed(&served, &name), &request(command, 0, 512)[..20]);
    }
    ends(agreed(&served, &name), &request(1, 0, 65536));
    assert_eq!(served.bytes(0, 65536), vec![0; 65536], "a write whose data never came was done");
    run("nbdinfo", &["--size", &uri]);
}

#[test]
fn two_hundred_at_once_are_served() {
    let served = Served::with(Options { max_connections_per_export: 256, ..Options::default() });
    let (id, connection) = served.export(Mode::ReadWrite);
    let name = connection.data["export"].clone();
    let mut all: Vec<TcpStream> = (0..200).map(|_| agreed(&served, &name)).collect();
    assert_eq!(served.clients(id), 200);
    for stream in &mut all {
        stream.write_all(&request(0, 0, 512)).unwrap();
    }
    for stream in &mut all {
        stream.read_exact(&mut [0; 16 + 512]).unwrap();
    }
}

#[test]
fn beyond_the_limits_none_is_let_in_until_one_leaves() {
    let served = Served::with(Options { max_connections_per_export: 2, ..Options::default() });
    let (id, connection) = served.export(Mode::ReadWrite);
    let (name, uri) = (connection.data["export"].clone(), connection.data["uri"].clone());
    let held = [agreed(&served, &name), agreed(&served, &name)];
    crate::served::fails("nbdinfo", &["--size", &uri]);
    drop(held);
    ground::wait_until("they are gone", || served.clients(id) == 0);
    run("nbdinfo", &["--size", &uri]);
}
