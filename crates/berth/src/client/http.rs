//! Requests to the controller: one agent with kept connections, and what its answers mean.
//!
//! - A request whose answer was lost on the way is sent again, at most [`TRIES_MAX`] times in all: GET, PUT and DELETE may be
//!   repeated by nature, POST by its `Idempotency-Key`. A refused connection is not tried again.
//! - Every request has a deadline, every answer a largest size.
//! - Whatever is put into a path or query is percent-encoded; nothing that a user typed can leave its segment.
//! - The proxy variables of the environment are not read: a controller is near. TLS is not built in, so `https://` is refused.

use super::exit::{Exit, Failure, Outcome};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read};
use std::time::Duration;
use ureq::http::{Method, Request, Response};
use ureq::{Agent, Body};

/// Where the controller is when nobody says: the address of OpenSDS.
pub(crate) const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:50040";
/// Who asks when nobody says: the administrator's tenant. Source: OpenSDS wire page, section 1.
pub(crate) const DEFAULT_TENANT: &str = "e93b4c0934da416eb9c8d120c5d04d96";
/// How often one request is sent at most: one lost answer is a restart or a closed connection, three are a fault to report.
const TRIES_MAX: u32 = 3;
/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take beyond what the request itself waits for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer that is read: the longest list (100,000 rows) at 4 KiB a row.
const ANSWER_BYTES_MAX: u64 = 400 << 20;
/// The largest refusal of a stream that is read.
const REFUSAL_BYTES_MAX: u64 = 1 << 20;

/// Where to send requests, as whom.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The address, as `http://127.0.0.1:50040`.
    pub(crate) endpoint: String,
    /// The tenant: the path segment of every request.
    pub(crate) tenant: String,
    /// What proves who asks, if the server wants that.
    pub(crate) token: Option<String>,
}

/// The controller, as a client sees it.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    agent: Agent,
    endpoint: String,
    base: String,
    token: Option<String>,
    is_trial: bool,
}

/// One request: what the methods of [`Api`] make.
struct Ask<'a> {
    method: Method,
    url: String,
    body: Option<&'a Value>,
    timeout: Duration,
    request_id: String,
}

/// Why a request got no answer.
enum Lost {
    /// The connection broke after it was made: the request may or may not have been done.
    Broken(String),
    /// Nothing else will come of it.
    Failed(Failure),
}

impl Api {
    /// Gets ready to talk to `target`; nothing is sent yet.
    ///
    /// # Errors
    /// A usage failure for an address or tenant that cannot be one.
    pub(crate) fn new(target: Target) -> Outcome<Self> {
        let endpoint = target.endpoint.trim_end_matches('/').to_owned();
        if endpoint.starts_with("https://") {
            return Err(Failure::usage(format!("cannot talk to {endpoint}: TLS is not built in; use an http:// address")));
        }
        let fits = endpoint.strip_prefix("http://").is_some_and(|rest| !rest.contains(['?', '#', ' ']) && is_address(rest));
        if !fits {
            return Err(Failure::usage(format!("the endpoint {endpoint:?} is no address; want one like {DEFAULT_ENDPOINT}")));
        }
        if matches!(target.tenant.as_str(), "" | "." | "..") {
            return Err(Failure::usage(format!(
                "the tenant {:?} cannot be one; leave it out for the administrator's",
                target.tenant
            )));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .user_agent(concat!("berth/", env!("CARGO_PKG_VERSION")))
            .build();
        let base = format!("{endpoint}/v1beta/{}", encode(&target.tenant));
        Ok(Self { agent: config.new_agent(), endpoint, base, token: target.token, is_trial: false })
    }

    /// Says whether what would change something is only tried from now on: the server then answers what would come of it.
    pub(crate) const fn try_only(&mut self, is_trial: bool) {
        self.is_trial = is_trial;
    }

    /// Whether nothing is changed: see [`Api::try_only`].
    pub(crate) const fn is_trial(&self) -> bool {
        self.is_trial
    }

    /// Reads one thing or a list. `path` starts below the tenant, as `block/volumes`.
    ///
    /// # Errors
    /// As the exit codes say: not found, not authorised, trouble in the server, cannot connect.
    pub(crate) fn get(&self, path: &str, query: &[(&str, String)]) -> Outcome<Value> {
        self.ask(Method::GET, path, query, None, Duration::ZERO)
    }

    /// Reads one thing, which the server may hold back for as long as `patience`.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub(crate) fn get_patiently(&self, path: &str, query: &[(&str, String)], patience: Duration) -> Outcome<Value> {
        self.ask(Method::GET, path, query, None, patience)
    }

