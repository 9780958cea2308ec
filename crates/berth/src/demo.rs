//! `berth demo`: a whole life in a temporary folder, told as it happens. Nothing of it stays.

use crate::cli::{DemoArgs, NbdArgs, ServeArgs};
use crate::config::Config;
use crate::serve::{Ready, block_on};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The default tenant. Source: OpenSDS wire page.
const TENANT: &str = "e93b4c0934da416eb9c8d120c5d04d96";
/// How long a status is waited for before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the demo.
///
/// # Errors
/// Whatever did not go as it should.
pub(crate) fn run(_args: &DemoArgs) -> Result<()> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    let free = "127.0.0.1:0".parse().context("a loopback address")?;
    let nbd = NbdArgs { data: folder.path().to_owned(), config: None, nbd_listen: free, insecure_no_auth: false };
    let args = ServeArgs { listen: free, nbd, no_data_plane_spawn: false, slow_ms: 0 };
    let ready = block_on(&runtime, Ready::open(&args, &Config::read(None)?))?;
    let base = format!("http://{}/v1beta/{TENANT}", ready.address);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = runtime.spawn(ready.run(async move { drop(stopped.await) }));
    let told = Teller { base, agent: ureq::Agent::new_with_defaults(), begun: Instant::now() }.tell();
    drop(stop);
    // The data plane ends with it: nothing is attached any more, unless the demo failed half-way, and then it ends with the folder.
    runtime.block_on(serving).context("the server ended badly")?;
    runtime.shutdown_timeout(Duration::from_secs(1));
    told
}

struct Teller {
    base: String,
    agent: ureq::Agent,
    begun: Instant,
}

impl Teller {
    fn tell(&self) -> Result<()> {
        self.say("a volume of 1 GiB is asked for");
        let volume = self.send("POST", "/block/volumes", &json!({"name": "demo", "size": 1}))?;
        let volume = self.follow("volume", "/block/volumes", &volume, "available")?;
        let id = text(&volume, "id")?;
        self.say("a host is made known, and the volume attached to it over NBD");
        let host = json!({"hostName": "demo-host", "ip": "127.0.0.1", "osType": "linux", "accessMode": "agentless"});
        let host = text(&self.send("POST", "/host/hosts", &host)?, "id")?;
        let attachment = self.send("POST", "/block/attachments", &json!({"volumeId": id, "hostId": host}))?;
        let attachment = self.follow("attachment", "/block/attachments", &attachment, "attached")?;
        self.say(&format!("a client can reach it now: {}", attachment["connectionInfo"]["data"]["uri"].as_str().unwrap_or("?")));
        self.state("volume", &format!("/block/volumes/{id}"))?;
        self.say("deleting it is refused while it is attached, and the refusal says why");
        self.refused(&format!("/block/volumes/{id}"))?;
        self.say("it is detached");
        let attachment = text(&attachment, "id")?;
        self.send("DELETE", &format!("/block/attachments/{attachment}"), &Value::Null)?;
        self.until("volume", &format!("/block/volumes/{id}"), "available")?;
        self.say("a snapshot is taken, the volume grown to 2 GiB, and a second volume made from the snapshot");
        let snapshot = self.send("POST", "/block/snapshots", &json!({"name": "demo-snapshot", "volumeId": id}))?;
        let snapshot = text(&self.follow("snapshot", "/block/snapshots", &snapshot, "available")?, "id")?;
        let grown = self.send("POST", &format!("/block/volumes/{id}/resize"), &json!({"newSize": 2}))?;
        self.follow("volume", "/block/volumes", &grown, "available")?;
        let clone = self.send("POST", "/block/volumes", &json!({"name": "demo-clone", "size": 1, "snapshotId": snapshot}))?;
        let clone = text(&self.follow("clone", "/block/volumes", &clone, "available")?, "id")?;
        self.say("everything is deleted again");
        for path in [format!("/block/volumes/{clone}"), format!("/block/volumes/{id}?cascade=true")] {
            self.send("DELETE", &path, &Value::Null)?;
            self.gone(path.split('?').next().unwrap_or(&path))?;
        }
        self.say("nothing of it is left; the journal still knows what happened:");
        self.journal(&id)
    }

    #[expect(clippy::print_stdout, reason = "the demo tells on stdout")]
    fn say(&self, what: &str) {
        println!("[{:5.2} s] {what}", self.begun.elapsed().as_secs_f64());
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let (code, answer) = self.raw(method, path, body)?;
        if code >= 400 {
            bail!("{method} {path} answered {code}: {}", answer["message"]);
        }
        Ok(answer)
    }

    fn raw(&self, method: &str, path: &str, body: &Value) -> Result<(u16, Value)> {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("content-type", "application/json");
        let config = |agent: &ureq::Agent, request| {
            let request = agent.configure_request(request).http_status_as_error(false).build();
            agent.run(request)
        };
        let mut answer = config(&self.agent, request.body(if body.is_null() { String::new() } else { body.to_string() })?)?;
        let text = answer.body_mut().read_to_string()?;
        Ok((answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    /// Tells each status of a resource that was just made or changed, until it has the one wanted.
    fn follow(&self, what: &str, collection: &str, made: &Value, wanted: &str) -> Result<Value> {
        self.say(&format!("  {what} {}", made["status"].as_str().unwrap_or("?")));
        self.until(what, &format!("{collection}/{}", text(made, "id")?), wanted)
    }

    fn until(&self, what: &str, path: &str, wanted: &str) -> Result<Value> {
        let now = self.send("GET", &format!("{path}?waitFor={wanted}&timeout=30"), &Value::Null)?;
        let status = now["status"].as_str().unwrap_or("?");
        self.say(&format!("  {what} {status}"));
        if status != wanted {
            bail!("{what} became {status}, not {wanted}: {}", now["statusReason"]["message"]);
        }
        Ok(now)
    }

    fn state(&self, what: &str, path: &str) -> Result<()> {
        let now = self.send("GET", path, &Value::Null)?;
        self.say(&format!("  {what} {}", now["status"].as_str().unwrap_or("?")));
        Ok(())
    }

    fn refused(&self, path: &str) -> Result<()> {
        let (code, answer) = self.raw("DELETE", path, &Value::Null)?;
        if code != 409 {
            bail!("deleting an attached volume answered {code}");
        }
        self.say(&format!("  {}", answer["message"].as_str().unwrap_or("?")));
        Ok(())
    }

    fn gone(&self, path: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.raw("GET", path, &Value::Null)?.0 != 404 {
            if Instant::now() > deadline {
                bail!("{path} is still there");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn journal(&self, id: &str) -> Result<()> {
        for entry in self.send("GET", &format!("/block/volumes/{id}/journal"), &Value::Null)?.as_array().context("a journal")? {
            let word = |key: &str| entry[key].as_str().unwrap_or("").to_owned();
            let from = Some(word("from")).filter(|from| !from.is_empty()).unwrap_or_else(|| "new".into());
            self.say(&format!("  {} {from} -> {} ({})", word("at"), word("to"), word("cause")));
        }
        Ok(())
    }
}

fn text(value: &Value, key: &str) -> Result<String> {
    value[key].as_str().map(str::to_owned).with_context(|| format!("no {key} in {value}"))
}
