// Ten thousand volumes without making them: a server that tells them as the controller's event stream does, and passes everything else on
// to the controller. What is tried with it is the page's list, which cannot tell the difference.

import { createServer, request } from "node:http";

const MANY = 10_000;
/** How many of them change in a second. */
const CHANGES = 200;

/** An id like any other: the time of its making, then digits that look thrown. */
const idOf = (number) => `019a7c3e-5b21-7000-8000-0000${((number * 2654435761) >>> 0).toString(16).padStart(8, "0")}`;

const POOLS = ["nvme", "archive"].map((name, place) => ({
  id: idOf(90_000 + place),
  name,
  description: "",
  status: "available",
  availability: { state: "up", since: new Date().toISOString() },
  totalCapacity: 40_000,
  freeCapacity: 9_000 + 21_000 * place,
  reservedBytes: 0,
  reservableBytes: null,
}));

/** Most are well; some are on their way, a few have failed. */
function fate(turn) {
  const startedAt = new Date(Date.now() - 3_000).toISOString();
  if (turn % 97 === 3) {
    const message = "extending it to 64 GiB was refused: cannot extend volume: the pool is full: 12 GiB can still be written; delete something";
    return { status: "errorExtending", statusReason: { code: "refused", message, since: startedAt } };
  }
  if (turn % 41 === 8) return { status: "creating", operation: { kind: "create", startedAt, attempt: 1, progress: turn % 100 } };
  if (turn % 29 === 5) return { status: "extending", operation: { kind: "extend", startedAt, attempt: 2, waitingFor: "driver file of pool nvme" } };
  return { status: turn % 3 ? "available" : "inUse" };
}

function volume(number, revision, turn) {
  return {
    id: idOf(number),
    name: `vol-${number}`,
    size: 1 + (number % 40),
    sizeBytes: (1 + (number % 40)) * 2 ** 30,
    poolId: POOLS[number % 2].id,
    tenantId: "many",
    createdAt: new Date(Date.now() - (number + 1) * 60_000).toISOString(),
    updatedAt: "",
    allowed: [],
    revision,
    health: { state: "ok" },
    ...fate(turn),
  };
}

function tell(response) {
  const write = (event, id, data) => response.write(`event: ${event}\n${id ? `id: many-${id}\n` : ""}data: ${JSON.stringify(data)}\n\n`);
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  for (const pool of POOLS) write("snapshot", null, { kind: "pool", id: pool.id, object: pool });
  for (let number = 0; number < MANY; number += 1) {
    const object = volume(number, number + 1, number);
    write("snapshot", null, { kind: "volume", id: object.id, revision: object.revision, object });
  }
  let revision = MANY;
  write("synced", revision, { revision });
  const timer = setInterval(() => {
    for (let turn = 0; turn < CHANGES / 10; turn += 1) {
      revision += 1;
      const object = volume((revision * 7919) % MANY, revision, revision);
      write("change", revision, { kind: "volume", id: object.id, revision, object, deleted: false, transition: null });
    }
  }, 100);
  response.on("close", () => clearInterval(timer));
}

/** Starts it before the controller at `base`. */
export async function many(base) {
  const server = createServer((asked, response) => {
    if (/^\/v1beta\/[^/]+\/block\/events/.test(asked.url)) return tell(response);
    const passed = request(base + asked.url, { method: asked.method, headers: asked.headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    passed.on("error", () => response.destroy());
    return asked.pipe(passed);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { base: `http://127.0.0.1:${server.address().port}`, stop: () => (server.closeAllConnections(), server.close()) };
}
