// The page: photo in, faces to choose from, mesh on the stage, files out.
import { givePhotos } from "./photos.js";
import { about, closeSession, Failure, getMesh, openSession, runNetwork } from "./server.js";
import { Viewer } from "./viewer.js";

const $ = (id) => document.getElementById(id);
const SENT = 1, FOUND = 2, SHAPED = 3; // how many of the stages are done
const REMESH_MS = 180;

const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
const limits = { upload_bytes: Infinity };
let usual = { threshold: 0.5, sigma_px: 0 };
let session = null; // as the server answered
let face = 0;
let work = new AbortController(); // ends what an older photo or face set going
let pictureUrl = null;

export const viewer = new Viewer($("canvas"), (on) => press("turn", on));

givePhotos(takePhoto, complain);
start();

async function start() {
  for (const id of ["texture", "wireframe", "turn"]) {
    $(id).addEventListener("click", () => viewer[id](press(id, $(id).ariaPressed !== "true")));
  }
  $("front").addEventListener("click", () => {
    viewer.turn(press("turn", false));
    viewer.front();
  });
  for (const id of ["threshold", "sigma"]) $(id).addEventListener("input", () => remeshSoon());
  $("faces").addEventListener("change", () => remeshSoon());
  $("defaults").addEventListener("click", () => {
    setShape(usual);
    remeshSoon();
  });
  for (const button of document.querySelectorAll("[data-format]")) {
    button.addEventListener("click", () => download(button));
  }
  $("forget").addEventListener("click", forget);
  $("picture").addEventListener("load", placeBoxes);
  $("picture").addEventListener("error", () => $("picture").classList.add("broken"));
  new ResizeObserver(placeBoxes).observe($("frame"));
  addEventListener("pagehide", () => session && closeSession(session.id));
  try {
    introduce(await about());
  } catch (error) {
    complain(error.message);
  }
}

function introduce(server) {
  usual = { threshold: server.threshold, sigma_px: server.sigma_px };
  limits.upload_bytes = server.upload_bytes;
  $("version").textContent = server.version;
  $("weights").textContent = server.weights;
  $("minutes").textContent = server.session_minutes;
  setShape(usual);
  for (const { title, url } of server.examples) {
    const button = document.createElement("button");
    button.type = "button";
    const picture = Object.assign(new Image(), { src: url, alt: `Try ${title}` });
    button.append(picture);
    button.title = title;
    button.addEventListener("click", async () => takePhoto(await (await fetch(url)).blob()));
    const item = document.createElement("li");
    item.append(button);
    $("examples").querySelector("ul").append(item);
  }
  $("examples").hidden = server.examples.length === 0;
}

// From a photo to the first face on the stage.
async function takePhoto(photo) {
  if (photo.size > limits.upload_bytes) {
    complain(`This file is too large: ${Math.floor(limits.upload_bytes / 1e6)} MB at most.`);
    return;
  }
  forget();
  const seenAs = calm.matches ? "auto" : "smooth";
  setTimeout(() => $("progress").parentElement.scrollIntoView({ behavior: seenAs, block: "nearest" }));
  const mine = (work = new AbortController());
  showPicture(photo);
  await watched(mine, async () => {
    say("Sending the photo");
    stage(0);
    const onSent = () => {
      if (!mine.signal.aborted) stage(SENT);
    };
    const opened = await openSession(photo, onSent, mine.signal);
    session = opened;
    showFaces();
    await showFace(0, mine);
  });
}

async function chooseFace(number) {
  work.abort();
  const mine = (work = new AbortController());
  await watched(mine, () => showFace(number, mine));
}

async function showFace(number, mine) {
  face = number;
  for (const [i, box] of [...$("boxes").children].entries()) box.ariaPressed = String(i === number);
  stage(FOUND);
  await runNetwork(session.id, number, mine.signal);
  stage(SHAPED);
  await showMesh(mine);
  press("turn", viewer.turn(!calm.matches));
}

async function showMesh(mine) {
  const answer = await getMesh(session.id, face, { format: "glb", ...shape() }, mine.signal);
  const glb = await answer.arrayBuffer();
  if (mine.signal.aborted) return;
  for (const id of ["canvas", "tools", "controls"]) $(id).hidden = false;
  $("empty").hidden = true;
  await viewer.show(glb);
  say(`Face ${face + 1} of ${session.faces.length} is on the stage.`);
}

let remeshTimer;
function remeshSoon() {
  showValues();
  if (!session) return;
  clearTimeout(remeshTimer);
  remeshTimer = setTimeout(() => {
    work.abort();
    const mine = (work = new AbortController());
    watched(mine, () => {
      say("Making the mesh");
      stage(SHAPED);
      return showMesh(mine);
    });
  }, REMESH_MS);
}

