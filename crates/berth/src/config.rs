//! The configuration file: TOML, every key optional, unknown keys refused by name.
//!
//! Flags win over the file. Without a file there is one pool, `default`, in the data folder.

use crate::deadlines::{self, DeadlineTimes};
use anyhow::{Context, Result, bail};
use engine::{Settings, WhenDown};
use exporter::TlsProof;
use serde::Deserialize;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a client may take to send a request's header, also between two requests, unless the configuration says otherwise.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest time that can be configured: a year is for ever here, and a clock that is added it does not overflow.
pub const TIME_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The longest `down-after` and `probe-interval`, in seconds: what is noticed an hour later is noticed by others.
const PROBING_MAX: u64 = 60 * 60;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// Words of the OpenSDS dialect.
    pub opensds: Opensds,
    /// The engine's times.
    pub times: Times,
    /// The slow look at everything.
    pub look: Look,
    /// REST.
    pub http: Http,
    /// How attached volumes are served.
    pub nbd: Nbd,
    /// The pools. None: one named `default`.
    #[serde(rename = "pool")]
    pub pools: Vec<PoolConfig>,
}

/// Words of the OpenSDS dialect.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Opensds {
    /// `seed` (default) or `legacy`: the words that OpenSDS' own clients wait for.
    pub attachment_words: Words,
}

/// Which attachment words are spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Words {
    /// The seed's: `attached`, `errorDetaching`, …
    #[default]
    Seed,
    /// OpenSDS': `available`, `errorDeleting`, …
    Legacy,
}

/// REST.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Http {
    /// How many connections there may be (9000); further ones are told to come back.
    pub connections: NonZeroU32,
    /// How many of them may be streams of events (8000).
    pub streams: u32,
}

impl Default for Http {
    fn default() -> Self {
        let streams = u32::try_from(api_opensds::STREAMS).expect("some thousands");
        // Beside all streams there is room for who asks anything else.
        Self { connections: NonZeroU32::new(streams + 1000).expect("more than none"), streams }
    }
}

/// How attached volumes are served.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Nbd {
    /// Whether `berth serve` starts and ends the data plane (true).
    pub spawn_data_plane: bool,
    /// The name or address that clients are told to connect to (the one listened on).
    pub advertise_host: Option<String>,
    /// How many connections there may be (4096).
    pub max_connections: usize,
    /// How many connections one export may have (64).
    pub max_connections_per_export: usize,
    /// How TLS is spoken; without it, it is not.
    pub tls: Option<NbdTls>,
}

/// How NBD is spoken over TLS. Files are relative to the configuration's folder.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NbdTls {
    /// The server's certificate and those between it and its authority, in PEM.
    pub certificate: Option<PathBuf>,
    /// Its private key, in PEM.
    pub key: Option<PathBuf>,
    /// The authorities that sign clients' certificates, in PEM. With them every client must show one, which proves its name.
    pub client_ca: Option<PathBuf>,
    /// Instead of certificates: pre-shared keys, in lines `name:key`. Each proves its name.
    pub psk_file: Option<PathBuf>,
    /// The listeners that serve over TLS only (`["tcp"]`).
    #[serde(default = "tcp_only")]
    pub require_on: Vec<NbdListener>,
}

/// Where NBD is listened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NbdListener {
    /// TCP.
    Tcp,
    /// The unix socket in the data folder.
    Unix,
}

fn tcp_only() -> Vec<NbdListener> {
    vec![NbdListener::Tcp]
}

impl NbdTls {
    fn options(&self, folder: &Path) -> Result<exporter::TlsOptions> {
        let proof = match (&self.certificate, &self.key, &self.client_ca, &self.psk_file) {
            (Some(certificate), Some(key), client_ca, None) => TlsProof::Certificates {
                certificate: folder.join(certificate),
                key: folder.join(key),
                client_ca: client_ca.as_ref().map(|path| folder.join(path)),
            },
            (None, None, None, Some(keys)) => TlsProof::SharedKeys(folder.join(keys)),
            _ => bail!("[nbd.tls] needs a certificate and a key (and may have a client-ca), or a psk-file and none of these"),
        };
        Ok(exporter::TlsOptions {
            proof,
            required_on_tcp: self.require_on.contains(&NbdListener::Tcp),
            required_on_unix: self.require_on.contains(&NbdListener::Unix),
        })
    }

    /// Whether nobody is served over TCP who has not proven a name.
    fn proves_everybody(&self) -> bool {
        (self.client_ca.is_some() || self.psk_file.is_some()) && self.require_on.contains(&NbdListener::Tcp)
    }
}

impl Default for Nbd {
    fn default() -> Self {
        let exporter = exporter::Options::default();
        Self {
            spawn_data_plane: true,
            advertise_host: None,
            max_connections: exporter.max_connections,
            max_connections_per_export: exporter.max_connections_per_export,
            tls: None,
        }
    }
}

