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

const NONE: Flaws = Flaws {
    driver_ignores_tokens: false,
    exporter_ignores_tokens: false,
    looks_do_not_fence: false,
    creates_anew: false,
    forced_end_serves_on: false,
    store_loses_commits: false,
    store_miscounts: false,
    store_lies_about_refusals: false,
};

impl Flaws {
    /// Each alone, with its name.
    pub const EACH: &'static [(&'static str, Self)] = &[
        ("the driver ignores tokens", Self { driver_ignores_tokens: true, ..NONE }),
        ("the exporter ignores tokens", Self { exporter_ignores_tokens: true, ..NONE }),
        ("looks do not fence", Self { looks_do_not_fence: true, ..NONE }),
        ("creating replaces what is there", Self { creates_anew: true, ..NONE }),
        ("a forced end of an export serves on", Self { forced_end_serves_on: true, ..NONE }),
        ("the store loses commits", Self { store_loses_commits: true, ..NONE }),
        ("the store miscounts", Self { store_miscounts: true, ..NONE }),
        ("the store lies about refusals", Self { store_lies_about_refusals: true, ..NONE }),
    ];
}
