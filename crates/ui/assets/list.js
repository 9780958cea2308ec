// A list with what stands above it (the filter, the statuses there are, the way to make one more) and in its place when it is empty.

import { html, useRef, useEffect } from "./dom.js";
import { say } from "./announce.js";
import { count } from "./format.js";
import { Grid } from "./grid.js";
import { LISTS, go, here, route } from "./route.js";
import { rows, tally } from "./rows.js";
import { Shape, spaced } from "./status.js";
import { all, isWhole } from "./store.js";
import { ask } from "./commands.js";

export const LABEL = { volume: "Volumes", snapshot: "Snapshots", attachment: "Attachments", pool: "Pools", host: "Hosts" };
/** How long the filter stands still before what it leaves is said, in milliseconds. */
const SAID_AFTER = 700;
const MADE = { volume: "New volume", host: "New host" };

export function List() {
  const { kind, open, q, status } = route.value;
  const box = useRef(null);
  useEffect(() => {
    const onKey = (event) => {
      const isTyping = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName) || document.querySelector("dialog[open]");
      if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "/") {
        event.preventDefault();
        box.current?.focus();
      }
      if (event.key === "n" && MADE[route.value.kind]) {
        event.preventDefault();
        ask(route.value.kind, "create");
      }
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
  const shown = rows.value.length;
  const isFiltered = q !== "" || status.length > 0;
  // How many are left is said once the filter stands still; changes of the volumes themselves say nothing here.
  const asked = `${kind} ${q} ${status}`;
  const before = useRef(asked);
  useEffect(() => {
    if (before.current === asked) return undefined;
    const isOther = !before.current.startsWith(`${kind} `);
    before.current = asked;
    if (isOther) return undefined;
    const timer = setTimeout(() => say(`${count(rows.peek().length)} of ${count(all(kind).size)} ${LABEL[kind].toLowerCase()}`), SAID_AFTER);
    return () => clearTimeout(timer);
  }, [asked]);
  return html`<section class="list" aria-label=${LABEL[kind]}>
    ${!open && html`<h1 class="unseen">${LABEL[kind]}</h1>`}
    <div class="tools">
      <label class="search">
        <span class="unseen">Filter ${LABEL[kind].toLowerCase()}</span>
        <input
          ref=${box}
          type="search"
          placeholder="Filter"
          autocomplete="off"
          spellcheck=${false}
          value=${q}
          onInput=${(event) => go({ q: event.target.value }, { replace: true })}
        />
        <kbd aria-hidden="true">/</kbd>
      </label>
      <${Statuses} />
      ${MADE[kind] && html`<button type="button" class="primary make" onClick=${() => ask(kind, "create")}>${MADE[kind]}</button>`}
    </div>
    ${shown === 0 && isWhole.value
      ? html`<${Empty} kind=${kind} isFiltered=${isFiltered} />`
      : html`<${Grid} key="grid" label=${LABEL[kind]} />`}
    <p class="shown">${!isWhole.value ? "Being told of " : ""}${isFiltered ? `${count(shown)} of ${count(all(kind).size)}` : count(shown)} ${shown === 1 && !isFiltered ? kind : `${kind}s`}</p>
  </section>`;
}

/** The statuses that there are, each a switch of the filter. */
function Statuses() {
  const { status } = route.value;
  // A status that is asked for stays to be unasked, also when nothing has it any more.
  const held = tally.value;
  const missing = status.filter((word) => !held.some((one) => one.word === word)).map((word) => ({ word, of: "stable", count: 0 }));
  const toggle = (word) => go({ status: status.includes(word) ? status.filter((one) => one !== word) : [...status, word] }, { replace: true });
  return html`<div class="statuses" role="group" aria-label="Statuses">
    ${[...held, ...missing].map(({ word, of, count: number }) => html`<button
        key=${word}
        type="button"
        class="chip ${of}"
        aria-pressed=${status.includes(word) ? "true" : "false"}
        onClick=${() => toggle(word)}
      ><${Shape} of=${of} />${spaced(word)} <b>${count(number)}</b></button>`)}
  </div>`;
}

function Empty({ kind, isFiltered }) {
  if (isFiltered) {
    return html`<div class="empty">
      <h2>Nothing here matches the filter</h2>
      <p><a href=${here({ q: "", status: [] })}>Show all ${LABEL[kind].toLowerCase()}</a></p>
    </div>`;
  }
  const hasHosts = all("host").size > 0;
  const hasVolumes = all("volume").size > 0;
  const link = (word, text) => html`<a href=${here({ kind: LISTS[word], open: null, q: "", status: [], sort: null })}>${text}</a>`;
  const told = {
    volume: {
      head: "No volumes yet",
      text: html`A volume is a disk that hosts can use. It is <em>creating</em> while it is made and <em>available</em> once it is whole.`,
      act: html`<button type="button" class="primary" onClick=${() => ask("volume", "create")}>Make the first volume</button>`,
    },
    snapshot: {
      head: "No snapshots",
      text: hasVolumes
        ? html`A snapshot keeps a volume as it is at one moment. Open ${link("volumes", "a volume")} and choose <em>Snapshot</em>.`
        : html`A snapshot keeps a volume as it is at one moment; ${link("volumes", "make a volume")} first.`,
    },
    attachment: {
      head: "Nothing is attached",
      text: !hasVolumes
        ? html`An attachment makes a volume reachable for a host; ${link("volumes", "make a volume")} first.`
        : !hasHosts
          ? html`An attachment makes a volume reachable for a host; ${link("hosts", "name a host")} first.`
          : html`An attachment makes a volume reachable for a host. Open ${link("volumes", "a volume")} and choose <em>Attach</em>.`,
    },
    pool: { head: "No pools", text: html`Pools come from the server's configuration, as <code>[[pool]]</code>.` },
    host: {
      head: "No hosts yet",
      text: html`A host is a machine that volumes are attached to: a name and an address.`,
      act: html`<button type="button" class="primary" onClick=${() => ask("host", "create")}>Name the first host</button>`,
    },
  }[kind];
  return html`<div class="empty"><h2>${told.head}</h2><p>${told.text}</p>${told.act}</div>`;
}
