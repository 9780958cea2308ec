// The state machine as the server tells it: which statuses there are, what each promises, what leads where, which commands there are.

import { signal } from "./dom.js";
import { learn } from "./clock.js";

/** By kind; empty until it is read, and where a server does not tell it. */
export const machine = signal({});

const RETRY = 5_000;

export async function load() {
  try {
    const answer = await fetch("/v1beta/statemachine", { headers: { accept: "application/json" } });
    learn(answer.headers.get("date"));
    if (answer.status === 404) return;
    if (!answer.ok) throw new Error(String(answer.status));
    const { resources } = await answer.json();
    machine.value = Object.fromEntries(resources.map((resource) => [resource.kind, resource]));
  } catch {
    setTimeout(load, RETRY);
  }
}

export const statusOf = (kind, word) => machine.value[kind]?.statuses.find((status) => status.word === word) ?? null;

/** `stable`, `transient`, `error` or `final`. Words of a dialect that the machine does not know are told by their form. */
export function classOf(kind, word) {
  const known = statusOf(kind, word);
  if (known) return known.class;
  if (/^(error|unavailable)/.test(word)) return "error";
  if (/ing$/.test(word)) return "transient";
  if (/^(deleted|detached)$/.test(word)) return "final";
  return "stable";
}
