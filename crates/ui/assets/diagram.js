// The state diagram of a resource: the present state filled, the path it took drawn stronger, the allowed next steps as buttons.
//
// Positions come from the server's state machine, which lays them out so that no line crosses another. What several lines into one
// status share is drawn once.

import { html, useEffect, useRef } from "./dom.js";
import { COMMANDS, ask, isAllowed } from "./commands.js";
import { machine } from "./machine.js";
import { classNow, plainWords, spaced } from "./status.js";

/** The grid's unit, in the picture's own. */
const X = 172;
const Y = 92;
/** Room around the picture: half a button's width beside it, as one may stand on the outermost line. */
const MARGIN = { x: 40, y: 12 };
const CORNER = 7;
const HEAD = 6.5;

export function Diagram({ kind, object, journal }) {
  const drawn = machine.value[kind];
  const frame = useRef(null);
  const word = object?.status;
  // Where there is no room for all of it, the present state is what is seen.
  useEffect(() => {
    const element = frame.current;
    const box = drawn?.statuses.find((status) => status.word === word);
    if (!box || element.scrollWidth <= element.clientWidth) return;
    const { from, to } = drawn.layout;
    element.scrollLeft = ((box.column - from[0]) / (to[0] - from[0])) * element.scrollWidth - element.clientWidth / 2;
  }, [drawn, word]);
  if (!drawn?.layout) return null;
  const { from, to, start, end, box } = drawn.layout;
  const at = ([x, y]) => [(x - from[0]) * X + MARGIN.x, (y - from[1]) * Y + MARGIN.y];
  const width = (to[0] - from[0]) * X + 2 * MARGIN.x;
  const height = (to[1] - from[1]) * Y + 2 * MARGIN.y;
  // What is gone may have ended in a word that has no box: the record's end is then where it is.
  const placed = (word) => (drawn.statuses.some((status) => status.word === word) ? word : "");
  const present = placed(object?.status ?? journal.at(-1)?.to);
  const arrows = joined(drawn.transitions, pathTaken(journal, placed), (one) => object && one.from === present && one.commands.some((word) => isAllowed(kind, object, word)));
  const been = new Set(journal.map((entry) => entry.to));
  const steps = object ? nextSteps(drawn, kind, object) : [];
  const told = `State diagram: it is ${spaced(present) || "gone"}. ${steps.length ? `Next steps allowed: ${steps.map((step) => step.to === present ? step.command : `${step.command}, which leads to ${spaced(step.to)}`).join("; ")}.` : ""}`;

  return html`<div class="diagram" ref=${frame} tabindex="0" role="region" aria-label="State diagram">
    <div class="canvas" style=${{ width: `${width}px`, aspectRatio: `${width} / ${height}` }}>
      <svg viewBox=${`0 0 ${width} ${height}`} role="img" aria-label=${told}>
        ${[...arrows].sort((a, b) => weight(a) - weight(b)).map((arrow) => html`<${Arrow} key=${arrow.key} arrow=${arrow} at=${at} />`)}
        <${Dot} at=${at(start)} kind="start" />
        <${Dot} at=${at(end)} kind="end ${present === "" ? "here" : ""}" />
        ${drawn.statuses.map((status) => html`<${Box} key=${status.word} status=${status} size=${box} at=${at} isPresent=${status.word === present} wasPassed=${been.has(status.word)} of=${status.word === present && object ? classNow(kind, object) : status.class} />`)}
      </svg>
      ${steps.map((step) => {
        const [x, y] = at(step.at);
        return html`<button
          type="button"
          key=${`${step.command} ${step.to}`}
          class="step ${step.side} ${COMMANDS[kind][step.command].danger ? "danger" : ""}"
          style=${{ left: `${(100 * x) / width}%`, top: `${(100 * y) / height}%` }}
          title=${step.to === object.status ? COMMANDS[kind][step.command].label : `${COMMANDS[kind][step.command].label}: leads to ${spaced(step.to)}`}
          onClick=${() => ask(kind, step.command, object.id)}
        >${COMMANDS[kind][step.command].label}</button>`;
      })}
    </div>
  </div>`;
}

/** The steps that were taken, `from>to` each. */
const pathTaken = (journal, placed) => new Set(journal.filter((entry) => entry.from !== entry.to).map((entry) => `${placed(entry.from)}>${placed(entry.to)}`));

