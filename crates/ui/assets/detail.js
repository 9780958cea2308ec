// An open resource: what it is, why, what runs, what can be done, its diagram, its clients, its past.

import { html, useEffect, useRef, useSignal } from "./dom.js";
import { say } from "./announce.js";
import { clientsOf, useClients } from "./clients.js";
import { At, Since, serverNow } from "./clock.js";
import { Fill } from "./columns.js";
import { COMMANDS, ask, isAllowed, offered, whyNot } from "./commands.js";
import { Diagram } from "./diagram.js";
import { bytes, clock, count, duration, short, title } from "./format.js";
import { statusOf } from "./machine.js";
import { ADMINISTRATOR, here, hrefOf, route } from "./route.js";
import { Shape, Status, classNow, plainWords, spaced, wordNow } from "./status.js";
import { clonesOf, find, inPool, isServed, isWhole, lastSeen, ofHost, ofVolume } from "./store.js";
import { Timeline, useJournal } from "./timeline.js";
import { Prose, advice, because, called, capital, gerund, plain } from "./words.js";

const HAS_JOURNAL = /^(volume|snapshot|attachment)$/;

export function Detail() {
  const { kind, open } = route.value;
  if (!open) return null;
  return html`<${Opened} key=${`${kind} ${open}`} kind=${kind} id=${open} />`;
}

function Opened({ kind, id }) {
  const object = find(kind, id);
  const gone = object ? null : lastSeen(kind, id);
  const shown = object ?? gone?.object ?? null;
  const journal = useJournal(kind, id);
  const heading = useRef(null);
  useEffect(() => {
    if (shown) document.title = `${called(kind, shown)} – Berth`;
  }, [shown && called(kind, shown)]);
  // Whoever opened it by the keyboard goes on from here.
  useEffect(() => heading.current?.focus({ preventScroll: true }), []);
  // The status is said when it changes, not when it is first seen.
  const word = object ? wordNow(kind, object) : null;
  const before = useRef(word);
  useEffect(() => {
    if (object && before.current && before.current !== word) {
      say(`${called(kind, object)} is ${word}${object.statusReason ? `: ${plain(because(object.statusReason))}` : ""}`);
    }
    before.current = word;
  }, [word]);

  return html`<article class="detail" aria-labelledby="opened">
    <header>
      <a class="close" href=${here({ open: null })} aria-label="Close"><svg viewBox="0 0 16 16" aria-hidden="true"><path d="M3 3l10 10M13 3 3 13" /></svg></a>
      <p class="kind">${capital(kind)}</p>
      <h1 id="opened" tabindex="-1" ref=${heading}>${shown ? called(kind, shown) : short(id)}</h1>
      <p class="id"><${Copyable} text=${id} /></p>
    </header>
    ${shown ? html`<${Body} kind=${kind} object=${shown} gone=${gone} journal=${journal} />` : html`<${Unknown} kind=${kind} journal=${journal} />`}
  </article>`;
}

function Unknown({ kind, journal }) {
  if (!isWhole.value) return html`<p class="hint">Waiting to be told of it…</p>`;
  if (HAS_JOURNAL.test(kind) && !journal.isRead) return html`<p class="hint">Reading…</p>`;
  if (!journal.entries.length) return html`<p>There is no such ${kind}, or it is another tenant's.</p>`;
  return html`<p>This ${kind} is gone. What happened to it is kept for a while.</p>
    <section class="part" aria-label="States"><${Diagram} kind=${kind} object=${null} journal=${journal.entries} /></section>
    <h2>Timeline</h2>
    <${Timeline} kind=${kind} journal=${journal} />`;
}

function Body({ kind, object, gone, journal }) {
  return html`
    <${State} kind=${kind} object=${object} gone=${gone} />
    ${!gone && html`<${Actions} kind=${kind} object=${object} />`}
    ${HAS_JOURNAL.test(kind) && html`<section class="part" aria-label="States"><${Diagram} kind=${kind} object=${gone ? null : object} journal=${journal.entries} /></section>`}
    <div class="halves">
      <div>
        <h2>Facts</h2>
        <${Facts} kind=${kind} object=${object} />
        <${Related} kind=${kind} object=${object} />
      </div>
      ${HAS_JOURNAL.test(kind) && html`<div>
        <h2>Timeline</h2>
        <${Timeline} kind=${kind} journal=${journal} went=${gone?.at} />
      </div>`}
    </div>`;
}

