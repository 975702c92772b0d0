// Feeds a video element with the bytes of a fragmented MP4, one append at a time.

// Enough for a pause that is nobody's fault, and far below what browsers keep (about 150 MB).
const AHEAD_SECONDS = 60;
const BEHIND_SECONDS = 30;
// What is kept behind the playhead where the browser has no room at all.
const BEHIND_AT_LEAST = 4;
// Removing a little at every append would keep the browser busy.
const EVICT_SECONDS = 10;
// Sound and picture of a stream may begin a few hundredths of a second apart.
const SLACK_SECONDS = 0.1;

/** The next of these events; rejects when the signal says so. */
export function next(target, names, signal) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const listening = new AbortController();
    const settle = (how, outcome) => {
      listening.abort();
      how(outcome);
    };
    const options = { signal: listening.signal };
    for (const name of names) target.addEventListener(name, () => settle(resolve), options);
    signal.addEventListener("abort", () => settle(reject, signal.reason), options);
  });
}

/** Tells with the event `fed` that there is more to play. */
export class Feed extends EventTarget {
  #source = new MediaSource();
  #buffer;
  whole = false;

  /**
   * @param {HTMLVideoElement} video
   * @param {string} type As the stream's own answer names its codecs.
   */
  constructor(video, type) {
    super();
    this.video = video;
    this.type = type;
  }

  /** @param {number | null} seconds How long the whole will be, where that is known. */
  async open(seconds, signal) {
    const address = URL.createObjectURL(this.#source);
    const opened = next(this.#source, ["sourceopen"], signal);
    this.video.src = address;
    await opened;
    URL.revokeObjectURL(address);
    this.#buffer = this.#source.addSourceBuffer(this.type);
    // So that the controls show a length at once; it is corrected at the end.
    if (seconds) this.#source.duration = seconds;
  }

  /** Whether the browser has given up on what it was fed. */
  get broken() {
    return Boolean(this.video.error) || this.#source.readyState === "closed";
  }

  /** Seconds that can be played from here without a gap. */
  get ahead() {
    const { buffered, currentTime } = this.video;
    for (let i = 0; i < buffered.length; i++) {
      if (buffered.start(i) <= currentTime + SLACK_SECONDS && currentTime < buffered.end(i)) {
        return buffered.end(i) - currentTime;
      }
    }
    return 0;
  }

  /** Whether the moment to be shown has been removed to make room. */
  get lacking() {
    const { buffered, currentTime } = this.video;
    return buffered.length > 0 && currentTime < buffered.start(0) - SLACK_SECONDS;
  }

  async append(bytes, signal) {
    while (this.ahead > AHEAD_SECONDS) await this.#moved(signal);
    await this.#evict(BEHIND_SECONDS, EVICT_SECONDS, signal);
    for (;;) {
      try {
        this.#buffer.appendBuffer(bytes);
        break;
      } catch (error) {
        if (error.name !== "QuotaExceededError") throw error;
        if (!(await this.#evict(BEHIND_AT_LEAST, 0, signal))) await this.#moved(signal);
      }
    }
    await this.#updated(signal);
    this.dispatchEvent(new Event("fed"));
  }

  /** The next bytes are the first of the stream again, whatever came last. */
  async restart(signal) {
    await this.#updated(signal);
    if (this.#source.readyState === "open") this.#buffer.abort();
  }

  end() {
    this.whole = true;
    if (this.#source.readyState === "open") this.#source.endOfStream();
    this.dispatchEvent(new Event("fed"));
  }

  async #evict(keep, atLeast, signal) {
    const { buffered, currentTime } = this.video;
    const until = currentTime - keep;
    if (!buffered.length || until - buffered.start(0) <= atLeast) return false;
    this.#buffer.remove(0, until);
    await this.#updated(signal);
    return true;
  }

  #moved(signal) {
    return next(this.video, ["timeupdate", "seeking"], signal);
  }

  async #updated(signal) {
    if (this.#buffer.updating) await next(this.#buffer, ["updateend"], signal);
    if (this.broken) throw new Error("the browser can't play this");
  }
}
