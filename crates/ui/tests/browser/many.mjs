// Ten thousand volumes without making them: a server that tells them as the controller's event stream does, and passes everything else on
// to the controller. What is tried with it is the page's list, which cannot tell the difference.

import { createServer, request } from "node:http";

const MANY = 10_000;
/** How many of them change in a second. */
const CHANGES = 200;
const WORDS = ["available", "inUse", "extending", "errorExtending", "available", "available", "inUse"];

export const idOf = (number) => `00000000-0000-4000-8000-${String(number).padStart(12, "0")}`;

function volume(number, revision, status) {
  return {
    id: idOf(number),
    name: `vol-${number}`,
    size: 1 + (number % 40),
    sizeBytes: (1 + (number % 40)) * 2 ** 30,
    status,
    poolId: idOf(99_999),
    tenantId: "many",
    createdAt: new Date(Date.now() - number * 60_000).toISOString(),
    updatedAt: "",
    allowed: [],
    revision,
    health: { state: "ok" },
  };
}

function tell(response) {
  const write = (event, id, data) => response.write(`event: ${event}\n${id ? `id: many-${id}\n` : ""}data: ${JSON.stringify(data)}\n\n`);
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  for (let number = 0; number < MANY; number += 1) {
    const object = volume(number, number + 1, WORDS[number % WORDS.length]);
    write("snapshot", null, { kind: "volume", id: object.id, revision: object.revision, object });
  }
  let revision = MANY;
  write("synced", revision, { revision });
  const timer = setInterval(() => {
    for (let turn = 0; turn < CHANGES / 10; turn += 1) {
      revision += 1;
      const object = volume((revision * 7919) % MANY, revision, WORDS[revision % WORDS.length]);
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
