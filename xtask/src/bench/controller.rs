//! A controller for measuring and for trying: the release binary on a folder of its own, and the few calls that are measured or needed.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How finely the kernel counts a process' time. Source: proc(5), "clock ticks"; a hundred a second on Linux wherever Rust runs.
const TICK_MICROSECONDS: f64 = 10_000.0;

/// The default tenant, who is the administrator. Source: OpenSDS' default.
pub(crate) const TENANT: &str = "e93b4c0934da416eb9c8d120c5d04d96";

/// A controller of its own.
pub(crate) struct Server {
    binary: PathBuf,
    child: Child,
    data: PathBuf,
    base: String,
    pub(super) agent: ureq::Agent,
}

impl Server {
    pub(crate) fn start(data: &Path) -> Result<Self> {
        Self::start_with(data, "", None)
    }

    /// One whose configuration says this besides, and whose pool is in this folder.
    pub(super) fn start_with(data: &Path, more: &str, pool: Option<&Path>) -> Result<Self> {
        Self::start_so(data, more, pool, &[])
    }

    /// The same with more on its command line.
    pub(super) fn start_so(data: &Path, more: &str, pool: Option<&Path>, flags: &[&str]) -> Result<Self> {
        Self::start_of(&binary(), data, more, pool, flags)
    }

    /// The same of another build.
    pub(super) fn start_of(binary: &Path, data: &Path, more: &str, pool: Option<&Path>, flags: &[&str]) -> Result<Self> {
        // Thousands of volumes are made: more than would be promised on a small disk.
        let config = data.with_extension("toml");
        let folder = pool.map(|pool| format!("folder = {pool:?}\n")).unwrap_or_default();
        let pool = format!("[[pool]]\nname = \"default\"\novercommit = 1000000.0\n{folder}");
        std::fs::write(&config, format!("{more}{pool}")).context("cannot write")?;
        let mut child = Command::new(binary)
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .args(["--listen", "127.0.0.1:0", "--nbd-listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .args(flags)
            .env("RUST_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the controller")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("piped")?).read_line(&mut line)?;
        let base = line.trim().strip_prefix("listening on ").context("the controller did not start")?.to_owned();
        Ok(Self { binary: binary.to_owned(), child, data: data.to_owned(), base, agent: agent() })
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its resident memory in bytes.
    pub(super) fn resident(&self) -> Result<u64> {
        resident(self.pid())
    }

    /// Waits until it has little to do: the first look at its backends, which has all of a processor, is done.
    pub(super) fn rests(&self) -> Result<()> {
        const PART: f64 = 0.2;
        let (look, end) = (Duration::from_secs(2), Instant::now() + Duration::from_secs(600));
        loop {
            let before = processor_time(self.pid())?;
            std::thread::sleep(look);
            if processor_time(self.pid())? - before < look.as_secs_f64() * 1e6 * PART {
                return Ok(());
            }
            ensure!(Instant::now() < end, "the controller has work for more than ten minutes");
        }
    }

    /// Kills it as a crash does, and leaves its folder; its data plane is ended too.
    pub(super) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Stops it in order, its data plane with it, and leaves its folder.
    pub(super) fn stop(mut self) -> Result<()> {
        let told = Command::new("kill").arg(self.pid().to_string()).status().context("cannot run kill")?;
        ensure!(told.success() && self.child.wait()?.success(), "the controller did not stop in order");
        Ok(())
    }

    /// Where it listens, as `http://127.0.0.1:PORT`.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The same as `127.0.0.1:PORT`.
    pub(super) fn address(&self) -> Result<&str> {
        self.base.strip_prefix("http://").context("an address")
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}/v1beta/{TENANT}{path}", self.base)
    }

    fn post(&self, agent: &ureq::Agent, path: &str, body: &Value) -> Result<Value> {
        let sent = agent.post(self.url(path)).header("content-type", "application/json").send(body.to_string());
        Ok(serde_json::from_str(&sent?.body_mut().read_to_string()?)?)
    }

    /// Creates a volume of one GiB and waits until it is available. Gives its id.
    pub(super) fn create(&self, agent: &ureq::Agent, turn: usize) -> Result<String> {
        let made = self.post(agent, "/block/volumes", &json!({"name": format!("v{turn}"), "size": 1}))?;
        let id = made["id"].as_str().context("an id")?;
        let now = get(agent, &self.url(&format!("/block/volumes/{id}?waitFor=available,error&timeout=30")))?;
        ensure!(now["status"] == "available", "it became {now}");
        Ok(id.to_owned())
    }

    /// Makes a host on the loopback address. Gives its id.
    pub(super) fn host(&self, name: &str) -> Result<String> {
        let body = json!({"hostName": name, "ip": "127.0.0.1", "osType": "linux", "accessMode": "agentless"});
        let made = self.post(&self.agent, "/host/hosts", &body)?;
        Ok(made["id"].as_str().context("an id")?.to_owned())
    }

    /// Attaches the volume to the host. Gives what a client needs to connect.
    pub(super) fn attach(&self, volume: &str, host: &str) -> Result<Value> {
        let made = self.post(&self.agent, "/block/attachments", &json!({"volumeId": volume, "hostId": host}))?;
        let id = made["id"].as_str().context("an id")?;
        let now = get(&self.agent, &self.url(&format!("/block/attachments/{id}?waitFor=attached,error&timeout=30")))?;
        ensure!(now["status"] == "attached", "it became {now}");
        Ok(now["connectionInfo"]["data"].clone())
    }

    /// The process that serves NBD.
    pub(super) fn data_plane(&self) -> Result<u32> {
        let told = Command::new(&self.binary).args(["data", "status", "--output", "json", "--data"]).arg(&self.data).output()?;
        let status: Value = serde_json::from_slice(&told.stdout).context("the data plane did not answer")?;
        Ok(u32::try_from(status["pid"].as_u64().context("its pid")?)?)
    }

    pub(super) fn sample(&self) -> Result<Value> {
        self.create(&self.agent, 0)?;
        let all = get(&self.agent, &self.url("/block/volumes?limit=1"))?;
        Ok(all[0].clone())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It serves a temporary folder: there is nothing to lose. Its data plane would outlive it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = Command::new(&self.binary).args(["data", "stop", "--force", "--data"]).arg(&self.data).output();
    }
}

/// The build folder.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from)
}

/// Builds the controller as it is shipped. `cargo xtask test` goes without: there cargo has built one for the tests, and what else it
/// asks for would be built for another set of features, most of the workspace once more.
///
/// # Errors
/// It does not build.
pub(crate) fn build() -> Result<()> {
    let built = Command::new("cargo").args(["build", "--release", "-p", "berth"]).stdin(Stdio::null()).status();
    anyhow::ensure!(built.context("cannot run cargo")?.success(), "the controller cannot be built");
    Ok(())
}

/// The controller that was built last.
pub(crate) fn binary() -> PathBuf {
    target().join("release/berth")
}

/// Resident memory of a process in bytes.
pub(super) fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(kib.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}

/// The processor time of a process and all threads it ever had, in microseconds. Source: proc(5), fields 14 and 15 of "stat".
pub(super) fn processor_time(process: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).context("the server is gone")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: Vec<f64> = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    Ok(ticks.iter().sum::<f64>() * TICK_MICROSECONDS)
}

/// A client that keeps its connections open.
pub(super) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(60))).build().into()
}

/// The body of what is there.
pub(super) fn get(agent: &ureq::Agent, url: &str) -> Result<Value> {
    let text = agent.get(url).call()?.body_mut().read_to_string()?;
    Ok(serde_json::from_str(&text)?)
}
