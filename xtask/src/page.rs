//! `cargo xtask page`: the page in a real browser, on a real running controller.
//!
//! - What it tries stands in `crates/ui/tests/browser`; node runs it, Debian's Chromium shows it.
//! - What node needs comes from npm into the build folder, by the lock file: nothing is left in the source tree.
//! - With `--images` the pictures of `docs/images` are taken anew: look at them before they are committed.

use crate::bench::controller::{binary, build, target};
use crate::tally::{Why, shown};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is run: copied beside what it needs.
const FILES: [&str; 8] =
    ["package.json", "package-lock.json", "browser.mjs", "many.mjs", "nbd.mjs", "page.mjs", "relay.mjs", "server.mjs"];
/// Chromium's name in Debian and elsewhere.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// What is tried.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Take the pictures of `docs/images` anew.
    #[arg(long)]
    images: bool,
    /// Only the tests whose name has these words.
    #[arg(long)]
    only: Option<String>,
}

impl Options {
    pub(crate) fn run(&self) -> Result<()> {
        if let Some(missing) = missing() {
            bail!("{missing}");
        }
        let mut more = Vec::new();
        if self.images {
            more.extend(["--images".to_owned(), root().join("docs/images").display().to_string()]);
        }
        if let Some(only) = &self.only {
            more.extend(["--only".to_owned(), only.clone()]);
        }
        build()?;
        if looked_at(&installed()?, &more)?.is_empty() { Ok(()) } else { bail!("the page is not as it should be") }
    }
}

/// The run of `cargo xtask test`: what failed.
///
/// # Errors
/// Why it could not be run.
pub(crate) fn test() -> Result<Vec<Why>> {
    match missing() {
        Some(missing) => bail!("{missing}"),
        None => looked_at(&installed()?, &[]),
    }
}

/// What a machine lacks for it, if anything.
fn missing() -> Option<String> {
    let has_browser = BROWSERS.into_iter().any(crate::is_there);
    let programs = ["node", "npm"].into_iter().find(|program| !crate::is_there(program));
    programs.or((!has_browser).then_some(BROWSERS[0])).map(|program| format!("{program} is missing"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository").to_owned()
}

/// The folder with the tests and what they need, in the versions of the lock file.
fn installed() -> Result<PathBuf> {
    let folder = target().join("page");
    let lock = root().join("crates/ui/tests/browser/package-lock.json");
    let (wanted, noted) = (std::fs::read(&lock).context("cannot read the lock file")?, folder.join("installed.json"));
    std::fs::create_dir_all(&folder).context("cannot make the folder of the page's tests")?;
    for file in FILES {
        let from = root().join("crates/ui/tests/browser").join(file);
        std::fs::copy(&from, folder.join(file)).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    if std::fs::read(&noted).is_ok_and(|held| held == wanted) {
        return Ok(folder);
    }
    println!("== page: installing its tests' packages into {}", folder.display());
    let mut install = Command::new("npm");
    install.current_dir(&folder).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]);
    let status = install.stdin(Stdio::null()).status().context("cannot run npm")?;
    if !status.success() {
        bail!("cannot install playwright-core and axe-core from npm");
    }
    std::fs::write(&noted, wanted).context("cannot note what is installed")?;
    Ok(folder)
}

/// Runs them. What failed.
fn looked_at(folder: &Path, more: &[String]) -> Result<Vec<Why>> {
    println!("== page");
    let controller = binary().canonicalize().context("the controller is not there")?;
    let mut command = Command::new("node");
    command.current_dir(folder).arg("page.mjs").arg(controller).args(more);
    let mut whys = Vec::new();
    let succeeded = shown(command.stdin(Stdio::null()), |line| hear(&mut whys, line)).context("cannot run node")?;
    if !succeeded && whys.is_empty() {
        whys.push(Why::new("page", "its tests did not come to their end"));
    }
    Ok(whys)
}

/// A line of what they print: each test's begins with how it ended.
fn hear(whys: &mut Vec<Why>, line: &str) {
    if let Some(failed) = line.strip_prefix("FAILED ") {
        whys.push(Why::new(&format!("page: {}", failed.split(": ").next().unwrap_or(failed)), failed));
    } else if let Some(why) = whys.last_mut() {
        match line {
            // Within what an assertion says.
            "" => {}
            _ if line.starts_with("ok ") || line.starts_with("page: ") => why.end(),
            _ => why.hear(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_told_with_why() {
        let mut whys = Vec::new();
        let lines = [
            "ok one (1.0 s)",
            "FAILED two, at once: AssertionError: not equal:",
            "",
            "1 !== 2",
            "ok three (0.1 s)",
            "said of nothing that failed",
            "FAILED four: Error: not seen",
            "page: 2 passed, 2 failed",
        ];
        lines.iter().for_each(|line| hear(&mut whys, line));
        let told = crate::tally::Tally::of("page", Ok(whys)).failures();
        assert_eq!(told[..3], ["failed: page: two, at once", "    two, at once: AssertionError: not equal:", "    1 !== 2"]);
        assert_eq!(told[3..], ["failed: page: four", "    four: Error: not seen"]);
    }
}