/** The status with what it promises, or why it is what it is; and what runs. */
function State({ kind, object, gone }) {
  if (gone) return html`<p class="state over"><${Shape} of="final" /> Gone since <${At} at=${gone.at} /></p>`;
  if (kind === "host") return null;
  const { statusReason: reason, operation, health, availability } = object;
  const of = classNow(kind, object);
  const promise = statusOf(kind, object.status)?.promise;
  const since = reason?.since ?? availability?.since;
  return html`<div class="state ${of}">
    <p class="now"><${Status} kind=${kind} object=${object} />${since ? html`<span class="hint">since <${At} at=${since} /></span>` : ""}</p>
    ${availability?.message && html`<p class="why"><${Prose} text=${capital(availability.message)} />.</p>`}
    ${reason && html`<p class="why"><${Prose} text=${capital(reason.message)} />.</p>
      <p class="hint">${advice(reason.code)}</p>`}
    ${!reason && promise && html`<p class="hint">${capital(plainWords(promise))}.</p>`}
    ${health?.code && html`<p class="doubt"><${Shape} of="unknown" /> <span>${capital(health.message)}${health.since ? html`, since <${At} at=${health.since} />` : ""}. What is shown is as it was last known.</span></p>`}
    ${operation && html`<${Operation} operation=${operation} />`}
  </div>`;
}

function Operation({ operation }) {
  const { kind, startedAt, attempt, nextTryAt, deadline, progress, waitingFor, lastError } = operation;
  const until = (at) => duration(Math.max(0, new Date(at) - serverNow.value));
  const told = [
    html`begun <${Since} at=${startedAt} />`,
    attempt > 1 && `attempt ${attempt}`,
    nextTryAt && new Date(nextTryAt) > serverNow.value && `next try in ${until(nextTryAt)}`,
    waitingFor && `waiting for ${waitingFor}`,
    deadline && (new Date(deadline) > serverNow.value ? `gives up in ${until(deadline)} without progress` : "its deadline has come"),
  ].filter(Boolean);
  return html`<div class="operation">
    <p><strong>${capital(gerund(kind))}</strong> ${told.map((part, place) => html`<span>${place ? " · " : ""}${part}</span>`)}</p>
    ${progress !== undefined
      ? html`<div class="progress"><progress max="100" value=${progress} aria-label=${`${capital(gerund(kind))}, done`}></progress><span>${progress} %</span></div>`
      : html`<div class="progress"><progress aria-label=${capital(gerund(kind))}></progress></div>`}
    ${lastError && html`<p class="hint">Last try: <${Prose} text=${lastError} /></p>`}
  </div>`;
}

/** What can be done. What is not allowed can be asked why: it is no dead button. */
function Actions({ kind, object }) {
  const why = useSignal(null);
  const words = offered(kind, object);
  useEffect(() => {
    if (why.value && isAllowed(kind, object, why.value)) why.value = null;
  });
  if (!words.length) return null;
  const press = (word) => {
    if (isAllowed(kind, object, word)) {
      why.value = null;
      ask(kind, word, object.id);
    } else {
      why.value = why.value === word ? null : word;
    }
  };
  return html`<div class="actions" role="group" aria-label="Actions">
    ${words.map((word) => {
      const may = isAllowed(kind, object, word);
      return html`<button
        key=${word}
        type="button"
        class=${COMMANDS[kind][word].danger ? "danger" : ""}
        aria-disabled=${may ? undefined : "true"}
        aria-describedby=${may ? undefined : "why-not"}
        title=${may ? undefined : whyNot(kind, object, word)}
        onClick=${() => press(word)}
      >${COMMANDS[kind][word].label}</button>`;
    })}
    <p id="why-not" class="why-not" role="status">${why.value ? whyNot(kind, object, why.value) : html`<span class="unseen">Not allowed now. Press it to be told why.</span>`}</p>
  </div>`;
}

const Fact = ({ name, children }) => html`<div><dt>${name}</dt><dd>${children}</dd></div>`;

