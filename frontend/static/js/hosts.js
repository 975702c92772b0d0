// The GPU hosts: how each does is kept true while the page is seen.

import { actInPlace } from "./actions.js";

const EVERY_MS = 3000;

const hosts = () => document.querySelector("[data-hosts]");

async function renew() {
  const answer = await fetch(location.pathname);
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.querySelector("[data-hosts]");
  if (fresh.innerHTML === hosts().innerHTML) return;
  const focused = document.activeElement?.closest?.("[data-hosts] a[data-ask]")?.href;
  hosts().replaceWith(fresh);
  if (focused) [...fresh.querySelectorAll("a[data-ask]")].find((link) => link.href === focused)?.focus();
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
