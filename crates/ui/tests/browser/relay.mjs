// A way to the controller that a test can cut, for event streams alone: what passes over it is the controller's own.

import { createServer, request } from "node:http";

const STREAM = /^\/v1beta\/[^/]+\/block\/events/;

export class Relay {
  /** The answers of the event streams that pass now. */
  streams = new Set();
  /** How many were not answered. */
  held = 0;
  #isCut = false;
  #isHeld = false;
  /** What is done to the next stream instead of passing it on as it is. */
  #next = null;
  #isWhole = true;

  /** Starts one before the controller at `base`. */
  async start(base) {
    this.#server = createServer((asked, response) => this.#pass(base, asked, response));
    await new Promise((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    this.base = `http://127.0.0.1:${this.#server.address().port}`;
    return this;
  }
  #server;

  /** No stream passes until `mend`. */
  cut() {
    this.#isCut = true;
    for (const response of this.streams) response.destroy();
  }

  mend() {
    this.#isCut = false;
  }

  /** Streams stay, and nothing passes over them any more, as where a network has swallowed them. New ones are not answered. */
  hold() {
    this.#isHeld = true;
  }

  /** Streams that begin from here on pass. */
  release() {
    this.#isHeld = false;
  }

  /** The next stream begins at a place that no journal has. */
  loseNext() {
    this.#next = () => {};
    this.#isWhole = true;
  }

  /** So does it here, and it breaks off in the midst of what it tells anew. Resolves when it has. */
  breakNext() {
    this.#isWhole = false;
    return new Promise((resolve) => (this.#next = resolve));
  }

  stop() {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #pass(base, asked, response) {
    const isStream = STREAM.test(asked.url);
    if (isStream && this.#isCut) return response.destroy();
    if (isStream && this.#isHeld) return void (this.held += 1);
    const broken = isStream ? this.#next : null;
    if (broken) this.#next = null;
    const { "last-event-id": _, ...fresh } = asked.headers;
    const [url, headers] = broken ? [`${asked.url.split("?")[0]}?since=elsewhere-1`, fresh] : [asked.url, asked.headers];
    const passed = request(base + url, { method: asked.method, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      if (isStream) {
        this.streams.add(response);
        response.on("close", () => this.streams.delete(response));
      }
      if (broken && !this.#isWhole) this.#half(answer, response, broken);
      else answer.on("data", (bytes) => (isStream && this.#isHeld) || response.write(bytes)).on("end", () => response.end());
    });
    passed.on("error", () => response.destroy());
    response.on("close", () => passed.destroy());
    asked.pipe(passed);
  }

  /** Passes a stream up to the first volume that it tells, and breaks it off there. */
  #half(answer, response, done) {
    let told = "";
    answer.on("data", (bytes) => {
      told += bytes;
      const events = told.split("\n\n");
      const place = events.findIndex((event) => /^event: snapshot$/m.test(event) && event.includes('"kind":"volume"'));
      if (place < 0 || place === events.length - 1) return;
      answer.removeAllListeners("data");
      // The page has it before the end, as the end follows in a packet of its own.
      response.write(`${events.slice(0, place + 1).join("\n\n")}\n\n`, () => setImmediate(() => (response.destroy(), done())));
    });
  }
}
