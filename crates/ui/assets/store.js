// What the stream has told: one map a kind, of the resources as GET shows them.
//
// - An object is never changed, only replaced: who holds one can tell by identity whether it is news.
// - Attachments are held in the words of the state machine and of the journal, also where a server speaks of them in others.
// - Views are told in batches (see `flush`), so that ten thousand changes are drawn once.
// - What is over but for its tombstone is told as such, and the tombstone's own end is not: it goes with its volume, or as the oldest
//   of more than OVER_MAX.
// - What is gone is kept for a while (as many as GONE_MAX) with the time, so that a resource that is open can say that it is gone.

import { batch, computed, signal } from "./dom.js";

const KINDS = ["volume", "snapshot", "attachment", "host", "pool"];
/** How many that are gone are remembered. */
const GONE_MAX = 500;

let maps = fresh();
/** The snapshot that is being told; it takes the place of `maps` once it is whole. */
let incoming = null;
const gone = new Map();
/** How many tombstones are kept. The server keeps 64 of a volume, and each for an hour unless it is told otherwise. */
const OVER_MAX = 1000;
/** The kind and the id of each, the oldest first. */
const over = new Map();
/** The journal does not tell how many tries an operation took: who watched it knows. */
const tried = new Map();

const versions = Object.fromEntries(KINDS.map((kind) => [kind, signal(0)]));
const touched = new Set();

/** Whether a whole snapshot has been seen: until then an empty list means nothing. */
export const isWhole = signal(false);

/** Moves whenever everything is told anew: what was read besides may be another store's. */
export const era = signal(0);

function fresh() {
  return Object.fromEntries(KINDS.map((kind) => [kind, new Map()]));
}

// --- what views read

/** All of a kind; whoever reads it in a view is drawn again when it changes. */
export function all(kind) {
  versions[kind].value;
  return maps[kind];
}

export const find = (kind, id) => all(kind).get(id) ?? null;

/** Whether an attachment is more than a tombstone. */
export const isServed = (attachment) => attachment.status !== "detached";

/** When a resource went, and what it was last. */
export function lastSeen(kind, id) {
  versions[kind].value;
  return gone.get(`${kind} ${id}`) ?? null;
}

/** A resource of whatever kind by its id, without watching it: for names in messages. */
export function peek(id) {
  for (const kind of KINDS) {
    const object = maps[kind].get(id);
    if (object) return { kind, object };
  }
  return null;
}

/** The attachments and snapshots of each volume, and the attachments of each host. */
export const ofVolume = computed(() => ({ attachment: group("attachment", "volumeId"), snapshot: group("snapshot", "volumeId") }));
export const ofHost = computed(() => group("attachment", "hostId"));
export const inPool = computed(() => group("volume", "poolId"));
export const clonesOf = computed(() => group("volume", "snapshotId"));

function group(kind, field) {
  const groups = new Map();
  for (const object of all(kind).values()) {
    const key = object[field];
    if (!key) continue;
    const held = groups.get(key);
    if (held) held.push(object);
    else groups.set(key, [object]);
  }
  return groups;
}

// --- what the stream tells

/** A stream begins, with a fresh snapshot of these kinds. What was not whole when the former one broke off tells nothing. */
export function begin(kinds) {
  incoming = null;
  anew(kinds);
}

/** A fresh snapshot of these kinds, too, begins: what is not told in it is gone. */
export function anew(kinds) {
  incoming ??= {};
  for (const kind of kinds) incoming[kind] = new Map();
  if (kinds.includes("volume")) era.value += 1;
}

/** The words that OpenSDS' own clients wait for, which no attachment has otherwise. A detach that runs is told by its operation. */
const LEGACY = {
  creating: "attaching",
  available: "attached",
  deleting: "attached",
  deleted: "detached",
  error: "errorAttaching",
  errorDeleting: "errorDetaching",
};

const inOurWords = (kind, object) =>
  kind === "attachment" && Object.hasOwn(LEGACY, object.status) ? { ...object, status: LEGACY[object.status], toldStatus: object.status } : object;

