// The page of one job: plays its video while it is made, and says how it does.

import { actInPlace } from "./actions.js";
import { isFinal, JobEvents } from "./job_events.js";
import { kept, portrait } from "./keep.js";
import { canPlayLive, Player } from "./player.js";
import { problem } from "./problem.js";

const RETRY_MS = 1000;

const job = document.getElementById("job");
const stage = job.querySelector("[data-stage]");
const said = document.getElementById("said");
const address = job.dataset.address;
let loadedAt = performance.now();
const openedWith = JSON.parse(job.querySelector("[data-view]").textContent);
// Only the job that was made from the kept face shows it.
const draft = await kept(address);

let shown = openedWith;
let newest = openedWith;
let player = null;
let renewing = null;

const calm = matchMedia("(prefers-reduced-motion: reduce)");
const parts = () => job.querySelector("[data-parts]");

/* What changes from moment to moment */

function seconds(value) {
  const whole = Math.round(value);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

function tick() {
  const clock = job.querySelector("[data-clock]");
  const spent = Number(job.dataset.elapsed) + (performance.now() - loadedAt) / 1000;
  if (clock) clock.textContent = seconds(spent);
}

function showProgress(view) {
  const bar = job.querySelector("[data-bar]");
  if (!bar) return;
  bar.value = view.progress;
  const left = view.seconds_left;
  const known = left !== null && view.state === "running";
  job.querySelector("[data-left]").textContent = known ? ` · about ${seconds(Math.max(1, left))} left` : "";
}

function showTrouble(trouble) {
  const slot = parts().querySelector("[data-trouble]");
  if (!slot || (slot.dataset.trouble ?? "") === (trouble?.detail ?? "")) return;
  slot.replaceChildren(...(trouble ? [problem(trouble)] : []));
  slot.dataset.trouble = trouble?.detail ?? "";
  if (trouble?.code === "JOB_NOT_FOUND") location.reload();
}

/* What the server has words for */

/** The parts of the page that only the server can write anew depend on these alone. */
function shape(view) {
  return JSON.stringify([view.state, view.stage, view.reason, view.attempts.length, view.expired]);
}

async function freshPage() {
  for (;;) {
    try {
      const answer = await fetch(address);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (page.getElementById("job")) return page;
      // Deleted meanwhile: the page that says so.
      if (answer.status === 404) location.reload();
    } catch {
      // Said by what follows the job.
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

async function renew() {
  while (shape(shown) !== shape(newest)) {
    const page = await freshPage();
    const fresh = page.getElementById("job");
    const view = JSON.parse(fresh.querySelector("[data-view]").textContent);
    job.dataset.elapsed = fresh.dataset.elapsed;
    loadedAt = performance.now();
    const open = Boolean(parts().querySelector("details[open]"));
    const focused = parts().contains(document.activeElement);
    parts().replaceWith(fresh.querySelector("[data-parts]"));
    const details = parts().querySelector("details");
    if (details) details.open = open;
    if (focused) parts().querySelector("[data-focus]").focus();
    document.title = page.title;
    said.textContent = (parts().querySelector("[data-words]") ?? parts().querySelector("h1")).textContent;
    showStage(shown, view, fresh.querySelector("[data-stage]"));
    shown = view;
    if (view.version > newest.version) newest = view;
    offer();
  }
  showProgress(newest);
  watch(newest);
}

function change(view) {
  newest = view;
  renewing ??= renew().finally(() => (renewing = null));
}

/* The stage */

function showFace() {
  if (draft) stage.querySelector("[data-face]")?.replaceChildren(portrait(draft.face));
}

/** Play what there is of a video that is being made. */
function watch(view) {
  if (!player && view.stream && !isFinal(view) && canPlayLive()) {
    player = new Player(stage, { stream: `${address}/stream`, video: `${address}/video` });
  }
  player?.tell(view);
}

function showStage(before, view, fresh) {
  if (player && view.state === "succeeded") return player.finish();
  if (isFinal(before) === isFinal(view)) return;
  player?.stop();
  player = null;
  stage.replaceChildren(...fresh.childNodes);
  showFace();
  const video = stage.querySelector("video");
  // Where the browser refuses to begin with sound, the person presses play.
  if (video && !document.hidden && !calm.matches) video.play().catch(() => {});
}

/* What needs a script: copying the address, and the kept face */

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
    if (shown.state === "succeeded") again.querySelector("span").textContent = "Make another with this face";
  }
}

const events = new JobEvents(address, change, showTrouble);

actInPlace(async (act, form, body) => {
  if (act === "delete") return location.assign(body.location);
  if (act === "retry") events.follow();
  change(body);
  await renewing;
});

showFace();
offer();
setInterval(tick, 1000);
if (!isFinal(openedWith)) {
  watch(openedWith);
  events.follow();
}
