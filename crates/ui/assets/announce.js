// What is said aloud to those who do not see the page: one polite live region, which is never removed.

const region = () => document.getElementById("said");
let last = 0;

/** Says it. What is said faster than it can be heard replaces what was said before. */
export function say(text) {
  const element = region();
  const id = ++last;
  // The same words twice are only heard if the region was empty in between.
  element.textContent = "";
  requestAnimationFrame(() => {
    if (id === last) element.textContent = text;
  });
}