export function put({ kind, id, object: told, transition }) {
  if (!maps[kind] || !told) return;
  const object = inOurWords(kind, told);
  const tries = maps[kind].get(id)?.operation?.attempt;
  if (transition?.ended && tries > 1) note(transition.revision, tries);
  const into = incoming?.[kind] ?? maps[kind];
  const held = into.get(id);
  // A revision that is older than what is held comes from a place in the stream that was seen already.
  if (held?.revision > object.revision) return;
  into.set(id, object);
  if (isOver(kind, object)) bury(kind, id);
  // The very first snapshot is shown as it comes: an empty page for its length would say less.
  if (!isWhole.value) maps[kind].set(id, object);
  touch(kind);
}

/** What was just made, as the answer told it: the stream may have told of it before, and of its end. */
export function putMade(kind, object) {
  if (!gone.has(`${kind} ${object.id}`)) put({ kind, id: object.id, object });
}

export function remove({ kind, id }) {
  if (!maps[kind]) return;
  const last = maps[kind].get(id);
  incoming?.[kind]?.delete(id);
  over.delete(`${kind} ${id}`);
  if (maps[kind].delete(id)) remember(kind, id, last);
  touch(kind);
  if (kind !== "volume") return;
  for (const [of, tombstone] of [...over.values()]) {
    const held = incoming?.[of]?.get(tombstone) ?? maps[of].get(tombstone);
    if (held?.volumeId === id) remove({ kind: of, id: tombstone });
  }
}

const isOver = (kind, object) => (kind === "snapshot" && object.status === "deleted") || (kind === "attachment" && !isServed(object));

function bury(kind, id) {
  const key = `${kind} ${id}`;
  over.delete(key);
  over.set(key, [kind, id]);
  if (over.size <= OVER_MAX) return;
  const [[of, oldest]] = over.values();
  remove({ kind: of, id: oldest });
}

/** What runs has got further. It has no revision: what has ended since, or given way to another, is told by what is held. */
export function progress({ kind, id, operation }) {
  for (const map of [maps[kind], incoming?.[kind]]) {
    const held = map?.get(id);
    if (held?.operation?.kind === operation.kind && held.operation.startedAt === operation.startedAt) map.set(id, { ...held, operation });
  }
  if (maps[kind]) touch(kind);
}

/** The snapshot is whole. */
export function whole() {
  for (const [kind, map] of Object.entries(incoming ?? {})) {
    for (const [id, last] of maps[kind]) if (!map.has(id)) remember(kind, id, last);
    maps[kind] = map;
    touch(kind);
  }
  incoming = null;
  for (const [key, [kind, id]] of over) if (!maps[kind].has(id)) over.delete(key);
  flush();
  isWhole.value = true;
}

/** Forgets everything: another tenant's page begins. */
export function clear() {
  maps = fresh();
  incoming = null;
  gone.clear();
  tried.clear();
  over.clear();
  isWhole.value = false;
  for (const kind of KINDS) touch(kind);
  flush();
}

/** How many tries what ended with this entry of the journal took, if the page saw them. */
export const triesOf = (revision) => tried.get(revision) ?? null;

function note(revision, tries) {
  tried.set(revision, tries);
  if (tried.size > GONE_MAX) tried.delete(tried.keys().next().value);
}

function remember(kind, id, object) {
  gone.set(`${kind} ${id}`, { object, at: Date.now() });
  if (gone.size > GONE_MAX) gone.delete(gone.keys().next().value);
}

// --- telling views

/** The least time between two drawings, in milliseconds: raised while drawing is dear, so that the page stays free to be used. */
const PAUSE_MIN = 16;
const PAUSE_MAX = 500;
let pause = PAUSE_MIN;
let waiting = null;

function touch(kind) {
  touched.add(kind);
  waiting ??= setTimeout(flush, isWhole.value ? pause : PAUSE_MAX);
}

function flush() {
  clearTimeout(waiting);
  waiting = null;
  const begun = performance.now();
  batch(() => {
    for (const kind of touched) versions[kind].value++;
    touched.clear();
  });
  // At most a tenth of the time goes into drawing changes. Views are drawn when this is done, before anything else.
  queueMicrotask(() => (pause = Math.min(PAUSE_MAX, Math.max(PAUSE_MIN, (performance.now() - begun) * 10))));
}
