// The browser: Debian's Chromium, pages of which every complaint is kept, and the look that axe-core takes at them.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

/** How long anything may take to be seen, in milliseconds: a busy machine, not a slow page. */
export const PATIENCE = 60_000;
/** How long the browser may take to be there, in milliseconds: a newly installed one is read from a disk that others use. */
const LAUNCH_MAX = 180_000;
const PROGRAMS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const AXE = readFileSync(join(import.meta.dirname, "node_modules/axe-core/axe.min.js"), "utf8");

export async function launch() {
  const executablePath = PROGRAMS.find(existsSync);
  if (!executablePath) throw new Error(`no browser: none of ${PROGRAMS.join(", ")} is there`);
  // Shared memory of a container may be too small for it: then it writes into a file.
  return chromium.launch({ executablePath, timeout: LAUNCH_MAX, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}

/** What the browser says of a server that was killed on purpose. */
const EXPECTED = /net::ERR_|EventSource's response|status of (409|404|503)/;

/** Whether the page is looked at: a page of a browser without a screen always is, unless it is told otherwise. */
const look = (isHidden) => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => isHidden });
  document.dispatchEvent(new Event("visibilitychange"));
};
export const hide = (page) => page.evaluate(look, true);
export const show = (page) => page.evaluate(look, false);

/** A page of its own, with a `clock` that the test can put forward, or begin at a time of its own, and `hidden` from the beginning if that is asked for; on which `complaints` are kept: broken scripts, and whatever the policy forbade. */
export async function open(browser, url, { width = 1280, height = 800, scheme = "light", motion = "reduce", clock = false, hidden = false } = {}) {
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: scheme,
    reducedMotion: motion,
    timezoneId: "UTC",
    locale: "en-GB",
  });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  page.complaints = [];
  if (clock) await page.clock.install(typeof clock === "object" ? clock : {});
  if (hidden) await page.addInitScript(look, true);
  page.on("pageerror", (error) => page.complaints.push(`${error.message}\n${error.stack}`));
  page.on("console", (message) => {
    if (/error|warning/.test(message.type()) && !EXPECTED.test(message.text())) page.complaints.push(message.text());
  });
  page.on("dialog", (dialog) => {
    page.complaints.push(`a dialog of the browser: ${dialog.message()}`);
    dialog.dismiss();
  });
  await page.goto(url);
  return page;
}

/** Waits until the page is told of changes. */
export const live = (page) => page.locator(".connection.live").waitFor();

/** What axe-core finds wrong with the page as it is now, by all rules or by these; nothing, one hopes. */
export async function violations(page, rules = null) {
  if (!(await page.evaluate(() => Boolean(globalThis.axe)))) await page.evaluate(AXE);
  const options = { resultTypes: ["violations"], ...(rules && { runOnly: { type: "rule", values: rules } }) };
  const { violations: found, passes } = await page.evaluate((chosen) => globalThis.axe.run(document, chosen), options);
  // A rule set that looked at nothing would find nothing.
  if (passes.length < (rules?.length ?? 15)) throw new Error(`axe-core passed ${passes.length} rules only: was it run?`);
  return found.map((one) => `${one.id}: ${one.nodes.map((node) => node.html.slice(0, 120)).join(" | ")}`);
}
