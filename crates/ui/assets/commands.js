// What can be asked of each kind of resource: what is filled in, what will happen, and the request that is sent.
//
// Whether a command is allowed is the server's to say (`allowed` of the resource). Why one is not is told here from what the page
// knows; where the server refuses, its own words are shown.

import { signal } from "./dom.js";
import { call, newKey, pathOf } from "./api.js";
import { clientsOf } from "./clients.js";
import { bytes, clock, short, title } from "./format.js";
import { go, hrefOf, route } from "./route.js";
import { spaced } from "./status.js";
import * as store from "./store.js";
import { called, gerund } from "./words.js";

/** What is being asked: `{kind, word, id, key}`, or nothing. */
export const asking = signal(null);

/** Opens the dialog of a command. */
export function ask(kind, word, id = null) {
  // One key for one question: sent twice, it is done once.
  asking.value = { kind, word, id, key: newKey() };
}

const GIB = 2 ** 30;
const gib = (count) => bytes(Math.max(0, Number(count) || 0) * GIB);
const live = (volume) => (store.ofVolume.value.attachment.get(volume.id) ?? []).filter((one) => store.isServed(one) && one.status !== "errorAttaching");
const kept = (volume) => (store.ofVolume.value.snapshot.get(volume.id) ?? []).filter((one) => one.status !== "deleted");
const hostName = (id) => title("host", store.find("host", id)) || short(id);
const volumeName = (id) => title("volume", store.find("volume", id)) || short(id);
const several = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;
const listed = (names) => (names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`);

const NAME = { name: "name", label: "Name", type: "text", pattern: "[A-Za-z0-9 _\\-]{1,255}", required: true, hint: "Letters, digits, spaces, _ and -" };

function pools() {
  const list = [...store.all("pool").values()].filter((pool) => !pool.retired).sort((a, b) => (a.name < b.name ? -1 : 1));
  const one = (pool) => [pool.id, `${pool.name}, ${gib(pool.freeCapacity)} free${pool.availability?.state === "down" ? ", down" : ""}`];
  return [["", "Any that has room"], ...list.map(one)];
}

function hosts() {
  return [...store.all("host").values()].sort((a, b) => (a.hostName < b.hostName ? -1 : 1)).map((host) => [host.id, `${host.hostName}, ${host.ip}`]);
}

/** How the volume's pool can make it reachable. */
function protocols(volume) {
  const told = store.find("pool", volume.poolId)?.extras?.ioConnectivity?.accessProtocol ?? "nbd";
  const words = { nbd: "NBD, over the network", local: "a loop device of the controller's machine" };
  return told.split(",").filter(Boolean).map((word) => [word, words[word] ?? word]);
}

export const COMMANDS = {
  volume: {
    create: {
      label: "New volume",
      verb: "Create",
      fields: () => [
        NAME,
        { name: "size", label: "Size", type: "number", unit: "GiB", min: 1, value: "1", required: true },
        { name: "poolId", label: "Pool", type: "select", options: pools(), value: "" },
        { name: "multiAttach", label: "May be attached to several hosts at once", type: "check" },
      ],
      says: (_, { size }) => `A volume of ${gib(size)} is made. It takes room in its pool only as it is written to.`,
      send: (_, { name, size, poolId, multiAttach }) => ["POST", "/block/volumes", { name, size: Number(size), poolId: poolId || undefined, multiAttach: multiAttach || undefined }],
      opens: "volume",
    },
    extend: {
      label: "Extend",
      fields: (volume) => [{ name: "size", label: "New size", type: "number", unit: "GiB", min: Math.floor(volume.sizeBytes / GIB) + 1, value: String(Math.floor(volume.sizeBytes / GIB) + 1), required: true }],
      says: (volume, { size }) => {
        const used = live(volume);
        const told = used.length ? ` It stays attached to ${listed(used.map((one) => hostName(one.hostId)))}.` : "";
        return `It grows from ${bytes(volume.sizeBytes)} to ${gib(size)}. Its data stays as it is, and it cannot be made smaller again.${told}`;
      },
      send: (volume, { size }) => ["POST", `${pathOf("volume", volume.id)}/resize`, { newSize: Number(size) }],
    },
    attach: {
      label: "Attach",
      fields: (volume) => [
        { name: "hostId", label: "Host", type: "select", options: hosts(), required: true, none: { text: "There are no hosts yet.", act: "Name a host first", word: ["host", "create"] } },
        { name: "attachMode", label: "Access", type: "select", options: [["rw", "read and write"], ["ro", "read only"]], value: "rw" },
        { name: "accessProtocol", label: "Reached by", type: "select", options: protocols(volume), value: protocols(volume)[0]?.[0] },
      ],
      says: (volume, { hostId, attachMode }) => `${hostId ? hostName(hostId) : "The host"} can ${attachMode === "ro" ? "read" : "read and write"} it once it is attached; how to connect is shown then.`,
      send: (volume, { hostId, attachMode, accessProtocol }) => ["POST", "/block/attachments", { volumeId: volume.id, hostId, attachMode, accessProtocol }],
    },
    detach: {
      label: "Detach",
      fields: (volume) => [
        { name: "attachment", label: "From", type: "select", options: live(volume).map((one) => [one.id, hostName(one.hostId)]), required: true, value: live(volume)[0]?.id },
        FORCE,
      ],
      says: (_, { attachment, force }) => detaching(store.find("attachment", attachment), force),
      send: (_, { attachment, force }) => ["DELETE", `${pathOf("attachment", attachment)}${force ? "?force=true" : ""}`],
    },
    snapshot: {
      label: "Snapshot",
      verb: "Take snapshot",
      fields: () => [{ ...NAME, value: `snapshot ${new Date().toISOString().slice(0, 10)}` }],
      says: (volume) => `It keeps the volume's ${bytes(volume.sizeBytes)} as they are at one moment. The volume can be used meanwhile.`,
      send: (volume, { name }) => ["POST", "/block/snapshots", { volumeId: volume.id, name }],
    },
    retry: { label: "Retry", says: (volume) => retrying(volume), send: (volume) => ["POST", `${pathOf("volume", volume.id)}/retry`] },
    recover: { label: "Recover", says: () => RECOVERING, send: (volume) => ["POST", `${pathOf("volume", volume.id)}/recover`] },
    delete: {
      label: "Delete",
      danger: true,
      fields: (volume) => {
        const held = kept(volume);
        return held.length ? [{ name: "cascade", label: `Delete its ${several(held.length, "snapshot")} too`, type: "check", required: true, hint: listed(held.slice(0, 5).map((one) => title("snapshot", one))) }] : [];
      },
      says: (volume) => `Its ${bytes(volume.sizeBytes)} of data are removed from the pool. This cannot be undone.`,
      send: (volume, { cascade }) => ["DELETE", `${pathOf("volume", volume.id)}${cascade ? "?cascade=true" : ""}`],
    },
    forget: {
      label: "Forget",
      danger: true,
      isRare: true,
      says: () => "Its record ends without asking the backend. What is on the retired pool stays there, known to nobody.",
      send: (volume) => ["DELETE", `${pathOf("volume", volume.id)}?forget=true`],
    },
  },
  snapshot: {
    clone: {
      label: "Clone",
      verb: "Create volume",
      fields: (snapshot) => [
        { ...NAME, value: `${title("snapshot", snapshot)} copy`.replace(/[^A-Za-z0-9 _-]/g, "-") },
        { name: "size", label: "Size", type: "number", unit: "GiB", min: snapshot.size, value: String(snapshot.size), required: true },
      ],
      says: (snapshot, { size }) => `A volume of ${gib(size)} is made that begins as the snapshot. The two are independent from then on.`,
      send: (snapshot, { name, size }) => ["POST", "/block/volumes", { name, size: Number(size), snapshotId: snapshot.id }],
      opens: "volume",
    },
    retry: { label: "Retry", says: (snapshot) => retrying(snapshot), send: (snapshot) => ["POST", `${pathOf("snapshot", snapshot.id)}/retry`] },
    recover: { label: "Recover", says: () => RECOVERING, send: (snapshot) => ["POST", `${pathOf("snapshot", snapshot.id)}/recover`] },
    delete: {
      label: "Delete",
      danger: true,
      says: (snapshot) => `The copy is removed; the volume ${volumeName(snapshot.volumeId)} stays as it is. This cannot be undone.`,
      send: (snapshot) => ["DELETE", pathOf("snapshot", snapshot.id)],
    },
  },
  attachment: {
    detach: {
      label: "Detach",
      fields: () => [FORCE],
      says: (attachment, { force }) => detaching(attachment, force),
      send: (attachment, { force }) => ["DELETE", `${pathOf("attachment", attachment.id)}${force ? "?force=true" : ""}`],
    },
    retry: { label: "Retry", says: (attachment) => retrying(attachment), send: (attachment) => ["POST", `${pathOf("attachment", attachment.id)}/retry`] },
    recover: { label: "Recover", says: () => RECOVERING, send: (attachment) => ["POST", `${pathOf("attachment", attachment.id)}/recover`] },
  },
  host: {
    create: {
      label: "New host",
      verb: "Create",
      fields: () => [
        { name: "hostName", label: "Name", type: "text", pattern: "[A-Za-z0-9]([A-Za-z0-9\\-.]*[A-Za-z0-9])?", required: true, hint: "A host name, such as db-1" },
        { name: "ip", label: "Address", type: "text", pattern: "\\d{1,3}(\\.\\d{1,3}){3}", required: true, hint: "IPv4, from which it connects" },
        { name: "osType", label: "System", type: "select", options: ["linux", "windows", "esxi"].map((word) => [word, word]), value: "linux" },
      ],
      says: () => "Volumes can be attached to it then. Nothing is installed on it.",
      send: (_, { hostName: name, ip, osType }) => ["POST", "/host/hosts", { hostName: name, ip, osType, accessMode: "agentless" }],
      opens: "host",
    },
    delete: {
      label: "Delete",
      danger: true,
      says: (host) => `The host is not known any more. Nothing on ${host.ip} is touched.`,
      send: (host) => ["DELETE", pathOf("host", host.id)],
    },
  },
};

