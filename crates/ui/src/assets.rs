//! What the page is made of: one table of files. A test holds that it is the folder `assets`.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

/// A file of the page.
pub(crate) struct Asset {
    /// Its path below `assets`, and below `/ui/`.
    pub(crate) name: &'static str,
    pub(crate) bytes: &'static [u8],
}

macro_rules! asset {
    ($name:literal) => {
        Asset { name: $name, bytes: include_bytes!(concat!("../assets/", $name)) }
    };
}

/// Sorted by name.
pub(crate) static ASSETS: &[Asset] = &[
    asset!("announce.js"),
    asset!("api.js"),
    asset!("app.js"),
    asset!("clients.js"),
    asset!("clock.js"),
    asset!("columns.js"),
    asset!("commands.js"),
    asset!("css/base.css"),
    asset!("css/detail.css"),
    asset!("css/dialog.css"),
    asset!("css/list.css"),
    asset!("detail.js"),
    asset!("diagram.js"),
    asset!("dialog.js"),
    asset!("dom.js"),
    asset!("format.js"),
    asset!("grid.js"),
    asset!("index.html"),
    asset!("list.js"),
    asset!("machine.js"),
    asset!("mark.svg"),
    asset!("route.js"),
    asset!("rows.js"),
    asset!("status.js"),
    asset!("store.js"),
    asset!("stream.js"),
    asset!("timeline.js"),
    asset!("vendor/LICENSE-fontsource-ibm-plex-mono.txt"),
    asset!("vendor/LICENSE-fontsource-variable-ibm-plex-sans.txt"),
    asset!("vendor/LICENSE-htm.txt"),
    asset!("vendor/LICENSE-preact-signals-core.txt"),
    asset!("vendor/LICENSE-preact-signals.txt"),
    asset!("vendor/LICENSE-preact.txt"),
    asset!("vendor/SHA256SUMS"),
    asset!("vendor/htm.mjs"),
    asset!("vendor/ibm-plex-mono.woff2"),
    asset!("vendor/ibm-plex-sans.woff2"),
    asset!("vendor/preact-hooks.mjs"),
    asset!("vendor/preact.mjs"),
    asset!("vendor/signals-core.mjs"),
    asset!("vendor/signals.mjs"),
    asset!("words.js"),
];

/// The file of this name.
pub(crate) fn find(name: &str) -> Option<&'static Asset> {
    ASSETS.binary_search_by_key(&name, |asset| asset.name).ok().map(|place| &ASSETS[place])
}

impl Asset {
    /// Its media type.
    pub(crate) fn kind(&self) -> &'static str {
        match self.name.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js" | "mjs") => "text/javascript; charset=utf-8",
            Some("svg") => "image/svg+xml",
            Some("woff2") => "font/woff2",
            _ => "text/plain; charset=utf-8",
        }
    }

    /// Its entity tag: a hash of its bytes, which is the same as long as they are, in one build of the server.
    pub(crate) fn tag(&self) -> String {
        let mut hasher = DefaultHasher::new();
        hasher.write(self.bytes);
        format!("\"{:016x}\"", hasher.finish())
    }
}
