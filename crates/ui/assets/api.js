// The calls that change something, and the few reads that the stream does not tell.

import { route } from "./route.js";

/** A refusal, in the server's words. */
export class Refused extends Error {
  constructor(status, body) {
    super(body?.message ?? `the server answered ${status}`);
    this.status = status;
    this.allowed = body?.allowed ?? null;
    this.requestId = body?.requestId ?? null;
  }
}

/** How long an answer is awaited, in milliseconds. None of these calls waits for the work itself. */
const PATIENCE = 20_000;

export async function call(method, path, body, { key } = {}) {
  const headers = { accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (key) headers["idempotency-key"] = key;
  let answer;
  try {
    const url = `/v1beta/${encodeURIComponent(route.value.tenant)}${path}`;
    const sent = body === undefined ? undefined : JSON.stringify(body);
    answer = await fetch(url, { method, headers, body: sent, signal: AbortSignal.timeout(PATIENCE) });
  } catch {
    throw new Refused(0, { message: "the server did not answer; whether it was asked is not known. Asking again is safe: it is done once" });
  }
  const told = await answer.json().catch(() => null);
  if (!answer.ok) throw new Refused(answer.status, told);
  return told;
}

export const read = (path) => call("GET", path);

const COLLECTION = { volume: "/block/volumes", snapshot: "/block/snapshots", attachment: "/block/attachments", host: "/host/hosts" };

export const pathOf = (kind, id) => `${COLLECTION[kind]}/${id}`;

/** What makes a request the same when it is sent again: see `Idempotency-Key`. */
export function newKey() {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return `page-${Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
