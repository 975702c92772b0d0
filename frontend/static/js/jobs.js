// The list of jobs: running ones move on, and what is asked of a job happens in place.

import { actInPlace } from "./actions.js";

const EVERY_MS = 2000;

const main = document.getElementById("jobs");
const said = document.getElementById("said");
let asking = null;

const rows = () => [...main.querySelectorAll("[data-row]")];
const rowOf = (id, where = main) => where.querySelector(`[data-row="${CSS.escape(id)}"]`);

/** Take over what changes from moment to moment, so that nothing loses its focus. */
function update(row, fresh) {
  for (const node of fresh.querySelectorAll("[data-live]")) {
    const old = row.querySelector(`[data-live="${node.dataset.live}"]`);
    if (node instanceof HTMLProgressElement) old.value = node.value;
    else if (old.innerHTML !== node.innerHTML) old.innerHTML = node.innerHTML;
  }
  const picture = fresh.querySelector(".thumb img");
  if (picture && !row.querySelector(".thumb img")) row.querySelector(".thumb").append(picture);
}

function replace(row, fresh) {
  const focused = row.contains(document.activeElement);
  row.replaceWith(fresh);
  if (focused) fresh.querySelector("[data-focus]").focus();
  said.textContent = fresh.querySelector(".row-title").textContent;
}

function merge(page) {
  const fresh = page.getElementById("jobs");
  const list = main.querySelector("[data-rows]");
  const freshList = fresh?.querySelector("[data-rows]");
  if (!fresh) return;
  if (!list || !freshList) {
    const focused = main.contains(document.activeElement);
    main.replaceChildren(...fresh.childNodes);
    if (focused) main.querySelector("[data-focus]").focus();
    return;
  }
  for (const row of rows()) if (!rowOf(row.dataset.row, fresh)) row.remove();
  let place = null;
  for (const row of [...freshList.children]) {
    const known = rowOf(row.dataset.row);
    if (!known) place ? place.after(row) : list.prepend(row);
    else if (known.dataset.state !== row.dataset.state) replace(known, row);
    else update(known, row);
    place = rowOf(row.dataset.row);
  }
  const more = main.querySelector("nav");
  const freshMore = fresh.querySelector("nav");
  if (more?.outerHTML !== freshMore?.outerHTML && !more?.contains(document.activeElement)) {
    more?.remove();
    if (freshMore) main.append(freshMore);
  }
}

async function refresh() {
  const answer = await fetch(location.href);
  if (answer.ok) merge(new DOMParser().parseFromString(await answer.text(), "text/html"));
}

function renew() {
  asking ??= refresh()
    // The next round tries again.
    .catch(() => {})
    .finally(() => (asking = null));
  return asking;
}

function look() {
  if (!document.hidden && main.querySelector("[data-open]")) renew();
}

/** Where the focus goes when a row is taken away. */
function neighbour(row) {
  return (row.nextElementSibling ?? row.previousElementSibling)?.querySelector("[data-focus]");
}

actInPlace(async (act, form) => {
  await asking;
  if (act !== "delete") return renew();
  const id = decodeURIComponent(new URL(form.action).pathname.split("/").at(-2));
  const row = rowOf(id); // gone already where the list was renewed just now
  const next = (row && neighbour(row)) ?? main.querySelector("[data-focus]");
  row?.remove();
  next?.focus();
  said.textContent = "The job is deleted.";
  await renew();
});

setInterval(look, EVERY_MS);
document.addEventListener("visibilitychange", look);
