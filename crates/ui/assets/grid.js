// A list of which only the rows that can be seen exist, so that ten thousand scroll as ten.
//
// - Every row is of one height, so the place of each is known without measuring it.
// - As it scrolls, the elements of a row that is out of sight become those of one that comes into sight; rows that stay as they are
//   are not drawn again.
// - The keyboard's row is told to screen readers as the grid's active descendant; moving it scrolls it into view.

import { html, useEffect, useLayoutEffect, useRef, useSignal } from "./dom.js";
import { COLUMNS } from "./columns.js";
import { go, here, hrefOf, route } from "./route.js";
import { column, rows } from "./rows.js";

/** As `--row` in css/list.css, where a phone's is the same. */
const ROW = 44;
/** How many rows beyond what can be seen are drawn, so that a scroll by wheel shows no gap. */
const BEYOND = 8;

/** How many letters have room in any column. */
const LONG = 12;

export function Grid({ label }) {
  const { kind, open, sort, dir } = route.value;
  const list = rows.value;
  const columns = COLUMNS[kind];
  const frame = useRef(null);
  const first = useSignal(0);
  const seen = useSignal(30);
  const active = useSignal(null);
  const kept = useRef(new Map());

  const look = () => {
    const element = frame.current;
    if (!element) return;
    first.value = Math.max(0, Math.floor(element.scrollTop / ROW) - BEYOND);
    seen.value = Math.ceil(element.clientHeight / ROW) + 2 * BEYOND;
  };
  useLayoutEffect(look, [kind, list.length]);
  useEffect(() => {
    const watch = new ResizeObserver(look);
    watch.observe(frame.current);
    return () => watch.disconnect();
  }, []);
  // Another list begins at its top, with no row of the former one.
  useLayoutEffect(() => {
    frame.current.scrollTop = 0;
    active.value = null;
    look();
  }, [kind]);

  const from = Math.min(first.value, Math.max(0, list.length - 1));
  const drawn = list.slice(from, from + seen.value);
  const at = active.value === null ? -1 : list.findIndex((object) => object.id === active.value);
  const isDrawn = at >= from && at < from + drawn.length;

  const move = (to) => {
    if (!list.length) return;
    const place = Math.max(0, Math.min(list.length - 1, to));
    active.value = list[place].id;
    const element = frame.current;
    const top = place * ROW;
    const head = element.querySelector(".heads").offsetHeight;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + ROW > element.scrollTop + element.clientHeight - head) element.scrollTop = top + ROW - element.clientHeight + head;
    look();
  };
  const page = () => Math.max(1, Math.floor(frame.current.clientHeight / ROW) - 2);
  const keys = {
    ArrowDown: () => move(at + 1),
    ArrowUp: () => move(at < 0 ? 0 : at - 1),
    PageDown: () => move(at + page()),
    PageUp: () => move(at - page()),
    Home: () => move(0),
    End: () => move(list.length - 1),
    Enter: () => at >= 0 && go({ open: list[at].id }),
  };
  const onKey = (event) => {
    if (event.target !== frame.current || event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  };
  const onFocus = (event) => {
    if (event.target === frame.current && at < 0 && list.length) {
      const opened = list.findIndex((object) => object.id === open);
      if (frame.current.matches(":focus-visible")) move(opened < 0 ? from && from + BEYOND : opened);
    }
  };

  const sortedBy = column(kind, sort).key;
  const head = (one, index) => {
    const isSorted = one.key === sortedBy;
    const next = isSorted && dir === "asc" ? "desc" : "asc";
    const order = isSorted ? (dir === "asc" ? "ascending" : "descending") : undefined;
    return html`<div role="columnheader" aria-colindex=${index + 1} aria-sort=${order} class=${cell(one)} key=${one.key}>
      ${one.by ? html`<button type="button" onClick=${() => go({ sort: one.key, dir: next }, { replace: true })}>
            ${one.head}<span class="arrow" aria-hidden="true">${isSorted ? (dir === "asc" ? "↑" : "↓") : ""}</span>
          </button>`
        : one.head}
    </div>`;
  };

  return html`<div
    class="grid of-${kind}"
    role="grid"
    tabindex="0"
    aria-label=${label}
    aria-rowcount=${list.length + 1}
    aria-colcount=${columns.length}
    aria-activedescendant=${isDrawn ? `row-${active.value}` : undefined}
    ref=${frame}
    onScroll=${look}
    onKeyDown=${onKey}
    onFocus=${onFocus}
  >
    <div role="rowgroup" class="heads"><div role="row" aria-rowindex="1" class="row">${columns.map(head)}</div></div>
    <div role="rowgroup" class="rows" style=${{ height: `${list.length * ROW}px` }}>
      <div role="presentation" class="window" style=${{ transform: `translateY(${from * ROW}px)` }}>
        ${drawn.map((object, index) => {
          const place = from + index;
          const slot = place % seen.value;
          const [isOpen, isActive] = [object.id === open, object.id === active.value];
          const held = kept.current.get(slot);
          if (held?.object === object && held.place === place && held.isOpen === isOpen && held.isActive === isActive) return held.node;
          const node = html`<${Row} key=${slot} kind=${kind} object=${object} place=${place} isOpen=${isOpen} isActive=${isActive} />`;
          kept.current.set(slot, { object, place, isOpen, isActive, node });
          return node;
        })}
      </div>
    </div>
  </div>`;
}

const cell = (one) => `cell c-${one.key}${one.right ? " right" : ""}${one.name ? " name" : ""}`;

function Row({ kind, object, place, isOpen, isActive }) {
  const to = hrefOf(kind, object.id);
  const open = (event) => {
    // The link does what links do; a click beside it does the same.
    if (event.target.closest("a") || event.defaultPrevented) return;
    location.hash = here({ kind, open: object.id });
  };
  return html`<div
    role="row"
    id=${`row-${object.id}`}
    aria-rowindex=${place + 2}
    aria-selected=${isOpen ? "true" : "false"}
    class="row ${isOpen ? "open" : ""} ${isActive ? "active" : ""} ${object.health?.code ? "doubtful" : ""}"
    onClick=${open}
  >
    ${COLUMNS[kind].map((one, index) => {
      const held = one.cell(object);
      // Words that may have no room are told to whoever points at them.
      const isLong = typeof held === "string" && held.length > (one.wide ? 0 : LONG);
      return html`<div role="gridcell" aria-colindex=${index + 1} class=${cell(one)} key=${one.key} title=${isLong ? held : undefined}>
        ${one.name ? html`<a href=${to} tabindex="-1" draggable="false">${held}</a>` : held}
      </div>`;
    })}
  </div>`;
}
