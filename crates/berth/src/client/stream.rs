//! The controller's stream of events, across lost connections and restarts.
//!
//! - The id of the last event that was handed out goes with every new connection (`Last-Event-ID`), so that nothing is lost or told twice.
//! - Silence is a lost connection: the server says something every 15 s at least. A thread of its own reads, so that a connection on which nothing
//!   comes any more holds up nobody; it ends with the connection, which lives for [`LIFE`] at most.
//! - A line that was cut short is no event. What is no event at all is not handed out either: then the connection is made anew.
//! - Only a controller that has answered once is waited for; one that never did, or refuses, is a failure.

use super::exit::{Exit, Failure, Outcome};
use super::http::Api;
use crate::cli::EVENT_ID_MAX;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Where the stream is, below the tenant.
const PATH: &str = "block/events";
/// How long a connection may say nothing: three of the server's bookmarks.
const SILENCE: Duration = Duration::from_secs(45);
/// How long one connection lives: it is made anew before that is noticed, and no thread outlives it.
const LIFE: Duration = Duration::from_secs(600);
/// The longest line that is taken: a resource with all the metadata that one may have is shorter.
const LINE_MAX: u64 = 16 << 20;
/// How many lines may wait to be handed out.
const AHEAD: usize = 64;
/// How long to wait before the first new connection, and at most before later ones.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(5)];

/// What the stream says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said {
    /// An event, as a line of the stream.
    Event(Value),
    /// The connection is lost, and is being made anew: why.
    Lost(String),
    /// It is there again.
    Back,
    /// Nothing yet: a moment to look whether it is still wanted.
    Nothing,
}

/// See the module.
pub(crate) struct Stream<'a> {
    api: &'a Api,
    query: Vec<(&'static str, String)>,
    /// The id of the last event that has one.
    last: Option<String>,
    lines: Option<Receiver<String>>,
    heard: Instant,
    was_there: bool,
    is_lost: bool,
    tries: u32,
    next_try: Instant,
    silence: Duration,
    pauses: [Duration; 2],
}

impl<'a> Stream<'a> {
    /// A stream of what `query` names; nothing is asked yet.
    pub(crate) fn new(api: &'a Api, query: Vec<(&'static str, String)>) -> Self {
        let now = Instant::now();
        let (last, lines, was_there, is_lost, tries) = (None, None, false, false, 0);
        Self { api, query, last, lines, heard: now, was_there, is_lost, tries, next_try: now, silence: SILENCE, pauses: PAUSES }
    }

    /// Takes its first pause as long as `pace`, and later ones accordingly.
    pub(crate) fn paced(mut self, pace: Duration) -> Self {
        self.pauses[0] = self.pauses[0].min(pace);
        self.pauses[1] = self.pauses[1].min(pace.saturating_mul(16));
        self
    }

    /// What is said next; [`Said::Nothing`] after `patience` at the latest.
    ///
    /// # Errors
    /// The first connection cannot be made, or the server refuses.
    pub(crate) fn next(&mut self, patience: Duration) -> Outcome<Said> {
        let Some(lines) = &self.lines else { return self.connect(patience) };
        let quiet = self.silence.saturating_sub(self.heard.elapsed());
        match lines.recv_timeout(patience.min(quiet)) {
            Ok(line) => {
                self.heard = Instant::now();
                Ok(self.event(&line))
            }
            Err(RecvTimeoutError::Timeout) if self.heard.elapsed() < self.silence => Ok(Said::Nothing),
            Err(RecvTimeoutError::Timeout) => Ok(self.lose("nothing was heard of it any more")),
            Err(RecvTimeoutError::Disconnected) => Ok(self.lose("the connection was closed")),
        }
    }

    fn event(&mut self, line: &str) -> Said {
        let Ok(event @ Value::Object(_)) = serde_json::from_str::<Value>(line) else {
            return self.lose("it said something that is no event");
        };
        if let Some(id) = event["eventId"].as_str().filter(|id| is_sendable(id)) {
            self.last = Some(id.to_owned());
            self.tries = 0;
        }
        if event["event"] == "end" {
            return self.lose(event["reason"].as_str().unwrap_or("the server is stopping"));
        }
        Said::Event(event)
    }

    fn lose(&mut self, why: &str) -> Said {
        self.lines = None;
        self.is_lost = true;
        self.put_off();
        Said::Lost(why.to_owned())
    }

    fn put_off(&mut self) {
        let pause = self.pauses[0].saturating_mul(1 << self.tries.min(16)).min(self.pauses[1]);
        self.tries += 1;
        self.next_try = Instant::now() + pause;
    }

    fn connect(&mut self, patience: Duration) -> Outcome<Said> {
        let rest = self.next_try.saturating_duration_since(Instant::now());
        if !rest.is_zero() {
            std::thread::sleep(rest.min(patience));
            return Ok(Said::Nothing);
        }
        match self.api.stream(PATH, &self.query, self.last.as_deref(), LIFE) {
            Ok(body) => {
                let (sender, lines) = sync_channel(AHEAD);
                std::thread::spawn(move || read(body, &sender));
                (self.lines, self.heard, self.was_there) = (Some(lines), Instant::now(), true);
                Ok(if std::mem::take(&mut self.is_lost) { Said::Back } else { Said::Nothing })
            }
            Err(failure) if self.was_there && matches!(failure.exit, Exit::Server | Exit::CannotConnect | Exit::TimedOut) => {
                self.put_off();
                Ok(Said::Nothing)
            }
            Err(Failure { exit: Exit::NotFound, message }) if message.contains("there is no GET") => {
                let message = format!("{message}; this controller has no stream of events: is it of an older release?");
                Err(Failure::new(Exit::NotFound, message))
            }
            Err(failure) => Err(failure),
        }
    }
}

