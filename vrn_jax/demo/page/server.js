// The HTTP API, as the page uses it. Everything thrown here is an Error with a message for people.
const BUSY_TRIES = 8;

export class Failure extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

export async function about() {
  return (await ask("/api/v1/about")).json();
}

// Sends a photo; `onSent` is called when it has arrived and the search begins.
export async function openSession(photo, onSent, signal) {
  for (let tries = 0; ; tries += 1) {
    const answer = await send(photo, onSent, signal);
    if (answer.status === 201) return JSON.parse(answer.text);
    if (answer.status !== 503 || tries === BUSY_TRIES) throw failure(answer.status, answer.text);
    await pause(answer.wait, signal);
  }
}

export function runNetwork(session, face, signal) {
  return ask(`/api/v1/sessions/${session}/faces/${face}`, { method: "POST", signal });
}

export function getMesh(session, face, query, signal) {
  const parameters = new URLSearchParams(query);
  return ask(`/api/v1/sessions/${session}/faces/${face}/mesh?${parameters}`, { signal });
}

// Also while the page goes away.
export function closeSession(session) {
  fetch(`/api/v1/sessions/${session}`, { method: "DELETE", keepalive: true }).catch(() => {});
}

async function ask(url, options = {}) {
  for (let tries = 0; ; tries += 1) {
    const answer = await fetch(url, options).catch((error) => {
      throw error.name === "AbortError" ? error : silent();
    });
    if (answer.ok) return answer;
    if (answer.status !== 503 || tries === BUSY_TRIES) {
      throw failure(answer.status, await answer.text());
    }
    await pause(answer.headers.get("Retry-After"), options.signal);
  }
}

// XMLHttpRequest, for fetch does not tell when a body has been sent.
function send(photo, onSent, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/api/v1/sessions");
    request.setRequestHeader("Content-Type", photo.type || "application/octet-stream");
    request.upload.addEventListener("load", onSent);
    request.addEventListener("load", () =>
      resolve({
        status: request.status,
        text: request.responseText,
        wait: request.getResponseHeader("Retry-After"),
      }),
    );
    request.addEventListener("error", () => reject(silent()));
    request.addEventListener("abort", () => reject(new DOMException("", "AbortError")));
    signal.addEventListener("abort", () => request.abort());
    request.send(photo);
  });
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    setTimeout(resolve, 1000 * (Number(seconds) || 1));
    signal?.addEventListener("abort", () => reject(new DOMException("", "AbortError")));
  });
}

function failure(status, text) {
  try {
    const { error, message } = JSON.parse(text);
    return new Failure(error, message);
  } catch {
    return new Failure("unknown", `the server answered with status ${status}`);
  }
}

function silent() {
  return new Failure("silent", "the server does not answer; is it still running?");
}
