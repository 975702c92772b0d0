// How a job does: told by the server as it happens, or asked for where that fails.

import { SERVER_GONE } from "./problem.js";

const POLL_MS = 1000;
// In a tab that is not seen, an open connection would be one of six that all tabs share.
const HIDDEN_POLL_MS = 5000;
const LISTEN_AGAIN_MS = 10_000;
const PATIENCE_MS = 15_000;

const FINAL = ["succeeded", "failed", "cancelled"];

export const isFinal = (view) => FINAL.includes(view.state);

export class JobEvents {
  #address;
  #change;
  #trouble;
  #source = null;
  #timer = 0;
  #refusedAt = -Infinity;
  #version = -1;
  #following = false;

  /**
   * @param {string} address The job's page.
   * @param {(view: object) => void} change Gets every state of the job that is newer than the last.
   * @param {(error: object | null) => void} trouble Gets what is in the way, and null once it is gone.
   */
  constructor(address, change, trouble) {
    this.#address = address;
    this.#change = change;
    this.#trouble = trouble;
    document.addEventListener("visibilitychange", () => this.#following && this.#choose());
  }

  follow() {
    this.#following = true;
    this.#choose();
  }

  #stop() {
    this.#following = false;
    this.#close();
    clearTimeout(this.#timer);
  }

  #close() {
    this.#source?.close();
    this.#source = null;
  }

  #choose() {
    if (document.hidden) this.#close();
    else if (!this.#source) this.#listen();
    if (!this.#source) this.#poll();
  }

  #listen() {
    if (performance.now() - this.#refusedAt < LISTEN_AGAIN_MS) return;
    const source = new EventSource(`${this.#address}/events`);
    this.#source = source;
    source.addEventListener("job", (event) => this.#take(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      // A connection that broke is taken up again by the browser; an answer it can't use is not.
      if (source.readyState === EventSource.CLOSED) {
        this.#refusedAt = performance.now();
        this.#close();
      }
      this.#poll();
    });
  }

  async #poll() {
    clearTimeout(this.#timer);
    const trouble = await this.#ask().catch(() => SERVER_GONE);
    if (!this.#following) return;
    if (trouble) this.#trouble(trouble);
    if (this.#source && !trouble) return;
    const pause = document.hidden ? HIDDEN_POLL_MS : POLL_MS;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => (this.#source ? this.#poll() : this.#choose()), pause);
  }

  /** One look at the job; returns what is in the way. */
  async #ask() {
    const answer = await fetch(`${this.#address}.json`, { signal: AbortSignal.timeout(PATIENCE_MS) });
    const body = await answer.json();
    if (!answer.ok) return body;
    this.#take(body);
    return null;
  }

  #take(view) {
    if (!this.#following) return;
    this.#trouble(null);
    if (view.version < this.#version) return;
    this.#version = view.version;
    if (isFinal(view)) this.#stop();
    this.#change(view);
  }
}
