// The face on the stage: three.js, drawn only when something has changed.
import * as THREE from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";

const FIELD_OF_VIEW_DEG = 18; // as a portrait lens sees: from near, noses grow
const STEP_DEG = 10;
const SWING_DEG = 38;
const SWING_SECONDS = 7;

const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

export class Viewer {
  #canvas;
  #renderer;
  #scene = new THREE.Scene();
  #camera = new THREE.PerspectiveCamera(FIELD_OF_VIEW_DEG, 1, 0.01, 20);
  #controls;
  #loader = new GLTFLoader();
  #mesh = null;
  #wires = null;
  #radius = 0.12;
  #painted = null;
  #clay = new THREE.MeshStandardMaterial({ color: 0xd8cabd, roughness: 0.82, metalness: 0 });
  #textured = true;
  #wired = false;
  #turning = false;
  #turnStart = 0;
  #queued = false;
  #shown = 0;

  constructor(canvas, onTurn) {
    this.#canvas = canvas;
    this.#renderer = new THREE.WebGLRenderer({ canvas, alpha: true, antialias: true });
    this.#controls = new OrbitControls(this.#camera, canvas);
    this.#controls.enablePan = false;
    this.#controls.enableDamping = !calm.matches;
    this.#controls.addEventListener("change", () => this.#draw());
    this.#controls.addEventListener("start", () => onTurn(this.turn(false)));
    this.onTurn = onTurn;
    const sky = new THREE.HemisphereLight(0xffffff, 0x8a8178, 1.6);
    const lamp = new THREE.DirectionalLight(0xffffff, 2.1);
    lamp.position.set(-0.5, 0.7, 1);
    this.#camera.add(lamp); // so that it stays at the upper left of whoever looks
    this.#scene.add(sky, this.#camera);
    canvas.addEventListener("keydown", (event) => this.#onKey(event));
    new ResizeObserver(() => this.#resize()).observe(canvas);
    this.front();
  }

  // Shows the mesh of a GLB file (ArrayBuffer). The view stays as it is.
  async show(glb) {
    const { scene } = await this.#loader.parseAsync(glb, "");
    this.#discard();
    scene.traverse((node) => {
      if (node.isMesh) this.#mesh = node;
    });
    const { map } = this.#mesh.material;
    this.#painted = new THREE.MeshBasicMaterial({ map, toneMapped: false });
    this.#mesh.geometry.computeBoundingSphere();
    this.#radius = this.#mesh.geometry.boundingSphere.radius;
    this.#wires = new THREE.Mesh(
      this.#mesh.geometry,
      new THREE.MeshBasicMaterial({ color: 0x06302c, wireframe: true, transparent: true, opacity: 0.32 }),
    );
    this.#scene.add(this.#mesh, this.#wires);
    this.#dress();
    this.#controls.minDistance = 1.6 * this.#radius;
    this.#controls.maxDistance = 5 * this.#fitting();
    if (this.#shown === 0) this.front();
    this.#shown += 1;
    this.#resize();
  }

  clear() {
    this.#discard();
    this.#shown = 0;
    this.turn(false);
  }

  texture(on) {
    this.#textured = on;
    this.#dress();
  }

  wireframe(on) {
    this.#wired = on;
    this.#dress();
  }

  // Swings from side to side until told otherwise, or until the face is taken in hand.
  turn(on) {
    this.#turning = on;
    this.#turnStart = performance.now();
    this.#draw();
    return on;
  }

  front() {
    this.#place(0, 0, this.#fitting());
  }

  // Degrees: the camera goes to the right of the face, and up.
  rotate(yawDeg, pitchDeg) {
    const { yaw, pitch, distance } = this.#view();
    this.#place(yaw + yawDeg, Math.max(-85, Math.min(85, pitch + pitchDeg)), distance);
  }

  zoom(factor) {
    const { yaw, pitch, distance } = this.#view();
    const { minDistance, maxDistance } = this.#controls;
    this.#place(yaw, pitch, Math.min(maxDistance, Math.max(minDistance, distance * factor)));
  }

  // What is drawn, as a PNG's data URL, and the width in metres that it spans at the face's middle.
  picture() {
    this.#render();
    const { distance } = this.#view();
    const height = 2 * distance * Math.tan(THREE.MathUtils.degToRad(FIELD_OF_VIEW_DEG / 2));
    return { url: this.#canvas.toDataURL(), width: height * this.#camera.aspect, height };
  }

  #fitting() {
    const half = THREE.MathUtils.degToRad(FIELD_OF_VIEW_DEG / 2);
    const narrow = Math.atan(Math.tan(half) * Math.min(1, this.#camera.aspect));
    return (1.08 * this.#radius) / Math.sin(narrow);
  }

  #view() {
    const at = new THREE.Spherical().setFromVector3(this.#camera.position);
    const degrees = THREE.MathUtils.radToDeg;
    return { yaw: degrees(at.theta), pitch: 90 - degrees(at.phi), distance: at.radius };
  }

  #place(yawDeg, pitchDeg, distance) {
    const radians = THREE.MathUtils.degToRad;
    this.#camera.position.setFromSphericalCoords(distance, radians(90 - pitchDeg), radians(yawDeg));
    this.#camera.lookAt(0, 0, 0);
    this.#controls.update();
    this.#draw();
  }

  #dress() {
    if (!this.#mesh) return;
    const painted = this.#textured && this.#painted.map;
    this.#mesh.material = painted ? this.#painted : this.#clay;
    this.#wires.visible = this.#wired;
    this.#draw();
  }

  #discard() {
    if (!this.#mesh) return;
    this.#scene.remove(this.#mesh, this.#wires);
    this.#mesh.geometry.dispose();
    this.#painted.map?.dispose();
    this.#painted.dispose();
    this.#wires.material.dispose();
    this.#mesh = this.#wires = this.#painted = null;
    this.#draw();
  }

  #resize() {
    const { clientWidth, clientHeight } = this.#canvas;
    if (!clientWidth || !clientHeight) return;
    const before = this.#fitting();
    this.#renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
    this.#renderer.setSize(clientWidth, clientHeight, false);
    this.#camera.aspect = clientWidth / clientHeight;
    this.#camera.updateProjectionMatrix();
    this.zoom(this.#fitting() / before);
  }

  #draw() {
    if (this.#queued) return;
    this.#queued = true;
    requestAnimationFrame((now) => {
      this.#queued = false;
      if (this.#turning) {
        const phase = (2 * Math.PI * (now - this.#turnStart)) / 1000 / SWING_SECONDS;
        const { pitch, distance } = this.#view();
        this.#place(SWING_DEG * Math.sin(phase), pitch, distance);
      } else {
        this.#controls.update(); // goes on drawing while the movement fades
      }
      this.#render();
    });
  }

  #render() {
    this.#renderer.render(this.#scene, this.#camera);
    const { yaw, pitch } = this.#view();
    this.#canvas.dataset.yaw = yaw.toFixed(1);
    this.#canvas.dataset.pitch = pitch.toFixed(1);
    this.#canvas.dataset.shown = this.#shown;
  }

  #onKey(event) {
    const actions = {
      ArrowLeft: () => this.rotate(-STEP_DEG, 0),
      ArrowRight: () => this.rotate(STEP_DEG, 0),
      ArrowUp: () => this.rotate(0, STEP_DEG),
      ArrowDown: () => this.rotate(0, -STEP_DEG),
      "+": () => this.zoom(0.87),
      "=": () => this.zoom(0.87),
      "-": () => this.zoom(1.15),
      Home: () => this.front(),
    };
    const action = actions[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.onTurn(this.turn(false));
    action();
  }
}
