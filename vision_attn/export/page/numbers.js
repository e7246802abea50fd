// The lists beside the photo: classes with probabilities, the sum of the evidence, one place.

import { bar, element, make, percent, signed } from "./elements.js";
import { sum } from "./maps.js";

const FEW = 5; // classes that are listed at first

// The indices of the classes, most probable first.
export function ranked(maps) {
  return [...maps.logits.keys()].sort((a, b) => maps.logits[b] - maps.logits[a]);
}

// The classes as buttons; `choose` is called with the index of the one that is pressed.
export function showClasses(maps, names, target, all, choose) {
  const order = ranked(maps);
  const listed = order.filter((k, at) => all || at < FEW || k === target);
  const focused = element("classes").contains(document.activeElement)
    ? document.activeElement.dataset.index
    : null;
  element("classes").replaceChildren(
    ...listed.map((k) => {
      const share = maps.probabilities[k];
      const text = [
        bar(share),
        make("span", names[k]),
        make("span", percent(share), { className: "percent" }),
      ];
      const button = make("button", text, { type: "button", onclick: () => choose(k) });
      button.setAttribute("aria-pressed", String(k === target));
      Object.assign(button.dataset, { index: k, name: names[k], probability: share });
      return button;
    }),
  );
  if (focused) element("classes").querySelector(`[data-index="${focused}"]`)?.focus();
  const more = element("more");
  more.hidden = names.length <= FEW;
  more.textContent = all ? "Show fewer" : `Show all ${names.length}`;
}

// Evidence of all places + constant = score; for a contrast, the same of the differences.
export function showSum(maps, names, target, rival) {
  const evidence = sum(maps.evidenceOf(target)) - (rival === null ? 0 : sum(maps.evidenceOf(rival)));
  const constant = maps.bias[target] - (rival === null ? 0 : maps.bias[rival]);
  const total = maps.logits[target] - (rival === null ? 0 : maps.logits[rival]);
  const rather = rival === null ? "" : ` rather than ${names[rival]}`;
  const line = (name, value, className = "") =>
    make("div", [make("dt", name), make("dd", signed(value))], { className });
  element("sum").replaceChildren(
    line("Evidence of all places of the photo", evidence),
    line("Constant, the same for every photo", constant),
    line(`Score of ${names[target]}${rather}`, total, "total"),
  );
  Object.assign(element("sum").dataset, { evidence, constant, total, name: names[target] });
  element("sum-hint").textContent =
    `The evidence adds up to ${signed(evidence)}. Nothing else goes into the score, and the ` +
    "percentages are computed from the scores alone.";
}

// What a place speaks for: the chosen class, and those that it speaks for and against most.
export function showPlace(maps, names, target, place) {
  const table = element("place-table");
  if (place === null) return table.replaceChildren();
  const values = names.map((_, k) => maps.at(k, place));
  const order = [...values.keys()].sort((a, b) => values[b] - values[a]);
  const listed = order.filter((k, at) => at < 3 || at >= names.length - 1 || k === target);
  const side = (value) => (value < 0 ? "against" : "for");
  const rows = listed.map((k) =>
    make("tr", [
      Object.assign(make("th", names[k]), { scope: "row" }),
      make("td", `${signed(values[k], 3)} ${side(values[k])}`, { className: side(values[k]) }),
    ], { className: k === target ? "chosen" : "" }),
  );
  const [row, column] = [Math.floor(place / maps.columns) + 1, (place % maps.columns) + 1];
  const share = maps.attentionMap()[place];
  const title = `Row ${row} of ${maps.rows}, column ${column} of ${maps.columns}: ` +
    `${percent(share)} of the attention`;
  const made = make("table", [make("caption", title), make("tbody", rows)]);
  Object.assign(made.dataset, { place, value: values[target] });
  return table.replaceChildren(made);
}
