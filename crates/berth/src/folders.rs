//! Whether each pool has a folder of its own, before anything is opened.
//!
//! Two pools in one folder would each take the other's volumes for what no record names. Folders are compared by where they lead, links
//! followed as far as they are there; one whose file system hangs is compared by its name alone. What is mounted in two places is not
//! seen here: the lock in the folder keeps the second pool out.

use crate::config::Config;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a folder's file system may take to tell where a path leads.
const PATIENCE: Duration = Duration::from_secs(2);

/// Refuses pools that share a folder, or have one inside another's.
///
/// # Errors
/// Names both pools and their folders.
pub(crate) async fn are_apart(config: &Config, data: &Path) -> Result<()> {
    let asked: Vec<_> = config
        .pools
        .iter()
        .map(|pool| {
            let folder = pool.folder(data);
            let real = folder.clone();
            (&pool.name, folder, tokio::task::spawn_blocking(move || real_path(&real)))
        })
        .collect();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut known: Vec<(&str, PathBuf)> = Vec::with_capacity(asked.len());
    for (name, folder, real) in asked {
        let real = tokio::time::timeout_at(deadline, real).await.ok().and_then(Result::ok).unwrap_or(folder);
        if let Some((other, theirs)) = known.iter().find(|(_, theirs)| real.starts_with(theirs) || theirs.starts_with(&real)) {
            let (here, there) = (real.display(), theirs.display());
            if real == *theirs {
                bail!("pools {other} and {name} have the same folder, {here}; give each a folder of its own");
            }
            bail!(
                "the folder of pool {name}, {here}, and that of pool {other}, {there}, lie one in the other; give each a folder of its own"
            );
        }
        known.push((name, real));
    }
    Ok(())
}

/// Where a path leads, as far as it is there; the rest as it is written.
fn real_path(path: &Path) -> PathBuf {
    let mut rest = PathBuf::new();
    for part in path.ancestors() {
        if let Ok(real) = part.canonicalize() {
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
        let Some(name) = part.file_name() else { break };
        rest = if rest.as_os_str().is_empty() { PathBuf::from(name) } else { Path::new(name).join(rest) };
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(pools: &[(&str, &str)], data: &Path) -> String {
        let text: String = pools.iter().map(|(name, folder)| format!("[[pool]]\nname = {name:?}\nfolder = {folder:?}\n")).collect();
        let config = Config::parse(&text).unwrap();
        are_apart(&config, data).await.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[tokio::test]
    async fn pools_that_share_a_folder_are_named() {
        let data = tempfile::tempdir().unwrap();
        let data = data.path().canonicalize().unwrap();
        std::fs::create_dir_all(data.join("real/inner")).unwrap();
        std::os::unix::fs::symlink(data.join("real"), data.join("link")).unwrap();
        let rows = [
            ("one", "one", "same folder"),
            ("new/x", "./new//x/", "same folder"),
            ("real", "link", "same folder"),
            ("real/new", "link/new", "same folder"),
            ("real", "real/inner/../../link", "same folder"),
            ("real", "link/new", "one in the other"),
            ("outer/inner", "outer", "one in the other"),
            ("one", "one-more", ""),
            ("real", "other", ""),
        ];
        for (first, second, words) in rows {
            let told = told(&[("a", first), ("b", second)], &data).await;
            assert!(told.contains(words) && told.is_empty() == words.is_empty(), "{first}, {second}: {told}");
            assert!(words.is_empty() || ["a", "b"].iter().all(|pool| told.contains(&format!(" {pool}"))), "{told}");
        }
        assert_eq!(told(&[("a", "x"), ("b", "y"), ("c", "z")], &data).await, "");
        assert!(!data.join("new").exists(), "nothing is made");
    }
}
