// One clock for everything on the page that tells how long ago: views that read it are drawn once a second, and only those.

import { computed, html, signal, useMemo } from "./dom.js";
import { age, clock, duration, moment } from "./format.js";

export const now = signal(Date.now());
setInterval(() => {
  if (!document.hidden) now.value = Date.now();
}, 1000);
document.addEventListener("visibilitychange", () => (now.value = Date.now()));

/** How far the server's clock may be off without being told apart from a slow answer, whose header says whole seconds, in milliseconds. */
const SKEW_MIN = 5_000;
const skew = signal(0);

/** Takes note of what the server's clock says, as its answers tell it: how long ago something was is told by the clock that saw it. */
export function learn(date) {
  const ahead = Date.parse(date) - Date.now();
  if (Math.abs(ahead) > SKEW_MIN) skew.value = ahead;
}

/** What the server's clock says now. */
export const serverNow = computed(() => now.value + skew.value);

/** The hour, and all of the time to whoever points at it. */
export const At = ({ at }) => html`<time datetime=${new Date(at).toISOString()} title=${moment(at)}>${clock(at)}</time>`;

/** `3 min`, and ticking. */
export function Age({ at }) {
  const [title, then] = useMemo(() => [moment(at), Date.parse(at)], [at]);
  return html`<time datetime=${at} title=${title}>${age(serverNow.value - then)}</time>`;
}

/** `3 min 4 s ago`. What has happened is never told to be in the future, however the two clocks differ. */
export function Since({ at }) {
  const ms = serverNow.value - new Date(at);
  return html`<time datetime=${new Date(at).toISOString()} title=${moment(at)}>${ms < 1500 ? "just now" : `${duration(ms)} ago`}</time>`;
}
