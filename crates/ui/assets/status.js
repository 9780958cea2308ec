// A status: a shape and a word. The shape tells the class without colour: a disc is settled, a ring half drawn is on its way, a
// triangle is an error, an empty ring is over.

import { html } from "./dom.js";
import { classOf } from "./machine.js";

export function Shape({ of }) {
  const drawn = {
    stable: html`<circle cx="8" cy="8" r="4.5" />`,
    transient: html`<circle class="track" cx="8" cy="8" r="5" /><path class="arc" d="M8 3a5 5 0 0 1 5 5" />`,
    error: html`<path d="M8 1.8 15 14H1Z" /><path class="bang" d="M8 6v4M8 11.6v.9" />`,
    final: html`<circle class="track" cx="8" cy="8" r="4.2" />`,
    unknown: html`<circle class="track dashed" cx="8" cy="8" r="4.6" />`,
  }[of];
  return html`<svg class="shape ${of}" viewBox="0 0 16 16" aria-hidden="true">${drawn}</svg>`;
}

/** The class a resource shows: an attached one that is being released is on its way, whatever its word. */
export function classNow(kind, object) {
  const of = kind === "pool" ? poolClass(object) : classOf(kind, object.status);
  return of === "stable" && object.operation ? "transient" : of;
}

function poolClass(pool) {
  const state = pool.availability?.state;
  if (state === "down") return "error";
  return state === "unknown" ? "unknown" : "stable";
}

/** The word beside the shape. */
export function wordNow(kind, object) {
  if (kind === "pool") {
    if (object.availability?.state === "down") return "down";
    if (object.availability?.state === "unknown") return "unknown";
    return object.retired ? "retired" : "up";
  }
  return spaced(object.status);
}

/** `errorExtending` as `error extending`: the same word, as it is read. */
export const spaced = (word) => (word ?? "").replace(/([a-z])([A-Z])/g, (_, before, after) => `${before} ${after.toLowerCase()}`);

/** What a status promises, with the statuses that it names as they are read. */
export const plainWords = (text) => text.replace(/`(\w+)`/g, (_, word) => spaced(word));

export function Status({ kind, object }) {
  const of = classNow(kind, object);
  return html`<span class="status ${of}"><${Shape} of=${of} /><span class="word">${wordNow(kind, object)}</span></span>`;
}
