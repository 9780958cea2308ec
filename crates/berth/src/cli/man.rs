//! Manual pages, made of the definitions: so they say what `--help` says.

use super::Cli;
use clap::{Args, CommandFactory};
use clap_mangen::Man;
use std::io;
use std::path::{Path, PathBuf};

/// Which manual pages.
#[derive(Clone, Debug, Args)]
pub(crate) struct ManArgs {
    /// Of which command, as in: berth man volume create; without it of berth itself
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    pub(crate) command: Vec<String>,
    /// Write all of them into this folder, which is made if it is not there
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// The page that was asked for; nothing where all were written into a folder.
///
/// # Errors
/// There is no such command, or the folder cannot be written to.
pub(crate) fn man(args: &ManArgs) -> anyhow::Result<Vec<u8>> {
    let mut root = Cli::command();
    root.build();
    let root = without_help(root);
    match &args.dir {
        Some(dir) => write_all(&root, dir).map(|()| Vec::new()),
        None => Ok(page(named(&root, &args.command)?)?),
    }
}

fn named<'a>(root: &'a clap::Command, words: &[String]) -> anyhow::Result<&'a clap::Command> {
    words.iter().try_fold(root, |command, word| {
        let found = command.find_subcommand(word).filter(|found| !found.is_hide_set());
        found.ok_or_else(|| {
            let known: Vec<_> = shown(command).map(clap::Command::get_name).collect();
            let of = command.get_display_name().unwrap_or("berth").replace('-', " ");
            match known.is_empty() {
                true => anyhow::anyhow!("{of} has no commands of its own; leave {word:?} out"),
                false => anyhow::anyhow!("{of} has no command {word:?} (there are: {})", known.join(", ")),
            }
        })
    })
}

/// The command, whose pages do not send the reader to pages of `help`: there are none.
fn without_help(command: clap::Command) -> clap::Command {
    command.mut_subcommands(|sub| if sub.get_name() == "help" { sub.hide(true) } else { without_help(sub) })
}

/// The subcommands that are shown. `help` has no page: it is what the pages are.
fn shown(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
}

fn page(command: &clap::Command) -> io::Result<Vec<u8>> {
    let mut roff = Vec::new();
    Man::new(command.clone()).render(&mut roff)?;
    Ok(roff)
}

fn write_all(root: &clap::Command, dir: &Path) -> anyhow::Result<()> {
    use anyhow::Context;
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
    let mut waiting = vec![root];
    while let Some(command) = waiting.pop() {
        let file = dir.join(Man::new(command.clone()).get_filename());
        std::fs::write(&file, page(command)?).with_context(|| format!("cannot write {}", file.display()))?;
        waiting.extend(shown(command));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(words: &[&str]) -> anyhow::Result<String> {
        let command = words.iter().map(|word| (*word).to_owned()).collect();
        Ok(String::from_utf8(man(&ManArgs { command, dir: None })?)?)
    }

    #[test]
    fn a_page_says_what_its_command_takes() {
        let root = printed(&[]).unwrap();
        assert!(root.starts_with(".") || root.contains(".TH berth 1"), "{root}");
        assert!(root.contains("Exit codes"), "{root}");
        assert!(root.contains("berth\\-volume(1)") && !root.contains("berth\\-help(1)"), "{root}");
        assert!(!printed(&["volume"]).unwrap().contains("berth\\-volume\\-help(1)"));
        let create = printed(&["volume", "create"]).unwrap();
        assert!(
            create.contains("berth\\-volume\\-create") && create.contains("multi\\-attach") && create.contains("BERTH_ENDPOINT")
        );
        let wrong = printed(&["volume", "crate"]).unwrap_err().to_string();
        assert!(wrong.contains("berth volume has no command \"crate\" (there are: create, list"), "{wrong}");
        assert!(printed(&["fail-points"]).is_err(), "what is hidden has no page");
    }

    #[test]
    fn all_are_written_a_file_each() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("man1");
        man(&ManArgs { command: Vec::new(), dir: Some(dir.clone()) }).unwrap();
        for name in ["berth.1", "berth-volume.1", "berth-volume-create.1", "berth-watch.1", "berth-data-stop.1"] {
            assert!(std::fs::read_to_string(dir.join(name)).is_ok_and(|page| page.contains(".SH NAME")), "{name}");
        }
        assert!(!dir.join("berth-help.1").exists() && !dir.join("berth-fail-points.1").exists());
    }
}
