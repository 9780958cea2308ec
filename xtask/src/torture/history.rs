//! What was asked and answered: every request of every client, with when it was sent and when its answer was there.
//!
//! - A request that is repeated under its idempotency key is one request, from its first sending to the answer that came at last.
//! - A request whose connection broke may have been done or not: [`Answer::Unknown`]. Neither is assumed.
//! - Each has an id of its own (`X-Request-Id`), by which the journal names it: that is how the two are compared.

use crate::bench::controller::TENANT;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long an answer is awaited. Those that wait for a status wait less.
const PATIENCE: Duration = Duration::from_secs(15);
/// One GiB, the unit of sizes on the wire.
pub(super) const GIB: u64 = 1 << 30;

/// The number of the next request: never used twice, as a controller remembers keys for a day.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// What can be asked. Sizes are in GiB, as on the wire; a part is named with its volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Create { size: u64, multi: bool },
    Clone { volume: String, snapshot: String, size: u64 },
    Extend { volume: String, size: u64 },
    Delete { volume: String, cascade: bool },
    Attach { volume: String, host: String },
    Detach { volume: String, attachment: String, force: bool },
    Snapshot { volume: String },
    DeleteSnapshot { volume: String, snapshot: String },
    Retry { volume: String },
    Recover { volume: String },
    Read { volume: String },
}

/// How it was answered.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// It will be done; what it made, and the revision it was told at.
    Accepted { id: Option<String>, revision: Option<u64> },
    /// It was done before, and what it made is gone since.
    Repeated,
    /// It is not done, and this is why.
    Refused {
        code: u16,
        kind: String,
        status: Option<String>,
        #[expect(dead_code, reason = "it is shown with a violation")]
        message: String,
    },
    /// The volume as it was read.
    Shown { revision: u64, status: String },
    /// The connection broke, or the server could not tell: it may have been done or not.
    Unknown,
}

/// A request and its answer.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) id: String,
    pub(super) ask: Ask,
    pub(super) sent: Instant,
    pub(super) answered: Instant,
    pub(super) tries: u32,
    pub(super) answer: Answer,
}

/// Everything that was asked of one controller.
pub(super) struct History {
    base: String,
    agent: ureq::Agent,
    asked: Mutex<Vec<Asked>>,
    doubt: Arc<AtomicBool>,
}

/// What came of sending a request once.
pub(super) enum Sent {
    /// Its status and body (null where it has none).
    Answered(u16, Value),
    /// It was never sent: nobody listened.
    Refused,
    /// It was sent, and no answer came.
    Lost,
}

impl Ask {
    fn request(&self) -> (&'static str, String, Value) {
        let volume_path = |volume: &str| format!("/block/volumes/{volume}");
        match self {
            Self::Create { size, multi } => {
                ("POST", "/block/volumes".into(), json!({"name": "v", "size": size, "multiAttach": multi}))
            }
            Self::Clone { snapshot, size, .. } => {
                ("POST", "/block/volumes".into(), json!({"name": "c", "size": size, "snapshotId": snapshot}))
            }
            Self::Extend { volume, size } => ("POST", volume_path(volume) + "/resize", json!({"newSize": size})),
            Self::Delete { volume, cascade } => ("DELETE", format!("{}?cascade={cascade}", volume_path(volume)), Value::Null),
            Self::Attach { volume, host } => ("POST", "/block/attachments".into(), json!({"volumeId": volume, "hostId": host})),
            Self::Detach { attachment, force, .. } => {
                ("DELETE", format!("/block/attachments/{attachment}?force={force}"), Value::Null)
            }
            Self::Snapshot { volume } => ("POST", "/block/snapshots".into(), json!({"name": "s", "volumeId": volume})),
            Self::DeleteSnapshot { snapshot, .. } => ("DELETE", format!("/block/snapshots/{snapshot}"), Value::Null),
            Self::Retry { volume } => ("POST", volume_path(volume) + "/retry", Value::Null),
            Self::Recover { volume } => ("POST", volume_path(volume) + "/recover", Value::Null),
            Self::Read { volume } => ("GET", volume_path(volume), Value::Null),
        }
    }

    /// The volume it is asked of; none for what makes one.
    pub(super) fn volume(&self) -> Option<&str> {
        match self {
            Self::Create { .. } => None,
            Self::Clone { volume, .. } | Self::Extend { volume, .. } | Self::Delete { volume, .. } => Some(volume),
            Self::Attach { volume, .. } | Self::Detach { volume, .. } | Self::Snapshot { volume } => Some(volume),
            Self::DeleteSnapshot { volume, .. } | Self::Retry { volume } | Self::Recover { volume } => Some(volume),
            Self::Read { volume } => Some(volume),
        }
    }

