// Keeps the chip at the top right true while the page stays open.

const EVERY_MS = 10_000;

async function refresh() {
  const chip = document.querySelector("[data-chip]");
  if (document.hidden) return;
  try {
    const answer = await fetch("/workplace");
    if (!answer.ok) return;
    const fresh = document.createRange().createContextualFragment(await answer.text());
    const renewed = fresh.querySelector("[data-chip]");
    // Replaced only when it says something else: it may have the focus.
    if (renewed.outerHTML !== chip.outerHTML) {
      const focused = document.activeElement === chip;
      chip.replaceWith(renewed);
      if (focused) renewed.focus();
    }
    document.dispatchEvent(new CustomEvent("workplace", { detail: fresh }));
  } catch {
    // The next round tries again.
  }
}

// Pages that must come at once leave the chip to the script: asking a far host takes seconds.
if (!document.querySelector("a[data-chip]")) refresh();
setInterval(refresh, EVERY_MS);
