// The folded options: those that count for what was chosen, and which engine will render.

/** Whether the backend can read the value; an empty one stands for its default. */
function readable({ value, dataset }) {
  if (!value) return true;
  if (dataset.pattern) return new RegExp(dataset.pattern).test(value);
  if (!dataset.number) return true;
  const spelling = dataset.number === "integer" ? /^\d+$/ : /^\d+(\.\d+)?$/;
  return spelling.test(value) && value >= Number(dataset.least) && value <= Number(dataset.most);
}

export class Options {
  /**
   * @param {HTMLElement} node The outlooks and the folded fields.
   * @param {() => void} changed Called when the engines of the GPU host have changed.
   */
  constructor(node, changed) {
    this.node = node;
    this.engine = node.querySelector('[name="engine"]');
    this.fields = [...node.querySelectorAll("[data-option]")];
    node.addEventListener("change", ({ target }) => {
      if (target.type === "text") target.value = target.value.replace(/\s+/g, "");
    });
    document.addEventListener("workplace", ({ detail }) => {
      if (this.renew(detail)) changed();
    });
  }

  /** @param {"photo" | "video" | ""} kind The kind of face, empty while there is none. */
  show(kind) {
    const seen = [];
    for (const outlook of this.node.querySelectorAll(".outlook")) {
      const { kind: only, chosen } = outlook.dataset;
      // Without a face, only what can be done is told.
      const counts = !only || only === kind || (!kind && (only === "photo" || "ready" in outlook.dataset));
      // What is said of no engine in particular holds for each.
      outlook.hidden = (chosen && chosen !== this.engine.value) || !counts;
      if (!outlook.hidden) seen.push(outlook.dataset.engine);
    }
    for (const field of this.fields) {
      const users = field.dataset.users.split(" ").filter(Boolean);
      const used = !users.length || users.some((engine) => seen.includes(engine));
      const counts = !kind || !field.dataset.for || field.dataset.for === kind;
      field.hidden = !used || !counts;
      // What is not shown is not sent either.
      field.querySelector("[name]").disabled = field.hidden;
    }
  }

  /** Values that can't be read, by the place of their error. */
  faults() {
    const found = {};
    for (const field of this.fields) {
      const input = field.querySelector("[name]");
      if (!input.disabled && !readable(input)) {
        found[`option-${input.name}`] = { detail: "This can't be read.", hint: input.dataset.wrong };
      }
    }
    return found;
  }

  /** Marks the field of an error, and unfolds it. */
  mark(place, wrong) {
    const slot = this.node.querySelector(`[data-error="${place}"]`);
    if (!slot) return;
    const input = slot.closest("[data-option]").querySelector("[name]");
    input.classList.toggle("is-wrong", wrong);
    input.setAttribute("aria-invalid", String(wrong));
    if (wrong) this.node.querySelector("[data-more]").open = true;
  }

  /** Takes what the GPU host says now; whether that is news. */
  renew(fresh) {
    const outlooks = this.node.querySelector("[data-outlooks]");
    const news = replaced(outlooks, fresh.querySelector("[data-outlooks]"));
    const fields = [...fresh.querySelectorAll("[data-choices]")].map((choices) => {
      const field = this.node.querySelector(`[name="${choices.dataset.choices}"]`);
      const value = field?.value;
      if (!field || !replaced(field, choices)) return false;
      field.value = value;
      // An engine that is no more: a field that shows nothing would send nothing.
      if (field.selectedIndex < 0) field.selectedIndex = 0;
      return true;
    });
    return news || fields.includes(true);
  }
}

/** Has a node hold what another one holds; whether that says something else. */
function replaced(node, by) {
  if (node.textContent === by.textContent) return false;
  node.replaceChildren(...by.childNodes);
  return true;
}

/** The fields of a form that a draft keeps: no files, no agreement, no token. */
export function fieldsOf(form) {
  const kinds = ["select-one", "text", "number"];
  const fields = [...form.elements].filter((field) => field.name && kinds.includes(field.type));
  return Object.fromEntries(fields.map((field) => [field.name, field.value]));
}

export function putFields(form, values) {
  for (const [name, value] of Object.entries(values)) {
    const field = form.elements[name];
    if (!field) continue;
    const before = field.value;
    field.value = value;
    // An engine or a voice that is no more: a field that shows nothing would send nothing.
    if (field.value !== value) field.value = before;
    field.dispatchEvent(new Event("change", { bubbles: true }));
  }
}