/// The engine's times, in seconds.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Times {
    /// How long a create, extend, snapshot or delete may go without progress (120).
    pub shape_deadline: Option<u64>,
    /// How long an export may take, and ending one (60).
    pub export_deadline: Option<u64>,
    /// The same for single kinds of operation, before these two.
    pub deadline: DeadlineTimes,
    /// How long a backend may leave probes unanswered before its pool is down (10).
    pub down_after: Option<u64>,
    /// How often a backend is probed (10).
    pub probe_interval: Option<u64>,
    /// How long a superseded call is awaited (10).
    pub call_timeout: Option<u64>,
    /// How long tombstones stay readable (3600).
    pub tombstone_life: Option<u64>,
    /// How long a graceful detach waits for the client to leave (5).
    pub detach_grace: Option<u64>,
    /// How long a client may take to send the header of a request (30).
    pub request_header: Option<u64>,
}

/// The slow look at everything.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Look {
    /// How long to rest between two, in seconds (30).
    pub interval: Option<u64>,
    /// How many records a second are compared (2000).
    pub rate: Option<NonZeroU32>,
}

/// One pool.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PoolConfig {
    /// Its name.
    pub name: String,
    /// Its description.
    #[serde(default)]
    pub description: String,
    /// Its availability zone (`default`).
    #[serde(default = "default_zone")]
    pub zone: String,
    /// Its driver: `file`, the only one so far.
    #[serde(default = "default_driver")]
    pub driver: String,
    /// The folder of the file driver; relative to the data folder.
    pub folder: Option<PathBuf>,
    /// How often its capacity may be promised (20).
    #[serde(default = "default_overcommit")]
    pub overcommit: f64,
    /// Bytes kept free (the larger of 1 GiB and 5%).
    pub reserved: Option<u64>,
    /// Whether it takes nothing new and may be forgotten.
    #[serde(default)]
    pub retired: bool,
    /// What is done with new work while its backend is down (`refuse`).
    #[serde(default)]
    pub when_down: WhenDownWord,
    /// Deadlines of its own, before those of every pool.
    #[serde(default)]
    pub deadline: DeadlineTimes,
}

/// What is done with new work for a pool whose backend is down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenDownWord {
    /// It is refused.
    #[default]
    Refuse,
    /// It is accepted, and begun when the backend answers.
    Queue,
}

impl From<WhenDownWord> for WhenDown {
    fn from(word: WhenDownWord) -> Self {
        match word {
            WhenDownWord::Refuse => Self::Refuse,
            WhenDownWord::Queue => Self::Queue,
        }
    }
}

fn default_zone() -> String {
    engine::DEFAULT_ZONE.into()
}

fn default_driver() -> String {
    "file".into()
}

const fn default_overcommit() -> f64 {
    20.0
}

impl PoolConfig {
    fn default_pool() -> Self {
        Self {
            name: "default".into(),
            description: String::new(),
            zone: default_zone(),
            driver: default_driver(),
            folder: None,
            overcommit: default_overcommit(),
            reserved: None,
            retired: false,
            when_down: WhenDownWord::default(),
            deadline: DeadlineTimes::default(),
        }
    }

    /// Where the file driver keeps its files.
    #[must_use]
    pub fn folder(&self, data: &Path) -> PathBuf {
        match &self.folder {
            Some(folder) => data.join(folder),
            None => data.join("pools").join(&self.name),
        }
    }

    fn check(&self) -> Result<()> {
        let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(fine) {
            bail!("pool name {:?} must be 1 to 64 of letters, digits, - and _", self.name);
        }
        if self.driver != "file" {
            bail!("pool {}: driver {:?} is not known (there is: file)", self.name, self.driver);
        }
        if !(self.overcommit.is_finite() && self.overcommit > 0.0) {
            bail!("pool {}: overcommit must be a number above 0, not {}", self.name, self.overcommit);
        }
        self.deadline.check(&format!("pool {}: deadline", self.name))
    }
}

impl Config {
    /// Reads the file, or takes the defaults where none is named.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, or says something that is not understood: named with its line.
    pub fn read(path: Option<&Path>) -> Result<Self> {
        let text = match path {
            Some(path) => {
                std::fs::read_to_string(path).with_context(|| format!("cannot read the configuration {}", path.display()))?
            }
            None => String::new(),
        };
        Self::parse(&text)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn parse(text: &str) -> Result<Self> {
        let mut config: Self = toml::from_str(text).context("the configuration is not understood")?;
        config.check_times()?;
        if config.pools.is_empty() {
            config.pools.push(PoolConfig::default_pool());
        }
        config.pools.iter().try_for_each(PoolConfig::check)?;
        config.times.deadline.check("times.deadline")?;
        for (name, seconds) in [("down-after", config.times.down_after), ("probe-interval", config.times.probe_interval)] {
            if let Some(seconds) = seconds.filter(|seconds| !(1..=PROBING_MAX).contains(seconds)) {
                bail!("{name} must be 1 to {PROBING_MAX} seconds (an hour), not {seconds}");
            }
        }
        config.check_grace()?;
        let mut names: Vec<_> = config.pools.iter().map(|pool| &pool.name).collect();
        names.sort();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            bail!("the configuration names pool {} twice", twice[0]);
        }
        Ok(config)
    }

