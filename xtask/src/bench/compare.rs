//! The controller of another commit beside this tree's: both run, on folders of their own on one disk, and take turns round by round, so that both
//! meet the same noise.
//!
//! The other is built from a work tree of its own, which is removed again; its build is kept, by the commit's id.

use super::controller::{Server, TENANT, binary, target};
use super::report::Report;
use super::rest::CLIENTS;
use super::tool::{Aged, Spread, age, load};
use super::{Effort, cargo};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// How many digits of a commit's id name its build.
const DIGITS: usize = 12;

/// Another commit.
pub(super) struct Other {
    /// The first digits of its id.
    id: String,
    /// The first line of what it says.
    subject: String,
}

impl Other {
    /// Looks the commit up.
    pub(super) fn find(revision: &str) -> Result<Self> {
        let id = git(&["rev-parse", "--verify", &format!("{revision}^{{commit}}")])
            .with_context(|| format!("there is no commit {revision:?} here to compare with"))?;
        let subject = git(&["log", "-1", "--format=%s", &id])?;
        Ok(Self { id: id[..DIGITS].to_owned(), subject })
    }

    fn folder(&self) -> Result<PathBuf> {
        Ok(std::path::absolute(target())?.join("compare").join(&self.id))
    }

    fn binary(&self) -> Result<PathBuf> {
        Ok(self.folder()?.join("release/berth"))
    }

    /// Builds its controller, unless that was done before.
    pub(super) fn build(&self) -> Result<()> {
        if self.binary()?.is_file() {
            return Ok(());
        }
        let tree = Tree::of(&self.id, self.folder()?.with_extension("tree"))?;
        let built = cargo()
            .args(["build", "--release", "--locked", "-p", "berth"])
            .current_dir(&tree.0)
            .env("CARGO_TARGET_DIR", self.folder()?)
            // Its own toolchain file counts.
            .env_remove("RUSTUP_TOOLCHAIN")
            .status()
            .context("cannot run cargo")?;
        ensure!(built.success(), "the controller of {} ({}) does not build: see above", self.id, self.subject);
        Ok(())
    }
}

/// A work tree, which goes when this does.
struct Tree(PathBuf);

impl Tree {
    fn of(id: &str, folder: PathBuf) -> Result<Self> {
        // One that was killed may have left it.
        remove(&folder);
        let path = folder.to_str().context("the build folder's name is no text")?;
        git(&["worktree", "add", "--quiet", "--detach", path, id])?;
        Ok(Self(folder))
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(tree: &Path) {
    let _ = Command::new("git").args(["worktree", "remove", "--force"]).arg(tree).output();
    let _ = std::fs::remove_dir_all(tree);
    let _ = Command::new("git").args(["worktree", "prune"]).output();
}

/// What git tells.
pub(super) fn git(args: &[&str]) -> Result<String> {
    let output = Command::new("git").args(args).output().context("cannot run git")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git {} failed: {}", args[0], said.trim());
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Whether this tree is not what is committed.
pub(super) fn is_changed() -> Result<bool> {
    Ok(!git(&["status", "--porcelain"])?.is_empty())
}

/// What each of both is asked for.
#[derive(Clone, Copy)]
enum What {
    GetMany,
    GetFew,
    Create,
}

/// A controller that is measured.
struct Side {
    server: Server,
    aged: Aged,
    /// In memory, so that its driver answers at once.
    _pool: tempfile::TempDir,
}

impl Side {
    fn start(binary: &Path, data: &Path) -> Result<Self> {
        let pool = tempfile::tempdir_in("/dev/shm").context("no folder in memory")?;
        let server = Server::start_of(binary, data, "", Some(pool.path()), &[])?;
        let aged = age(&server, data)?;
        Ok(Self { server, aged, _pool: pool })
    }

    fn measure(&self, what: What, clients: usize, seconds: f64) -> Result<Value> {
        let collection = format!("/v1beta/{TENANT}/block/volumes");
        let get = |ids: &Path| ("get", format!("{collection}/{{id}}"), format!("--ids {}", ids.display()));
        let (ask, path, more) = match what {
            What::GetMany => get(&self.aged.many),
            What::GetFew => get(&self.aged.few),
            What::Create => ("create", collection, String::new()),
        };
        load(&self.server, ask, &path, clients, seconds, &more)
    }
}

/// Measures in `folder` and prints a table.
pub(super) fn run(folder: &Path, effort: &Effort, other: &Other, report: &mut Report) -> Result<()> {
    std::fs::create_dir_all(folder).context("cannot make a folder")?;
    let here = if is_changed()? { "this tree (with changes)" } else { "this tree" };
    let there = &other.id;
    let ours = Side::start(&binary(), &folder.join("ours"))?;
    let theirs = Side::start(&other.binary()?, &folder.join("theirs"))
        .with_context(|| format!("the controller of {there} ({}) cannot be measured", other.subject))?;
    println!("{here} beside {there} ({}), in turns, {} rounds", other.subject, effort.rounds);
    println!(
        "\n| what | clients | {here}: a second | p50 ms | p99 ms | µs of its processor | {there}: a second | p50 ms | p99 ms | µs of its processor | ratio of the rates | of the µs |"
    );
    println!("|---|---|{}", "---|".repeat(10));
    for (what, ask) in
        [("GET one of 30,000", What::GetMany), ("GET one of a thousand", What::GetFew), ("create until available", What::Create)]
    {
        for clients in CLIENTS {
            let (mut told, mut beside) = (Vec::new(), Vec::new());
            for _ in 0..effort.rounds {
                told.push(ours.measure(ask, clients, effort.seconds)?);
                beside.push(theirs.measure(ask, clients, effort.seconds)?);
            }
            let [rate, busy] = ["rate", "busy"].map(|field| Spread::ratio(&told, &beside, field).tell(1.0, 2));
            println!("| {what} | {clients} | {} | {} | **{rate}** | {busy} |", cells(&told), cells(&beside));
            report.note("compare", what, &json!({ "clients": clients, "of": here }), &told);
            report.note("compare", what, &json!({ "clients": clients, "of": there }), &beside);
        }
    }
    Ok(())
}

fn cells(told: &[Value]) -> String {
    let [rate, p50, p99, busy] = ["rate", "p50", "p99", "busy"].map(|field| Spread::of(told, field));
    format!("{} | {:.2} | {:.2} | {:.0}", rate.tell(1.0, 0), p50.median / 1e3, p99.median / 1e3, busy.median)
}
