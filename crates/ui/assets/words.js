// What happened, and what runs, as sentences.

import { html } from "./dom.js";
import { bytes, duration, short, title } from "./format.js";
import { ADMINISTRATOR, hrefOf } from "./route.js";
import { spaced } from "./status.js";
import { find, peek, triesOf } from "./store.js";

const IDS = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g;

/** A message of the server, in which ids that the page knows become names that lead there. */
export function Prose({ text }) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(IDS)) {
    const [id] = match;
    const known = peek(id);
    parts.push(text.slice(end, match.index));
    if (known) parts.push(html`<a href=${hrefOf(known.kind, id)} title=${id}>${title(known.kind, known.object)}</a>`);
    else parts.push(html`<code title=${id}>${short(id)}</code>`);
    end = match.index + id.length;
  }
  parts.push(text.slice(end));
  return html`<span class="prose">${parts}</span>`;
}

/** The same without links, for where there is one line. */
export const plain = (text) =>
  text.replace(IDS, (id) => {
    const known = peek(id);
    return known ? title(known.kind, known.object) : short(id);
  });

/** `the administrator`, or a tenant by its name. */
export const who = (actor) => (actor === ADMINISTRATOR ? "the administrator" : actor);

const GERUND = {
  create: "creating",
  extend: "extending",
  delete: "deleting",
  recover: "recovering",
  attach: "attaching",
  detach: "detaching",
  snapshot: "taking a snapshot",
  clone: "cloning",
  retry: "trying again",
  forget: "forgetting",
};
const gerund = (word) => GERUND[word] ?? word;
const NOUN = { create: "Creation", delete: "Deletion", extend: "Extension", attach: "Attachment", detach: "Detachment", recover: "Recovery", update: "A change" };
/** What was made of a resource that stayed as it is. Whether that was done is told by what was made. */
const MADE_OF_IT = { snapshot: "Taking a snapshot", create: "Making a clone" };
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** What a reason says, without the part that repeats what was asked. */
function because(reason) {
  const told = /^[^:]* was refused: cannot [^:]*: (.+)$/s.exec(reason.message);
  return told ? told[1] : reason.message;
}

/**
 * A journal entry as a sentence. `began` is the entry with which the operation that it ended began, if that is known, and `before` the
 * one before it: a reason that it gave already is not told twice.
 * Gives `{lead, reason, tone}`; the tone is the class of status that it led to.
 */
export function sentence(entry, began, before) {
  const { from, to, cause, ended, actor } = entry;
  const isKnown = entry.reason && before?.reason?.message === entry.reason.message;
  const reason = isKnown ? null : entry.reason;
  const took = ended?.durationMs ?? (began ? new Date(entry.at) - new Date(began.at) : null);
  const time = took === null || took < 0 ? "" : ended?.durationMs === undefined && took < 1000 ? "" : ` after ${duration(took)}`;
  if (ended?.how === "failed") {
    const tries = triesOf(entry.revision);
    return { lead: `${capital(gerund(ended.operation))} failed${tries ? ` after ${tries} attempts${time.replace(" after", " in")}` : time}`, reason };
  }
  if (ended?.how === "superseded") {
    return { lead: `${capital(gerund(ended.operation))} gave way to ${gerund(cause)}${actor ? `, asked for by ${who(actor)}` : ""}`, reason };
  }
  if (ended?.how === "done") {
    const state = to && to !== from ? `: ${spaced(to)}` : "";
    return { lead: `${capital(gerund(ended.operation))} done${time}${state}`, reason };
  }
  if (actor) {
    const noun = cause === "create" && from ? "Clone" : (NOUN[cause] ?? capital(cause));
    const asked = `${noun} asked for by ${who(actor)}`;
    return { lead: to && to !== from ? `${asked}: ${spaced(to)}` : asked, reason };
  }
  if (cause === "look" || cause === "look at exports") {
    const seen = cause === "look" ? "A look at the backend" : "A look at what is exported";
    if (to !== from) return { lead: to ? `${seen} showed it ${spaced(to)}` : `${seen} showed that nothing is left`, reason };
    return { lead: isKnown ? `${seen} confirmed that` : `${seen} changed what is known`, reason };
  }
  if (!to) return { lead: "The record ended", reason };
  if (to === from) return { lead: MADE_OF_IT[cause] ? `${MADE_OF_IT[cause]} ended` : `Still ${spaced(to)}`, reason };
  // Whether it was done is the journal's to say of what was attached, not of the volume.
  if (/ing$/.test(from ?? "")) return { lead: `${capital(spaced(from))} ended: ${spaced(to)}`, reason };
  return { lead: capital(spaced(to)), reason };
}

/** What a person can do about a reason. */
const ADVICE = {
  refused: "What was refused was not done. See to the cause, then retry.",
  outcomeUnknown: "Nobody knows whether it was done; it is being looked at until that is known.",
  provenPresent: "There was no answer in time, and a look has proven since that the object is there.",
  provenAbsent: "There was no answer in time, and a look has proven since that nothing is there.",
  backendMissing: "Its data was there and is gone. If you can bring it back, do, then recover; else delete it.",
  backendDamaged: "Its data is not whole any more. If you can bring it back, do, then recover; else delete it.",
  sizeDiffers: "It is larger than recorded. Recover takes the real size over.",
  leftoversRemain: "It was never usable, and something of it is left on the backend; delete removes that.",
  strayClient: "Somebody uses it past the controller: two writers destroy a file system. End that use; the next look sees it.",
  clientsConnected: "A client is still connected, so it was not cut. End the client, or detach by force.",
  notExported: "Its export was lost and is being made again; clients wait or connect again.",
  snapshotRemains: "A snapshot of it could not be deleted; mend that, then delete it again.",
};
export const advice = (code) => ADVICE[code] ?? "";

/** What goes on with a resource, in one line, for the list; empty if nothing does. */
export function going(kind, object) {
  const { operation, statusReason, health } = object;
  if (kind === "pool") return plain(object.availability?.message ?? "");
  if (operation) {
    const parts = [];
    if (spaced(object.status) !== gerund(operation.kind)) parts.push(gerund(operation.kind));
    if (operation.progress !== undefined) parts.push(`${operation.progress} % done`);
    if (operation.attempt > 1) parts.push(`attempt ${operation.attempt}`);
    if (operation.waitingFor) parts.push(`waiting for ${operation.waitingFor}`);
    else if (operation.lastError) parts.push(plain(operation.lastError));
    return parts.join(", ");
  }
  if (statusReason) return plain(because(statusReason));
  return health?.code ? plain(health.message) : "";
}

/** `data → db-1`. */
export function attachmentTitle(object) {
  const volume = find("volume", object.volumeId);
  const host = find("host", object.hostId);
  return `${volume ? title("volume", volume) : short(object.volumeId)} → ${host ? title("host", host) : short(object.hostId)}`;
}

/** What any resource is called in a sentence. */
export const called = (kind, object) => (kind === "attachment" ? attachmentTitle(object) : title(kind, object));

export { because, bytes, capital, gerund };
