// Runs the model in a thread of its own, so that the page stays responsive. Receives
// { id, file }, and answers { id, result } or { id, error }; first { ready } or { failed }.

import * as ort from "./onnxruntime/ort.js";
import { ReadingError, readImage, readsExactly } from "./reading.js";

ort.env.wasm.numThreads = 1; // more need headers that static hosts do not send
ort.env.wasm.wasmPaths = {
  wasm: new URL("./onnxruntime/ort-wasm-simd-threaded.wasm", import.meta.url).href,
};

let about, session;
const ready = load();

async function load() {
  try {
    const [description, model] = await Promise.all([get("./about.json"), get("./model.onnx")]);
    about = await description.json();
    session = await ort.InferenceSession.create(await model.arrayBuffer(), {
      executionProviders: ["wasm"],
    });
    postMessage({ ready: true, exact: readsExactly() });
  } catch (error) {
    postMessage({ failed: String(error?.message ?? error) });
    throw error;
  }
}

async function get(path) {
  const response = await fetch(new URL(path, import.meta.url));
  if (!response.ok) throw new Error(`${path} is missing (${response.status})`);
  return response;
}

async function classify(file) {
  const size = about.image_size;
  const { planes, width, height, preview, doubtful } = await readImage(file, about);
  const images = new ort.Tensor("float32", Float32Array.from(planes, (v) => v / 255), [
    1, 3, size, size,
  ]);
  const outputs = await session.run({ images });
  const [, heads, rows, columns] = outputs.attention.dims;
  return {
    width, height, preview, doubtful, heads, rows, columns,
    logits: outputs.logits.data,
    probabilities: outputs.probabilities.data,
    attention: outputs.attention.data,
    evidence: outputs.evidence.data,
  };
}

let last = ready;
onmessage = ({ data: { id, file } }) => {
  last = last
    .then(() => classify(file))
    .then((result) => postMessage({ id, result }))
    .catch((error) => {
      const reason = error instanceof ReadingError ? error.message : `${error?.message ?? error}`;
      postMessage({ id, error: reason });
    });
};
