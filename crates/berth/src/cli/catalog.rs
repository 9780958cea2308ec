//! Commands on profiles, and on pools, which come from the configuration.

use super::shared::{Ids, NamedListArgs, RemoveArgs, RenameArgs, Trial};
use super::values::pair;
use clap::{Args, Subcommand};

/// Commands on profiles.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ProfileCommand {
    /// Create a profile
    Create(ProfileCreateArgs),
    /// List profiles
    List(NamedListArgs),
    /// Show profiles
    Show(Ids),
    /// Change a profile's name or description
    Update(RenameArgs),
    /// Delete profiles
    Delete(RemoveArgs),
}

/// A new profile.
#[derive(Clone, Debug, Args)]
pub(crate) struct ProfileCreateArgs {
    /// Its name
    pub(crate) name: String,
    /// A description
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// Custom properties
    #[arg(long, value_parser = pair, value_name = "KEY=VALUE")]
    pub(crate) property: Vec<(String, String)>,
    /// Whether it is only tried.
    #[command(flatten)]
    pub(crate) trial: Trial,
}

/// Commands on pools, which come from the configuration.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum PoolCommand {
    /// List pools
    List(NamedListArgs),
    /// Show pools
    Show(Ids),
    /// Remove an object of a pool that no record names, by the name that `berth doctor` tells
    RemoveObject(RemoveObjectArgs),
}

/// Removing what no record names.
#[derive(Clone, Debug, Args)]
pub(crate) struct RemoveObjectArgs {
    /// The pool, by id or name
    #[arg(value_name = "POOL")]
    pub(crate) pool: String,
    /// The object: VOLUME, or VOLUME@SNAPSHOT
    #[arg(value_name = "OBJECT")]
    pub(crate) object: String,
    /// Yes, its data is to be lost: without this nothing is removed
    #[arg(long)]
    pub(crate) yes: bool,
    /// Whether it is only tried.
    #[command(flatten)]
    pub(crate) trial: Trial,
}
