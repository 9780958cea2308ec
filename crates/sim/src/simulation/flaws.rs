//! Ports that are broken on purpose, one promise each: so that it is seen that the simulation notices. For tests alone.

/// Which promises of the ports are broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flaws {
    /// The driver acts on tokens that are older than the newest it has seen.
    pub driver_ignores_tokens: bool,
    /// The exporter does.
    pub exporter_ignores_tokens: bool,
    /// A fenced look does not fence.
    pub looks_do_not_fence: bool,
    /// Creating what is there replaces it.
    pub creates_anew: bool,
    /// A forced end of an export says that it is done, and serves on.
    pub forced_end_serves_on: bool,
    /// Now and then a commit is acknowledged and was not made.
    pub store_loses_commits: bool,
    /// Now and then a counter is not moved.
    pub store_miscounts: bool,
    /// Now and then a commit says that nothing happened, and it did.
    pub store_lies_about_refusals: bool,
}
