// Plays a job's video while it is made, and goes over to the finished file without a jump.

import { Feed, next } from "./feed.js";

// Two fragments: with one, the first wait would come at once.
const START_SECONDS = 0.4;
const RETRY_MS = 400;
// What comes at once may be minutes of video, of which only so much shall be kept.
const PIECE_BYTES = 64 * 1024;
const LOOK_MS = 50;
// Waits before the browser runs dry, whose own wait flickers and shows a spinner.
const LOW_SECONDS = 0.2;
const SHORTEST_WAIT_SECONDS = 1;
const LONGEST_WAIT_SECONDS = 8;

const calm = matchMedia("(prefers-reduced-motion: reduce)");

export const canPlayLive = () => "MediaSource" in window;

function element() {
  const video = document.createElement("video");
  Object.assign(video, { className: "screen", id: "result", controls: true, playsInline: true });
  video.preload = "auto";
  video.setAttribute("aria-label", "Your video");
  return video;
}

function furniture(tag, words) {
  const node = document.createElement(tag);
  node.className = tag === "button" ? "btn stage-button" : "stage-note";
  node.textContent = words;
  node.hidden = true;
  return node;
}

/** Begin with sound where the browser allows it, else without; `sound` then turns it on. */
export async function begin(video, sound, signal) {
  if (calm.matches) return;
  if (document.hidden) await next(document, ["visibilitychange"], signal);
  try {
    await video.play();
  } catch (error) {
    if (error.name !== "NotAllowedError") return;
    video.muted = true;
    sound.hidden = false;
    await video.play().catch(() => {});
  }
}

/** Only a video that has played to its end begins anew when it is asked to play. */
async function playOut(video, signal) {
  const ended = next(video, ["ended"], signal);
  video.muted = true;
  await video.play();
  await ended;
}

export class Player {
  #stage;
  #addresses;
  #seconds = null;
  #life = new AbortController();
  #attempt = new AbortController();
  /** What is shown; null before the first picture. */
  #video = null;
  #feed = null;
  #stream = null;
  #toldOf = 0;
  #received = 0;
  #held = false;
  #rate = 1;
  #need = START_SECONDS;
  #finished = false;
  #swapping = false;
  #waits = furniture("p", "Waiting for the next seconds");
  #sound = furniture("button", "Sound on");

  /**
   * @param {HTMLElement} stage What it holds stays until there is a picture.
   * @param {{stream: string, video: string}} addresses
   */
  constructor(stage, addresses) {
    this.#stage = stage;
    this.#addresses = addresses;
    this.#sound.type = "button";
    this.#sound.onclick = () => {
      this.#video.muted = false;
      this.#video.focus();
    };
    const looking = setInterval(() => this.#look(), LOOK_MS);
    this.#life.signal.addEventListener("abort", () => clearInterval(looking));
    this.#follow();
  }

  /** What the job says of itself. */
  tell(view) {
    this.#seconds = view.speech_seconds;
    // A stream that is void is broken off; where that does not come through, this does it.
    if (this.#stream !== null && view.stream > Math.max(this.#stream, this.#toldOf)) {
      this.#toldOf = view.stream;
      this.#attempt.abort();
    }
  }