function Facts({ kind, object }) {
  const tenant = object.tenantId && object.tenantId !== ADMINISTRATOR && html`<${Fact} name="Tenant"><code>${object.tenantId}</code></${Fact}>`;
  const made = object.createdAt && html`<${Fact} name="Created"><${At} at=${object.createdAt} /></${Fact}>`;
  const revision = object.revision && html`<${Fact} name="Revision">${object.revision}</${Fact}>`;
  const checked = object.health?.checkedAt && html`<${Fact} name="Last seen whole"><${Since} at=${object.health.checkedAt} /></${Fact}>`;
  const described = object.description && html`<${Fact} name="Description">${object.description}</${Fact}>`;
  const metadata = Object.entries(object.metadata ?? {}).map(([key, value]) => html`<${Fact} name=${key}>${value}</${Fact}>`);
  const ref = (of, id) => html`<${Ref} kind=${of} id=${id} />`;
  const rows = {
    volume: () => html`
      <${Fact} name="Size">${bytes(object.sizeBytes)}</${Fact}>
      <${Fact} name="Pool">${object.poolId ? ref("pool", object.poolId) : "not placed yet"}</${Fact}>
      ${object.snapshotId && html`<${Fact} name="Made from">${ref("snapshot", object.snapshotId)}</${Fact}>`}
      <${Fact} name="Attached">${object.multiAttach ? "to several hosts at once" : "to one host at a time"}</${Fact}>`,
    snapshot: () => html`
      <${Fact} name="Volume">${ref("volume", object.volumeId)}</${Fact}>
      <${Fact} name="Size">${object.size ? bytes(object.size * 2 ** 30) : "–"}</${Fact}>`,
    attachment: () => html`
      <${Fact} name="Volume">${ref("volume", object.volumeId)}</${Fact}>
      <${Fact} name="Host">${ref("host", object.hostId)}</${Fact}>
      <${Fact} name="Access">${object.attachMode === "ro" ? "read only" : "read and write"}</${Fact}>
      <${Fact} name="Reached by">${object.accessProtocol}</${Fact}>
      ${object.toldStatus && html`<${Fact} name="To clients"><code>${object.toldStatus}</code></${Fact}>`}
      <${Connection} info=${object.connectionInfo} />`,
    pool: () => html`
      <${Fact} name="Used"><${Fill} pool=${object} /></${Fact}>
      <${Fact} name="Free">${bytes(object.freeCapacity * 2 ** 30)} of ${bytes(object.totalCapacity * 2 ** 30)}</${Fact}>
      <${Fact} name="Volumes">${count(inPool.value.get(object.id)?.length ?? 0)}</${Fact}>
      <${Fact} name="Promised">${bytes(object.reservedBytes)}${object.reservableBytes === null ? "" : ` of at most ${bytes(object.reservableBytes)}`}</${Fact}>
      <${Fact} name="While it is down">new work is ${object.whenDown === "queue" ? "queued" : "refused"}</${Fact}>
      <${Fact} name="Zone">${object.availabilityZone}</${Fact}>
      <${Fact} name="Reached by">${object.extras?.ioConnectivity?.accessProtocol?.replaceAll(",", ", ")}</${Fact}>`,
    host: () => html`
      <${Fact} name="Address"><code>${object.ip}</code></${Fact}>
      <${Fact} name="System">${object.osType}</${Fact}>`,
  }[kind]();
  return html`<dl class="facts">${described}${rows}${metadata}${made}${checked}${revision}${tenant}</dl>`;
}

/** How a client connects, as the exporter told it: what is typed; its parts are there for whoever asks. */
function Connection({ info }) {
  const parts = Object.entries(info?.data ?? {}).filter(([, value]) => typeof value !== "object" && value !== "");
  const typed = { uri: "Connect to", unixUri: "On this machine", device: "Device" };
  const others = parts.filter(([key]) => !Object.hasOwn(typed, key));
  return html`
    ${Object.entries(typed).map(([key, name]) => info?.data?.[key] && html`<${Fact} key=${key} name=${name}><${Copyable} text=${String(info.data[key])} /></${Fact}>`)}
    ${others.length > 0 && html`<${Fact} name="In parts"><details>
      <summary>${others.length} ${others.length === 1 ? "value" : "values"}</summary>
      <dl>${others.map(([key, value]) => html`<div key=${key}><dt>${spaced(key)}</dt><dd><code>${String(value)}</code></dd></div>`)}</dl>
    </details></${Fact}>`}`;
}

