// The state diagram of a resource: the present state filled, the path it took drawn stronger, the allowed next steps as buttons.
//
// Positions come from the server's state machine, which lays them out so that no line crosses another. What several lines into one
// status share is drawn once.

import { html } from "./dom.js";
import { COMMANDS, ask, isAllowed } from "./commands.js";
import { machine } from "./machine.js";
import { classNow, spaced } from "./status.js";

/** The grid's unit, in the picture's own. */
const X = 172;
const Y = 100;
/** Half of a box, in the grid's unit: as the server lays it out. */
const HALF = { x: 0.3, y: 0.2 };
const MARGIN = 14;
const CORNER = 7;
const HEAD = 6.5;

export function Diagram({ kind, object, journal }) {
  const drawn = machine.value[kind];
  if (!drawn) return null;
  const bounds = boundsOf(drawn);
  const at = ([x, y]) => [(x - bounds.left) * X + MARGIN, (y - bounds.top) * Y + MARGIN];
  const width = (bounds.right - bounds.left) * X + 2 * MARGIN;
  const height = (bounds.bottom - bounds.top) * Y + 2 * MARGIN;
  const taken = pathTaken(journal);
  const present = object?.status ?? journal.at(-1)?.to ?? "";
  const arrows = joined(drawn.transitions, taken, present);
  const been = new Set(journal.map((entry) => entry.to));
  const steps = object ? nextSteps(drawn.transitions, kind, object) : [];
  const told = `State diagram: it is ${spaced(present) || "gone"}. ${steps.length ? `Next steps allowed: ${steps.map((step) => `${step.command}, which leads to ${spaced(step.to)}`).join("; ")}.` : ""}`;

  return html`<div class="diagram" tabindex="0" role="region" aria-label="State diagram">
    <div class="canvas" style=${{ width: `${width}px`, aspectRatio: `${width} / ${height}` }}>
      <svg viewBox=${`0 0 ${width} ${height}`} role="img" aria-label=${told}>
        ${[...arrows].sort((a, b) => weight(a) - weight(b)).map((arrow) => html`<${Arrow} key=${arrow.key} arrow=${arrow} at=${at} />`)}
        ${drawn.transitions.filter((one) => one.from === "").slice(0, 1).map((one) => html`<${Dot} at=${at(one.path[0])} kind="start" />`)}
        ${drawn.transitions.filter((one) => one.to === "" && one.path?.length).slice(0, 1).map((one) => html`<${Dot} at=${at(one.path.at(-1))} kind="end ${present === "" ? "here" : ""}" />`)}
        ${drawn.statuses.map((status) => html`<${Box} key=${status.word} status=${status} at=${at} isPresent=${status.word === present} wasPassed=${been.has(status.word)} of=${status.word === present && object ? classNow(kind, object) : status.class} />`)}
      </svg>
      ${steps.map((step) => {
        const [x, y] = at(step.at);
        return html`<button
          type="button"
          key=${`${step.command} ${step.to}`}
          class="step ${COMMANDS[kind][step.command].danger ? "danger" : ""}"
          style=${{ left: `${(100 * x) / width}%`, top: `${(100 * y) / height}%` }}
          title=${`${COMMANDS[kind][step.command].label}: leads to ${spaced(step.to)}`}
          onClick=${() => ask(kind, step.command, object.id)}
        >${COMMANDS[kind][step.command].label}</button>`;
      })}
    </div>
  </div>`;
}

function boundsOf({ statuses, transitions }) {
  const xs = statuses.flatMap(({ column }) => [column - HALF.x, column + HALF.x]);
  const ys = statuses.flatMap(({ row }) => [row - HALF.y, row + HALF.y]);
  for (const { path } of transitions) {
    for (const [x, y] of path ?? []) {
      xs.push(x);
      ys.push(y);
    }
  }
  return { left: Math.min(...xs), right: Math.max(...xs), top: Math.min(...ys), bottom: Math.max(...ys) };
}

/** The steps that were taken, `from>to` each. */
const pathTaken = (journal) => new Set(journal.filter((entry) => entry.from !== entry.to).map((entry) => `${entry.from ?? ""}>${entry.to ?? ""}`));

/** One arrow for all transitions that are drawn along one line. */
function joined(transitions, taken, present) {
  const arrows = new Map();
  for (const one of transitions) {
    if (!one.path?.length) continue;
    const key = one.path.join(" ");
    const arrow = arrows.get(key) ?? { key, path: one.path, wasTaken: false, isNext: false, titles: [] };
    arrow.wasTaken ||= taken.has(`${one.from}>${one.to}`);
    arrow.isNext ||= one.from === present && present !== "" && one.commands.length > 0;
    arrow.titles.push(`${spaced(one.from) || "nothing"} → ${spaced(one.to) || "gone"}: ${one.causes.join(", ")}`);
    arrows.set(key, arrow);
  }
  return arrows.values();
}

