//! A controller that things happen to: the release binary in a folder of its own, killed, stopped, armed and started again at one address.
//!
//! - Its address stays the same over restarts, so that clients go on as real ones do.
//! - What it says on standard error is kept in one file over all starts, where fail points tell that they were hit.
//! - Dropping a [`Place`] leaves no process behind.

use crate::bench::controller::binary;
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a controller that was told to stop may take. Its own bound for what runs is a few seconds.
const STOPPED_WITHIN: Duration = Duration::from_secs(20);
/// The configuration: thousands of volumes on a small disk, and a backend that is asked often.
const CONFIG: &str = "\
[times]\ndown-after = 2\nprobe-interval = 1\ndetach-grace = 1\n\
[look]\ninterval = 1\n\
[[pool]]\nname = \"default\"\novercommit = 1000000.0\nreserved = 1048576\n";

/// Where a controller lives.
pub(super) struct Place {
    folder: PathBuf,
    data: PathBuf,
    port: u16,
}

/// A running controller.
pub(super) struct Controller {
    child: Child,
}

/// A signal to a process.
#[derive(Clone, Copy)]
pub(super) enum Signal {
    Kill,
    Stop,
    Continue,
    Terminate,
}

impl Place {
    /// A place with its records and pool in `data`, and everything else in `folder`.
    pub(super) fn new(folder: &Path, data: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        std::fs::write(folder.join("berth.toml"), CONFIG).context("cannot write the configuration")?;
        Ok(Self { folder: folder.to_owned(), data: data.to_owned(), port: free_port()? })
    }

