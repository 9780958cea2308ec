//! Many clients, and clients that hinder others if they can: those who behave go on without an error.

use crate::hostile::{GREETING, agreed, ends, greeted, option, request, try_go};
use crate::served::{Served, fails, run, word};
use exporter::Options;
use ground::wait_until;
use lifecycle::{Facts, Mode, Outcome};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

const READ: u16 = 0;
const WRITE: u16 = 1;
const PAGE: usize = 4096;
const MIB: u64 = 1 << 20;

/// How many come at once.
const CROWD: usize = 5000;
/// How many the server lets in; its own limit unless told otherwise.
const INSIDE: usize = 4096;
/// How many handshakes there may be at once, and how many come that say nothing.
const HANDSHAKES: usize = 1024;
/// See [`HANDSHAKES`].
const SILENT: usize = HANDSHAKES + 76;
/// The reply to an option that is known and not allowed.
const POLICY: u32 = 0x8000_0002;
/// What the tests beside one of these may have open.
const FILES_OF_OTHERS: usize = 1000;

/// A client that writes a page of its own and reads it back, over and over, and bears no error.
struct Busy {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Busy {
    fn start(served: &Served, name: &str, page: u64) -> Self {
        let (stop, rounds) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut stream = agreed(served, name);
        let (stopped, done) = (stop.clone(), rounds.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                let round = done.load(Ordering::Acquire);
                let bytes = round.to_be_bytes().repeat(PAGE / 8);
                stream.write_all(&[request(WRITE, page * PAGE as u64, PAGE as u32), bytes.clone()].concat()).unwrap();
                assert!(answer(&mut stream, 0).is_empty());
                stream.write_all(&request(READ, page * PAGE as u64, PAGE as u32)).unwrap();
                assert!(answer(&mut stream, PAGE) == bytes, "round {round}: what was read is not what was written");
                done.store(round + 1, Ordering::Release);
            }
        });
        Self { stop, rounds, thread }
    }

    /// Waits until it has done more.
    #[track_caller]
    fn goes_on(&self) {
        let before = self.rounds.load(Ordering::Acquire);
        wait_until("a client that behaves goes on", || {
            self.thread.is_finished() || self.rounds.load(Ordering::Acquire) > before + 1
        });
        assert!(!self.thread.is_finished(), "a client that behaves met an error");
    }

    fn end(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("it met no error");
    }
}

/// Reads a simple reply without an error, and the data that follows.
#[track_caller]
fn answer(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut reply = vec![0; 16 + length];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!((&reply[..4], &reply[4..8]), (0x6744_6698_u32.to_be_bytes().as_slice(), [0; 4].as_slice()), "{:?}", &reply[..16]);
    reply.split_off(16)
}

/// A connection in transmission; none if the server closed it instead of greeting, or said that it is full.
#[track_caller]
fn let_in(served: &Served, name: &str) -> Option<TcpStream> {
    let mut stream = served.connect();
    match stream.read_exact(&mut [0; GREETING]) {
        Ok(()) => {
            stream.write_all(&3_u32.to_be_bytes()).unwrap();
            try_go(stream, name).map_err(|kind| assert_eq!(kind, POLICY)).ok()
        }
        Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => None,
        Err(error) => panic!("it is neither greeted nor closed: {error}"),
    }
}

/// Whether this process may have so many sockets, after asking for as many as it may have at most.
#[expect(clippy::print_stdout, reason = "the run tells what it skipped")]
fn there_is_room_for(sockets: usize) -> bool {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("the soft limit may be the hard one");
    let wanted = u64::try_from(sockets + FILES_OF_OTHERS).unwrap();
    let Some(most) = limit.maximum.filter(|most| *most < wanted) else { return true };
    println!("skipped: {sockets} sockets need {wanted} open files, and this process may have {most}");
    false
}

