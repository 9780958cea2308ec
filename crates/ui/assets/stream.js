// The one event stream of the page, and what is known of it: `live`, `reconnecting` since when, or `stopped` and why.
//
// - EventSource connects again by itself after a broken connection. After an answer that is an error it does not: then it is asked
//   why, and a new one is made unless the answer says that there is no point.
// - A stream that is silent for longer than the server's bookmarks allow is as good as broken, whatever the socket says.
// - The last id is kept here too, so that a new EventSource goes on where the former one stopped.

import { signal } from "./dom.js";
import * as store from "./store.js";

/** Bookmarks come every 15 s: three of them missed are no accident. */
const SILENCE_MAX = 45_000;
const RETRY_MIN = 1_000;
const RETRY_MAX = 15_000;
/** A page that nobody looks at lets go of its connection, of which a browser has six a server. */
const HIDDEN_MAX = 120_000;

/** What has revisions, and is not told again where a stream goes on. */
const NUMBERED = ["volume", "snapshot", "attachment"];
/** What has none, and is told whole at every connection. */
const UNNUMBERED = ["host", "pool"];

/** `{state: "connecting"|"live"|"reconnecting"|"stopped"|"paused", since, why}`. */
export const connection = signal({ state: "connecting", since: Date.now() });
let heardAt = Date.now();
/** When the page was last told anything. */
export const heard = () => heardAt;
/** Each `change` with a transition is told to these. */
const listeners = new Set();
export function onTransition(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

let source = null;
/** When it was last begun with. */
let begunAt = 0;
/** The question why the browser gave up, while it stands. */
let enquiry = null;
let tenant = null;
let lastId = null;
let retry = RETRY_MIN;
let timer = null;

/** Follows this tenant's stream. */
export function follow(whose) {
  if (whose === tenant) return;
  tenant = whose;
  lastId = null;
  store.clear();
  connect("connecting");
}

/** Connects again, now. */
export function again() {
  retry = RETRY_MIN;
  connect("reconnecting");
}

const url = () => {
  const since = lastId ? `?since=${encodeURIComponent(lastId)}` : "";
  return `/v1beta/${encodeURIComponent(tenant)}/block/events${since}`;
};

function connect(state) {
  close();
  tell(state);
  const mine = new EventSource(url());
  source = mine;
  begunAt = Date.now();
  const on = (name, act) =>
    mine.addEventListener(name, (event) => {
      if (source !== mine) return;
      heardAt = Date.now();
      if (event.lastEventId) lastId = event.lastEventId;
      act(event.data ? JSON.parse(event.data) : {});
    });
  mine.addEventListener("open", () => source === mine && store.begin(lastId ? UNNUMBERED : [...NUMBERED, ...UNNUMBERED]));
  on("snapshot", store.put);
  on("change", (told) => {
    // What is over may leave a tombstone, which is told too.
    if (told.object) store.put(told);
    else if (told.deleted) store.remove(told);
    if (told.transition) for (const listener of listeners) listener(told);
  });
  on("progress", store.progress);
  on("synced", () => {
    store.whole();
    retry = RETRY_MIN;
    tell("live");
  });
  on("bookmark", () => {});
  on("resync", () => store.anew(NUMBERED));
  on("end", () => tell("reconnecting", "the server is stopping"));
  mine.addEventListener("error", () => {
    if (source !== mine) return;
    tell("reconnecting");
    if (mine.readyState === EventSource.CLOSED) refused();
  });
}

function tell(state, why) {
  const before = connection.value;
  if (before.state === state) return why && (connection.value = { ...before, why });
  connection.value = { state, since: Date.now(), why };
}

function close() {
  clearTimeout(timer);
  enquiry?.abort();
  enquiry = null;
  source?.close();
  source = null;
}

/** The browser gave up: asks why, and comes again later unless the request itself is wrong. */
async function refused() {
  close();
  const mine = new AbortController();
  enquiry = mine;
  let why;
  let isFinal = false;
  try {
    const answer = await fetch(url(), { headers: { accept: "text/event-stream" }, signal: mine.signal });
    if (!answer.ok) {
      why = (await answer.json().catch(() => ({}))).message ?? `the server answered ${answer.status}`;
      isFinal = answer.status >= 400 && answer.status < 500 && answer.status !== 429 && answer.status !== 410;
      if (answer.status === 410) lastId = null;
    }
  } catch {
    why = undefined;
  }
  // Somebody else has taken up the stream, or let go of it.
  if (enquiry !== mine) return;
  close();
  if (isFinal) return tell("stopped", why);
  tell("reconnecting", why);
  timer = setTimeout(() => connect("reconnecting"), retry);
  retry = Math.min(RETRY_MAX, retry * 2);
}

setInterval(() => {
  if (source && Date.now() - Math.max(heardAt, begunAt) > SILENCE_MAX) again();
}, 5_000);

let hiddenTimer = null;
function looked() {
  clearTimeout(hiddenTimer);
  if (document.hidden) {
    hiddenTimer = setTimeout(() => {
      close();
      tell("paused");
    }, HIDDEN_MAX);
  } else if (connection.value.state === "paused") {
    again();
  }
}
document.addEventListener("visibilitychange", looked);
// One that was opened in the background has not been looked at yet.
looked();
// A page that comes back out of the browser's memory has lost its connection without a word.
addEventListener("pageshow", (event) => event.persisted && again());
