// An error in the page's own form: what is wrong, what to do, details folded.

const ICON =
  '<svg class="icon" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" aria-hidden="true"><path d="M12 8v5M12 16.5v.01"/><circle cx="12" cy="12" r="9"/></svg>';

export const SERVER_GONE = {
  detail: "The page's own server does not answer.",
  hint: "Check that LipSync Studio is still running; nothing here is lost.",
};

function paragraph(className, words) {
  const node = document.createElement("p");
  node.className = className;
  node.textContent = words;
  return node;
}

function details(error) {
  const node = document.createElement("details");
  node.className = "problem-more";
  const summary = document.createElement("summary");
  summary.textContent = "Details for a report";
  const facts = document.createElement("p");
  facts.className = "quiet";
  facts.textContent = [error.code, error.title, error.request_id].filter(Boolean).join(" · ");
  node.append(summary, facts);
  return node;
}

function sentence(words) {
  const text = words.trim();
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

/** @param {{detail: string, hint?: string, code?: string}} error */
export function problem(error) {
  const box = document.createElement("div");
  box.className = "problem";
  box.innerHTML = ICON;
  const body = document.createElement("div");
  body.append(paragraph("problem-what", sentence(error.detail)));
  if (error.hint) body.append(paragraph("problem-hint", sentence(error.hint)));
  if (error.code) body.append(details(error));
  box.append(body);
  return box;
}
