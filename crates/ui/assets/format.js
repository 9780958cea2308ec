// Sizes, times and ids as people read them.

const NUMBER = new Intl.NumberFormat("en");
export const count = (number) => NUMBER.format(number);

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/** `1.5 TiB`; at most one decimal, none where the number is whole. */
export function bytes(size) {
  if (!Number.isFinite(size)) return "–";
  let count = size;
  let unit = 0;
  while (count >= 1024 && unit < UNITS.length - 1) {
    count /= 1024;
    unit += 1;
  }
  const text = count >= 100 || Number.isInteger(count) ? NUMBER.format(Math.round(count)) : count.toFixed(1);
  return `${text} ${UNITS[unit]}`;
}

/** `3 min`, `2 h 5 min`: the two largest units, of which the smaller only where it says something. */
export function duration(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 1) return `${Math.max(0, Math.round(ms))} ms`;
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10 && seconds % 60) return `${minutes} min ${seconds % 60} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const days = Math.floor(hours / 24);
  return days < 7 && hours % 24 ? `${days} d ${hours % 24} h` : `${count(days)} d`;
}

/** One unit, for lists: `3 min`. */
export function age(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${count(Math.floor(seconds / 86_400))} d`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const WHOLE = new Intl.DateTimeFormat("en-GB", { dateStyle: "long", timeStyle: "long" });

/** `12:04:10`, with the day before it unless that is today. */
export function clock(at) {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return "";
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? CLOCK.format(date) : `${DAY.format(date)}, ${CLOCK.format(date)}`;
}

export function moment(at) {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? "" : WHOLE.format(date);
}

/** The last digits of an id, which tell it from the others on a screen: the first are those of the time of its making, alike for a minute. */
export const short = (id) => (id ? `…${id.slice(-8)}` : "");

/** What a resource is called by people. */
export function title(kind, object) {
  if (!object) return "";
  if (kind === "host") return object.hostName || short(object.id);
  return object.name || short(object.id);
}
