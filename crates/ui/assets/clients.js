// Who uses an attachment now. What clients do makes no revision, so the stream does not tell it: it is asked for while it is looked at.

import { signal, useEffect } from "./dom.js";
import { pathOf, read } from "./api.js";
import { connection } from "./stream.js";

/** How often they are asked for, in milliseconds. */
const EVERY = 3_000;

/** The attachments of what is open, as they were last read, by id. */
const told = signal({});

/** The clients of an attachment of what is open, and the size that it has; nothing while they are not known. */
export function clientsOf(id) {
  const { clients, sizeBytes } = told.value[id] ?? {};
  return Array.isArray(clients) ? { clients, sizeBytes } : null;
}

/** Keeps the clients of these attachments known, as long as the view is there. One view at a time does. */
export function useClients(attachments) {
  const ids = attachments.map((one) => one.id).join();
  const isLive = connection.value.state === "live";
  useEffect(() => {
    if (!ids || !isLive) return undefined;
    let isOver = false;
    let isLooking = false;
    const look = async () => {
      // One look at a time: of two, the earlier may be answered later.
      if (document.hidden || isLooking) return;
      isLooking = true;
      const each = await Promise.all(ids.split(",").map((id) => read(pathOf("attachment", id)).catch(() => null)));
      isLooking = false;
      if (!isOver) told.value = Object.fromEntries(each.filter(Boolean).map((one) => [one.id, one]));
    };
    look();
    const timer = setInterval(look, EVERY);
    return () => {
      isOver = true;
      clearInterval(timer);
      told.value = {};
    };
  }, [ids, isLive]);
}