    /// Makes or starts something.
    ///
    /// # Errors
    /// As [`Api::get`], and not allowed now.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Outcome<Value> {
        self.change(Method::POST, path, &[], Some(body))
    }

    /// Changes something.
    ///
    /// # Errors
    /// As [`Api::post`].
    pub(crate) fn put(&self, path: &str, body: &Value) -> Outcome<Value> {
        self.change(Method::PUT, path, &[], Some(body))
    }

    /// Removes something, or starts to.
    ///
    /// # Errors
    /// As [`Api::post`]. Gone already, when the answer to an earlier try was lost, is a success.
    pub(crate) fn delete(&self, path: &str, query: &[(&str, String)]) -> Outcome<Value> {
        self.change(Method::DELETE, path, query, None)
    }

    /// Opens a stream of lines, which goes on until the server ends it, and at most for `life`. With the id of the last event that was seen it
    /// goes on behind that.
    ///
    /// # Errors
    /// As [`Api::get`]. It is not tried again here.
    pub(crate) fn stream(
        &self,
        path: &str,
        query: &[(&str, String)],
        last: Option<&str>,
        life: Duration,
    ) -> Outcome<Box<dyn Read + Send>> {
        let request_id = uuid::Uuid::new_v4().to_string();
        let mut request = Request::builder()
            .uri(self.url(path, query))
            .header("Accept", "application/x-ndjson")
            .header("X-Request-Id", &request_id);
        if let Some(token) = &self.token {
            request = request.header("X-Auth-Token", token);
        }
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let request = request.body(()).map_err(|_| self.unsendable())?;
        let configured = self.agent.configure_request(request).timeout_recv_response(Some(ANSWER_TIMEOUT));
        let answer = self.agent.run(configured.timeout_recv_body(Some(life)).build());
        let told = |lost| match lost {
            Lost::Broken(why) => self.unreachable(&why),
            Lost::Failed(failure) => failure,
        };
        let mut answer = answer.map_err(|error| told(self.lost(error)))?;
        let status = answer.status().as_u16();
        if status == 200 {
            return Ok(Box::new(answer.into_body().into_reader()));
        }
        let text =
            answer.body_mut().with_config().limit(REFUSAL_BYTES_MAX).read_to_vec().map_err(|error| told(self.lost(error)))?;
        Err(refusal(&self.endpoint, status, &serde_json::from_slice(&text).unwrap_or(Value::Null), &request_id))
    }

    fn url(&self, path: &str, query: &[(&str, String)]) -> String {
        let mut url = format!("{}/{path}", self.base);
        for (index, (key, value)) in query.iter().enumerate() {
            let separator = if index == 0 { '?' } else { '&' };
            write!(url, "{separator}{}={}", encode(key), encode(value)).expect("a string takes all that is written");
        }
        url
    }

    fn unsendable(&self) -> Failure {
        Failure::usage(format!("the endpoint {:?}, tenant or token cannot be sent over HTTP", self.endpoint))
    }

    /// Asks for a change; only tries it where nothing is to be changed.
    fn change(&self, method: Method, path: &str, query: &[(&str, String)], body: Option<&Value>) -> Outcome<Value> {
        if !self.is_trial {
            return self.ask(method, path, query, body, Duration::ZERO);
        }
        let tried: Vec<_> = query.iter().cloned().chain([("dryRun", "true".to_owned())]).collect();
        let answer = self.ask(method, path, &tried, body, Duration::ZERO)?;
        if answer["dryRun"] == true {
            return Ok(answer);
        }
        let message =
            format!("{} knows no dry runs, and has done what was only to be tried; look at what came of it", self.endpoint);
        Err(Failure::new(Exit::Server, message))
    }

    fn ask(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<&Value>,
        patience: Duration,
    ) -> Outcome<Value> {
        let url = self.url(path, query);
        let request_id = uuid::Uuid::new_v4().to_string();
        let ask = Ask { method, url, body, timeout: ANSWER_TIMEOUT + patience, request_id };
        let mut tries = 1;
        loop {
            match self.send(&ask).and_then(|response| self.read(&ask, response)) {
                Ok((404, body)) if ask.method == Method::DELETE && tries > 1 && !self.is_trial && said(&body).is_some() => {
                    return Ok(Value::Null);
                }
                Ok((200..=299, body)) => return Ok(body),
                Ok((status, body)) => return Err(refusal(&self.endpoint, status, &body, &ask.request_id)),
                Err(Lost::Broken(_)) if tries < TRIES_MAX => tries += 1,
                Err(Lost::Broken(why)) => {
                    let message = format!("lost the connection to {}: {why}; what was asked may have been done", self.endpoint);
                    return Err(Failure::new(Exit::CannotConnect, message));
                }
                Err(Lost::Failed(failure)) => return Err(failure),
            }
        }
    }

    fn send(&self, ask: &Ask<'_>) -> Result<Response<Body>, Lost> {
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(&ask.url)
            .header("Accept", "application/json")
            .header("X-Request-Id", &ask.request_id);
        if ask.method == Method::POST {
            request = request.header("Idempotency-Key", &ask.request_id);
        }
        if let Some(token) = &self.token {
            request = request.header("X-Auth-Token", token);
        }
        let bad = |_| Lost::Failed(self.unsendable());
        let sent = match ask.body {
            Some(body) => {
                let request = request.header("Content-Type", "application/json").body(body.to_string()).map_err(bad)?;
                self.agent.run(self.agent.configure_request(request).timeout_global(Some(ask.timeout)).build())
            }
            None => {
                let request = request.body(()).map_err(bad)?;
                self.agent.run(self.agent.configure_request(request).timeout_global(Some(ask.timeout)).build())
            }
        };
        sent.map_err(|error| self.lost(error))
    }

    /// The status and body of an answer; a body that is no JSON is trouble only where the status is a success.
    fn read(&self, ask: &Ask<'_>, mut response: Response<Body>) -> Result<(u16, Value), Lost> {
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec().map_err(|error| self.lost(error))?;
        if text.is_empty() {
            return Ok((status, Value::Null));
        }
        match serde_json::from_slice(&text) {
            Ok(body) => Ok((status, body)),
            Err(_) if !response.status().is_success() => Ok((status, Value::Null)),
            Err(error) => {
                let message =
                    format!("{} answered {} with something that is no JSON ({error}); is it Berth?", self.endpoint, ask.method);
                Err(Lost::Failed(Failure::new(Exit::Server, message)))
            }
        }
    }

    /// What an error of the connection means, and whether asking again may help.
    fn lost(&self, error: ureq::Error) -> Lost {
        let endpoint = &self.endpoint;
        let failure = match error {
            ureq::Error::Io(error) if may_have_arrived(error.kind()) => return Lost::Broken(error.to_string()),
            ureq::Error::Io(error) => self.unreachable(&error.to_string()),
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve)
            | ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed => self.unreachable(&error.to_string()),
            ureq::Error::Timeout(_) => {
                let message = format!("{endpoint} did not answer in time ({error}); what was asked may have been done");
                Failure::new(Exit::TimedOut, message)
            }
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                Failure::usage(format!("the endpoint {endpoint:?} is no address: {error}"))
            }
            _ => Failure::new(Exit::Server, format!("{endpoint} does not speak HTTP as it should: {error}")),
        };
        Lost::Failed(failure)
    }

    fn unreachable(&self, why: &str) -> Failure {
        let message =
            format!("cannot connect to {}: {why}; is it running? (berth serve, --endpoint, BERTH_ENDPOINT)", self.endpoint);
        Failure::new(Exit::CannotConnect, message)
    }
}

