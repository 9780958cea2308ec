// Where the page is: everything that is worth sharing lives in the address behind `#`, so that a reload or a colleague sees the same.
//
//     #/volumes/ID?status=error,extending&q=db&sort=size&dir=desc&tenant=TENANT
//
// Whatever is not understood is left out: an address is input like any other.

import { computed, signal } from "./dom.js";

/** The administrator's tenant, who sees all. */
export const ADMINISTRATOR = "e93b4c0934da416eb9c8d120c5d04d96";

/** The lists, in the order of the tabs, by the word in the address. */
export const LISTS = { volumes: "volume", snapshots: "snapshot", attachments: "attachment", pools: "pool", hosts: "host" };
const WORD_OF = Object.fromEntries(Object.entries(LISTS).map(([word, kind]) => [kind, word]));

const TENANT = /^[A-Za-z0-9_@:][A-Za-z0-9_.@:-]{0,63}$/;
const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const WORD = /^[A-Za-z]{1,32}$/;

const address = signal(location.hash);
addEventListener("hashchange", () => (address.value = location.hash));

/** The present place: `{kind, open, status, q, sort, dir, tenant}`. */
export const route = computed(() => read(address.value));

export function read(hash) {
  const [path, query] = hash.replace(/^#\/?/, "").split("?");
  const [list, id] = path.split("/");
  const asked = new URLSearchParams(query ?? "");
  const status = (asked.get("status") ?? "").split(",").filter((word) => WORD.test(word));
  return {
    kind: Object.hasOwn(LISTS, list) ? LISTS[list] : "volume",
    open: ID.test(id ?? "") ? id : null,
    status,
    q: (asked.get("q") ?? "").slice(0, 100),
    sort: WORD.test(asked.get("sort") ?? "") ? asked.get("sort") : null,
    dir: asked.get("dir") === "desc" ? "desc" : "asc",
    tenant: TENANT.test(asked.get("tenant") ?? "") ? asked.get("tenant") : ADMINISTRATOR,
  };
}

/** The address of a place. */
export const href = (place) => `#/${WORD_OF[place.kind]}${place.open ? `/${place.open}` : ""}${queryOf(place)}`;

function queryOf(place) {
  const asked = new URLSearchParams();
  if (place.status?.length) asked.set("status", place.status.join(","));
  if (place.q) asked.set("q", place.q);
  if (place.sort) asked.set("sort", place.sort);
  if (place.sort && place.dir === "desc") asked.set("dir", "desc");
  if (place.tenant && place.tenant !== ADMINISTRATOR) asked.set("tenant", place.tenant);
  const query = asked.toString().replaceAll("%2C", ",");
  return query ? `?${query}` : "";
}

/** The address of the present place with some of it changed. */
export const here = (changes) => href({ ...route.value, ...changes });

const sameList = computed(() => queryOf(route.value));
const otherList = computed(() => queryOf({ tenant: route.value.tenant }));

/** The address of a resource; the list behind it keeps its filter only if it is the same list. */
export const hrefOf = (kind, id) => `#/${WORD_OF[kind]}/${id}${kind === route.value.kind ? sameList.value : otherList.value}`;

/** Goes there; `replace` leaves no step in the history, as for each letter of a filter. */
export function go(changes, { replace = false } = {}) {
  const to = here(changes);
  if (to === location.hash) return;
  if (replace) {
    address.value = to;
    try {
      history.replaceState(null, "", to);
    } catch {
      // Some browsers take so many in a minute only. The page is there; the address follows the next time.
    }
  } else {
    location.hash = to;
  }
}

export const isTenant = (text) => TENANT.test(text);
export const isId = (text) => ID.test(text);
