// A place for a file: choose or drop, see it, and hear at once when it can't be used.

import { portrait } from "./keep.js";

const MEGABYTE = 1e6;

function size(file) {
  const megabytes = file.size / MEGABYTE;
  return megabytes < 0.1 ? `${Math.ceil(file.size / 1000)} kB` : `${megabytes.toFixed(1)} MB`;
}

export class Drop {
  /**
   * @param {HTMLElement} step The part of the form around one file input.
   * @param {{maxBytes: number, maxPixels: number, maxSeconds: number}} limits
   * @param {() => void} changed Called when a file came, went, or was looked at.
   */
  constructor(step, limits, changed) {
    this.step = step;
    this.zone = step.querySelector("[data-drop]");
    this.input = step.querySelector("input[type=file]");
    this.preview = step.querySelector("[data-preview]");
    this.found = step.querySelector("[data-found]");
    this.change = step.querySelector("[data-change]");
    this.empty = this.found.textContent;
    this.limits = limits;
    this.changed = changed;
    this.fault = null;
    this.input.addEventListener("change", () => this.look());
    this.change.addEventListener("click", () => this.input.click());
    // The input fills the zone, so the browser itself takes the drop.
    this.zone.addEventListener("dragover", () => this.zone.classList.add("is-over"));
    for (const event of ["dragleave", "drop"]) {
      this.zone.addEventListener(event, () => this.zone.classList.remove("is-over"));
    }
    if (this.input.files.length) this.look();
  }

  get file() {
    return this.input.files[0] ?? null;
  }

  put(file) {
    const transfer = new DataTransfer();
    transfer.items.add(file);
    this.input.files = transfer.files;
    this.look();
  }

  look() {
    const file = this.file;
    URL.revokeObjectURL(this.address);
    this.preview.replaceChildren();
    this.fault = null;
    this.say(this.empty, false);
    this.zone.classList.toggle("is-full", Boolean(file));
    this.change.hidden = !file;
    if (file) this.show(file);
    this.changed();
  }

  show(file) {
    this.address = URL.createObjectURL(file);
    this.say(`${file.name} · ${size(file)}`, false);
    if (!file.size) return this.refuse("This file is empty.", "Choose another one.");
    if (file.size > this.limits.maxBytes) {
      this.refuse("This file is larger than 100 MB.", "Compress or shorten it.");
    }
    if (this.zone.dataset.drop === "image") this.showFace(file);
    else this.showVoice(file);
  }

  showFace(file) {
    const picture = portrait(file, this.address);
    const done = (width, height) => {
      if (file !== this.file) return;
      this.say(`${file.name} · ${width} × ${height}`, !this.fault);
      if (width * height > this.limits.maxPixels) {
        this.refuse("This picture has too many pixels.", "Scale it down to 25 megapixels or less.");
      }
    };
    picture.onload = () => done(picture.naturalWidth, picture.naturalHeight);
    picture.onloadedmetadata = () => done(picture.videoWidth, picture.videoHeight);
    picture.onerror = () => this.noPreview(file);
    this.preview.append(picture);
  }

  showVoice(file) {
    const audio = document.createElement("audio");
    audio.controls = true;
    audio.src = this.address;
    audio.setAttribute("aria-label", "The recording you chose");
    audio.onloadedmetadata = () => {
      if (file !== this.file || !Number.isFinite(audio.duration)) return;
      this.say(`${file.name} · ${audio.duration.toFixed(1)} s`, !this.fault);
      if (audio.duration > this.limits.maxSeconds) {
        this.refuse("This recording is longer than 10 minutes.", "Cut it into parts.");
      }
    };
    audio.onerror = () => this.noPreview(file);
    this.preview.append(audio);
  }

  noPreview(file) {
    if (file !== this.file) return;
    // Kinds such as TIFF are accepted though no browser shows them.
    const words = document.createElement("p");
    words.className = "quiet";
    words.textContent = `${file.name}: no preview here, but it can be sent.`;
    this.preview.replaceChildren(words);
  }

  say(words, good) {
    this.found.textContent = words;
    this.found.classList.toggle("is-found", good);
  }

  refuse(detail, hint) {
    this.fault = { detail, hint };
    this.changed();
  }
}
