// Renews `assets/vendor`: `node crates/ui/vendor.mjs`, then `cargo test -p ui` and the page's tests.
//
// The packages are pinned here. Each file is taken as it is, but for two things that a browser without a bundler needs: bare import
// names become paths, and the comment that names a source map, which is not shipped, is dropped. Needs npm and tar, and no build.

import { createHash } from "node:crypto";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PACKAGES = [
  { name: "preact", version: "11.2.0", files: { "dist/preact.mjs": "preact.mjs", "hooks/dist/hooks.mjs": "preact-hooks.mjs" } },
  { name: "@preact/signals-core", version: "1.14.5", files: { "dist/signals-core.mjs": "signals-core.mjs" } },
  { name: "@preact/signals", version: "2.11.4", files: { "dist/signals.mjs": "signals.mjs" } },
  { name: "htm", version: "3.1.1", files: { "dist/htm.mjs": "htm.mjs" } },
  {
    name: "@fontsource-variable/ibm-plex-sans",
    version: "5.3.0",
    files: { "files/ibm-plex-sans-latin-wght-normal.woff2": "ibm-plex-sans.woff2" },
  },
  {
    name: "@fontsource/ibm-plex-mono",
    version: "5.3.0",
    files: { "files/ibm-plex-mono-latin-400-normal.woff2": "ibm-plex-mono.woff2" },
  },
];

/** What a bare name becomes. */
const PATHS = {
  preact: "./preact.mjs",
  "preact/hooks": "./preact-hooks.mjs",
  "@preact/signals-core": "./signals-core.mjs",
};

const vendor = join(import.meta.dirname, "assets", "vendor");
rmSync(vendor, { recursive: true, force: true });
mkdirSync(vendor, { recursive: true });

for (const { name, version, files } of PACKAGES) {
  const folder = mkdtempSync(join(tmpdir(), "berth-vendor-"));
  execFileSync("npm", ["pack", "--silent", `${name}@${version}`], { cwd: folder });
  const [archive] = readdirSync(folder);
  execFileSync("tar", ["xzf", archive], { cwd: folder });
  for (const [from, to] of Object.entries(files)) {
    const bytes = readFileSync(join(folder, "package", from));
    writeFileSync(join(vendor, to), to.endsWith(".mjs") ? forBrowsers(bytes.toString("utf8")) : bytes);
  }
  const licence = readFileSync(join(folder, "package", "LICENSE"));
  writeFileSync(join(vendor, `LICENSE-${name.replace(/^@/, "").replace("/", "-")}.txt`), licence);
  rmSync(folder, { recursive: true });
}

const sums = readdirSync(vendor)
  .sort()
  .map((file) => `${createHash("sha256").update(readFileSync(join(vendor, file))).digest("hex")}  ${file}\n`);
writeFileSync(join(vendor, "SHA256SUMS"), sums.join(""));

function forBrowsers(text) {
  const mapped = text.replace(/\/\/# sourceMappingURL=\S+/g, "").replace(/(from|import)"([^".][^"]*)"/g, (_, word, bare) => {
    if (!PATHS[bare]) throw new Error(`no path is known for ${bare}`);
    return `${word}"${PATHS[bare]}"`;
  });
  return mapped.trimEnd() + "\n";
}
