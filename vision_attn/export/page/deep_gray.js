// Read grayscale PNG files of 16 bits, such as X-rays. Browsers would reduce them to 8 bits before
// the model's black and white are applied. Source: PNG specification (third edition).

const HEADER = 33; // bytes of the signature and of IHDR

// Whether the first bytes of a file are of a PNG with 16 bits and one channel.
export function isDeepGray(head) {
  const signature = [137, 80, 78, 71, 13, 10, 26, 10];
  return signature.every((byte, at) => head[at] === byte) && head[24] === 16 && head[25] === 0;
}

// The image as rows of RGBA bytes; `grayRange` says which values are black and white.
export async function readDeepGray(file, grayRange, ReadingError) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const view = new DataView(bytes.buffer);
  const width = view.getUint32(16);
  const height = view.getUint32(20);
  if (bytes[28] !== 0) throw new ReadingError("interlaced PNG of 16 bits is not read here.");
  const parts = [];
  for (let at = 8; at + 12 <= bytes.length; at += 12 + view.getUint32(at)) {
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (kind === "eXIf") throw new ReadingError("PNG of 16 bits with EXIF is not read here.");
    if (kind === "IDAT") parts.push(bytes.subarray(at + 8, at + 8 + view.getUint32(at)));
    if (kind === "IEND") break;
  }
  const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"));
  let packed;
  try {
    packed = new Uint8Array(await new Response(stream).arrayBuffer());
  } catch {
    throw new ReadingError("it is damaged.");
  }
  if (packed.length < height * (2 * width + 1)) throw new ReadingError("it is damaged.");
  const gray = toBytes(unfiltered(packed, 2 * width, height), grayRange ?? [0, 65535]);
  const rows = (top, count) => rgba(gray.subarray(top * width, (top + count) * width));
  return { width, height, rows, close() {}, preview: await preview(rgba(gray), width, height) };
}

// Undo the filters of the rows (section 9): each byte was stored as a difference.
function unfiltered(packed, length, height) {
  const out = new Uint8Array(length * height);
  for (let y = 0; y < height; y++) {
    const filter = packed[y * (length + 1)];
    for (let x = 0; x < length; x++) {
      const at = y * length + x;
      const left = x >= 2 ? out[at - 2] : 0;
      const up = y ? out[at - length] : 0;
      const corner = x >= 2 && y ? out[at - length - 2] : 0;
      const guess = [0, left, up, (left + up) >> 1, filter === 4 ? paeth(left, up, corner) : 0];
      out[at] = packed[y * (length + 1) + 1 + x] + guess[filter];
    }
  }
  return out;
}

function paeth(left, up, corner) {
  const sum = left + up - corner;
  const [a, b, c] = [left, up, corner].map((value) => Math.abs(sum - value));
  return a <= b && a <= c ? left : b <= c ? up : corner;
}

// Values of 16 bits as 8: black is 0, white 255; halves are rounded to even, as NumPy does.
function toBytes(pairs, [black, white]) {
  const out = new Uint8Array(pairs.length / 2);
  for (let at = 0; at < out.length; at++) {
    const value = 256 * pairs[2 * at] + pairs[2 * at + 1];
    const scaled = Math.min(Math.max(((value - black) * 255) / (white - black), 0), 255);
    const down = Math.floor(scaled);
    const half = scaled - down === 0.5;
    out[at] = half ? down + (down % 2) : Math.round(scaled);
  }
  return out;
}

function rgba(gray) {
  const out = new Uint8ClampedArray(4 * gray.length);
  gray.forEach((value, at) => out.fill(value, 4 * at, 4 * at + 3));
  gray.forEach((_, at) => (out[4 * at + 3] = 255));
  return out;
}

async function preview(pixels, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(new ImageData(pixels, width, height), 0, 0);
  return canvas.convertToBlob();
}