/// Reads lines until there are no more, or nobody wants them.
fn read(body: Box<dyn Read + Send>, lines: &SyncSender<String>) {
    let mut body = BufReader::new(body);
    loop {
        let mut line = Vec::new();
        let got = body.by_ref().take(LINE_MAX).read_until(b'\n', &mut line);
        // What does not end has been cut short.
        if got.is_err() || line.pop() != Some(b'\n') {
            return;
        }
        // What is no text is no JSON either.
        let text = String::from_utf8(line).unwrap_or_else(|_| "?".into());
        if !text.trim().is_empty() && lines.send(text).is_err() {
            return;
        }
    }
}

/// Whether it can be sent back in a header.
fn is_sendable(id: &str) -> bool {
    (1..=EVENT_ID_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Fake, api_of};
    use super::*;
    use serde_json::json;

    const ASKED: &str = "/block/events?since=now";

    fn stream(api: &Api) -> Stream<'_> {
        Stream::new(api, vec![("since", "now".into())]).paced(Duration::from_millis(1))
    }

    /// Everything until the stream has said this many events.
    fn heard(stream: &mut Stream<'_>, events: usize) -> Vec<Said> {
        let mut all = Vec::new();
        while all.iter().filter(|said| matches!(said, Said::Event(_))).count() < events {
            match stream.next(Duration::from_secs(5)).unwrap() {
                Said::Nothing => {}
                said => all.push(said),
            }
        }
        all
    }

    #[test]
    fn it_goes_on_behind_the_last_event_that_was_whole() {
        let fake = Fake::new()
            .on_text("GET", ASKED, 200, "{\"event\":\"synced\",\"eventId\":\"e-1\"}\n{\"event\":\"change\",\"eventId\":\"e-2\",\"id\":\"a\"}\n{\"event\":\"change\",\"eventId\":\"e-3\",\"id")
            .on_text("GET", ASKED, 503, "{\"message\":\"starting\"}")
            .on_text("GET", ASKED, 200, "\n{\"event\":\"change\",\"eventId\":\"e-3\",\"id\":\"b\"}\n{\"event\":\"end\",\"reason\":\"it stops\"}\n")
            .on_text("GET", ASKED, 200, "no JSON\n")
            .on_text("GET", ASKED, 200, "{\"event\":\"progress\"}\n");
        let api = api_of(&fake);
        let mut stream = stream(&api);
        let event = |value| Said::Event(value);
        let lost = |why: &str| Said::Lost(why.into());
        let want = [
            event(json!({"event": "synced", "eventId": "e-1"})),
            event(json!({"event": "change", "eventId": "e-2", "id": "a"})),
            lost("the connection was closed"),
            Said::Back,
            event(json!({"event": "change", "eventId": "e-3", "id": "b"})),
            lost("it stops"),
            Said::Back,
            lost("it said something that is no event"),
            Said::Back,
            event(json!({"event": "progress"})),
        ];
        assert_eq!(heard(&mut stream, 4), want);
        let sent: Vec<_> = fake.seen().iter().map(|seen| seen.header("last-event-id")).collect();
        let id = |id: &str| Some(id.to_owned());
        assert_eq!(sent, [None, id("e-2"), id("e-2"), id("e-3"), id("e-3")]);
        assert!(fake.seen().iter().all(|seen| seen.header("accept").as_deref() == Some("application/x-ndjson")));
    }

    #[test]
    fn only_who_has_answered_once_is_waited_for() {
        let fake = Fake::new().on_text("GET", ASKED, 503, "{\"message\":\"starting\"}");
        let api = api_of(&fake);
        assert_eq!(stream(&api).next(Duration::from_secs(5)).unwrap_err().exit, Exit::Server);
        let fake = Fake::new().on_text("GET", ASKED, 200, "{\"event\":\"synced\",\"eventId\":\"e-1\"}\n").on_text(
            "GET",
            ASKED,
            400,
            "{\"message\":\"no\"}",
        );
        let api = api_of(&fake);
        let mut stream = stream(&api);
        heard(&mut stream, 1);
        let refused = (0..1000).find_map(|_| stream.next(Duration::from_secs(5)).err()).unwrap();
        assert_eq!((refused.exit, refused.message.as_str()), (Exit::Usage, "no"), "what is refused will be refused again");
    }

    #[test]
    fn silence_is_a_lost_connection() {
        let fake = Fake::new().on_open("GET", ASKED, "{\"event\":\"synced\",\"eventId\":\"e-1\"}\n");
        let api = api_of(&fake);
        let mut stream = Stream { silence: Duration::from_millis(50), ..Stream::new(&api, vec![("since", "now".into())]) };
        heard(&mut stream, 1);
        assert_eq!(stream.next(Duration::from_secs(5)), Ok(Said::Lost("nothing was heard of it any more".into())));
    }

    #[test]
    fn an_id_that_cannot_be_sent_is_not_kept() {
        for id in ["", "a b", "a\r\nX: y", "\u{e9}", &"x".repeat(EVENT_ID_MAX + 1)] {
            assert!(!is_sendable(id), "{id:?}");
        }
        assert!(is_sendable("0a1b-2c-7.3"));
    }
}
