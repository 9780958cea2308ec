//! Exchanges with the router on the ports in memory: each is held to the API document and written down.

use crate::schema;
use api_opensds::{AttachmentWords, Settings, openapi, router};
use axum::Router;
use axum::body::Body;
use axum::http::response::Parts;
use axum::http::{Request, header};
use engine::{Engine, PoolSetup};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sim::{MemDriver, MemExporter, MemStore, SteppedClock};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt;

pub(crate) const ADMIN: &str = "e93b4c0934da416eb9c8d120c5d04d96";

/// Where a POST makes something.
const COLLECTIONS: &[&str] = &["/block/volumes", "/block/snapshots", "/block/attachments", "/host/hosts", "/profiles"];

/// A router, what lies under it, and what was said so far.
pub(crate) struct Wire {
    pub(crate) driver: Arc<MemDriver>,
    pub(crate) exporter: Arc<MemExporter>,
    pub(crate) store: Arc<MemStore>,
    pub(crate) tenant: String,
    router: Router,
    document: Value,
    name: String,
    said: String,
    /// Ids in the order in which they were first seen, so that the files stay the same.
    ids: BTreeMap<String, usize>,
}

impl Wire {
    pub(crate) async fn new(name: &str, attachment_words: AttachmentWords) -> Self {
        let (store, driver, exporter) =
            (Arc::new(MemStore::default()), Arc::new(MemDriver::able()), Arc::new(MemExporter::default()));
        let setup = PoolSetup { description: "a pool".into(), overcommit: 20.0, ..PoolSetup::new("default", driver.clone()) };
        let clock = Arc::new(SteppedClock::default());
        let settings = engine::Settings::default();
        let engine = Engine::start(store.clone(), exporter.clone(), clock, vec![setup], settings).await.unwrap();
        let router = router(Arc::new(engine), Settings { attachment_words, ..Settings::default() });
        let (tenant, name, said, ids) = (ADMIN.to_owned(), name.to_owned(), String::new(), BTreeMap::new());
        Self { driver, exporter, store, tenant, router, document: openapi(), name, said, ids }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Value {
        self.send("GET", path, &Value::Null).await
    }

    /// Creates something; gives its id.
    pub(crate) async fn make(&mut self, path: &str, body: &Value) -> String {
        let made = self.send("POST", path, body).await;
        made["id"].as_str().unwrap_or_else(|| panic!("{path}: {made}")).to_owned()
    }

    /// Creates a host; gives its id.
    pub(crate) async fn host(&mut self) -> String {
        let host = json!({"hostName": "h", "ip": "127.0.0.1", "osType": "linux", "accessMode": "agentless"});
        self.make("/host/hosts", &host).await
    }

    /// Waits for a status; the answer is written down.
    pub(crate) async fn until(&mut self, path: &str, status: &str) {
        let body = self.get(&format!("{path}?waitFor={status}&timeout=60")).await;
        let body = if body["status"] == status { body } else { self.get(&format!("{path}?waitFor={status}&timeout=60")).await };
        // A deadline may be longer than a long poll.
        let body = if body["status"] == status { body } else { self.get(&format!("{path}?waitFor={status}&timeout=60")).await };
        assert_eq!(body["status"], status, "{body}");
    }

    /// Waits until nothing runs on the resource; nothing is written down.
    pub(crate) async fn settled(&self, path: &str) {
        let uri = format!("/v1beta/{}{path}", self.tenant);
        for _ in 0..10_000 {
            let answer = self.router.clone().oneshot(Request::get(&uri).body(Body::empty()).unwrap()).await.unwrap();
            let body: Value = serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
            if body.get("operation").is_none() {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("{path} does not settle");
    }

    /// Waits until the body is as wanted; that answer alone is written down.
    pub(crate) async fn shown(&mut self, path: &str, wanted: impl Fn(&Value) -> bool) {
        let uri = format!("/v1beta/{}{path}", self.tenant);
        // On a paused clock this is ten minutes of nothing.
        for _ in 0..60_000 {
            let answer = self.router.clone().oneshot(Request::get(&uri).body(Body::empty()).unwrap()).await.unwrap();
            let body: Value = serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
            if wanted(&body) {
                self.get(path).await;
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{path} is never as wanted");
    }

    pub(crate) async fn send(&mut self, method: &str, path: &str, body: &Value) -> Value {
        self.with(method, path, body, &[]).await
    }

    /// Sends a request; `path` begins after the tenant, or with `//` where there is none.
    pub(crate) async fn with(&mut self, method: &str, path: &str, body: &Value, headers: &[(&str, &str)]) -> Value {
        let full = match path.strip_prefix("//") {
            Some(rest) => format!("/{rest}"),
            None => format!("/v1beta/{}{path}", self.tenant),
        };
        let mut request = Request::builder().method(method).uri(&full).header("x-request-id", "request");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let sent = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.router.clone().oneshot(request.body(Body::from(sent)).unwrap()).await.unwrap();
        let (parts, answered) = answer.into_parts();
        let bytes = answered.collect().await.unwrap().to_bytes();
        let answered = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        assert_eq!(parts.headers["x-request-id"], "request");
        self.hold(method, full.split('?').next().unwrap(), parts.status.as_u16(), bytes.is_empty(), &answered);
        self.hold_tag(method, full.split('?').next().unwrap(), &parts);
        let place = parts.headers.get(header::LOCATION).map(|place| place.to_str().unwrap().to_owned());
        let bare = |path: &str| path.split('?').next().unwrap_or_default().to_owned();
        let makes =
            method == "POST" && parts.status.is_success() && !path.contains("dryRun") && COLLECTIONS.contains(&bare(path).as_str());
        let made = makes.then(|| format!("{}/{}", bare(&full), answered["id"].as_str().unwrap()));
        assert_eq!(place, made, "{method} {path}: where what was made is found");
        let how = parts.headers.get("x-wait").map(|how| format!(" [x-wait: {}]", how.to_str().unwrap()));
        self.note(method, path, body, headers, &format!("{}{}", parts.status.as_u16(), how.unwrap_or_default()), &answered);
        answered
    }

    /// An answer comes with a tag only where the document says so.
    fn hold_tag(&self, method: &str, path: &str, parts: &Parts) {
        let answer = self.described(method, path, parts.status.as_u16());
        let is_tagged = parts.headers.contains_key(header::ETAG);
        assert!(!is_tagged || answer["headers"]["ETag"].is_object(), "{method} {path}: the document does not know of its tag");
    }

    /// What the document says of an answer.
    fn described(&self, method: &str, path: &str, code: u16) -> &Value {
        let fits = |template: &str| {
            let (one, other): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
            one.len() == other.len() && one.iter().zip(&other).all(|(one, other)| one.starts_with('{') || one == other)
        };
        let paths = self.document["paths"].as_object().unwrap();
        // What is spelled out comes before what stands for anything.
        let template = paths.keys().filter(|template| fits(template)).max_by_key(|template| template.matches('{').count() == 0);
        let template = template.unwrap_or_else(|| panic!("{path} is not in the document"));
        let answer = &paths[template][method.to_lowercase()]["responses"][code.to_string()];
        match answer["$ref"].as_str() {
            Some(shared) => self.document.pointer(shared.trim_start_matches('#')).unwrap(),
            None => answer,
        }
    }

    /// Holds an answer to the document.
    fn hold(&self, method: &str, path: &str, code: u16, is_empty: bool, body: &Value) {
        let answer = self.described(method, path, code);
        assert!(answer.is_object(), "{method} {path} answered {code}, which is not in the document: {body}");
        let told = answer["description"].as_str().unwrap();
        // Of what is done and of what is only tried, or waited for, the same code tells, and only the one has a body.
        let at_times = told.contains("only with `waitFor`").then(|| told.split('`').nth(1).unwrap());
        let at_times = at_times.map(|name| json!({"$ref": format!("#/components/schemas/{name}")}));
        let schema = at_times.as_ref().unwrap_or(&answer["content"]["application/json"]["schema"]);
        let may_be_empty = schema.is_null() || at_times.is_some() || told.contains("only with `dryRun`");
        assert!(if is_empty { may_be_empty } else { !schema.is_null() }, "{method} {path} {code}: {body}");
        if !is_empty && let Err(wrong) = schema::check(&self.document, schema, body, "body") {
            panic!("{method} {path} {code}: {wrong}\n{body:#}");
        }
    }

    fn note(&mut self, method: &str, path: &str, body: &Value, headers: &[(&str, &str)], code: &str, answered: &Value) {
        let path = self.plain_text(path);
        let given: String = headers.iter().map(|(name, value)| format!(" [{name}: {value}]")).collect();
        let text = body.to_string();
        let sent = if body.is_null() {
            String::new()
        } else if text.len() > 2000 {
            " (a large body)".into()
        } else {
            format!(" {}", self.plain_text(&text))
        };
        writeln!(self.said, "{method} {path}{given}{sent}\n{code}").unwrap();
        if !answered.is_null() {
            let pretty = serde_json::to_string_pretty(answered).unwrap();
            let plain = self.plain_text(&pretty);
            writeln!(self.said, "{plain}").unwrap();
        }
        self.said.push('\n');
    }

    /// Ids become numbers, in the order in which they are first seen, and times `TIME`.
    fn plain_text(&mut self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(id) = rest.get(..36).filter(|id| uuid::Uuid::try_parse(id).is_ok() && id.contains('-')) {
                let next = self.ids.len() + 1;
                let number = *self.ids.entry(id.to_owned()).or_insert(next);
                write!(out, "id-{number}").unwrap();
                rest = &rest[36..];
            } else if let Some(time) = rest.get(..20).filter(|time| is_time(time)) {
                out.push_str("TIME");
                rest = &rest[time.len()..];
            } else {
                let letter = rest.chars().next().unwrap();
                out.push(letter);
                rest = &rest[letter.len_utf8()..];
            }
        }
        out
    }

    /// Compares what was said with the golden file.
    pub(crate) fn done(self) {
        golden(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/{}.txt", self.name)), &self.said);
    }
}

fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes[10] == b'T' && bytes[19] == b'Z' && bytes[4] == b'-' && bytes[..4].iter().all(u8::is_ascii_digit)
}

/// Compares a text with a file, or writes the file.
pub(crate) fn golden(path: PathBuf, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = kept.lines().zip(text.lines()).enumerate().find(|(_, (kept, now))| kept != now);
    assert!(kept == text, "{} is stale (UPDATE_GOLDEN=1 rewrites it); first difference: {differs:#?}", path.display());
}

#[test]
fn the_checker_bites() {
    let schema =
        json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": false});
    let fits = |body: Value| schema::check(&Value::Null, &schema, &body, "body").is_ok();
    let bounded = |body: Value| {
        let schema = json!({"type": ["integer", "string"], "minimum": 1, "maximum": 2, "minLength": 1, "maxLength": 2});
        schema::check(&Value::Null, &schema, &body, "body").is_ok()
    };
    assert!(bounded(json!(2)) && !bounded(json!(0)) && !bounded(json!(3)));
    assert!(bounded(json!("ab")) && !bounded(json!("")) && !bounded(json!("abc")));
    assert!(fits(json!({"a": 1})));
    assert!(!fits(json!({})) && !fits(json!({"a": "1"})) && !fits(json!({"a": 1, "b": 2})) && !fits(json!([])));
}
