// The photo with a map over it, its scale, and the place that is chosen.

import { element } from "./elements.js";
import { draw } from "./maps.js";

const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

export class Stage {
  // `onPlace` is called with the index of the chosen place, or with null.
  constructor(onPlace) {
    this.onPlace = onPlace;
    this.place = null;
    const stage = element("stage");
    stage.onclick = (event) => this.click(event);
    stage.onkeydown = (event) => this.key(event);
    element("opacity").oninput = () => this.strengthen();
  }

  // Show a photo at the width of the page, or as wide as its height allows.
  showPhoto(url, alt, { rows, columns, width, height }) {
    Object.assign(this, { rows, columns });
    element("stage").style.width = `min(100%, calc(62vh * ${width / height}))`;
    element("stage").style.aspectRatio = `${width} / ${height}`;
    const photo = element("photo");
    if (photo.src !== url) photo.src = url;
    photo.alt = alt;
  }

  // Draw a map; null leaves the photo alone.
  showMap(map) {
    element("map").hidden = element("scale").hidden = element("opacity-line").hidden = !map;
    this.hasMap = Boolean(map);
    this.strengthen();
    if (!map) return;
    draw(element("map"), map.values, this.rows, this.columns, map.full, map.signed);
    element("scale").className = map.signed ? "signed" : "unsigned";
    element("scale-low").textContent = map.low;
    element("scale-high").textContent = map.high;
  }

  strengthen() {
    const opacity = Number(element("opacity").value) / 100;
    element("map").style.opacity = String(opacity);
    element("photo").classList.toggle("gray", this.hasMap && opacity > 0);
  }

  choose(place) {
    this.place = place;
    const mark = element("place");
    mark.hidden = place === null;
    if (place !== null) {
      const [row, column] = [Math.floor(place / this.columns), place % this.columns];
      mark.style.left = `${(100 * column) / this.columns}%`;
      mark.style.top = `${(100 * row) / this.rows}%`;
      mark.style.width = `${100 / this.columns}%`;
      mark.style.height = `${100 / this.rows}%`;
    }
    this.onPlace(place);
  }

  click(event) {
    const box = element("stage").getBoundingClientRect();
    const within = (at, start, length, count) =>
      Math.min(Math.max(Math.floor(((at - start) / length) * count), 0), count - 1);
    const row = within(event.clientY, box.top, box.height, this.rows);
    const column = within(event.clientX, box.left, box.width, this.columns);
    this.choose(row * this.columns + column);
  }

  key(event) {
    if (event.key === "Escape") this.choose(null);
    const step = STEPS[event.key];
    if (!step) return;
    event.preventDefault();
    if (this.place === null) {
      this.choose(Math.floor(this.rows / 2) * this.columns + Math.floor(this.columns / 2));
      return;
    }
    const row = Math.floor(this.place / this.columns) + step[0];
    const column = (this.place % this.columns) + step[1];
    if (row < 0 || column < 0 || row >= this.rows || column >= this.columns) return;
    this.choose(row * this.columns + column);
  }
}