    /// Whether a repeat under the same key is done once. Source: the API document, `Idempotency-Key`.
    pub(super) const fn is_keyed(&self) -> bool {
        matches!(self, Self::Create { .. } | Self::Clone { .. } | Self::Attach { .. } | Self::Snapshot { .. })
    }
}

impl History {
    /// An empty one of the controller at this address.
    pub(super) fn new(base: &str) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
        Self { base: base.to_owned(), agent: config.build().into(), asked: Mutex::new(Vec::new()), doubt: Arc::default() }
    }

    /// The same, in which nothing that is read while `doubt` holds counts: a disk is being broken under the controller, and for as long as
    /// it has not noticed it may show what will turn out to be lost. What it acknowledges counts as ever.
    pub(super) fn in_doubt_while(self, doubt: &Arc<AtomicBool>) -> Self {
        Self { doubt: doubt.clone(), ..self }
    }

    /// Sends a request that is no part of the history.
    pub(super) fn send(&self, method: &str, path: &str, body: &Value, key: Option<&str>) -> Sent {
        let url = format!("{}/v1beta/{TENANT}{path}", self.base);
        let mut request = ureq::http::Request::builder().method(method).uri(url).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("x-request-id", key).header("idempotency-key", key);
        }
        let done = match body {
            Value::Null => self.agent.run(request.body(()).expect("a request")),
            body => self.agent.run(request.body(body.to_string()).expect("a request")),
        };
        match done.and_then(|mut answer| answer.body_mut().read_to_string().map(|text| (answer.status().as_u16(), text))) {
            Ok((code, text)) => Sent::Answered(code, serde_json::from_str(&text).unwrap_or(Value::Null)),
            Err(ureq::Error::Io(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => Sent::Refused,
            Err(_) => Sent::Lost,
        }
    }

    /// GET; nothing but an answer of 200 counts.
    pub(super) fn get(&self, path: &str) -> Option<Value> {
        match self.send("GET", path, &Value::Null, None) {
            Sent::Answered(200, body) => Some(body),
            Sent::Answered(..) | Sent::Refused | Sent::Lost => None,
        }
    }

    /// Asks, and keeps what was answered. What may be repeated is repeated until it is answered, or `until`. Nothing if it was never
    /// sent.
    pub(super) fn ask(&self, ask: Ask, until: Instant) -> Option<Answer> {
        let id = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let (method, path, body) = ask.request();
        let (mut begun, mut tries) = (None, 0);
        loop {
            let now = Instant::now();
            let sent = self.send(method, &path, &body, Some(&id));
            let answer = match sent {
                Sent::Refused if begun.is_none() => return None,
                Sent::Refused => Answer::Unknown,
                Sent::Lost => Answer::Unknown,
                Sent::Answered(code, body) => match answer(&ask, code, &body) {
                    Answer::Refused { .. } | Answer::Shown { .. } if self.doubt.load(Ordering::Acquire) => Answer::Unknown,
                    answer => answer,
                },
            };
            tries += 1;
            let sent = *begun.get_or_insert(now);
            let is_final = !matches!(answer, Answer::Unknown) || !ask.is_keyed() || Instant::now() > until;
            if is_final {
                self.keep(Asked { id, ask, sent, answered: Instant::now(), tries, answer: answer.clone() });
                return Some(answer);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn keep(&self, asked: Asked) {
        self.asked.lock().expect("nobody panics while holding it").push(asked);
    }

    /// Takes what was kept, in the order of sending.
    pub(super) fn take(&self) -> Vec<Asked> {
        let mut asked = std::mem::take(&mut *self.asked.lock().expect("nobody panics while holding it"));
        asked.sort_by_key(|asked| asked.sent);
        asked
    }
}

fn answer(ask: &Ask, code: u16, body: &Value) -> Answer {
    let text = |key: &str| body[key].as_str().map(str::to_owned);
    let kind = text("type").unwrap_or_default();
    match code {
        200 => Answer::Shown { revision: body["revision"].as_u64().unwrap_or(0), status: text("status").unwrap_or_default() },
        202 if ask.is_keyed() => Answer::Accepted { id: text("id"), revision: body["revision"].as_u64() },
        202 => Answer::Accepted { id: None, revision: body["revision"].as_u64() },
        409 if kind == "repeated" => Answer::Repeated,
        // The store could not tell in time or at all: what was asked may have become durable.
        503 => Answer::Unknown,
        code => {
            let message = text("message").unwrap_or_default();
            Answer::Refused { code, kind, status: text("resourceStatus"), message }
        }
    }
}