  /** The finished file is there. Who is watching is not disturbed before the end. */
  finish() {
    this.#finished = true;
    const video = this.#video;
    if (!video || !this.#feed || this.#feed.lacking || (video.paused && !video.seeking)) this.#swap();
  }

  stop() {
    this.#life.abort();
    this.#video?.pause();
  }

  async #follow() {
    const { signal } = this.#life;
    while (!signal.aborted) {
      try {
        if (await this.#pour()) return;
      } catch {
        if (this.#feed?.broken) return this.#giveUp();
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  /** Fetch the stream and feed it; true when nothing more is to be had. */
  async #pour() {
    this.#attempt = new AbortController();
    const signal = AbortSignal.any([this.#life.signal, this.#attempt.signal]);
    const headers = { Accept: "video/mp4, application/json" };
    const answer = await fetch(this.#addresses.stream, { headers, signal });
    if (!answer.ok) return answer.status === 404 || answer.status === 410;
    const type = answer.headers.get("Content-Type");
    if (!MediaSource.isTypeSupported(type)) {
      this.#attempt.abort();
      this.#giveUp();
      return true;
    }
    const stream = Number(answer.headers.get("X-Stream"));
    if (stream !== this.#stream) await this.#renew(type, stream, signal);
    else if (!this.#received) await this.#feed.restart(signal);
    await this.#feedFrom(answer.body.getReader(), signal);
    this.#feed.end();
    return true;
  }

  async #feedFrom(reader, signal) {
    // Asked for again, a stream gives the same bytes from its first on.
    let known = this.#received;
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const skipped = Math.min(known, value.length);
      known -= skipped;
      for (let i = skipped; i < value.length; i += PIECE_BYTES) {
        const piece = value.subarray(i, i + PIECE_BYTES);
        await this.#feed.append(piece, signal);
        signal.throwIfAborted();
        this.#received += piece.length;
      }
    }
  }

  /** Another stream than before: its pictures take the place of what is shown. */
  async #renew(type, stream, signal) {
    const plays = !this.#video?.paused;
    this.#video?.pause();
    if (this.#held) this.#hold(false);
    this.#need = START_SECONDS;
    this.#received = 0;
    const feed = new Feed(element(), type);
    await feed.open(this.#seconds, signal);
    this.#feed = feed;
    this.#stream = stream;
    this.#show(feed, plays).catch(() => {});
  }

  async #show(feed, plays) {
    const { signal } = this.#life;
    const { video } = feed;
    while (feed.ahead < START_SECONDS && !feed.whole) await next(feed, ["fed"], signal);
    if (video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) await next(video, ["loadeddata"], signal);
    if (feed !== this.#feed || signal.aborted) return;
    this.#put(video);
    video.addEventListener("ended", () => this.#finished && this.#swap());
    video.addEventListener("seeking", () => feed.lacking && this.#refetch());
    video.addEventListener("volumechange", () => (this.#sound.hidden ||= !video.muted));
    if (plays) await begin(video, this.#sound, signal);
  }

  /** Show this video in place of what is shown, as loud and as focused. */
  #put(video) {
    const old = this.#video;
    const focused = old && document.activeElement === old;
    if (old) {
      const { volume, muted, loop } = old;
      Object.assign(video, { volume, muted, loop, playbackRate: this.#held ? this.#rate : old.playbackRate });
    }
    this.#video = video;
    this.#stage.replaceChildren(video, this.#waits, this.#sound);
    if (focused) video.focus();
  }

  /** Wait calmly where playing has caught up with rendering; each wait is longer than the last. */
  #look() {
    const feed = this.#feed;
    if (!feed || feed.video !== this.#video) return;
    if (this.#held) {
      if (feed.whole || feed.ahead >= this.#need) this.#hold(false);
    } else if (!feed.video.paused && !feed.whole && feed.ahead < LOW_SECONDS) {
      const longer = Math.max(SHORTEST_WAIT_SECONDS, 2 * this.#need);
      this.#need = Math.min(longer, LONGEST_WAIT_SECONDS);
      this.#hold(true);
    }
  }

  #hold(held) {
    // Pausing would bring up the controls; so time only stands still.
    if (held) this.#rate = this.#video.playbackRate;
    this.#video.playbackRate = held ? 0 : this.#rate;
    this.#held = held;
    this.#waits.hidden = !held;
  }

  /** The person went back to what has been removed to make room. */
  #refetch() {
    if (this.#finished) return this.#swap();
    this.#received = 0;
    this.#attempt.abort();
  }

  /** The browser can't play the stream; the finished file is shown once it is there. */
  #giveUp() {
    if (this.#held) this.#hold(false);
    this.#feed = null;
    if (this.#finished) this.#swap();
  }

  /** Go over to the finished file, at the same moment, while nothing moves. */
  async #swap() {
    if (this.#swapping) return;
    this.#swapping = true;
    try {
      await this.#swapFor(element(), this.#life.signal);
    } catch {
      // What is shown stays, and the file can still be downloaded.
    }
    this.#swapping = false;
  }

  async #swapFor(video, signal) {
    const old = this.#video;
    const loaded = next(video, ["loadeddata", "error"], signal);
    video.src = this.#addresses.video;
    await loaded;
    if (video.error) return;
    if (old) {
      const seeked = next(video, ["seeked"], signal);
      // The file may be some hundredths longer.
      video.currentTime = old.ended ? video.duration : old.currentTime;
      await seeked;
      if (old.ended && !video.ended) await playOut(video, signal);
      // A new element would end the full screen; and who plays it once more is not disturbed.
      if ([document.fullscreenElement, document.pictureInPictureElement].includes(old)) return;
      if (this.#feed && !this.#feed.lacking && !old.paused && !old.ended) return;
    }
    const plays = old ? !old.paused && !old.ended : true;
    old?.pause();
    this.#put(video);
    video.addEventListener("volumechange", () => (this.#sound.hidden ||= !video.muted));
    this.#life.abort();
    if (plays) await begin(video, this.#sound, new AbortController().signal);
  }
}