// Runs a piece of work, and shows how it ends unless something newer has taken its place.
async function watched(mine, action) {
  complain("");
  try {
    await action();
  } catch (error) {
    if (mine.signal.aborted || error.name === "AbortError") return;
    say("");
    complain(sentence(error));
    console.warn(error);
  }
  if (!mine.signal.aborted) stage(null);
}

function sentence(error) {
  if (error.code === "no_face") {
    return "No face was found in this photo. Try one that shows a face larger, whole and not too dark.";
  }
  if (error.code === "no_session") {
    forget();
    return "This photo is no longer in the server's memory. Please give it again.";
  }
  const text = error instanceof Failure ? error.message : `Something went wrong: ${error.message}`;
  return text[0].toUpperCase() + text.slice(1).replace(/[^.?!]$/, "$&.");
}

async function download(button) {
  const format = button.dataset.format;
  button.disabled = true;
  say(format === "gif" ? "Drawing the turning face" : "Making the file");
  try {
    const answer = await getMesh(session.id, face, { format, ...shape() });
    const url = URL.createObjectURL(await answer.blob());
    const suffix = format === "obj" ? "zip" : format;
    Object.assign(document.createElement("a"), { href: url, download: `face.${suffix}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
    say(`face.${suffix} is made.`);
  } catch (error) {
    say("");
    complain(sentence(error));
  }
  button.disabled = false;
}

function forget() {
  work.abort();
  clearTimeout(remeshTimer);
  if (session) closeSession(session.id);
  session = null;
  viewer.clear();
  stage(null);
  complain("");
  say("");
  if (pictureUrl) URL.revokeObjectURL(pictureUrl);
  pictureUrl = null;
  $("boxes").replaceChildren();
  $("count").textContent = "";
  for (const id of ["taken", "canvas", "tools", "controls"]) $(id).hidden = true;
  $("start").hidden = $("empty").hidden = false;
  setShape(usual);
  $("faces").value = "";
}

function showPicture(photo) {
  pictureUrl = URL.createObjectURL(photo);
  $("picture").classList.remove("broken");
  $("picture").src = pictureUrl;
  $("start").hidden = true;
  $("taken").hidden = false;
}

function showFaces() {
  const { faces } = session;
  $("count").textContent = faces.length === 1 ? "One face" : `${faces.length} faces: choose one`;
  $("boxes").replaceChildren(
    ...faces.map((_, number) => {
      const button = Object.assign(document.createElement("button"), { type: "button", className: "face" });
      button.ariaLabel = `Face ${number + 1} of ${faces.length}`;
      if (faces.length > 1) {
        button.append(Object.assign(document.createElement("span"), { textContent: number + 1 }));
      }
      button.addEventListener("click", () => chooseFace(number));
      return button;
    }),
  );
  placeBoxes();
}

// The photo is fitted into its frame, and the boxes into the photo.
function placeBoxes() {
  if (!session) return;
  const { width, height } = session.photo;
  const { clientWidth, clientHeight } = $("frame");
  const scale = Math.min(clientWidth / width, clientHeight / height);
  const at = $("boxes").style;
  at.left = `${(clientWidth - scale * width) / 2}px`;
  at.top = `${(clientHeight - scale * height) / 2}px`;
  for (const [i, button] of [...$("boxes").children].entries()) {
    const [left, top, right, bottom] = session.faces[i].box.map((x) => x * scale);
    Object.assign(button.style, {
      left: `${left}px`,
      top: `${top}px`,
      width: `${right - left}px`,
      height: `${bottom - top}px`,
    });
  }
}

function shape() {
  const query = { threshold: $("threshold").value, sigma_px: $("sigma").value };
  if ($("faces").value) query.faces = $("faces").value;
  return query;
}

function setShape({ threshold, sigma_px }) {
  $("threshold").value = threshold;
  $("sigma").value = sigma_px;
  showValues();
}

function showValues() {
  $("threshold-value").textContent = Number($("threshold").value).toFixed(2);
  $("sigma-value").textContent = `${Number($("sigma").value).toFixed(1)} px`;
}

// How many stages are done; null when nothing is under way.
function stage(done) {
  const waiting = done !== null;
  $("progress").hidden = !waiting;
  $("progress").parentElement.classList.toggle("waiting", waiting && $("canvas").hidden);
  if (!waiting) return;
  for (const [i, item] of [...$("stages").children].entries()) {
    item.className = i < done ? "done" : i === done ? "now" : "";
    if (i === done) say(item.textContent);
  }
}

function press(id, on) {
  $(id).ariaPressed = String(on);
  return on;
}

function say(text) {
  $("status").textContent = text;
}

function complain(text) {
  $("alert").textContent = text;
  $("alert").hidden = !text;
}
