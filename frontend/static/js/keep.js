// Keeps the last face and form in this browser, so that the waiting page can show the face and
// another video can be made with it. Nothing here leaves the browser; without storage (private
// windows) the pages work without it.

const NAME = "lipsync-studio";
const STORE = "kept";

function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function run(mode, act) {
  const database = await open();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(STORE, mode);
      const request = act(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}

/**
 * @param {{kind: string, face: File, text: string, recording?: File,
 *   fields: Record<string, string>, job: string}} draft
 */
export async function keep(draft) {
  try {
    await run("readwrite", (store) => store.put(draft, "draft"));
  } catch {
    // Storage is full or forbidden.
  }
}

/** The last draft; with the address of a job, only if that job was made from it. */
export async function kept(job) {
  try {
    const draft = await run("readonly", (store) => store.get("draft"));
    return job && draft?.job !== job ? undefined : draft;
  } catch {
    return undefined;
  }
}

/** A picture or a silent, looping video of the file. */
export function portrait(file, address = URL.createObjectURL(file)) {
  if (file.type.startsWith("video/")) {
    const video = document.createElement("video");
    Object.assign(video, { src: address, muted: true, loop: true, playsInline: true });
    video.autoplay = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    return video;
  }
  const image = new Image();
  image.alt = "The face you chose";
  image.src = address;
  return image;
}
