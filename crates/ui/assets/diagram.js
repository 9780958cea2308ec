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
  const taken = pathTaken(journal);
  const present = object?.status ?? journal.at(-1)?.to ?? "";
  const arrows = joined(drawn.transitions, taken, (one) => object && one.from === present && one.commands.some((word) => isAllowed(kind, object, word)));
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
const pathTaken = (journal) => new Set(journal.filter((entry) => entry.from !== entry.to).map((entry) => `${entry.from ?? ""}>${entry.to ?? ""}`));

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
  const may = (word) => COMMANDS[kind][word] && isAllowed(kind, object, word) && !steps.some((step) => step.command === word);
  const steps = [];
  for (const one of drawn.transitions) {
    if (one.from !== object.status || one.drawn !== "line") continue;
    const commands = one.commands.filter(may);
    commands.forEach((command, place) => steps.push({ command, to: one.to, ...along(one.path, commands.length > 1 ? 0.36 + 0.34 * place : 0.5, box) }));
  }
  // What leaves the status as it is has no line: it stands at the corners of the box.
  const [width, height] = drawn.layout.box;
  Object.keys(COMMANDS[kind])
    .filter(may)
    .forEach((command, place) => {
      const [right, down] = [place % 2, Math.floor(place / 2)];
      steps.push({ command, to: object.status, side: "", at: [box.column + width * (right - 0.5), box.row + height * (down - 0.5)] });
    });
  return steps;
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
