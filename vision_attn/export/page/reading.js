// Read an image file as vision-attn's `predict` does: upright, transparent parts over white, the
// whole image resized to a square by Pillow's BICUBIC.

import { isDeepGray, readDeepGray } from "./deep_gray.js";
import { reversedAxes } from "./orientation.js";
import { averageBlocks, resize } from "./resize.js";

const MAX_PIXELS = 89478485; // as in Python
const MAX_SIDE = 16384; // of a canvas; browsers draw nothing on larger ones
const STRIP = 2 ** 21; // pixels that are on the canvas at once; phones have little memory

export class ReadingError extends Error {}

const starts = (bytes, ...wanted) => wanted.every((byte, at) => bytes[at] === byte);
const isJpeg = (bytes) => starts(bytes, 0xff, 0xd8, 0xff);
const isTiff = (bytes) => starts(bytes, 0x49, 0x49, 42, 0) || starts(bytes, 0x4d, 0x4d, 0, 42);

// The pixels of an image file, uint8 planes (3, size, size), its width and height, and a preview
// (a Blob) where browsers would show the file itself in another way; and whether it may look unlike
// the training images. `about` describes the model.
export async function readImage(file, about) {
  const { image_size: size, gray_range: grayRange, tall_first: tallFirst } = about;
  const head = new Uint8Array(await file.slice(0, 64).arrayBuffer());
  if (isTiff(head)) throw new ReadingError("TIFF images are not read here; save it as PNG.");
  const isDeep = isDeepGray(head);
  const source = isDeep
    ? await readDeepGray(file, grayRange, ReadingError)
    : await decoded(file);
  const { width, height } = source;
  if (Math.max(width, height) > MAX_SIDE) {
    throw new ReadingError(`it has ${width} × ${height} pixels; ${MAX_SIDE} per side is the most.`);
  }
  const factor = isJpeg(head) ? draftFactor(width, height, size) : 1;
  if ((width / factor) * (height / factor) > MAX_PIXELS) {
    throw new ReadingError("it has more than 89 million pixels.");
  }
  const rows = reducedRows(source, factor, factor > 1 ? await reversedAxes(file) : []);
  const [columns, lines] = [Math.ceil(width / factor), Math.ceil(height / factor)];
  const planes = resize(rows, columns, lines, size, tallFirst);
  source.close();
  return { planes, width, height, preview: source.preview, doubtful: isDeep && !grayRange };
}

// Open an image with the browser's decoder: upright, and its colors as they are in the file.
async function decoded(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, {
      imageOrientation: "from-image",
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
    });
  } catch {
    throw new ReadingError("your browser cannot read it. JPEG, PNG, WebP and GIF work everywhere.");
  }
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(1, 1);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  return {
    width,
    height,
    rows(top, count) {
      canvas.width = width;
      canvas.height = count;
      context.fillStyle = "#fff";
      context.fillRect(0, 0, width, count);
      context.drawImage(bitmap, 0, top, width, count, 0, 0, width, count);
      return context.getImageData(0, 0, width, count).data;
    },
    close: () => bitmap.close(),
  };
}

// How much smaller `predict` decodes a large JPEG: 1, 2, 4 or 8 times, and still twice the size
// that is needed.
export function draftFactor(width, height, size) {
  const scale = Math.floor(Math.min(width, height) / (2 * size));
  return [8, 4, 2].find((factor) => scale >= factor) ?? 1;
}

// The rows of an image that is `factor` times smaller, from strips that fit into memory. Blocks of
// pixels are counted from where the file begins, which in a turned image is the right or the bottom.
function* reducedRows({ width, height, rows }, factor, [fromRight, fromBottom]) {
  const outside = (side) => (factor - (side % factor)) % factor; // pixels that a last block lacks
  const left = fromRight ? outside(width) : 0;
  const above = fromBottom ? outside(height) : 0;
  const length = 4 * Math.ceil(width / factor);
  const step = Math.max(Math.floor(STRIP / (width * factor)), 1) * factor;
  for (let start = -above; start < height; start += step) {
    const top = Math.max(start, 0);
    const count = Math.min(start + step, height) - top;
    const strip = averageBlocks(rows(top, count), width, count, factor, left, top - start);
    for (let at = 0; at < strip.length; at += length) yield strip.subarray(at, at + length);
  }
}

// Whether the browser lets pages read pixels as they are. Some change them a little, against
// fingerprinting; the numbers are then less exact.
export function readsExactly() {
  const context = new OffscreenCanvas(64, 64).getContext("2d", { willReadFrequently: true });
  const pixels = new ImageData(64, 64);
  pixels.data.forEach((_, at) => {
    pixels.data[at] = at % 4 === 3 ? 255 : (at * 37) % 256;
  });
  context.putImageData(pixels, 0, 0);
  const read = context.getImageData(0, 0, 64, 64).data;
  return read.every((value, at) => value === pixels.data[at]);
}
