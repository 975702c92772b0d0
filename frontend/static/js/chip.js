// Keeps the chip at the top right true while the page stays open.

const EVERY_MS = 10_000;

async function refresh() {
  const chip = document.querySelector("[data-chip]");
  if (chip.open || document.hidden) return;
  try {
    const answer = await fetch("/workplace");
    if (!answer.ok) return;
    const fresh = document.createRange().createContextualFragment(await answer.text());
    chip.replaceWith(fresh.querySelector("[data-chip]"));
    document.dispatchEvent(new CustomEvent("workplace", { detail: fresh }));
  } catch {
    // The next round tries again.
  }
}

export function keepChipFresh() {
  // Pages that must come at once leave the chip to the script: asking a far host takes seconds.
  if (!document.querySelector("details[data-chip]")) refresh();
  setInterval(refresh, EVERY_MS);
  document.addEventListener("click", (event) => {
    const chip = document.querySelector("[data-chip][open]");
    if (chip && !chip.contains(event.target)) chip.open = false;
  });
  document.addEventListener("keydown", (event) => {
    const chip = document.querySelector("[data-chip][open]");
    if (chip && event.key === "Escape") {
      chip.open = false;
      chip.querySelector("summary").focus();
    }
  });
}
