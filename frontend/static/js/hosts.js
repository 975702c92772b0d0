// The GPU hosts: how each does is kept true while the page is seen.

import { actInPlace } from "./actions.js";

const EVERY_MS = 3000;

const hosts = () => document.querySelector("[data-hosts]");

async function renew() {
  const answer = await fetch(location.pathname);
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  renewFound(page.querySelector("[data-found]"));
  const fresh = page.querySelector("[data-hosts]");
  if (fresh.innerHTML === hosts().innerHTML) return;
  const focused = document.activeElement?.closest?.("[data-hosts] a[data-ask]")?.href;
  hosts().replaceWith(fresh);
  if (focused) [...fresh.querySelectorAll("a[data-ask]")].find((link) => link.href === focused)?.focus();
}

// What is found in the ngrok account, unless a token is being typed there.
function renewFound(fresh) {
  const found = document.querySelector("[data-found]");
  const typed = [...found.querySelectorAll("input[type=password]")].some((field) => field.value);
  if (typed || found.contains(document.activeElement)) return;
  // By its words: its forms carry a new token each time.
  if (fresh.textContent !== found.textContent) found.replaceWith(fresh);
}

function look() {
  if (!document.hidden && !document.getElementById("ask").open) renew().catch(() => {});
}

actInPlace(async () => {
  await renew();
  document.querySelector("h1").focus();
});

setInterval(look, EVERY_MS);
document.addEventListener("visibilitychange", look);