    /// Where it answers, as `http://127.0.0.1:PORT`.
    pub(super) fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its data folder.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// Starts it, with fail points armed if `armed` names some. Nothing if it ended before it listened: [`Place::said`] tells why.
    pub(super) fn start(&self, armed: Option<&str>, more: &[&str]) -> Result<Option<Controller>> {
        let log = OpenOptions::new().create(true).append(true).open(self.log()).context("cannot open the log")?;
        let mut command = Command::new(binary());
        command.args(["serve", "--nbd-listen", "127.0.0.1:0", "--listen"]).arg(format!("127.0.0.1:{}", self.port));
        command.arg("--config").arg(self.folder.join("berth.toml")).arg("--data").arg(&self.data).args(more);
        command.env("RUST_LOG", "warn").env("BERTH_CLOCK_STEP_FILE", self.clock());
        if let Some(armed) = armed {
            command.env("BERTH_FAIL_POINTS", armed);
        }
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::from(log)).spawn();
        let mut child = spawned.context("cannot start the controller: is the release binary built?")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("piped")?).read_line(&mut line)?;
        if line.starts_with("listening on ") {
            return Ok(Some(Controller { child }));
        }
        // It may still be on its way out, or have been killed at a fail point.
        let _ = child.kill();
        child.wait().context("it can be awaited")?;
        Ok(None)
    }

    fn log(&self) -> PathBuf {
        self.folder.join("controller.log")
    }

    fn clock(&self) -> PathBuf {
        self.folder.join("clock")
    }

    /// Puts the wall clock of what runs here off by so many milliseconds.
    pub(super) fn step_clock(&self, milliseconds: i64) -> Result<()> {
        let (path, new) = (self.clock(), self.folder.join("clock.new"));
        std::fs::write(&new, milliseconds.to_string()).and_then(|()| std::fs::rename(new, path)).context("cannot step the clock")
    }

    /// All that controllers here and their data planes said on standard error.
    pub(super) fn said(&self) -> String {
        let read = |path: &Path| std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        read(&self.log()) + &read(&self.data.join("data-plane.log"))
    }

    /// Begins that anew.
    pub(super) fn forget_said(&self) {
        for path in [self.log(), self.data.join("data-plane.log")] {
            // It may not be there yet.
            let _ = File::options().write(true).open(path).and_then(|log| log.set_len(0));
        }
    }

    /// How often fail points were hit here.
    pub(super) fn hits(&self) -> usize {
        self.said().lines().filter(|line| line.starts_with("fail point hit: ")).count()
    }

    /// Runs a subcommand of the binary.
    pub(super) fn berth(&self, args: &[&str]) -> Result<Output> {
        let mut command = Command::new(binary());
        command.args(["--endpoint", &self.base()]).args(args).stdin(Stdio::null());
        command.output().context("cannot run the binary")
    }

    /// What the data plane says of itself, if one runs.
    pub(super) fn data_plane(&self) -> Result<Option<Value>> {
        let data = self.data.to_string_lossy();
        let output = self.berth(&["data", "status", "--output", "json", "--data", &data])?;
        Ok(output.status.success().then(|| serde_json::from_slice(&output.stdout)).transpose()?)
    }

    /// Sends every data plane of this folder a signal: also one that was just started, and one that hangs.
    pub(super) fn signal_data_plane(&self, signal: Signal) -> Result<()> {
        self.data_planes().into_iter().try_for_each(|process| send(process, signal))
    }

    /// The processes that are, or are about to be, data planes of this folder.
    fn data_planes(&self) -> Vec<u32> {
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter(|process| self.is_data_plane(*process)).collect()
    }

    fn is_data_plane(&self, process: u32) -> bool {
        // Of a process that is gone, or a zombie, it is empty.
        let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        words.get(1) == Some(&b"data".as_slice())
            && words.contains(&b"--own-session".as_slice())
            && words.contains(&self.data.as_os_str().as_bytes())
    }

    /// Ends every data plane of this folder by force, and tells whether none is left.
    pub(super) fn end_data_plane(&self) -> Result<bool> {
        let deadline = Instant::now() + STOPPED_WITHIN;
        // Looked for twice: one that a controller had just begun when it was killed is its likeness until it runs its own program.
        let mut looks_without = 0;
        while looks_without < 2 {
            looks_without = if self.data_planes().is_empty() { looks_without + 1 } else { 0 };
            self.signal_data_plane(Signal::Kill)?;
            if Instant::now() > deadline {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(true)
    }

    /// The last lines that were said, for a failure.
    pub(super) fn last_words(&self) -> String {
        let said = self.said();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Whoever failed leaves it as it was; nothing is left running all the same.
        let _ = self.end_data_plane();
    }
}

impl Controller {
    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        send(self.child.id(), signal)
    }

    /// kill -9, also if it is dead already.
    pub(super) fn kill(mut self) -> Result<()> {
        self.child.kill().context("it can be killed")?;
        self.child.wait().context("it dies")?;
        Ok(())
    }

    /// Tells it to stop. Nothing if it had to be killed.
    pub(super) fn terminate(mut self) -> Result<Option<ExitStatus>> {
        self.signal(Signal::Terminate)?;
        let deadline = Instant::now() + STOPPED_WITHIN;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(None)
    }

    /// Whether it runs.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that is free now and stays so while a controller is down: below those that the kernel gives away by itself (on Linux from 32768
/// on), and another one each time.
fn free_port() -> Result<u16> {
    const RANGE: std::ops::Range<u32> = 10_000..32_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in RANGE {
        // Two tortures at once begin at different ones.
        let at = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(RANGE.start + at % (RANGE.end - RANGE.start)).context("it is a port")?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no port is free")
}

fn send(process: u32, signal: Signal) -> Result<()> {
    let name = match signal {
        Signal::Kill => "-KILL",
        Signal::Stop => "-STOP",
        Signal::Continue => "-CONT",
        Signal::Terminate => "-TERM",
    };
    // It may be dead already, which is for its own parent to find.
    let mut command = Command::new("kill");
    command.args([name, &process.to_string()]).stdin(Stdio::null()).stderr(Stdio::null()).status().context("cannot run kill")?;
    Ok(())
}

/// An empty file system of so many MiB for a data folder, or nothing where mounting is not permitted.
pub(super) fn ground(mib: u64) -> Option<ground::Ground> {
    ground::Ground::new(ground::Kind::Ext4, mib)
}
