// What happened to a resource, as sentences, the newest first; kept up to date while it is open.

import { html, useEffect, useSignal } from "./dom.js";
import { read, pathOf } from "./api.js";
import { At, Since } from "./clock.js";
import { count } from "./format.js";
import { classOf } from "./machine.js";
import { Shape } from "./status.js";
import { era } from "./store.js";
import { onTransition, connection } from "./stream.js";
import { Prose, because, sentence } from "./words.js";

/** How many entries are kept and shown; an older past is for `berth volume journal`. */
const SHOWN = 200;
/** How many are read at once. */
const PAGE = 1000;

const UNREAD = { entries: [], older: 0, failed: null, isRead: false };

/**
 * The journal of a resource, the oldest first: `{entries, older, failed, isRead}`, of which `older` counts those that are not kept. Read on
 * whenever the stream tells of it, and anew where the stream begins anew.
 */
export function useJournal(kind, id) {
  const held = useSignal(UNREAD);
  const state = connection.value.state;
  const story = era.value;
  useEffect(() => {
    held.value = UNREAD;
  }, [kind, id, story]);
  useEffect(() => {
    if (!/^(volume|snapshot|attachment)$/.test(kind) || state !== "live") return undefined;
    let isOver = false;
    let isReading = false;
    let isStale = false;
    const more = async () => {
      if (isReading) {
        isStale = true;
        return;
      }
      isReading = true;
      do {
        isStale = false;
        const since = held.value.entries.at(-1)?.revision ?? 0;
        try {
          const entries = await read(`${pathOf(kind, id)}/journal?limit=${PAGE}&since=${since}`);
          if (isOver) return;
          const newer = entries.filter((entry) => entry.revision > since);
          const known = [...held.value.entries, ...newer];
          const older = held.value.older + Math.max(0, known.length - PAGE);
          held.value = { entries: known.slice(-PAGE), older, failed: null, isRead: true };
          // A page that is full is not the last.
          isStale ||= entries.length === PAGE && newer.length > 0;
        } catch (error) {
          if (isOver) return;
          held.value = { ...held.value, failed: error.message, isRead: true };
        }
      } while (isStale);
      isReading = false;
    };
    more();
    const off = onTransition((told) => told.id === id && more());
    return () => {
      isOver = true;
      off();
    };
  }, [kind, id, state, story]);
  return held.value;
}

export function Timeline({ kind, journal, went }) {
  const { entries, older, failed, isRead } = journal;
  const unseen = older + Math.max(0, entries.length - SHOWN);
  if (failed && !entries.length) return html`<p class="hint">The journal could not be read: ${failed}</p>`;
  if (!isRead) return html`<p class="hint">${connection.value.state === "live" ? "Reading…" : "Read once the server answers."}</p>`;
  const shown = entries.slice(-SHOWN).reverse();
  const last = shown[0];
  const isOver = last && (!last.to || classOf(kind, last.to) === "final");
  return html`<ol class="timeline" reversed>
    ${went && !isOver && html`<li><${Mark} of="final" /><p>It is gone</p><p class="when"><${At} at=${went} /></p></li>`}
    ${shown.map((entry, place) => html`<${Entry} key=${entry.revision} kind=${kind} entry=${entry} began=${begun(entries, entry)} before=${shown[place + 1]} />`)}
    ${unseen > 0 && html`<li class="more"><p class="hint">${count(unseen)} older, which <code>berth ${kind} journal</code> tells</p></li>`}
  </ol>`;
}

/** The entry with which what this one ended began: the newest before it that a command or the creation began. */
function begun(entries, entry) {
  if (!entry.ended) return null;
  const place = entries.indexOf(entry);
  for (let before = place - 1; before >= 0; before -= 1) {
    if (entries[before].ended) return null;
    if (entries[before].actor) return entries[before];
  }
  return null;
}

const Mark = ({ of }) => html`<${Shape} of=${of} />`;

function Entry({ kind, entry, began, before }) {
  const { lead, reason } = sentence(entry, began, before);
  const of = entry.to ? classOf(kind, entry.to) : "final";
  const isLoud = of === "error" && entry.to !== entry.from;
  return html`<li class=${isLoud ? "loud" : ""}>
    <${Mark} of=${of} />
    <p>${lead}${reason ? html`: <${Prose} text=${because(reason)} />` : ""}</p>
    <p class="when"><${At} at=${entry.at} /> <span class="ago"><${Since} at=${entry.at} /></span></p>
  </li>`;
}
