// The page of one job: follows it, and shows the video as soon as it is there.

import { kept, portrait } from "./keep.js";

const POLL_MS = 700;
const job = document.getElementById("job");
const said = document.getElementById("said");
const openedAt = performance.now();

function seconds(value) {
  if (value < 60) return `${value.toFixed(1)} s`;
  return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}

function elapsed() {
  return Number(job.dataset.elapsed) + (performance.now() - openedAt) / 1000;
}

async function showFace() {
  const screen = job.querySelector("[data-face]");
  const draft = screen && (await kept());
  if (draft?.face) screen.replaceChildren(portrait(draft.face));
}

function showTime(progress) {
  const clock = job.querySelector("[data-clock]");
  if (!clock) return;
  const spent = elapsed();
  clock.textContent = seconds(spent);
  // An estimate from the first moments would jump about.
  const left = progress > 0.1 && spent > 1 ? (spent * (1 - progress)) / progress : null;
  job.querySelector("[data-left]").textContent = left === null ? "" : ` · about ${Math.ceil(left)} s left`;
}

/** Takes the server's own page for the new state. */
async function reload() {
  const answer = await fetch(location.href);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById("job");
  if (!fresh) return location.reload();
  const stage = fresh.querySelector("[data-words], h1").textContent;
  const screen = job.querySelector("[data-face]");
  job.replaceChildren(...fresh.childNodes);
  Object.assign(job.dataset, fresh.dataset, { elapsed: job.dataset.elapsed });
  const place = job.querySelector("[data-face]");
  if (place && screen?.firstElementChild?.matches("img, video")) place.replaceWith(screen);
  document.title = page.title;
  said.textContent = stage;
  offer();
}

async function follow() {
  let view;
  try {
    const answer = await fetch(job.dataset.address);
    if (answer.ok) view = await answer.json();
  } catch {
    // The next round tries again.
  }
  if (view) {
    if (view.stage !== job.dataset.stage || view.state !== job.dataset.state) await reload();
    const bar = job.querySelector("[data-bar]");
    if (bar) bar.value = view.progress;
    showTime(view.progress);
  }
  if (job.querySelector("[data-clock]")) setTimeout(follow, POLL_MS);
}

/** What needs a script: copying the address, and the kept face. */
async function offer() {
  const copy = job.querySelector("[data-copy]");
  if (copy && navigator.clipboard) {
    copy.hidden = false;
    copy.onclick = async () => {
      await navigator.clipboard.writeText(location.href);
      copy.querySelector("span").textContent = "Copied";
      said.textContent = "The link is copied.";
    };
  }
  const again = job.querySelector("[data-again]");
  if (again && (await kept())?.face) {
    again.hash = "again";
    if (job.dataset.state === "succeeded") {
      again.querySelector("span").textContent = "Make another with this face";
    }
  }
}

showFace();
offer();
if (job.querySelector("[data-clock]")) follow();