/** One arrow for all transitions that are drawn along one line. */
function joined(transitions, taken, isOpen) {
  const arrows = new Map();
  for (const one of transitions) {
    if (!one.path?.length) continue;
    const key = one.path.join(" ");
    const arrow = arrows.get(key) ?? { key, path: one.path, wasTaken: false, isNext: false, titles: [] };
    arrow.wasTaken ||= taken.has(`${one.from}>${one.to}`);
    arrow.isNext ||= isOpen(one);
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

function Box({ status, size, at, isPresent, wasPassed, of }) {
  const [x, y] = at([status.column, status.row]);
  const [width, height] = [size[0] * X, size[1] * Y];
  return html`<g class="box ${of} ${isPresent ? "here" : wasPassed ? "passed" : ""}">
    <title>${`${spaced(status.word)}: ${plainWords(status.promise)}`}</title>
    <rect x=${x - width / 2} y=${y - height / 2} width=${width} height=${height} rx="8" />
    ${isPresent && html`<rect class="ring" x=${x - width / 2 - 4} y=${y - height / 2 - 4} width=${width + 8} height=${height + 8} rx="11" pathLength="96" />`}
    <text x=${x} y=${y} text-anchor="middle" dominant-baseline="central">${spaced(status.word)}</text>
  </g>`;
}

/** Where a button for each allowed command stands: on the line that leaves the present state by it. */
function nextSteps(drawn, kind, object) {
  const box = drawn.statuses.find((status) => status.word === object.status);
  if (!box) return [];
  const lines = drawn.transitions.filter((one) => one.from === object.status && one.drawn === "line");
  const steps = [];
  const left = [];
  for (const command of Object.keys(COMMANDS[kind]).filter((word) => isAllowed(kind, object, word))) {
    const its = lines.filter((one) => one.commands.includes(command));
    // The line that bears its name is where it leads; others can be the consequence of the same word asked of something else.
    const line = its.find((one) => one.label?.text.split(", ").includes(command)) ?? its[0];
    if (line) steps.push({ command, to: line.to, line });
    else left.push(command);
  }
  for (const step of steps) {
    const beside = steps.filter((other) => other.line === step.line);
    const place = beside.indexOf(step);
    Object.assign(step, along(step.line.path, 0.5, box));
    // Several on one line stand in a row beside it where it is upright, else along it.
    if (step.side === "rightward") step.at = [step.at[0] + 0.4 * place, step.at[1]];
    else if (beside.length > 1) Object.assign(step, along(step.line.path, 0.26 + 0.5 * place, box));
  }
  // What leaves the status as it is has no line: it stands at that corner of the box where it hides least.
  const [width, height] = drawn.layout.box;
  const corners = [[-1, -1], [1, -1], [-1, 1], [1, 1]].map(([right, down]) => [box.column + (width / 2) * right, box.row + (height / 2 + 0.06) * down]);
  const segments = drawn.transitions.flatMap(({ path = [] }) => path.slice(1).map((end, place) => [path[place], end]));
  for (const command of left) {
    const free = corners.filter((at) => !steps.some((step) => step.side === "" && overlap(at, step.at)));
    const at = free.map((corner) => [corner, hidden(corner, segments)]).sort((a, b) => a[1] - b[1])[0]?.[0] ?? corners[0];
    steps.push({ command, to: object.status, side: "", at });
  }
  return steps;
}

/** Half of what a button covers, in the grid's units. */
const HALF = [40 / X, 12 / Y];

const overlap = (a, b) => Math.abs(a[0] - b[0]) < 2 * HALF[0] && Math.abs(a[1] - b[1]) < 2 * HALF[1];

/** How much of these upright and level lines a button here would cover. */
function hidden(at, segments) {
  const within = (axis, from, to) => Math.max(0, Math.min(Math.max(from, to), at[axis] + HALF[axis]) - Math.max(Math.min(from, to), at[axis] - HALF[axis]));
  const isNear = (axis, place) => Math.abs(place - at[axis]) < HALF[axis];
  let sum = 0;
  for (const [from, to] of segments) {
    if (from[0] === to[0]) sum += isNear(0, from[0]) ? within(1, from[1], to[1]) * Y : 0;
    else sum += isNear(1, from[1]) ? within(0, from[0], to[0]) * X : 0;
  }
  return sum;
}

/**
 * The point at this share of a path's longest stretch: there is most room. Upright stretches count for more, as a button covers less of
 * them. Right under or over its box a line has neighbours: there the button keeps to its outer `side`.
 */
function along(path, share, box) {
  let best = 0;
  let longest = -1;
  for (let place = 0; place < path.length - 1; place += 1) {
    const length = Math.abs(path[place + 1][0] - path[place][0]) * X + Math.abs(path[place + 1][1] - path[place][1]) * Y * 1.3;
    if (length > longest) [best, longest] = [place, length];
  }
  const [from, to] = [path[best], path[best + 1] ?? path[best]];
  const at = [from[0] + (to[0] - from[0]) * share, from[1] + (to[1] - from[1]) * share];
  const isUpright = from[0] === to[0];
  const off = from[0] - box.column;
  return { at, side: isUpright && Math.abs(off) < 0.3 ? (off < 0 ? "leftward" : "rightward") : "" };
}
