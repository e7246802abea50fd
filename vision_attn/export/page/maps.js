// Maps of one photo: evidence, contrast and attention, their sums, and their colors.

const FOR = [178, 24, 43]; // red and blue, as in `vision-attn explain`; color-blind people can
const AGAINST = [33, 102, 172]; // tell them apart
const LOOKED = [255, 176, 0];
const PIXELS = 288; // per side of a drawn map

export class Maps {
  // `result` is what the worker answers; `bias` the constant of each class.
  constructor(result, bias) {
    Object.assign(this, result);
    this.bias = bias;
    this.places = this.rows * this.columns;
  }

  // What each place argues for a class; the sum plus the constant is the logit.
  evidenceOf(target) {
    return Float64Array.from(
      this.evidence.subarray(target * this.places, (target + 1) * this.places),
    );
  }

  // Evidence for a class minus that of a rival; null takes the strongest rival at each place.
  contrast(target, rival) {
    const own = this.evidenceOf(target);
    if (rival !== null) return own.map((value, at) => value - this.at(rival, at));
    return own.map((value, at) => value - this.strongestRival(target, at));
  }

  strongestRival(target, place) {
    let most = -Infinity;
    for (let k = 0; k < this.logits.length; k++) {
      if (k !== target) most = Math.max(most, this.at(k, place));
    }
    return most;
  }

  at(target, place) {
    return this.evidence[target * this.places + place];
  }

  // The share of attention at each place: the mean over the heads.
  attentionMap() {
    const mean = new Float64Array(this.places);
    this.attention.forEach((value, at) => (mean[at % this.places] += value / this.heads));
    return mean;
  }
}

export const sum = (values) => values.reduce((total, value) => total + value, 0);

// The value that is drawn in full color: nearly the largest, so that one outlier hides no others.
export function fullColor(values) {
  const sorted = Float64Array.from(values, Math.abs).sort();
  const at = 0.995 * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
}

// Draw a map onto a canvas: zero is transparent, `full` is opaque.
export function draw(canvas, values, rows, columns, full, signed) {
  canvas.width = canvas.height = PIXELS;
  const image = new ImageData(PIXELS, PIXELS);
  const across = positions(columns);
  positions(rows).forEach(([top, bottom, down], y) => {
    across.forEach(([left, right, over], x) => {
      const upper = mix(values[top * columns + left], values[top * columns + right], over);
      const lower = mix(values[bottom * columns + left], values[bottom * columns + right], over);
      const value = full > 0 ? mix(upper, lower, down) / full : 0;
      const color = !signed ? LOOKED : value > 0 ? FOR : AGAINST;
      image.data.set([...color, 255 * Math.min(Math.abs(value), 1)], 4 * (y * PIXELS + x));
    });
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
}

const mix = (from, to, share) => from + share * (to - from);

// Bilinear: the two places beside each pixel, and how far it is from the first to the second. The
// middle of place k of n lies at (k + 1/2) / n of the side.
function positions(places) {
  return Array.from({ length: PIXELS }, (_, pixel) => {
    const at = Math.max(((pixel + 0.5) * places) / PIXELS - 0.5, 0);
    const first = Math.min(Math.floor(at), places - 1);
    return [first, Math.min(first + 1, places - 1), at - first];
  });
}
