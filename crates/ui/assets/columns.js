// The columns of each list: what stands in them, what they sort by, and which give way first where there is little room.

import { html } from "./dom.js";
import { Age } from "./clock.js";
import { bytes, count, short, title } from "./format.js";
import { Status, wordNow, classNow } from "./status.js";
import { find, inPool, isServed, ofHost, ofVolume } from "./store.js";
import { attachmentTitle, going } from "./words.js";

const volumes = (number) => (number ? `${count(number)} volume${number === 1 ? "" : "s"}` : "");

/** Where the errors are, people look first: sorted by status they come first, then what is on its way. */
const URGENCY = { error: 0, unknown: 1, transient: 2, stable: 3, final: 4 };

const status = (kind) => ({
  key: "status",
  head: "Status",
  cell: (object) => html`<${Status} kind=${kind} object=${object} />`,
  by: (object) => `${URGENCY[classNow(kind, object)]} ${wordNow(kind, object)}`,
});

const nowColumn = (kind, calm) => ({
  key: "now",
  head: "Now",
  wide: true,
  cell: (object) => going(kind, object) || calm?.(object) || object.description || "",
});

const id = { key: "id", head: "Id", cell: (object) => html`<code title=${object.id}>${short(object.id)}</code>`, by: (object) => object.id };

const created = {
  key: "created",
  head: "Age",
  right: true,
  cell: (object) => html`<${Age} at=${object.createdAt} />`,
  // The older, the larger the age.
  by: (object) => -Date.parse(object.createdAt),
};

const nameOf = (kind, of) => (of ? title(kind, of) : "");

const volumeColumn = {
  key: "volume",
  head: "Volume",
  cell: (object) => nameOf("volume", find("volume", object.volumeId)) || html`<code>${short(object.volumeId)}</code>`,
  by: (object) => nameOf("volume", find("volume", object.volumeId)),
};

/** Where a volume is attached, for a list that has nothing else to say of it. */
function attachedTo(volume) {
  const held = ofVolume.value.attachment.get(volume.id)?.filter(isServed) ?? [];
  if (!held.length) return "";
  const names = held.slice(0, 3).map((one) => nameOf("host", find("host", one.hostId)) || short(one.hostId));
  return `on ${names.join(", ")}${held.length > 3 ? ` and ${held.length - 3} more` : ""}`;
}

/** How full a pool is, drawn as a bar with its figure in words beside it. */
export function Fill({ pool }) {
  const total = pool.totalCapacity;
  if (!total) return "–";
  const used = Math.min(100, Math.round((100 * (total - pool.freeCapacity)) / total));
  return html`<span class="fill">
    <svg viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true"><rect width="100" height="6" rx="3" class="all" /><rect width=${used} height="6" rx="3" class="used" /></svg>
    <span>${used} %</span>
  </span>`;
}

export const COLUMNS = {
  volume: [
    { key: "name", head: "Name", name: true, cell: (object) => object.name, by: (object) => object.name.toLowerCase() },
    status("volume"),
    nowColumn("volume", attachedTo),
    { key: "size", head: "Size", right: true, cell: (object) => bytes(object.sizeBytes), by: (object) => object.sizeBytes },
    {
      key: "pool",
      head: "Pool",
      cell: (object) => (object.poolId ? nameOf("pool", find("pool", object.poolId)) || short(object.poolId) : "–"),
      by: (object) => nameOf("pool", find("pool", object.poolId)),
    },
    created,
    id,
  ],
  snapshot: [
    { key: "name", head: "Name", name: true, cell: (object) => title("snapshot", object), by: (object) => title("snapshot", object).toLowerCase() },
    status("snapshot"),
    volumeColumn,
    nowColumn("snapshot"),
    { key: "size", head: "Size", right: true, cell: (object) => (object.size ? bytes(object.size * 2 ** 30) : "–"), by: (object) => object.size ?? 0 },
    created,
    id,
  ],
  attachment: [
    { key: "name", head: "Volume → host", name: true, cell: attachmentTitle, by: (object) => attachmentTitle(object).toLowerCase() },
    status("attachment"),
    nowColumn("attachment"),
    { key: "mode", head: "Mode", cell: (object) => (object.attachMode === "ro" ? "read only" : "read, write"), by: (object) => object.attachMode },
    { key: "protocol", head: "Protocol", cell: (object) => object.accessProtocol, by: (object) => object.accessProtocol },
    created,
    id,
  ],
  pool: [
    { key: "name", head: "Name", name: true, cell: (object) => object.name, by: (object) => object.name.toLowerCase() },
    status("pool"),
    nowColumn("pool", (pool) => volumes(inPool.value.get(pool.id)?.length ?? 0)),
    {
      key: "used",
      head: "Used",
      cell: (object) => html`<${Fill} pool=${object} />`,
      by: (object) => (object.totalCapacity ? 1 - object.freeCapacity / object.totalCapacity : 0),
    },
    { key: "free", head: "Free", right: true, cell: (object) => bytes(object.freeCapacity * 2 ** 30), by: (object) => object.freeCapacity },
    { key: "total", head: "Total", right: true, cell: (object) => bytes(object.totalCapacity * 2 ** 30), by: (object) => object.totalCapacity },
    id,
  ],
  host: [
    { key: "name", head: "Name", name: true, cell: (object) => object.hostName, by: (object) => object.hostName.toLowerCase() },
    { key: "address", head: "Address", cell: (object) => html`<code>${object.ip}</code>`, by: (object) => object.ip.split(".").map((part) => part.padStart(3, "0")).join(".") },
    {
      key: "attached",
      head: "Attachments",
      right: true,
      cell: (object) => count(live(object).length),
      by: (object) => live(object).length,
    },
    { key: "system", head: "System", cell: (object) => object.osType, by: (object) => object.osType },
    created,
    id,
  ],
};

const live = (host) => (ofHost.value.get(host.id) ?? []).filter(isServed);
