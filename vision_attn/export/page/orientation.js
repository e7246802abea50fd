// The EXIF orientation of a JPEG file. Browsers turn photos upright by themselves, but do not say
// which sides they swap. Source: EXIF 2.32, section 4.5.

const HEAD = 2 ** 18; // bytes that are searched; EXIF is at the start of a file
const ORIENTATION = 0x0112;

// Which axes of the upright image run against those of the stored one: [horizontal, vertical].
export async function reversedAxes(file) {
  const orientation = await readOrientation(file);
  return [[2, 3, 6, 7].includes(orientation), [3, 4, 7, 8].includes(orientation)];
}

async function readOrientation(file) {
  const view = new DataView(await file.slice(0, HEAD).arrayBuffer());
  try {
    for (let at = 2; view.getUint8(at) === 0xff; at += 2 + view.getUint16(at + 2)) {
      const isExif = view.getUint8(at + 1) === 0xe1 && view.getUint32(at + 4) === 0x45786966;
      if (isExif) return orientationIn(new DataView(view.buffer, at + 10));
      if (view.getUint8(at + 1) === 0xda) break; // the pixels begin
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // the file ends too early
  }
  return 1;
}

// The orientation in a TIFF header and its first directory.
function orientationIn(tiff) {
  const little = tiff.getUint16(0) === 0x4949;
  const directory = tiff.getUint32(4, little);
  for (let k = 0; k < tiff.getUint16(directory, little); k++) {
    const entry = directory + 2 + 12 * k;
    if (tiff.getUint16(entry, little) === ORIENTATION) return tiff.getUint16(entry + 8, little);
  }
  return 1;
}
