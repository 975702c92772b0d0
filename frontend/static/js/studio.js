// The Studio's forms: the same posts as without a script, with previews, counts and early words.

import { Drop } from "./drop.js";
import { keep, kept } from "./keep.js";
import { fieldsOf, Options, putFields } from "./options.js";
import { problem, SERVER_GONE } from "./problem.js";
import { renewToken } from "./token.js";

const CHARACTERS_PER_SECOND = 15;

const forms = Object.fromEntries(
  [...document.querySelectorAll("form.studio")].map((form) => [form.dataset.kind, form]),
);
const sample = document.getElementById("sample-form");
let current = Object.values(forms).find((form) => !form.hidden);
let sending = false;

const limits = JSON.parse(document.getElementById("limits").textContent);
const face = new Drop(current.querySelector('[data-shared="face"]'), limits, check);
const recording = new Drop(forms.audio.querySelector(".step:not([data-shared])"), limits, check);
// An error that stands beside its cause stays there when engines come or go.
const options = new Options(current.querySelector('[data-shared="options"]'), () => options.show(kindOfFace()));
const text = forms.text.elements.text;
const count = forms.text.querySelector("[data-count]");

/* What is missing */

function characters() {
  return [...text.value].length;
}

function missing() {
  const parts = [];
  if (!face.file) parts.push("a face");
  if (current === forms.text && !text.value.trim()) parts.push("a text");
  if (current === forms.audio && !recording.file) parts.push("a recording");
  if (!current.elements.consent.checked) parts.push("your agreement");
  return parts;
}

function kindOfFace() {
  if (!face.file) return "";
  return face.file.type.startsWith("video/") ? "video" : "photo";
}

function faults() {
  const found = options.faults();
  if (face.fault) found.face = face.fault;
  if (current === forms.audio && recording.fault) found.voice = recording.fault;
  if (current === forms.text && characters() > limits.maxCharacters) {
    found.voice = {
      detail: `The text is ${characters() - limits.maxCharacters} characters too long.`,
      hint: "Make several videos of a longer text.",
    };
  }
  const together = (face.file?.size ?? 0) + (current === forms.audio ? (recording.file?.size ?? 0) : 0);
  if (together > limits.maxBytes && !Object.keys(found).length) {
    found.make = { detail: "The files are larger than 100 MB together.", hint: "Compress or shorten one of them." };
  }
  return found;
}

