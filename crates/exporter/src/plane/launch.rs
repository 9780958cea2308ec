//! Starting a data plane: a process in a session of its own, which outlives the one that starts it.

use super::place::Place;
use crate::points::LAUNCH;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use tokio::process::{Child, Command};

/// The log is begun anew at a start that finds it larger than this; the old one is kept once.
const LOG_MAX: u64 = 16 << 20;

/// How a data plane's process is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program.
    pub program: std::path::PathBuf,
    /// Its arguments, with every path from the root on. They must make it begin a session of its own: a signal to the controller's group is not meant for it.
    pub arguments: Vec<std::ffi::OsString>,
}

impl Launch {
    /// Starts the process. Its log goes to a file in the data folder, so that nothing of the controller's stays open in it.
    pub(crate) fn start(&self, place: &Place) -> io::Result<Child> {
        let log = log(&place.log())?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            // It outlives the controller, and is not to keep the file system of some folder from being unmounted.
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::from(log))
            .kill_on_drop(false);
        LAUNCH.before.try_pass()?;
        let mut child = command.spawn()?;
        if let Err(error) = LAUNCH.after.try_pass() {
            // Who is told that it was not started will start another one.
            child.start_kill()?;
            return Err(error);
        }
        Ok(child)
    }
}

fn log(path: &Path) -> io::Result<File> {
    if std::fs::metadata(path).is_ok_and(|held| held.len() > LOG_MAX) {
        std::fs::rename(path, path.with_extension("log.old"))?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}
