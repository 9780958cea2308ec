//! The door for fuzzing: configuration files, given to what reads them, with what must hold whatever they say.
//!
//! The target `config` in `fuzz/` calls this and nothing else; the tests here replay what it found, on the stable toolchain. A broken
//! promise is a panic.

use crate::config::{Config, TIME_MAX};
use std::collections::BTreeSet;
use std::path::Path;

/// Reads `input` as a configuration file. Returns whether it is one.
///
/// # Panics
/// If reading does, or what is read breaks the bounds that the server relies on.
pub fn config(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let config = match Config::parse(text) {
        Ok(config) => config,
        Err(why) => {
            assert!(!why.to_string().is_empty(), "it is refused without a word");
            return false;
        }
    };
    times(&config);
    let names: BTreeSet<_> = config.pools.iter().map(|pool| &pool.name).collect();
    assert!(!names.is_empty() && names.len() == config.pools.len(), "pools have no names of their own: {names:?}");
    for pool in &config.pools {
        assert!(!pool.name.contains(['/', '.', '\0']) && !pool.name.is_empty(), "{:?} would be a folder elsewhere", pool.name);
        assert!(pool.overcommit.is_finite() && pool.overcommit > 0.0, "{} is promised of {}", pool.overcommit, pool.name);
        let folder = pool.folder(Path::new("data"));
        assert!(pool.folder.is_some() || folder.starts_with("data/pools"), "{}", folder.display());
    }
    true
}

fn times(config: &Config) {
    let (settings, exporter) = (config.settings(), config.exporter(None).expect("it was checked"));
    let detach = settings.deadlines.detach.unwrap_or(settings.export_deadline);
    assert!(exporter.grace < detach, "a graceful detach is late before it is forced");
    let times = [
        settings.shape_deadline,
        settings.export_deadline,
        settings.call_timeout,
        settings.tombstone_life,
        settings.look_interval,
        settings.down_after,
        settings.probe_interval,
        exporter.grace,
        config.header_timeout(),
    ];
    assert!(times.iter().all(|time| *time <= TIME_MAX), "a clock that is added one of {times:?} may overflow");
}

#[cfg(test)]
mod tests {
    use super::*;
    use ground::corpus::{Seeds, keep, replay};
    use std::cell::Cell;

    /// Every key.
    const ALL: &str = "\
[opensds]
attachment-words = \"seed\"
[times]
shape-deadline = 120
export-deadline = 60
call-timeout = 10
tombstone-life = 3600
detach-grace = 5
request-header = 30
down-after = 10
probe-interval = 10
[times.deadline]
create = 120
look = 60
[look]
interval = 30
rate = 2000
[nbd]
spawn-data-plane = true
advertise-host = \"10.0.0.1\"
max-connections = 4096
max-connections-per-export = 64
[nbd.tls]
certificate = \"server.pem\"
key = \"server.key\"
client-ca = \"clients.pem\"
require-on = [\"tcp\"]
[[pool]]
name = \"default\"
description = \"\"
zone = \"default\"
driver = \"file\"
folder = \"pools/default\"
overcommit = 20.0
reserved = 1073741824
retired = false
when-down = \"queue\"
[pool.deadline]
extend = 600
detach = 30
";

    /// `UPDATE_GOLDEN=1 cargo test -p berth --lib the_seeds_are_kept` rewrites them.
    fn seeds() -> Seeds {
        let time = |name: &str, seconds: &str| format!("[times]\n{name} = {seconds}\n").into_bytes();
        vec![
            ("empty", Vec::new()),
            ("all", ALL.as_bytes().to_vec()),
            ("legacy", b"opensds.attachment-words = \"legacy\"\n".to_vec()),
            (
                "two-pools",
                b"[[pool]]\nname = \"a\"\n[[pool]]\nname = \"b\"\nfolder = \"/srv\"\nreserved = 0\nretired = true\n".to_vec(),
            ),
            ("pool-twice", b"[[pool]]\nname = \"a\"\n[[pool]]\nname = \"a\"\n".to_vec()),
            ("pool-elsewhere", b"[[pool]]\nname = \"../a\"\n".to_vec()),
            ("pool-infinite", b"[[pool]]\nname = \"a\"\novercommit = inf\n".to_vec()),
            ("pool-reserves-all", b"[[pool]]\nname = \"a\"\nreserved = 9223372036854775807\n".to_vec()),
            ("time-for-ever", time("shape-deadline", "9223372036854775807")),
            ("time-below", time("tombstone-life", "-1")),
            ("time-none", time("call-timeout", "0")),
            ("time-a-year", time("export-deadline", "31536000")),
            ("grace-too-long", time("detach-grace", "60")),
            ("deadline-for-ever", b"[times.deadline]\ncreate = 9223372036854775807\n".to_vec()),
            ("pool-waits", b"[[pool]]\nname = \"a\"\nwhen-down = \"wait\"\n".to_vec()),
            ("connections-for-ever", b"[nbd]\nmax-connections = 9223372036854775807\n".to_vec()),
            ("tls-shared-keys", b"[nbd.tls]\npsk-file = \"keys\"\nrequire-on = []\n".to_vec()),
            ("tls-half", b"[nbd.tls]\nkey = \"k\"\n".to_vec()),
            ("unknown", b"colour = 1\n".to_vec()),
            ("deep", [b"a = ".as_slice(), &[b'['; 500]].concat()),
            ("cut", b"[[pool]\nname".to_vec()),
        ]
    }

    #[test]
    fn the_seeds_are_kept() {
        keep("config", seeds());
    }

    #[test]
    fn kept_configurations_are_survived() {
        let read = Cell::new(0);
        replay("config", 15, |input| read.set(read.get() + usize::from(config(input))));
        assert!(read.get() >= 7, "only {} kept configurations are read: have the keys changed?", read.get());
    }
}