function listed(parts) {
  return parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`;
}

function check() {
  if (!current) return;
  options.show(kindOfFace());
  const lacks = missing();
  const wrong = faults();
  for (const { dataset } of current.querySelectorAll("[data-error]")) {
    showProblem(dataset.error, wrong[dataset.error]);
  }
  const ready = !lacks.length && !Object.keys(wrong).length;
  current.querySelector("[data-missing]").textContent = lacks.length ? `Still missing: ${listed(lacks)}` : "";
  current.querySelector(".make-button").classList.toggle("is-incomplete", !ready || sending);
}

function place(error) {
  return limits.fields[error.field] ?? limits.places[error.code] ?? "make";
}

function showProblem(place, error) {
  const slot = current.querySelector(`[data-error="${place}"]`);
  slot.replaceChildren(...(error ? [problem(error)] : []));
  const marked = { face: face.zone, voice: current.querySelector(".say, .drop-voice"), consent: current.querySelector(".form-check") };
  marked[place]?.classList.toggle("is-wrong", Boolean(error));
  options.mark(place, Boolean(error));
}

function focusOnMissing() {
  const first = !face.file
    ? face.input
    : current === forms.text && !text.value.trim()
      ? text
      : current === forms.audio && !recording.file
        ? recording.input
        : current.elements.consent;
  first.focus();
}

/* The two ways of giving the voice */

function switchTo(kind) {
  const next = forms[kind];
  if (next === current) return;
  // The face, the options and the consent move along: they belong to both forms.
  for (const node of current.querySelectorAll("[data-shared]")) {
    const other = next.querySelector(`[data-shared="${node.dataset.shared}"]`);
    const place = document.createComment("");
    other.replaceWith(place);
    node.replaceWith(other);
    place.replaceWith(node);
  }
  current.hidden = true;
  next.hidden = false;
  current = next;
  check();
}

for (const tab of document.querySelectorAll("[data-tab]")) {
  tab.addEventListener("click", (event) => {
    event.preventDefault();
    switchTo(tab.dataset.tab);
    history.replaceState(null, "", tab.href);
    current.querySelector(`[data-tab="${tab.dataset.tab}"]`).focus({ focusVisible: false });
  });
}

/* The text, its length and its voice */

function countText() {
  const length = characters();
  const seconds = Math.max(1, Math.round(length / CHARACTERS_PER_SECOND));
  const spoken = seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  const most = limits.maxCharacters.toLocaleString("en");
  count.textContent = length ? `${length.toLocaleString("en")} of ${most} · about ${spoken}` : `Up to ${most} characters`;
  count.classList.toggle("is-wrong", length > limits.maxCharacters);
  check();
}

function offerVoices() {
  const languages = forms.text.querySelector("[data-languages]");
  const voices = forms.text.querySelector("[data-voices]");
  if (!languages) return;
  const groups = [...voices.querySelectorAll("optgroup")];
  const show = () => {
    const chosen = groups.filter((group) => group.dataset.language === languages.value);
    const selected = voices.value;
    for (const group of groups) group.remove();
    voices.append(...chosen);
    voices.value = selected;
    if (voices.value !== selected) voices.value = "";
  };
  languages.addEventListener("change", show);
  show();
}

/* The sample, and the last face again */

sample.addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await fetch(sample.dataset.portrait).catch(() => null);
  if (!answer?.ok) return showProblem("make", SERVER_GONE);
  const picture = await answer.blob();
  switchTo("text");
  face.put(new File([picture], "portrait.jpg", { type: picture.type }));
  text.value = sample.dataset.text;
  countText();
  text.focus();
});

/** Fills in the last draft; what its job failed with stands beside its cause. */
async function restore() {
  if (location.hash !== "#again") return;
  history.replaceState(null, "", location.pathname + location.search);
  const draft = await kept();
  if (!draft) return;
  switchTo(draft.kind);
  face.put(draft.face);
  if (draft.recording) recording.put(draft.recording);
  text.value = draft.text;
  putFields(current, draft.fields ?? {});
  countText();
  const answer = await fetch(`${draft.job}.json`).catch(() => null);
  const error = answer?.ok && (await answer.json()).error;
  if (error) showProblem(place(error), error);
}

/* Sending */

function send(form) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const bar = form.querySelector("progress");
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) bar.value = event.loaded / event.total;
    };
    request.onload = () => resolve(request);
    request.onerror = () => reject(new Error("no answer"));
    request.open("POST", form.action);
    request.setRequestHeader("Accept", "application/json");
    request.send(new FormData(form));
  });
}

function answered(request) {
  try {
    return JSON.parse(request.responseText);
  } catch {
    return { detail: "The answer could not be read.", hint: "Load the page again and try once more." };
  }
}

function setSending(form, on) {
  sending = on;
  form.querySelector("[data-sending]").hidden = !on;
  form.querySelector(".make-button").textContent = on ? "Sending…" : "Make the video";
  check();
}

async function submit(event) {
  event.preventDefault();
  const form = event.currentTarget;
  check();
  if (sending) return;
  if (missing().length) return focusOnMissing();
  if (Object.keys(faults()).length) {
    form.querySelector(".problem")?.scrollIntoView({ block: "nearest" });
    return;
  }
  setSending(form, true);
  let request;
  try {
    request = await send(form);
    if (answered(request).code === "FORM_EXPIRED") {
      await renewToken();
      request = await send(form);
    }
  } catch {
    setSending(form, false);
    showProblem("make", SERVER_GONE);
    return;
  }
  if (request.status === 202) {
    const job = request.getResponseHeader("Location");
    const fields = fieldsOf(form);
    const draft = { kind: form.dataset.kind, face: face.file, text: text.value, fields, job };
    if (form === forms.audio) draft.recording = recording.file;
    await keep(draft);
    location.assign(job);
    return;
  }
  setSending(form, false);
  const error = answered(request);
  showProblem(place(error), error);
  form.querySelector(".problem")?.scrollIntoView({ block: "nearest" });
}

for (const form of Object.values(forms)) {
  form.noValidate = true;
  form.addEventListener("submit", submit);
  form.addEventListener("change", check);
  form.addEventListener("input", ({ target }) => {
    // Gone only when the field is left, it would move the button away from under the pointer.
    if (target.closest("[data-option]")) showProblem(`option-${target.name}`, null);
  });
}
text.addEventListener("input", countText);
// Going back in the browser fills the fields in without a word, or shows the page as it was left.
addEventListener("pageshow", () => {
  face.look();
  recording.look();
  countText();
  if (sending) setSending(current, false);
});
offerVoices();
restore();
