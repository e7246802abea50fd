// Make and find elements of the page, and format numbers.

export const element = (id) => document.getElementById(id);

// A new element: its name, text or children, and properties. Text is never read as HTML.
export function make(name, content = [], properties = {}) {
  const found = document.createElement(name);
  found.append(...[content].flat());
  Object.assign(found, properties);
  return found;
}

const SVG = "http://www.w3.org/2000/svg";

// A bar that fills a share of its parent.
export function bar(share) {
  const found = document.createElementNS(SVG, "svg");
  found.setAttribute("aria-hidden", "true");
  found.setAttribute("preserveAspectRatio", "none");
  found.setAttribute("viewBox", "0 0 100 1");
  const rect = document.createElementNS(SVG, "rect");
  rect.setAttribute("width", String(100 * share));
  rect.setAttribute("height", "1");
  found.append(rect);
  return found;
}

// A number with its sign: +2.41, −0.30; numbers that are not small need fewer digits.
export function signed(value, digits = 2) {
  const text = Math.abs(value).toFixed(digits);
  return Number(text) === 0 ? text : `${value < 0 ? "−" : "+"}${text}`;
}

// A probability as a percentage that never claims certainty.
export function percent(share) {
  if (share > 0.9995) return "over 99.9 %";
  if (share < 0.0005) return "under 0.1 %";
  return `${(100 * share).toFixed(1)} %`;
}