/// Whether a connection that fails like that may have carried the request. A name that is not found, a refusal, or a network
/// without a way there all come before it.
const fn may_have_arrived(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
            | ErrorKind::NotConnected
            | ErrorKind::TimedOut
    )
}

/// An answer that is no success, in the server's words. One without words is not believed to be about what was asked for: any other server
/// says 404 of what it does not know, and so does a proxy whose server is away.
///
/// Source: error body `{code, message, type, status, allowed, resourceStatus, requestId}`.
fn refusal(endpoint: &str, status: u16, body: &Value, request_id: &str) -> Failure {
    let Some(said) = said(body) else {
        let exit = if status == 404 { Exit::Server } else { Exit::of_status(status) };
        let message = format!(
            "{endpoint} answered with status {status} and without a reason (request {request_id}); is it Berth that listens there?"
        );
        return Failure::new(exit, message);
    };
    let exit = Exit::of_status(status);
    let mut message = said.to_owned();
    if let Some(allowed) = body["allowed"].as_array().filter(|_| !message.contains("allowed now")) {
        let words: Vec<_> = allowed.iter().filter_map(Value::as_str).collect();
        let words = if words.is_empty() { "nothing".to_owned() } else { words.join(", ") };
        write!(message, " (allowed now: {words})").expect("a string takes all that is written");
    }
    if exit == Exit::Server {
        let id = body["requestId"].as_str().unwrap_or(request_id);
        write!(message, " (request {id})").expect("a string takes all that is written");
    }
    Failure::new(exit, message)
}