    /// A graceful detach must be over before its deadline, in every pool: or each one whose client stays would end as unknown.
    fn check_grace(&self) -> Result<()> {
        let (grace, settings) = (self.exporter(None)?.grace, self.settings());
        let everywhere = match settings.deadlines.detach {
            Some(deadline) => ("times.deadline.detach".to_owned(), deadline),
            None => ("export-deadline".to_owned(), settings.export_deadline),
        };
        let own = |pool: &PoolConfig| Some((format!("pool {}: deadline.detach", pool.name), pool.deadline.deadlines().detach?));
        for (name, deadline) in std::iter::once(everywhere).chain(self.pools.iter().filter_map(own)) {
            if grace >= deadline {
                bail!("detach-grace ({} s) must be shorter than {name} ({} s)", grace.as_secs(), deadline.as_secs());
            }
        }
        Ok(())
    }

    /// Whether every time is one that a clock can be added.
    fn check_times(&self) -> Result<()> {
        deadlines::check("shape-deadline", self.times.shape_deadline)?;
        deadlines::check("export-deadline", self.times.export_deadline)?;
        // Without any time to be sent in, nothing is ever sent; other times may be none.
        let times = [
            ("call-timeout", self.times.call_timeout, 0),
            ("tombstone-life", self.times.tombstone_life, 0),
            ("detach-grace", self.times.detach_grace, 0),
            ("request-header", self.times.request_header, 1),
            ("interval", self.look.interval, 0),
        ];
        if self.http.streams >= self.http.connections.get() {
            bail!("[http] streams must be fewer than connections, so that there is room for who asks anything else");
        }
        for (name, seconds, least) in times {
            let most = TIME_MAX.as_secs();
            if let Some(seconds) = seconds.filter(|seconds| !(least..=most).contains(seconds)) {
                bail!("{name} must be {least} to {most} seconds (a year), not {seconds}");
            }
        }
        Ok(())
    }

    /// How long a client may take to send the header of a request.
    #[must_use]
    pub fn header_timeout(&self) -> Duration {
        self.times.request_header.map_or(HEADER_TIMEOUT, Duration::from_secs)
    }

    /// How the data plane serves; `path` is where this configuration was read from.
    ///
    /// # Errors
    /// What TLS is told makes no sense together.
    pub fn exporter(&self, path: Option<&Path>) -> Result<exporter::Options> {
        let folder = path.and_then(Path::parent).unwrap_or(Path::new(""));
        let mut options = exporter::Options {
            advertise_host: self.nbd.advertise_host.clone(),
            max_connections: self.nbd.max_connections,
            max_connections_per_export: self.nbd.max_connections_per_export,
            tls: self.nbd.tls.as_ref().map(|tls| tls.options(folder)).transpose()?,
            ..exporter::Options::default()
        };
        if let Some(seconds) = self.times.detach_grace {
            options.grace = Duration::from_secs(seconds);
        }
        Ok(options)
    }

    /// Whether every client of NBD over TCP must prove a name.
    #[must_use]
    pub fn nbd_proves_everybody(&self) -> bool {
        self.nbd.tls.as_ref().is_some_and(NbdTls::proves_everybody)
    }