const FORCE = { name: "force", label: "By force: cut clients that are still connected", type: "check" };
const RECOVERING = "The backend is asked what is true, and the status follows the evidence. Nothing is changed on the backend.";

function detaching(attachment, force) {
  if (!attachment) return "";
  const loses = `${hostName(attachment.hostId)} loses ${volumeName(attachment.volumeId)}`;
  const known = clientsOf(attachment.id)?.clients;
  const names = listed((known ?? []).map((one) => one.address));
  const are = known?.length === 1 ? "is" : "are";
  if (force) return known?.length ? `${loses} at once: ${names} ${are} cut, and what was not flushed is lost.` : `${loses} at once.`;
  const now = !known ? "" : known.length ? `: ${names} ${are} connected now` : "; nobody is connected now";
  return `${loses} once its clients have left${now}.${known?.length === 0 ? "" : " If they stay, it fails and says so."}`;
}

function retrying(object) {
  const failed = { errorExtending: "the extend", errorDeleting: "the deletion", errorAttaching: "the attachment", errorDetaching: "the detachment", error: "the creation" }[object.status];
  return `${failed ? `${failed.charAt(0).toUpperCase()}${failed.slice(1)}` : "What failed"} is tried again, under the conditions that held the first time.`;
}

/** The commands of a kind that are offered for this resource. */
export function offered(kind, object) {
  const all = Object.keys(COMMANDS[kind] ?? {}).filter((word) => word !== "create");
  return all.filter((word) => !COMMANDS[kind][word].isRare || isAllowed(kind, object, word)).filter((word) => kind !== "volume" || word !== "detach" || live(object).length > 0);
}