/// What an error says.
fn said(body: &Value) -> Option<&str> {
    body["message"].as_str().filter(|message| !message.is_empty())
}

/// Whether it begins with a host, and with a port that there can be, if with any.
fn is_address(rest: &str) -> bool {
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    !host.is_empty() && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}

/// Percent-encodes everything but what RFC 3986 leaves unreserved.
#[must_use]
pub(crate) fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a string takes all that is written");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Fake, api_of};
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_typed_leaves_its_segment() {
        assert_eq!(encode("a/../b?c=d&e#f g%"), "a%2F..%2Fb%3Fc%3Dd%26e%23f%20g%25");
        assert_eq!(encode("é-._~"), "%C3%A9-._~");
    }

    #[test]
    fn addresses_that_are_none_are_usage_errors() {
        let ports = ["http://h:0", "http://h:99999", "http://h:", "http://:80", "http://[::1]:x"];
        let others = ["", "127.0.0.1:50040", "https://h", "http://", "http:///x", "http://h?x=1", "ftp://h", "http://a b"];
        for endpoint in others.into_iter().chain(ports) {
            let target = Target { endpoint: endpoint.into(), tenant: "t".into(), token: None };
            assert_eq!(Api::new(target).unwrap_err().exit, Exit::Usage, "{endpoint:?}");
        }
        for endpoint in ["http://h", "http://h:80/", "http://[::1]", "http://[::1]:50040/below"] {
            let target = Target { endpoint: endpoint.into(), tenant: "t".into(), token: None };
            assert!(Api::new(target).is_ok(), "{endpoint:?}");
        }
        for tenant in ["", ".", ".."] {
            let target = Target { endpoint: DEFAULT_ENDPOINT.into(), tenant: tenant.into(), token: None };
            assert_eq!(Api::new(target).unwrap_err().exit, Exit::Usage, "{tenant:?}");
        }
    }

    #[test]
    fn a_post_can_be_repeated_and_says_what_it_sends() {
        let fake = Fake::new().lose("POST", "/block/volumes").on("POST", "/block/volumes", 202, json!({"id": "x"}));
        let answer = api_of(&fake).post("block/volumes", &json!({"name": "v"})).unwrap();
        assert_eq!(answer, json!({"id": "x"}));
        let seen = fake.seen();
        assert_eq!(seen.len(), 2, "the lost answer was asked for again");
        assert_eq!(seen[0].header("idempotency-key"), seen[1].header("idempotency-key"));
        assert!(seen[0].header("idempotency-key").is_some() && seen[0].header("x-request-id").is_some());
        assert_eq!(seen[1].header("content-type").as_deref(), Some("application/json"));
        assert_eq!(seen[1].body, json!({"name": "v"}));
    }

    #[test]
    fn answers_lost_again_and_again_are_given_up() {
        let fake = Fake::new().lose("GET", "/pools").lose("GET", "/pools").lose("GET", "/pools");
        assert_eq!(api_of(&fake).get("pools", &[]).unwrap_err().exit, Exit::CannotConnect);
        assert_eq!(fake.seen().len(), TRIES_MAX as usize);
    }

    #[test]
    fn gone_after_a_lost_answer_is_deleted() {
        let gone = json!({"code": 404, "message": "no host h"});
        let fake = Fake::new().lose("DELETE", "/host/hosts/h").on("DELETE", "/host/hosts/h", 404, gone.clone());
        assert_eq!(api_of(&fake).delete("host/hosts/h", &[]), Ok(Value::Null));
        let fake = Fake::new().on("DELETE", "/host/hosts/h", 404, gone);
        assert_eq!(api_of(&fake).delete("host/hosts/h", &[]).unwrap_err().exit, Exit::NotFound);
    }

    #[test]
    fn another_server_is_not_taken_for_one_that_has_no_such_resource() {
        let page = "<html>404 Not Found</html>";
        let fake = Fake::new().on_text("GET", "/block/volumes/v", 404, page);
        let failure = api_of(&fake).get("block/volumes/v", &[]).unwrap_err();
        assert_eq!(failure.exit, Exit::Server);
        assert!(failure.message.contains(&fake.endpoint()) && failure.message.contains("is it Berth"), "{failure}");
        let fake = Fake::new().lose("DELETE", "/host/hosts/h").on_text("DELETE", "/host/hosts/h", 404, page);
        assert!(api_of(&fake).delete("host/hosts/h", &[]).is_err(), "it is not deleted because nobody knows it there");
    }

    #[test]
    fn what_is_only_tried_says_so_in_every_request() {
        let answer = json!({"dryRun": true, "object": null});
        let fake = Fake::new()
            .on("POST", "/block/volumes?dryRun=true", 200, answer.clone())
            .on("PUT", "/block/volumes/v?dryRun=true", 200, answer.clone())
            .on("DELETE", "/block/volumes/v?cascade=true&dryRun=true", 200, answer.clone())
            .on("DELETE", "/block/volumes/w?dryRun=true", 202, Value::Null);
        let mut api = api_of(&fake);
        api.try_only(true);
        assert_eq!(api.post("block/volumes", &json!({})), Ok(answer.clone()));
        assert_eq!(api.put("block/volumes/v", &json!({})), Ok(answer.clone()));
        assert_eq!(api.delete("block/volumes/v", &[("cascade", "true".into())]), Ok(answer));
        // A server that does not know it has done it: that must not pass for a trial.
        assert!(api.delete("block/volumes/w", &[]).unwrap_err().message.contains("has done"));
    }

    #[test]
    fn refusals_are_in_the_servers_words() {
        let body = json!({"code": 409, "message": "cannot extend volume v: it is deleting", "allowed": []});
        assert_eq!(refusal("http://h", 409, &body, "r").message, "cannot extend volume v: it is deleting (allowed now: nothing)");
        let body = json!({"message": "cannot extend (allowed now: delete)", "allowed": ["delete"]});
        assert_eq!(refusal("http://h", 409, &body, "r").message, "cannot extend (allowed now: delete)");
        assert_eq!(
            refusal("http://h", 503, &json!({"message": "the disk is full", "requestId": "q"}), "r").message,
            "the disk is full (request q)"
        );
        assert_eq!(
            refusal("http://h", 502, &Value::Null, "r").message,
            "http://h answered with status 502 and without a reason (request r); is it Berth that listens there?"
        );
    }

    #[test]
    fn nobody_there_cannot_be_connected_to() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let target = Target { endpoint: format!("http://{free}"), tenant: DEFAULT_TENANT.into(), token: None };
        let failure = Api::new(target).unwrap().get("pools", &[]).unwrap_err();
        assert_eq!(failure.exit, Exit::CannotConnect);
        assert!(failure.message.contains("berth serve"), "{failure}");
    }

    #[test]
    fn a_name_that_is_not_found_is_no_lost_answer() {
        let target = Target { endpoint: "http://berth.invalid:1".into(), tenant: DEFAULT_TENANT.into(), token: None };
        let failure = Api::new(target).unwrap().post("block/volumes", &json!({})).unwrap_err();
        assert_eq!(failure.exit, Exit::CannotConnect);
        assert!(!failure.message.contains("may have been done"), "{failure}");
    }

    #[test]
    fn what_is_no_json_is_no_answer() {
        let fake = Fake::new().on_text("GET", "/pools", 200, "<html>");
        assert_eq!(api_of(&fake).get("pools", &[]).unwrap_err().exit, Exit::Server);
    }
}