const weight = (arrow) => (arrow.wasTaken ? 2 : arrow.isNext ? 1 : 0);

/** A line with rounded corners, and its head. */
function Arrow({ arrow, at }) {
  const points = arrow.path.map(at);
  const end = points.at(-1);
  const before = points.at(-2) ?? end;
  const angle = Math.atan2(end[1] - before[1], end[0] - before[0]);
  // The line ends within its head, so that its blunt end does not show beside the tip.
  const stop = [end[0] - Math.cos(angle) * HEAD * 0.8, end[1] - Math.sin(angle) * HEAD * 0.8];
  const wing = (turn) => `${end[0] - HEAD * 1.4 * Math.cos(angle + turn)} ${end[1] - HEAD * 1.4 * Math.sin(angle + turn)}`;
  return html`<g class="arrow ${arrow.wasTaken ? "taken" : arrow.isNext ? "next" : ""}">
    <title>${arrow.titles.join("\n")}</title>
    <path class="line" d=${rounded([...points.slice(0, -1), stop])} />
    <path class="head" d=${`M${end[0]} ${end[1]} L${wing(0.42)} L${wing(-0.42)}Z`} />
  </g>`;
}

function rounded(points) {
  let d = `M${points[0].join(" ")}`;
  for (let place = 1; place < points.length - 1; place += 1) {
    const [before, corner, after] = [points[place - 1], points[place], points[place + 1]];
    const into = toward(corner, before);
    const out = toward(corner, after);
    d += ` L${into.join(" ")} Q${corner.join(" ")} ${out.join(" ")}`;
  }
  return `${d} L${points.at(-1).join(" ")}`;
}

/** A point near `from` on the way to `to`, at most half-way. */
function toward(from, to) {
  const length = Math.hypot(to[0] - from[0], to[1] - from[1]) || 1;
  const share = Math.min(CORNER, length / 2) / length;
  return [from[0] + (to[0] - from[0]) * share, from[1] + (to[1] - from[1]) * share];
}

const Dot = ({ at: [x, y], kind }) => html`<g class="dot ${kind}"><circle cx=${x} cy=${y} r="6" /><circle class="core" cx=${x} cy=${y} r="3" /></g>`;

function Box({ status, at, isPresent, wasPassed, of }) {
  const [x, y] = at([status.column, status.row]);
  const [width, height] = [HALF.x * 2 * X, HALF.y * 2 * Y];
  return html`<g class="box ${of} ${isPresent ? "here" : wasPassed ? "passed" : ""}">
    <title>${`${spaced(status.word)}: ${status.promise}`}</title>
    <rect x=${x - width / 2} y=${y - height / 2} width=${width} height=${height} rx="8" />
    ${isPresent && html`<rect class="ring" x=${x - width / 2 - 4} y=${y - height / 2 - 4} width=${width + 8} height=${height + 8} rx="11" pathLength="96" />`}
    <text x=${x} y=${y} text-anchor="middle" dominant-baseline="central">${spaced(status.word)}</text>
  </g>`;
}

/** Where a button for each allowed command stands: on the line that leaves the present state by it. */
function nextSteps(transitions, kind, object) {
  const steps = [];
  for (const one of transitions) {
    if (one.from !== object.status || !one.path?.length) continue;
    const commands = one.commands.filter((word) => COMMANDS[kind][word] && isAllowed(kind, object, word) && !steps.some((step) => step.command === word));
    commands.forEach((command, place) => steps.push({ command, to: one.to, at: along(one.path, commands.length > 1 ? 0.36 + 0.34 * place : 0.5) }));
  }
  return steps;
}

/** The point at this share of a path's longest stretch: there is most room. */
function along(path, share) {
  let best = 0;
  let longest = -1;
  for (let place = 0; place < path.length - 1; place += 1) {
    const length = Math.abs(path[place + 1][0] - path[place][0]) * X + Math.abs(path[place + 1][1] - path[place][1]) * Y;
    if (length > longest) [best, longest] = [place, length];
  }
  const [from, to] = [path[best], path[best + 1] ?? path[best]];
  return [from[0] + (to[0] - from[0]) * share, from[1] + (to[1] - from[1]) * share];
}
