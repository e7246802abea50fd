// Resize an image as Pillow's BICUBIC does, with the same rounding, so that the model sees
// the same pixels as in Python. Source: Pillow, src/libImaging/Resample.c.

const UNIT = 2 ** 22; // Pillow's coefficients are integers, in units of 2^-22
const SUPPORT = 2; // of the cubic kernel, in output pixels

// The cubic kernel with a = -0.5 (Keys 1981).
function cubic(x) {
  const a = -0.5;
  const t = Math.abs(x);
  if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  if (t < 2) return (((t - 5) * t + 8) * t - 4) * a;
  return 0;
}

// For each of `size` output pixels: the first input pixel, and the integer weights from there on.
function coefficients(inputs, size) {
  const scale = inputs / size;
  const stretch = Math.max(scale, 1);
  const support = SUPPORT * stretch;
  return Array.from({ length: size }, (_, index) => {
    const center = (index + 0.5) * scale;
    const first = Math.max(Math.trunc(center - support + 0.5), 0);
    const end = Math.min(Math.trunc(center + support + 0.5), inputs);
    const weights = new Float64Array(end - first);
    let sum = 0;
    for (let k = 0; k < weights.length; k++) {
      weights[k] = cubic((first + k - center + 0.5) / stretch);
      sum += weights[k];
    }
    for (let k = 0; k < weights.length; k++) {
      const share = (weights[k] / sum) * UNIT;
      weights[k] = Math.trunc(share + (share < 0 ? -0.5 : 0.5));
    }
    return { first, weights };
  });
}

// Resize an image to planes (3, size, size). `rows` yields its rows, top to bottom, as RGBA bytes.
export function resize(rows, width, height, size, tallFirst) {
  const vertical = tallFirst && height - size > 2 * Math.max(width - size, 0);
  return vertical ? downThenAcross(rows, width, height, size) : acrossThenDown(rows, width, height, size);
}

function acrossThenDown(rows, width, height, size) {
  const table = coefficients(width, size);
  const between = new Uint8Array(3 * size * height);
  let line = 0;
  for (const row of rows) resizeRow(row, 4, between, 3 * size * line++, table);
  const planes = new Uint8Array(3 * size * size);
  coefficients(height, size).forEach(({ first, weights }, y) => {
    for (let x = 0; x < 3 * size; x++) {
      let sum = 0;
      for (let k = 0, at = first * 3 * size + x; k < weights.length; k++, at += 3 * size) {
        sum += between[at] * weights[k];
      }
      planes[(x % 3) * size * size + y * size + Math.floor(x / 3)] = toByte(sum);
    }
  });
  return planes;
}

// From Pillow 13 on, images whose height shrinks much more than their width are resized so.
function downThenAcross(rows, width, height, size) {
  const sums = new Float64Array(3 * width * size);
  const columns = coefficients(height, size);
  let line = 0;
  for (const row of rows) {
    columns.forEach(({ first, weights }, y) => {
      const weight = weights[line - first];
      if (weight) addRow(row, weight, sums.subarray(3 * width * y, 3 * width * (y + 1)));
    });
    line++;
  }
  const between = Uint8Array.from(sums, toByte);
  const table = coefficients(width, size);
  const out = new Uint8Array(3 * size);
  const planes = new Uint8Array(3 * size * size);
  for (let y = 0; y < size; y++) {
    resizeRow(between.subarray(3 * width * y, 3 * width * (y + 1)), 3, out, 0, table);
    out.forEach((value, x) => {
      planes[(x % 3) * size * size + y * size + Math.floor(x / 3)] = value;
    });
  }
  return planes;
}

function addRow(row, weight, sums) {
  for (let from = 0, to = 0; to < sums.length; from += 4, to += 3) {
    sums[to] += row[from] * weight;
    sums[to + 1] += row[from + 1] * weight;
    sums[to + 2] += row[from + 2] * weight;
  }
}

// Resize one row of pixels of `stride` bytes to RGB bytes, written at `offset` of `out`.
function resizeRow(row, stride, out, offset, table) {
  for (const { first, weights } of table) {
    let red = 0, green = 0, blue = 0;
    for (let k = 0, at = stride * first; k < weights.length; k++, at += stride) {
      const weight = weights[k];
      red += row[at] * weight;
      green += row[at + 1] * weight;
      blue += row[at + 2] * weight;
    }
    out[offset++] = toByte(red);
    out[offset++] = toByte(green);
    out[offset++] = toByte(blue);
  }
}

function toByte(sum) {
  return Math.min(Math.max(Math.floor((sum + UNIT / 2) / UNIT), 0), 255);
}

// Average blocks of `factor` x `factor` pixels of RGBA bytes, as JPEG decoders do that decode at
// a half, a quarter or an eighth of the size. The first blocks lack `left` columns and `above` rows;
// blocks at the edge have the pixels that there are.
export function averageBlocks(pixels, width, height, factor, left, above) {
  if (factor === 1) return pixels;
  const columns = Math.ceil((width + left) / factor);
  const rows = Math.ceil((height + above) / factor);
  const out = new Uint8ClampedArray(4 * columns * rows);
  for (let y = 0; y < rows; y++) {
    const top = Math.max(y * factor - above, 0);
    const bottom = Math.min((y + 1) * factor - above, height);
    for (let x = 0; x < columns; x++) {
      const from = Math.max(x * factor - left, 0);
      const to = Math.min((x + 1) * factor - left, width);
      let red = 0, green = 0, blue = 0;
      for (let row = top; row < bottom; row++) {
        for (let at = 4 * (row * width + from); at < 4 * (row * width + to); at += 4) {
          red += pixels[at];
          green += pixels[at + 1];
          blue += pixels[at + 2];
        }
      }
      const count = (bottom - top) * (to - from);
      const at = 4 * (y * columns + x);
      setRounded(out, at, red / count, green / count, blue / count);
    }
  }
  return out;
}

// Round a color as a JPEG decoder does: its luminance and its two color differences are integers.
// Rounding red, green and blue instead would make pixels lighter by an eighth of a step on average.
function setRounded(out, at, red, green, blue) {
  const light = Math.round(0.299 * red + 0.587 * green + 0.114 * blue);
  const toBlue = Math.round(-0.168735892 * red - 0.331264108 * green + 0.5 * blue);
  const toRed = Math.round(0.5 * red - 0.418687589 * green - 0.081312411 * blue);
  out[at] = light + Math.round(1.402 * toRed);
  out[at + 1] = light + Math.round(-0.344136286 * toBlue - 0.714136286 * toRed);
  out[at + 2] = light + Math.round(1.772 * toBlue);
  out[at + 3] = 255;
}
