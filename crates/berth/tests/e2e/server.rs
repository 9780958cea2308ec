//! A `berth serve` of a test's own: a temporary folder, free ports, killed when the test ends.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// The default tenant, who is the administrator. Source: OpenSDS wire page.
pub(crate) const TENANT: &str = "e93b4c0934da416eb9c8d120c5d04d96";
/// How long a condition is waited for before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server.
pub(crate) struct Server {
    child: Child,
    /// Whose data plane ends with it; none once it was killed, as the next server is to find it.
    data: Option<PathBuf>,
    base: String,
    agent: ureq::Agent,
}

/// An answer: its HTTP status, and its body (null where it has none).
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) code: u16,
    /// The body.
    pub(crate) body: Value,
}

impl Answer {
    /// The body's `id`.
    pub(crate) fn id(&self) -> String {
        self.body["id"].as_str().unwrap_or_else(|| panic!("no id in {} {}", self.code, self.body)).to_owned()
    }

    /// The body, if the status is this one.
    #[track_caller]
    pub(crate) fn expect(self, code: u16) -> Self {
        assert_eq!(self.code, code, "{}", self.body);
        self
    }
}

impl Server {
    /// Starts the binary on `data` and waits until it says where it listens.
    pub(crate) fn start(data: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_berth"))
            .args(flags(data, more))
            .env("RUST_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "error".into()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("it prints a line");
        let base = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("it printed {line:?}")).to_owned();
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(70)));
        Self { child, data: Some(data.to_owned()), base, agent: config.build().into() }
    }

    /// Where it listens, as `http://ADDRESS`.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to stop (SIGTERM) and waits until it has.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        run("kill", &["-TERM", &self.pid().to_string()]);
        self.child.wait().expect("it ends")
    }

    /// The same, and leaves its data plane to do what it does then.
    pub(crate) fn terminate_alone(mut self) -> ExitStatus {
        self.data = None;
        self.terminate()
    }

    /// kill -9, and waits until it is dead. Its data plane serves on.
    pub(crate) fn kill(mut self) {
        self.data = None;
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it dies");
    }

    /// kill -9 while others still talk to it.
    pub(crate) fn kill_now(&self) {
        run("kill", &["-KILL", &self.pid().to_string()]);
    }

    /// As [`Server::call`]; nothing if the server is gone.
    pub(crate) fn try_call(&self, method: &str, path: &str, body: &Value) -> Option<Answer> {
        self.try_raw(method, &format!("{}/v1beta/{TENANT}{path}", self.base), &body.to_string()).ok()
    }

    /// Sends a request of the default tenant; `path` begins after the tenant.
    pub(crate) fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.call_as(TENANT, method, path, body)
    }

    /// The same for another tenant.
    pub(crate) fn call_as(&self, tenant: &str, method: &str, path: &str, body: &Value) -> Answer {
        self.raw(method, &format!("{}/v1beta/{tenant}{path}", self.base), &body.to_string())
    }

    /// Sends any text as a request's body.
    pub(crate) fn raw(&self, method: &str, url: &str, body: &str) -> Answer {
        self.try_raw(method, url, body).unwrap_or_else(|error| panic!("{method} {url}: {error}"))
    }

    fn try_raw(&self, method: &str, url: &str, body: &str) -> Result<Answer, ureq::Error> {
        let request = ureq::http::Request::builder().method(method).uri(url).header("content-type", "application/json");
        let mut answer = match (method, body) {
            ("GET", _) | (_, "null") => self.agent.run(request.body(()).expect("a request"))?,
            _ => self.agent.run(request.body(body.to_owned()).expect("a request"))?,
        };
        let text = answer.body_mut().read_to_string()?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { code: answer.status().as_u16(), body })
    }

    /// GET.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &Value::Null)
    }

    /// POST.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, body)
    }

    /// DELETE.
    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, &Value::Null)
    }

    /// Creates a volume of this many GiB and waits until it is available.
    pub(crate) fn volume(&self, gib: u64) -> String {
        let id = self.post("/block/volumes", &serde_json::json!({"name": "v", "size": gib})).expect(202).id();
        self.until(&format!("/block/volumes/{id}"), "available");
        id
    }

    /// Makes a host on the loopback address.
    pub(crate) fn host(&self, name: &str) -> String {
        let host = serde_json::json!({"hostName": name, "ip": "127.0.0.1", "osType": "linux", "accessMode": "agentless"});
        self.post("/host/hosts", &host).expect(200).id()
    }

    /// Attaches the volume to the host; gives the attachment's id, and its body once it is attached.
    pub(crate) fn attach(&self, volume: &str, host: &str) -> (String, Value) {
        let id = self.post("/block/attachments", &serde_json::json!({"volumeId": volume, "hostId": host})).expect(202).id();
        let attached = self.until(&format!("/block/attachments/{id}"), "attached");
        (id, attached)
    }

    /// Waits until the resource has one of these statuses (separated by commas), or answers 404 for `gone`.
    #[track_caller]
    pub(crate) fn until(&self, path: &str, statuses: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let wait = if statuses == "gone" { String::new() } else { format!("?waitFor={statuses}&timeout=5") };
            let answer = self.get(&format!("{path}{wait}"));
            let status = if answer.code == 404 { "gone" } else { answer.body["status"].as_str().unwrap_or("none") };
            if statuses.split(',').any(|wanted| wanted == status) {
                return answer.body;
            }
            assert!(Instant::now() < deadline, "{path} never became {statuses}: {}", answer.body);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be dead already; what matters is that nothing is left running.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(data) = &self.data {
            // There may be none any more.
            let _ = data_plane(data, &["stop", "--force"]);
        }
    }
}

/// Runs `berth data` on the folder; gives what it printed, unless it failed.
pub(crate) fn data_plane(data: &Path, args: &[&str]) -> Option<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
    let output = command.arg("data").args(args).arg("--data").arg(data).stdin(Stdio::null()).output().expect("the binary starts");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The flags of `berth serve` on `data` and free ports, unless `more` names others.
fn flags(data: &Path, more: &[&str]) -> Vec<String> {
    let mut flags = vec!["serve".to_owned(), "--data".to_owned(), data.to_str().expect("UTF-8").to_owned()];
    for listener in ["--listen", "--nbd-listen"].into_iter().filter(|listener| !more.contains(listener)) {
        flags.extend([listener.to_owned(), "127.0.0.1:0".to_owned()]);
    }
    flags.extend(more.iter().map(ToString::to_string));
    flags
}

/// Where an attachment is served.
#[track_caller]
pub(crate) fn uri(attachment: &Value) -> String {
    attachment["connectionInfo"]["data"]["uri"].as_str().unwrap_or_else(|| panic!("no uri in {attachment}")).to_owned()
}

/// Starts the binary on `data`, which it must refuse: gives what it says on standard error.
#[track_caller]
pub(crate) fn refuses(data: &Path, more: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
    let output = command.args(flags(data, more)).stdin(Stdio::null()).output().expect("the binary starts");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    told
}

/// Runs a client, and gives what it printed; fails the test if the client failed.
#[track_caller]
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = client(program, args);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Runs a client that must fail.
#[track_caller]
pub(crate) fn fails(program: &str, args: &[&str]) {
    let output = client(program, args);
    assert!(!output.status.success(), "{program} {args:?} did not fail: {}", String::from_utf8_lossy(&output.stdout));
}

fn client(program: &str, args: &[&str]) -> Output {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("cannot run {program}: {error}"))
}
