//! What was measured, as JSON beside the tables: for whoever keeps figures, compares runs or draws them.
//!
//! ```json
//! { "date": "2026-11-29T06:00:00Z", "commit": "…", "isChanged": false, "isComplete": true,
//!   "machine": { "cores": 2, "processor": "…", "memory": 25769803776, "kernel": "…", "fileSystem": "ext4" },
//!   "rows": [ { "part": "rest", "what": "GET a volume", "clients": 32, "rounds": [ { "rate": 18066.0, "p50": 1720.0, … }, … ] }, … ] }
//! ```
//!
//! A round is what the measuring process told, as it told it: `rate` a second; `p50`, `p90`, `p99`, `p999`, `max` in microseconds; `busy`,
//! microseconds of the server's processor a request. Rows that are compared took turns round by round.

use super::compare::{git, is_changed};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Everything that one run measured.
pub(super) struct Report {
    file: Option<PathBuf>,
    head: Value,
    rows: Vec<Value>,
}

impl Report {
    /// One that is written into `file`, if there is one, of what is measured in `folder`.
    pub(super) fn new(file: Option<&Path>, folder: &Path) -> Result<Self> {
        if let Some(file) = file {
            // Better now than when all is measured.
            File::options().append(true).create(true).open(file).with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(Self { file: file.map(Path::to_owned), head: head(folder), rows: Vec::new() })
    }

    /// Notes a row: of which part, what was measured, the fields that tell it from its neighbours, and each round.
    pub(super) fn note(&mut self, part: &str, what: &str, about: &Value, rounds: &[Value]) {
        let mut row = json!({ "part": part, "what": what });
        if let (Some(row), Some(about)) = (row.as_object_mut(), about.as_object()) {
            row.extend(about.clone());
        }
        row["rounds"] = rounds.into();
        self.rows.push(row);
    }

    /// Writes it, if it is to be written.
    pub(super) fn write(self, is_complete: bool) -> Result<()> {
        let Some(file) = self.file else { return Ok(()) };
        let mut all = self.head;
        all["isComplete"] = is_complete.into();
        all["rows"] = self.rows.into();
        std::fs::write(&file, format!("{all:#}\n")).with_context(|| format!("cannot write {}", file.display()))
    }
}

fn head(folder: &Path) -> Value {
    json!({
        "date": jiff::Timestamp::now().strftime("%FT%TZ").to_string(),
        "commit": git(&["rev-parse", "HEAD"]).ok(),
        "isChanged": is_changed().ok(),
        "machine": {
            "cores": std::thread::available_parallelism().ok(),
            "processor": field("/proc/cpuinfo", "model name"),
            "memory": field("/proc/meminfo", "MemTotal").and_then(|kib| Some(kib.strip_suffix(" kB")?.parse::<u64>().ok()? << 10)),
            "kernel": read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
            "fileSystem": folder.canonicalize().ok().and_then(|folder| file_system(&read("/proc/self/mountinfo")?, &folder)),
        },
    })
}

fn read(file: &str) -> Option<String> {
    std::fs::read_to_string(file).ok()
}

/// The first such line of a file that the kernel makes up.
fn field(file: &str, name: &str) -> Option<String> {
    read(file)?.lines().find_map(|line| Some(line.strip_prefix(name)?.trim_start().strip_prefix(':')?.trim().to_owned()))
}

/// What kind of file system a folder lies on. Source: proc(5), `mountinfo`: the mount point is the fifth field, the kind the first behind the dash.
fn file_system(mounts: &str, folder: &Path) -> Option<String> {
    let mount = |line: &str| {
        let (before, behind) = line.split_once(" - ")?;
        let point = PathBuf::from(before.split(' ').nth(4)?);
        Some((point, behind.split(' ').next()?.to_owned()))
    };
    let around = mounts.lines().filter_map(mount).filter(|(point, _)| folder.starts_with(point));
    // Of several at one point the last covers the others.
    around.max_by_key(|(point, _)| point.components().count()).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_lies_on_the_innermost_file_system() {
        let mounts = "22 1 254:0 / / rw,relatime - ext4 /dev/root rw\n\
                      30 22 0:25 / /srv rw - xfs /dev/vdb rw\n\
                      31 22 0:26 / /srv rw shared:1 - btrfs /dev/vdc rw\n";
        let kind = |folder: &str| file_system(mounts, Path::new(folder));
        assert_eq!(kind("/srv/data").as_deref(), Some("btrfs"));
        assert_eq!(kind("/srvice").as_deref(), Some("ext4"));
        assert_eq!(file_system("", Path::new("/srv")), None);
    }

    #[test]
    fn a_report_holds_every_round() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("report.json");
        let mut report = Report::new(Some(&file), folder.path()).unwrap();
        report.note("rest", "GET", &json!({ "clients": 32 }), &[json!({ "rate": 1.5 }), json!({ "rate": 2.5 })]);
        report.write(true).unwrap();
        let told: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let row = json!({ "part": "rest", "what": "GET", "clients": 32, "rounds": [{ "rate": 1.5 }, { "rate": 2.5 }] });
        assert_eq!((&told["rows"], &told["isComplete"]), (&json!([row]), &json!(true)));
        assert!(told["machine"]["cores"].as_u64().is_some_and(|cores| cores > 0), "{told}");
    }

    #[test]
    fn a_report_that_cannot_be_written_fails_before_anything_is_measured() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Report::new(Some(&folder.path().join("missing/report.json")), folder.path()).is_err());
    }
}
