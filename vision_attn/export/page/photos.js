// The photos that were added: each goes to the worker, and has a small picture to choose it by.

import { element, make } from "./elements.js";
import { Maps } from "./maps.js";

const ENDINGS = /\.(jpe?g|jfif|png|apng|webp|gif|bmp|avif|heic|heif|tiff?)$/i;

// Whether a file may be an image, by its type, or by its name where the system knows no type.
export const mayBeImage = (file) => file.type.startsWith("image/") || ENDINGS.test(file.name);

export class Photos {
  constructor(worker, about, show) {
    Object.assign(this, { worker, about, show, all: [], chosen: null });
    worker.addEventListener("message", ({ data }) => data.id !== undefined && this.answer(data));
  }

  add(files) {
    for (const file of files) {
      const button = make("button", [], { type: "button", title: file.name });
      const photo = { id: this.all.length, file, button, url: URL.createObjectURL(file) };
      button.append(make("img", [], { src: photo.url, alt: file.name }));
      button.onclick = () => this.choose(photo);
      element("photos").append(button);
      this.all.push(photo);
      this.worker.postMessage({ id: photo.id, file });
    }
    element("photos").hidden = this.all.length < 2;
    if (files.length) this.choose(this.all[this.all.length - files.length]);
  }

  choose(photo) {
    this.chosen = photo;
    this.all.forEach((each) => each.button.setAttribute("aria-pressed", String(each === photo)));
    this.show(photo);
  }

  answer({ id, result, error }) {
    const photo = this.all[id];
    photo.error = error;
    photo.button.classList.toggle("wrong", Boolean(error));
    if (result?.preview) {
      photo.url = URL.createObjectURL(result.preview);
      photo.button.firstChild.src = photo.url;
    }
    if (result) photo.maps = new Maps(result, this.about.bias);
    if (photo === this.chosen) this.show(photo);
  }
}
