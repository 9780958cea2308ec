//! A tiny HTTP server with canned answers, for the tests of the client.
//!
//! - Answers of one method and path are given in the order they were put in; the last one stays.
//! - What nobody put in answers 500, so that a test cannot pass by asking something else.
//! - It serves one request a connection, on a port of its own, until it is dropped.

use super::http::{Api, DEFAULT_TENANT, Target};
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// One request that arrived.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The method.
    pub(super) method: String,
    /// The path below the tenant with its query, as it was sent.
    pub(super) path: String,
    /// The lines of the header.
    pub(super) headers: Vec<String>,
    /// The body; null where there was none.
    pub(super) body: Value,
}

impl Seen {
    /// The value of a header, named in lower case.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        let line = self.headers.iter().filter_map(|line| line.split_once(": ")).find(|(key, _)| key.eq_ignore_ascii_case(name));
        line.map(|(_, value)| value.to_owned())
    }
}

#[derive(Clone)]
enum Reply {
    Answer(u16, String),
    /// Answers 200 with this, says no more and stays.
    Open(String),
    Lose,
}

type Canned = Vec<(String, String, VecDeque<Reply>)>;

#[derive(Default)]
struct State {
    canned: Canned,
    seen: Vec<Seen>,
    open: Vec<TcpStream>,
    over: bool,
}

/// The server.
pub(super) struct Fake {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Fake {
    /// Starts one that knows no answer yet.
    pub(super) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let fake = Self { address: listener.local_addr().expect("an address"), state: Arc::default() };
        let state = fake.state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if state.lock().expect("no test panics here").over {
                    break;
                }
                serve(stream, &state);
            }
        });
        fake
    }

    /// Answers `method` on `path` (below the tenant, with its query) with `body`.
    pub(super) fn on(self, method: &str, path: &str, status: u16, body: Value) -> Self {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        self.reply(method, path, Reply::Answer(status, text))
    }

    /// Answers with what may be no JSON.
    pub(super) fn on_text(self, method: &str, path: &str, status: u16, text: &str) -> Self {
        self.reply(method, path, Reply::Answer(status, text.into()))
    }

    /// Begins to answer with `text`, and leaves the connection open until the server is dropped.
    pub(super) fn on_open(self, method: &str, path: &str, text: &str) -> Self {
        self.reply(method, path, Reply::Open(text.into()))
    }

    /// Takes the request and closes the connection without an answer.
    pub(super) fn lose(self, method: &str, path: &str) -> Self {
        self.reply(method, path, Reply::Lose)
    }

    fn reply(self, method: &str, path: &str, reply: Reply) -> Self {
        {
            let canned = &mut self.state.lock().expect("no test panics here").canned;
            match canned.iter_mut().find(|(m, p, _)| m == method && p == path) {
                Some((_, _, replies)) => replies.push_back(reply),
                None => canned.push((method.into(), path.into(), [reply].into())),
            }
        }
        self
    }

    /// Its address.
    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.state.lock().expect("no test panics here").seen.clone()
    }

    /// Every request so far, as `METHOD path`.
    pub(super) fn asked(&self) -> Vec<String> {
        self.seen().iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.state.lock().expect("no test panics here").over = true;
        drop(TcpStream::connect(self.address));
    }
}

/// A client of `fake`.
pub(super) fn api_of(fake: &Fake) -> Api {
    Api::new(Target { endpoint: fake.endpoint(), tenant: DEFAULT_TENANT.into(), token: None }).expect("a target that fits")
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    let Some(seen) = read(&stream) else { return };
    let reply = {
        let mut state = state.lock().expect("no test panics here");
        let found = state.canned.iter_mut().find(|(method, path, _)| *method == seen.method && *path == seen.path);
        let reply = match found {
            Some((_, _, replies)) if replies.len() > 1 => replies.pop_front().expect("more than one"),
            Some((_, _, replies)) => replies[0].clone(),
            None => Reply::Answer(500, format!(r#"{{"message":"the fake knows no {} {}"}}"#, seen.method, seen.path)),
        };
        state.seen.push(seen);
        reply
    };
    match reply {
        Reply::Answer(status, text) => {
            let head = format!("HTTP/1.1 {status} Canned\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
            drop(stream.write_all((head + &text).as_bytes()));
        }
        Reply::Open(text) => {
            drop(stream.write_all(format!("HTTP/1.1 200 Canned\r\nConnection: close\r\n\r\n{text}").as_bytes()));
            state.lock().expect("no test panics here").open.push(stream);
        }
        Reply::Lose => {}
    }
}

fn read(stream: &TcpStream) -> Option<Seen> {
    let mut reader = BufReader::new(stream);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end() {
            "" => break,
            line => headers.push(line.to_owned()),
        }
    }
    let mut seen = Seen { method: String::new(), path: String::new(), headers, body: Value::Null };
    let first = seen.headers.first()?.clone();
    let mut words = first.split(' ');
    seen.method = words.next()?.into();
    seen.path = words.next()?.strip_prefix(&format!("/v1beta/{DEFAULT_TENANT}"))?.into();
    let length = seen.header("content-length").map_or(0, |length| length.parse().expect("a length"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    if length > 0 {
        seen.body = serde_json::from_slice(&body).expect("the client sends JSON");
    }
    Some(seen)
}
