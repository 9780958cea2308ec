// Which rows a list has: filtered, and sorted by one column.

import { computed } from "./dom.js";
import { COLUMNS } from "./columns.js";
import { title } from "./format.js";
import { classOf } from "./machine.js";
import { route } from "./route.js";
import { wordNow } from "./status.js";
import { all, find } from "./store.js";
import { attachmentTitle } from "./words.js";

/** What a word typed into the filter is looked for in. */
function text(kind, object) {
  switch (kind) {
    case "attachment":
      return `${attachmentTitle(object)} ${object.accessProtocol} ${object.id}`;
    case "snapshot":
      return `${object.name ?? ""} ${title("volume", find("volume", object.volumeId))} ${object.id}`;
    case "host":
      return `${object.hostName} ${object.ip} ${object.id}`;
    case "pool":
      return `${object.name} ${object.description} ${object.id}`;
    default:
      return `${object.name} ${object.description ?? ""} ${object.id} ${object.tenantId}`;
  }
}

/** How many there are of each status, by its word: `[{word, of, count}]`, the errors first. */
export const tally = computed(() => {
  const { kind } = route.value;
  const counts = new Map();
  if (kind === "host") return [];
  for (const object of all(kind).values()) {
    const word = kind === "pool" ? wordNow(kind, object) : object.status;
    counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  const order = { error: 0, transient: 1, stable: 2, final: 3 };
  const rows = [...counts].map(([word, number]) => ({ word, of: kind === "pool" && word === "down" ? "error" : classOf(kind, word), count: number }));
  return rows.sort((a, b) => order[a.of] - order[b.of] || (a.word < b.word ? -1 : 1));
});

/** The rows of the present list. */
export const rows = computed(() => {
  const { kind, status, q, sort, dir } = route.value;
  const wanted = new Set(status);
  const words = q.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [];
  for (const object of all(kind).values()) {
    const word = kind === "pool" ? wordNow(kind, object) : object.status;
    // What is over is out of the way unless it is asked for.
    if (wanted.size ? !wanted.has(word) : kind !== "host" && kind !== "pool" && classOf(kind, word) === "final") continue;
    if (words.length) {
      const held = text(kind, object).toLowerCase();
      if (!words.every((one) => held.includes(one))) continue;
    }
    found.push(object);
  }
  return sorted(found, column(kind, sort), dir);
});

/** The column that a list is sorted by: by name unless the address says otherwise. */
export const column = (kind, sort) => COLUMNS[kind].find((one) => one.key === sort && one.by) ?? COLUMNS[kind][0];

const collator = new Intl.Collator("en", { numeric: true });

function sorted(objects, { by }, dir) {
  const sign = dir === "desc" ? -1 : 1;
  const keyed = objects.map((object) => ({ object, key: by(object) }));
  const compare = typeof keyed[0]?.key === "number" ? (a, b) => a - b : collator.compare;
  keyed.sort((a, b) => sign * compare(a.key, b.key) || (a.object.id < b.object.id ? -1 : 1));
  return keyed.map((one) => one.object);
}