/** A name that leads to the resource. */
function Ref({ kind, id }) {
  const object = find(kind, id);
  return html`<a href=${hrefOf(kind, id)} title=${id}>${object ? called(kind, object) : html`<code>${short(id)}</code>`}</a>`;
}

function Copyable({ text }) {
  const copied = useSignal(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      return;
    }
    copied.value = true;
    say("Copied");
    setTimeout(() => (copied.value = false), 1500);
  };
  const can = Boolean(navigator.clipboard);
  return html`<span class="copyable"><code>${text}</code>${can && html`<button type="button" class="copy" aria-label=${`Copy ${text}`} onClick=${copy}>${copied.value ? "Copied" : "Copy"}</button>`}</span>`;
}

/** What hangs on it: attachments with their clients, snapshots, clones. */
function Related({ kind, object }) {
  if (kind === "volume") {
    const attachments = (ofVolume.value.attachment.get(object.id) ?? []).filter(isServed);
    const snapshots = (ofVolume.value.snapshot.get(object.id) ?? []).filter((one) => one.status !== "deleted");
    return html`
      ${attachments.length > 0 && html`<h2>Attached to</h2>
        <ul class="related">${attachments.map((one) => html`<${Linked} key=${one.id} kind="attachment" object=${one} name=${title("host", find("host", one.hostId)) || short(one.hostId)} />`)}</ul>
        <${Clients} attachments=${attachments} />`}
      ${snapshots.length > 0 && html`<h2>Snapshots</h2>
        <ul class="related">${snapshots.map((one) => html`<${Linked} key=${one.id} kind="snapshot" object=${one} name=${title("snapshot", one)} />`)}</ul>`}`;
  }
  if (kind === "attachment") return html`<h2>Clients</h2><${Clients} attachments=${[object]} isAlone />`;
  if (kind === "snapshot") {
    const clones = clonesOf.value.get(object.id) ?? [];
    if (!clones.length) return null;
    return html`<h2>Volumes made from it</h2>
      <ul class="related">${clones.map((one) => html`<${Linked} key=${one.id} kind="volume" object=${one} name=${one.name} />`)}</ul>`;
  }
  if (kind === "host") {
    const held = (ofHost.value.get(object.id) ?? []).filter(isServed);
    if (!held.length) return null;
    return html`<h2>Attached to it</h2>
      <ul class="related">${held.map((one) => html`<${Linked} key=${one.id} kind="attachment" object=${one} name=${title("volume", find("volume", one.volumeId)) || short(one.volumeId)} />`)}</ul>`;
  }
  return null;
}

const Linked = ({ kind, object, name }) => html`<li><a href=${hrefOf(kind, object.id)}>${name}</a><${Status} kind=${kind} object=${object} /></li>`;

function Clients({ attachments, isAlone }) {
  useClients(attachments.filter(isServed));
  const rows = attachments.flatMap((one) => {
    const { clients, sizeBytes } = clientsOf(one.id) ?? { clients: [] };
    return clients.map((client) => ({ client, one, size: sizeBytes }));
  });
  if (!rows.length) {
    const isKnown = attachments.every((one) => clientsOf(one.id));
    return isAlone ? html`<p class="hint">${isKnown ? "Nobody is connected." : attachments[0].status === "attached" ? "Not known yet." : "Nobody: it is not exported."}</p>` : null;
  }
  return html`<ul class="clients">
    ${rows.map(({ client, one, size }) => html`<li key=${`${one.id} ${client.address} ${client.since}`}>
      <p><code>${client.address}</code> ${client.identity && html`<span>${client.identity}</span>`}</p>
      <p class="hint">read ${bytes(client.bytesRead)}, wrote ${bytes(client.bytesWritten)}${client.inFlight ? `, ${client.inFlight} in flight` : ""}, since ${clock(client.since)}${client.sizeBytesSeen && size && client.sizeBytesSeen !== size ? `; was told ${bytes(client.sizeBytesSeen)}, so it sees the new size once it connects again` : ""}</p>
    </li>`)}
  </ul>`;
}
