// Buttons that change something on the server: the forms post as without a script, but in place.

import { problem, SERVER_GONE } from "./problem.js";
import { renewToken } from "./token.js";

const BUSY = { cancel: "Cancelling…", retry: "Starting…", delete: "Removing…" };

async function post(form) {
  const send = () =>
    fetch(form.action, {
      method: "POST",
      headers: { Accept: "application/json" },
      body: new FormData(form),
    });
  let answer = await send();
  if (answer.status === 400) {
    await renewToken();
    answer = await send();
  }
  return answer;
}

/**
 * @param {(act: string, form: HTMLFormElement, body: object) => Promise<void> | void} acted
 *   Is told what has been done, and brings the page up to date.
 */
export function actInPlace(acted) {
  const dialog = document.getElementById("ask");

  async function submit(form) {
    const button = form.querySelector("[type=submit]");
    const label = button.querySelector("[data-label]");
    const words = label.textContent;
    // Not disabled, which would lose the focus.
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    label.textContent = BUSY[form.dataset.act];
    let error = SERVER_GONE;
    try {
      const answer = await post(form);
      const body = await answer.json();
      error = answer.ok ? null : body;
      if (answer.ok) {
        dialog.close();
        await acted(form.dataset.act, form, body);
      }
    } catch {
      // The page's own server does not answer.
    }
    button.removeAttribute("aria-disabled");
    label.textContent = words;
    const slot = form.querySelector("[data-trouble]") ?? document.querySelector("main [data-trouble]");
    slot?.replaceChildren(...(error ? [problem(error)] : []));
  }

  document.addEventListener("submit", (event) => {
    if (!event.target.dataset.act) return;
    event.preventDefault();
    submit(event.target);
  });

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-ask]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const form = dialog.querySelector("form");
    form.action = link.href;
    form.querySelector("#ask-question").textContent = link.dataset.ask;
    form.querySelector("[data-label]").textContent = link.dataset.yes;
    form.querySelector("[data-trouble]").replaceChildren();
    dialog.showModal();
  });

  dialog.querySelector("[data-keep]").addEventListener("click", () => dialog.close());
}
