// The page: its head, the list, what is open, and the dialog over them.

import { effect, html, render, useSignal, useEffect, useRef } from "./dom.js";
import { say } from "./announce.js";
import { asking } from "./commands.js";
import { now } from "./clock.js";
import { Detail } from "./detail.js";
import { Dialog } from "./dialog.js";
import { age, clock, count } from "./format.js";
import { LABEL, List } from "./list.js";
import { classOf, load, machine } from "./machine.js";
import { ADMINISTRATOR, LISTS, go, here, isTenant, route } from "./route.js";
import { all } from "./store.js";
import { again, connection, follow, heard } from "./stream.js";

function Page() {
  const { open, kind } = route.value;
  const { state } = connection.value;
  const isStale = state === "reconnecting" || state === "stopped" || state === "paused";
  return html`
    <a class="skip" href="#main" onClick=${(event) => (event.preventDefault(), document.querySelector(".grid, .empty a, .empty button")?.focus())}>Skip to the list</a>
    <header class="top">
      <a class="mark" href=${here({ kind: "volume", open: null, q: "", status: [], sort: null })}><svg viewBox="0 0 32 32" aria-hidden="true"><path d="M8 9v12a3 3 0 0 0 3 3h10a3 3 0 0 0 3-3V9" /><rect x="12.5" y="7" width="7" height="11" rx="2" /></svg>Berth</a>
      <${Tabs} />
      <div class="right"><${Tenant} /><${Live} /></div>
    </header>
    <${Stale} />
    <main id="main" class="main ${open ? "with-detail" : ""} ${isStale ? "stale" : ""}" data-kind=${kind}>
      <${List} />
      <${Detail} />
    </main>
    <${Dialog} />`;
}

function Tabs() {
  const { kind } = route.value;
  const frame = useRef(null);
  // Where there is no room for all, the present one is seen.
  useEffect(() => frame.current.querySelector("[aria-current]").scrollIntoView({ block: "nearest", inline: "center" }), [kind]);
  return html`<nav class="tabs" aria-label="Lists" ref=${frame}>
    ${Object.values(LISTS).map((one) => html`<a
        key=${one}
        href=${here(one === kind ? { open: null } : { kind: one, open: null, q: "", status: [], sort: null })}
        aria-current=${one === kind ? "page" : undefined}
      >${LABEL[one]} <span class="count">${count(present(one))}</span></a>`)}
  </nav>`;
}

/** How many there are that are not over. */
function present(kind) {
  machine.value;
  if (kind === "host" || kind === "pool") return all(kind).size;
  let number = 0;
  for (const object of all(kind).values()) if (classOf(kind, object.status) !== "final") number += 1;
  return number;
}

function Live() {
  const { state, since } = connection.value;
  const told = { live: "Live", connecting: "Connecting", reconnecting: "Reconnecting", stopped: "Stopped", paused: "Paused" }[state];
  return html`<p class="connection ${state}" title=${`${told} since ${clock(since)}`}><svg viewBox="0 0 12 12" aria-hidden="true"><circle cx="6" cy="6" r="3.5" /></svg>${told}</p>`;
}

/** While nothing is told: since when, how old what is shown is, and why. */
function Stale() {
  const { state, since, why } = connection.value;
  if (state === "live" || state === "connecting") return null;
  const old = age(now.value - heard());
  const head = { reconnecting: "Reconnecting", stopped: "Stopped", paused: "Paused while nobody looked" }[state];
  return html`<div class="away" role="status">
    <p><strong>${head} since ${clock(since)}.</strong> What you see is <span aria-live="off">${old}</span> old${why ? `: ${why}` : ""}.</p>
    ${state !== "paused" && html`<button type="button" onClick=${again}>Connect now</button>`}
  </div>`;
}

/** Whose resources are shown: the administrator's tenant sees all. */
function Tenant() {
  const { tenant } = route.value;
  const isOpen = useSignal(false);
  const wrong = useSignal("");
  const frame = useRef(null);
  useEffect(() => {
    if (!isOpen.value) return undefined;
    frame.current.querySelector("input").select();
    const close = () => (isOpen.value = false);
    const onKey = (event) => {
      if (event.key !== "Escape") return;
      close();
      frame.current.querySelector("button").focus();
    };
    const onPress = (event) => frame.current.contains(event.target) || close();
    addEventListener("keydown", onKey);
    addEventListener("pointerdown", onPress);
    return () => {
      removeEventListener("keydown", onKey);
      removeEventListener("pointerdown", onPress);
      wrong.value = "";
    };
  }, [isOpen.value]);
  const choose = (event) => {
    event.preventDefault();
    const text = new FormData(event.target).get("tenant").trim() || ADMINISTRATOR;
    if (!isTenant(text)) {
      wrong.value = "1 to 64 of letters, digits, - _ . @ and :";
      return;
    }
    isOpen.value = false;
    go({ tenant: text, open: null });
  };
  const label = tenant === ADMINISTRATOR ? "Administrator" : tenant;
  return html`<div class="tenant" ref=${frame}>
    <button type="button" aria-expanded=${isOpen.value ? "true" : "false"} aria-controls="tenant-form" onClick=${() => (isOpen.value = !isOpen.value)}>
      <span class="unseen">Tenant: </span><span class="label">${label}</span>
    </button>
    ${isOpen.value && html`<form id="tenant-form" class="sheet" onSubmit=${choose}>
      <label for="tenant">Act as tenant</label>
      <input id="tenant" name="tenant" autocomplete="off" spellcheck=${false} value=${tenant === ADMINISTRATOR ? "" : tenant} placeholder="the administrator, who sees all" />
      <p class="hint" role="alert">${wrong.value || "Empty for the administrator."}</p>
      <div class="buttons"><button type="submit" class="primary">Show</button></div>
    </form>`}
  </div>`;
}

// Escape closes what is open, unless something over it takes the key.
addEventListener("keydown", (event) => {
  const isTaken = asking.value || event.defaultPrevented || document.querySelector(".sheet") || /^(INPUT|SELECT)$/.test(event.target.tagName);
  if (event.key === "Escape" && !isTaken && route.value.open) {
    go({ open: null });
    requestAnimationFrame(() => document.querySelector(".grid")?.focus());
  }
});

effect(() => follow(route.value.tenant));
// What is open has its own.
effect(() => {
  if (!route.value.open) document.title = `${LABEL[route.value.kind]} – Berth`;
});
// What a screen reader hears of the connection: that it went, and that it is back.
let heardState = "connecting";
effect(() => {
  const { state } = connection.value;
  if (state === heardState) return;
  if (state === "live" && heardState !== "connecting") say("Live again");
  if (state === "stopped" || state === "reconnecting") say(`${state === "stopped" ? "Stopped" : "Reconnecting"}: what is shown may be old`);
  heardState = state;
});
load();
render(html`<${Page} />`, document.getElementById("page"));