/** Whether the server allows it now. A host has no list of its own: it can be deleted while nothing is attached to it. */
export function isAllowed(kind, object, word) {
  if (kind === "host") return !usedBy(object).length;
  return object.allowed?.includes(word) ?? false;
}

const usedBy = (host) => (store.ofHost.value.get(host.id) ?? []).filter(store.isServed);

/** Why a command is not allowed, and what to do. */
export function whyNot(kind, object, word) {
  const what = COMMANDS[kind][word].label;
  if (kind === "host") return `${what} is not allowed: ${several(usedBy(object).length, "attachment")} of ${listed(usedBy(object).slice(0, 3).map((one) => volumeName(one.volumeId)))} to it; detach first.`;
  const { operation, allowed = [] } = object;
  const may = allowed.length ? ` Allowed now: ${listed(allowed)}.` : "";
  if (operation) return `${what} has to wait: ${gerund(operation.kind)} runs since ${clock(operation.startedAt)}.${may}`;
  const used = kind === "volume" ? live(object) : [];
  if (used.length && /^(delete|forget)$/.test(word)) return `${what} is not allowed while it is attached to ${listed(used.slice(0, 3).map((one) => hostName(one.hostId)))}; detach it first.`;
  if (used.length && word === "attach" && !object.multiAttach) return `${what} is not allowed: it is for one host at a time, and attached to ${hostName(used[0].hostId)}; detach it there first.`;
  const writers = used.filter((one) => one.attachMode !== "ro");
  if (word === "snapshot" && writers.length) return `${what} is not allowed: ${listed(writers.slice(0, 3).map((one) => hostName(one.hostId)))} may write to it, and its pool cannot copy one moment of it meanwhile. Detach it first, or use a pool with reflinks.`;
  if (word === "retry") return `Nothing has failed that could be tried again: it is ${spaced(object.status)}.`;
  if (word === "recover") return `Nothing needs to be found out: it is ${spaced(object.status)}.`;
  return `${what} is not allowed while it is ${spaced(object.status)}.${may}`;
}

/** Sends what was asked. Opens what was made. */
export async function send({ kind, word, id, key }, values) {
  const command = COMMANDS[kind][word];
  const object = id ? store.find(kind, id) : null;
  const [method, path, body] = command.send(object, values);
  const { tenant } = route.value;
  const made = await call(method, path, body, { key: method === "POST" ? key : undefined });
  // Whoever has gone on to another tenant's page meanwhile stays there.
  if (command.opens && made?.id && route.value.tenant === tenant) {
    store.putMade(command.opens, made);
    location.hash = hrefOf(command.opens, made.id);
  }
  if (kind === "host" && word === "delete") go({ open: null });
  const name = object ? called(kind, object) : (values.name ?? values.hostName);
  return `${command.label}: ${name}. Accepted.`;
}
