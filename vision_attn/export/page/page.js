// The page: add photos, choose a class, a kind of map and a place. The model runs in worker.js.

import { offerCamera } from "./camera.js";
import { element, make, percent } from "./elements.js";
import { fullColor } from "./maps.js";
import { ranked, showClasses, showPlace, showSum } from "./numbers.js";
import { mayBeImage, Photos } from "./photos.js";
import { Stage } from "./stage.js";

const STRONGEST = ""; // the value of the choice "whichever else is strongest at each place"
const MEANING = {
  evidence: (name) => `Red places spoke for ${name}, blue places against it.`,
  contrast: (name, rival) =>
    `Red places spoke more for ${name} than for ${rival}, blue places less.`,
  attention: () =>
    "Orange places counted most in the answer. It shows where the model looked, not what it saw there.",
  photo: () => "The photo as it is.",
};

const state = { target: 0, kind: "evidence", rival: null, all: false, maps: null, ready: false };
let about, names, photos, stage;

async function start() {
  element("not-started").hidden = true;
  say("Loading the model; this takes a moment the first time.");
  const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  worker.onerror = () => say("This browser is too old for this page.", true);
  worker.addEventListener("message", ({ data }) => loaded(data));
  about = await (await fetch("about.json")).json();
  names = readable(about.class_names);
  element("known").querySelector("summary").textContent = `It can answer with ${names.length} names`;
  element("known").querySelector("p").textContent = names.join(", ");
  if (about.probabilities === "sigmoid") {
    element("classes-title").textContent = "How likely is each, on its own?";
  }
  element("calibrated").hidden = about.temperature === 1;
  photos = new Photos(worker, about, show);
  stage = new Stage(() => showPlace(state.maps, names, state.target, stage.place));
  listen();
}

function loaded({ ready, failed, exact }) {
  if (ready) {
    state.ready = true;
    document.body.dataset.ready = "true";
    element("inexact").hidden = exact;
    if (!photos?.chosen) say("Ready for a photo.");
  } else if (failed) {
    say(`The model could not be loaded: ${failed}.`, true);
  }
}

// Names without underscores, unless two would then be the same.
function readable(classNames) {
  const plain = classNames.map((name) => name.replaceAll("_", " "));
  return new Set(plain).size === plain.length ? plain : classNames;
}

// Say what happens; what the page also shows, `aside`, is for screen readers only.
function say(text, wrong = false, aside = false) {
  element("status").textContent = text;
  element("status").classList.toggle("aside", aside);
  element("status").classList.toggle("wrong", wrong);
}

// Add files; `trouble` says what went wrong before.
function add(files, trouble = "") {
  const images = [...files].filter(mayBeImage);
  if (images.length) photos.add(images);
  else if (trouble || files.length) say(trouble || "This is not an image.", true);
}

function show(photo) {
  document.body.dataset.shown = "";
  state.maps = photo.maps ?? null;
  element("result").hidden = !photo.maps;
  element("doubtful").hidden = !photo.maps?.doubtful;
  if (photo.error) return say(`${photo.file.name} was not read: ${photo.error}`, true);
  if (!photo.maps) return say(state.ready ? "Looking …" : "Loading the model …");
  [state.target] = ranked(photo.maps);
  state.rival = null;
  stage.showPhoto(photo.url, photo.file.name, photo.maps);
  const best = `${names[state.target]}, ${percent(photo.maps.probabilities[state.target])}`;
  element("verdict").textContent = best;
  say(`${photo.file.name}: ${best}`, false, true);
  fillRivals();
  stage.place = null;
  update();
  stage.choose(null);
  document.body.dataset.shown = String(photo.id);
}

function choose(target) {
  state.target = target;
  if (state.rival === target) state.rival = null;
  fillRivals();
  update();
}

function fillRivals() {
  const others = ranked(state.maps).filter((k) => k !== state.target);
  element("rival").replaceChildren(
    make("option", "whichever else is strongest at each place", { value: STRONGEST }),
    ...others.map((k) => make("option", names[k], { value: String(k) })),
  );
  element("rival").value = state.rival === null ? STRONGEST : String(state.rival);
}

function update() {
  const { maps, target, kind, all } = state;
  const rival = kind === "contrast" ? state.rival : null;
  const other = rival === null ? "whichever else is strongest there" : names[rival];
  element("rival-line").hidden = kind !== "contrast";
  element("meaning").textContent = MEANING[kind](names[target], other);
  stage.showMap(mapOf(maps, kind, target, rival));
  showClasses(maps, names, target, all, choose);
  showSum(maps, names, target, rival);
  showPlace(maps, names, target, stage.place);
}

// The map to draw, the value of its full color, and the ends of its scale.
function mapOf(maps, kind, target, rival) {
  if (kind === "photo") return null;
  const values = {
    evidence: () => maps.evidenceOf(target),
    contrast: () => maps.contrast(target, rival),
    attention: () => maps.attentionMap(),
  }[kind]();
  const full = fullColor(values);
  if (kind === "attention") {
    return { values, full, signed: false, low: "none", high: `${percent(full)} of all attention` };
  }
  const most = full.toPrecision(2);
  return { values, full, signed: true, low: `against −${most}`, high: `for +${most}` };
}

function listen() {
  const zone = element("add");
  element("choose").onclick = () => element("files").click();
  for (const input of [element("files"), element("camera-file")]) {
    input.onchange = () => {
      add([...input.files]);
      input.value = "";
    };
  }
  document.addEventListener("paste", (event) => add(event.clipboardData?.files ?? []));
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      zone.classList.add("over");
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) zone.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    add(event.dataTransfer?.files ?? []);
  });
  element("kinds").onchange = (event) => {
    state.kind = event.target.value;
    update();
  };
  element("rival").onchange = (event) => {
    state.rival = event.target.value === STRONGEST ? null : Number(event.target.value);
    update();
  };
  element("more").onclick = () => {
    state.all = !state.all;
    update();
  };
  offerCamera(add);
}

start().catch((error) => say(`The page could not start: ${error.message}.`, true));