    /// The engine's settings.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        let set = |field: &mut Duration, seconds: Option<u64>| {
            if let Some(seconds) = seconds {
                *field = Duration::from_secs(seconds);
            }
        };
        set(&mut settings.shape_deadline, self.times.shape_deadline);
        set(&mut settings.export_deadline, self.times.export_deadline);
        set(&mut settings.call_timeout, self.times.call_timeout);
        set(&mut settings.tombstone_life, self.times.tombstone_life);
        set(&mut settings.look_interval, self.look.interval);
        settings.look_rate = self.look.rate.map_or(settings.look_rate, NonZeroU32::get);
        set(&mut settings.down_after, self.times.down_after);
        set(&mut settings.probe_interval, self.times.probe_interval);
        settings.deadlines = self.times.deadline.deadlines();
        // The engine's number is for two processors.
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        settings.lists_at_once = settings.lists_at_once.max(3 * processors);
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), text)?;
        Config::read(Some(file.path()))
    }

    #[test]
    fn without_a_file_there_is_one_pool() {
        let config = Config::read(None).unwrap();
        assert_eq!(config.pools.len(), 1);
        assert_eq!(config.pools[0].folder(Path::new("data")), Path::new("data/pools/default"));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let rows = [
            ("colour = 1", "colour"),
            ("[[pool]]\nname = \"a b\"", "a b"),
            ("[[pool]]\nname = \"a\"\ndriver = \"zfs\"", "zfs"),
            ("[[pool]]\nname = \"a\"\novercommit = -1.0", "overcommit"),
            ("[[pool]]\nname = \"a\"\n[[pool]]\nname = \"a\"", "twice"),
            ("[opensds]\nattachment-words = \"old\"", "old"),
            ("[times]\ndetach-grace = 60", "shorter than export-deadline"),
            ("[times.deadline]\ndetach = 5", "shorter than times.deadline.detach"),
            ("[[pool]]\nname = \"a\"\n[pool.deadline]\ndetach = 3", "shorter than pool a: deadline.detach"),
            ("[times.deadline]\nresize = 5", "resize"),
            ("[times.deadline]\ncreate = 0", "times.deadline.create must be 1 to"),
            ("[times.deadline]\nlook = 604801", "times.deadline.look must be 1 to"),
            ("[times.deadline]\nlook = -1", "look"),
            ("[[pool]]\nname = \"a\"\n[pool.deadline]\nextend = 0", "pool a: deadline.extend must be 1 to"),
            ("[[pool]]\nname = \"a\"\n[pool.deadline]\ngrow = 1", "grow"),
            ("[[pool]]\nname = \"a\"\nwhen-down = \"wait\"", "wait"),
            ("[times]\ndown-after = 0", "down-after must be 1 to"),
            ("[times]\nprobe-interval = 3601", "probe-interval must be 1 to"),
            ("[times]\nshape-deadline = 9223372036854775807", "shape-deadline"),
            ("[times]\nshape-deadline = 604801", "shape-deadline must be 1 to 604800 seconds (a week)"),
            ("[times]\nexport-deadline = 604801", "export-deadline must be 1 to"),
            ("[times]\nexport-deadline = 0", "export-deadline must be 1 to"),
            ("[times]\nrequest-header = 0", "request-header"),
            ("[http]\nconnections = 0", "connections"),
            ("[http]\nstreams = -1", "streams"),
            ("[http]\nconnections = 1000", "fewer than connections"),
            ("[nbd.tls]\ncertificate = \"c\"", "a key"),
            ("[nbd.tls]\nrequire-on = [\"udp\"]", "udp"),
        ];
        for (text, named) in rows {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn the_page_tells_the_defaults() {
        let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md")).unwrap();
        let told = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
        let (told, bare) = (read(told).unwrap(), read("").unwrap());
        assert_eq!(format!("{:?}", told.settings()), format!("{:?}", bare.settings()));
        assert_eq!(told.header_timeout(), bare.header_timeout());
        assert_eq!(told.opensds.attachment_words, bare.opensds.attachment_words);
        assert_eq!(told.times.detach_grace.map(Duration::from_secs), Some(exporter::Options::default().grace));
        assert_eq!(told.nbd, bare.nbd);
        assert_eq!(told.http, bare.http);
        let (pool, default) = (&told.pools[0], &bare.pools[0]);
        assert_eq!(pool.folder(Path::new("d")), default.folder(Path::new("d")));
        let folder = default.folder.clone();
        assert_eq!(format!("{:?}", PoolConfig { folder, ..pool.clone() }), format!("{default:?}"));
    }

    #[test]
    fn deadlines_are_set_for_every_pool_and_for_one() {
        let text = "[times.deadline]\ncreate = 600\nlook = 5\n[[pool]]\nname = \"a\"\nwhen-down = \"queue\"\n[pool.deadline]\nsnapshot = 900\n\
                    [[pool]]\nname = \"b\"";
        let config = read(text).unwrap();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let (all, own) = (config.settings().deadlines, config.pools[0].deadline.deadlines());
        assert_eq!((all.create, all.look, all.snapshot), (seconds(600), seconds(5), None));
        assert_eq!((own.create, own.snapshot), (None, seconds(900)));
        assert_eq!(
            config.pools.iter().map(|pool| WhenDown::from(pool.when_down)).collect::<Vec<_>>(),
            [WhenDown::Queue, WhenDown::Refuse]
        );
        assert_eq!(config.pools[1].deadline, DeadlineTimes::default());
    }

    #[test]
    fn the_legacy_words_can_be_asked_for() {
        let config = read("[opensds]\nattachment-words = \"legacy\"\n[times]\ncall-timeout = 3").unwrap();
        assert_eq!(config.opensds.attachment_words, Words::Legacy);
        assert_eq!(config.settings().call_timeout, Duration::from_secs(3));
    }
}
