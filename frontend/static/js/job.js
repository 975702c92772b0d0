// The page of one job: follows it, and shows the video as soon as it is there.

import { keepChipFresh } from "./chip.js";
import { kept, portrait } from "./keep.js";
import { problem, SERVER_GONE } from "./problem.js";

const POLL_MS = 700;
const PATIENCE_MS = 15_000;
// An estimate from less than this would jump about.
const LEAST_PROGRESS = 0.05;

const job = document.getElementById("job");
const said = document.getElementById("said");
const openedAt = performance.now();
// Only the job that was made from the kept face shows it.
const draft = await kept(location.pathname);
let begun = null;

function seconds(value) {
  const whole = Math.round(value);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

function tick() {
  const clock = job.querySelector("[data-clock]");
  const spent = Number(job.dataset.elapsed) + (performance.now() - openedAt) / 1000;
  if (clock) clock.textContent = seconds(spent);
}

/** Only what is seen of one stage tells its pace: waiting in a queue has none. */
function timeLeft(view) {
  const now = performance.now() / 1000;
  if (begun?.stage !== view.stage) begun = { stage: view.stage, progress: view.progress, now };
  const done = view.progress - begun.progress;
  if (done < LEAST_PROGRESS) return "";
  return ` · about ${seconds(Math.max(1, ((now - begun.now) * (1 - view.progress)) / done))} left`;
}

/** Takes the server's own page for the new state. */
async function renew() {
  const answer = await fetch(location.href);
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById("job");
  const face = job.querySelector("[data-face] > img, [data-face] > video");
  job.replaceChildren(...fresh.childNodes);
  Object.assign(job.dataset, fresh.dataset, { elapsed: job.dataset.elapsed });
  if (face) job.querySelector("[data-face]")?.replaceChildren(face);
  document.title = page.title;
  said.textContent = job.querySelector("[data-words], h1").textContent;
  offer();
  const calm = document.hidden || matchMedia("(prefers-reduced-motion: reduce)").matches;
  // Browsers may refuse to begin with sound; the person presses play then.
  if (!calm) job.querySelector("video#result")?.play().catch(() => {});
}

/** One look at the job; returns what is in the way. */
async function look() {
  const answer = await fetch(job.dataset.address, { signal: AbortSignal.timeout(PATIENCE_MS) });
  const view = await answer.json();
  if (answer.status === 404) location.reload();
  if (!answer.ok) return view;
  if (view.stage !== job.dataset.stage || view.state !== job.dataset.state) await renew();
  const bar = job.querySelector("[data-bar]");
  if (bar) {
    bar.value = view.progress;
    job.querySelector("[data-left]").textContent = timeLeft(view);
  }
  return null;
}

async function follow() {
  const trouble = await look().catch(() => SERVER_GONE);
  const slot = job.querySelector("[data-trouble]");
  if (!slot) return;
  if (trouble?.detail !== slot.dataset.trouble) {
    slot.replaceChildren(...(trouble ? [problem(trouble)] : []));
    slot.dataset.trouble = trouble?.detail ?? "";
  }
  if (trouble) job.querySelector("[data-left]").textContent = "";
  setTimeout(follow, POLL_MS);
}

/** What needs a script: copying the address, and the kept face. */
function offer() {
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
  if (again && draft) {
    again.hash = "again";
    if (job.dataset.state === "succeeded") {
      again.querySelector("span").textContent = "Make another with this face";
    }
  }
}

if (draft) job.querySelector("[data-face]")?.replaceChildren(portrait(draft.face));
offer();
keepChipFresh();
if (job.querySelector("[data-clock]")) {
  setInterval(tick, 1000);
  follow();
}