#[test]
fn a_crowd_is_kept_out_beyond_the_limit_and_hinders_nobody_inside() {
    // Both ends of those inside, of which the server may hold its own twice, and one end of the others.
    if !there_is_room_for(CROWD + 2 * INSIDE) {
        return;
    }
    let limits = Options { max_connections: INSIDE, max_connections_per_export: INSIDE, ..Options::default() };
    let served = Served::with(limits);
    let (id, connection) = served.export(Mode::ReadWrite);
    let name = word(&connection, "export");
    let busy = [Busy::start(&served, &name, 1), Busy::start(&served, &name, 2)];
    let some = || (0..CROWD / 8).filter_map(|_| let_in(&served, &name)).collect::<Vec<_>>();
    let inside: Vec<TcpStream> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(some)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!((inside.len(), served.clients(id)), (INSIDE - busy.len(), INSIDE));
    busy.iter().for_each(Busy::goes_on);
    fails("nbdinfo", &["--size", &word(&connection, "uri")]);
    for mut stream in [&inside[0], &inside[inside.len() - 1]] {
        stream.write_all(&request(READ, 0, 8)).unwrap();
        stream.read_exact(&mut [0; 16 + 8]).unwrap();
    }
    drop(inside);
    wait_until("the crowd has gone", || served.clients(id) == busy.len());
    busy.iter().for_each(Busy::goes_on);
    run("nbdinfo", &["--size", &word(&connection, "uri")]);
    busy.into_iter().for_each(Busy::end);
}

#[test]
fn a_thousand_that_say_nothing_are_closed_in_time_and_hinder_nobody() {
    if !there_is_room_for(3 * SILENT) {
        return;
    }
    let served = Served::new();
    let (_, connection) = served.export(Mode::ReadWrite);
    let name = word(&connection, "export");
    let busy = Busy::start(&served, &name, 1);
    let silent: Vec<TcpStream> = (0..SILENT)
        .map(|number| match number % 3 {
            _ if number >= HANDSHAKES => served.connect(),
            0 => served.connect(),
            1 => greeted(&served),
            _ => {
                let mut stream = greeted(&served);
                stream.write_all(&option(7, &[0; 64])[..20]).unwrap();
                stream
            }
        })
        .collect();
    assert!(let_in(&served, &name).is_none(), "there are as many handshakes as there may be");
    busy.goes_on();
    for mut stream in silent {
        // The server's deadline of 10 s; each of these reads gives up after 20 s.
        match stream.read_to_end(&mut Vec::new()) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("it is still open: {error}"),
        }
    }
    busy.goes_on();
    wait_until("there is room again", || let_in(&served, &name).is_some());
    busy.end();
}

#[test]
fn a_client_that_does_not_read_its_answers_hinders_neither_others_nor_a_forced_end() {
    let served = Served::new();
    let (id, connection) = served.export(Mode::ReadWrite);
    let name = word(&connection, "export");
    let busy = Busy::start(&served, &name, 1);
    let mut deaf = agreed(&served, &name);
    // Far more than the buffers of two sockets hold, and writes amid it.
    for at in 0..60 {
        deaf.write_all(&request(READ, at * MIB, 1 << 20)).unwrap();
        deaf.write_all(&[request(WRITE, at * MIB + (512 << 10), 512), vec![at as u8; 512]].concat()).unwrap();
    }
    deaf.peek(&mut [0]).expect("its answers come");
    busy.goes_on();
    run("nbdinfo", &["--size", &word(&connection, "uri")]);
    busy.goes_on();
    busy.end();
    let ended = served.unexport(2, id, true);
    assert!(matches!(ended, Outcome::Done(Facts::Export(lifecycle::ExportSeen::Absent))), "{ended:?}");
    let then = served.bytes(0, 60 << 20);
    ends(deaf, &[]);
    assert!(served.bytes(0, 60 << 20) == then, "something was written after the export had ended");
}

#[test]
fn rubbish_amid_requests_ends_that_connection_after_what_came_before_it() {
    let served = Served::new();
    let (id, connection) = served.export(Mode::ReadWrite);
    let name = word(&connection, "export");
    let busy = Busy::start(&served, &name, 1);
    let writes = |pages: std::ops::Range<u64>| {
        let one = |page: u64| [request(WRITE, page * PAGE as u64, PAGE as u32), vec![7; PAGE]].concat();
        pages.flat_map(one).collect::<Vec<u8>>()
    };
    let all = [vec![0x55; 28], b"GET / HTTP/1.1\r\nHost: berth\r\n\r\n".to_vec(), request(WRITE, 0, u32::MAX)];
    for (number, rubbish) in (1..).zip(all) {
        let (before, after) = (number * 1000, number * 1000 + 100);
        ends(agreed(&served, &name), &[writes(before..before + 16), rubbish, writes(after..after + 16)].concat());
        wait_until("only the other is connected", || served.clients(id) == 1);
        assert!(served.bytes(before * PAGE as u64, 16 * PAGE) == [7; 16 * PAGE], "what came before it was not done");
        assert!(served.bytes(after * PAGE as u64, 16 * PAGE) == [0; 16 * PAGE], "what came after it was done");
    }
    busy.goes_on();
    busy.end();
}
