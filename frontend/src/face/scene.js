// SPDX-License-Identifier: Apache-2.0
// Scene of the face: a neutral studio with key, fill and rim lights, soft shadows and an orbiting camera.
import {
  ACESFilmicToneMapping,
  Camera,
  CanvasTexture,
  Color,
  DirectionalLight,
  HemisphereLight,
  Light,
  Mesh,
  MeshBasicMaterial,
  PCFShadowMap,
  PerspectiveCamera,
  PlaneGeometry,
  PMREMGenerator,
  Scene,
  SRGBColorSpace,
  Vector3,
  WebGLRenderer,
  WebGLRenderTarget,
} from 'three';
import { OrbitControls } from 'three/examples/jsm/controls/OrbitControls.js';

const FIELD_OF_VIEW = 20; // degrees, vertical
const KEY_ROTATION = 0.12; // radians per key press, continued by damping
const KEY_ZOOM = 1.1; // factor per key press
/** Colours of the wall: [behind the head, between, at the edge, of a plain one]. */
const DARK_STUDIO = ['#4a4e55', '#2f3238', '#15171a', '#24272b'];
const LIGHT_STUDIO = ['#f6f4f0', '#e6e2dc', '#c9c4bc', '#dedad4'];
const USUAL_HEIGHT = 0.25; // of a head, m
const GAZE_DISTANCE = 0.3; // m in front of the eyes, at which the face looks at the pointer
const SHADOW_MAP_SIZE = 1024;

/** @typedef {[number, number, number]} Triple */
/** @typedef {import('./level_of_detail.js').DetailSettings} DetailSettings */

/**
 * An axis-aligned box, in metres.
 * @typedef {object} Bounds
 * @property {Triple} center
 * @property {Triple} size
 */

/**
 * A directional light; direction from the face in head heights (right, up, towards the viewer).
 * @typedef {{direction: Triple, color: number, intensity: number}} LightSpec
 */

/** @type {LightSpec} */
const KEY_LIGHT = { direction: [-1.5, 2.1, 2.5], color: 0xfff1e2, intensity: 2.7 };
/** @type {LightSpec} */
const TOP_LIGHT = { direction: [0.25, 3.0, 0.9], color: 0xf2f4ff, intensity: 0.65 };
/** @type {LightSpec} */
const FILL_LIGHT = { direction: [2.4, 0.35, 2.2], color: 0xdfe9ff, intensity: 0.75 };
/** @type {LightSpec[]} */
const RIM_LIGHTS = [
  { direction: [2.2, 1.5, -2.0], color: 0xe4efff, intensity: 1.7 },
  { direction: [-2.6, 1.0, -1.8], color: 0xffe9da, intensity: 1.3 },
];

export class FaceScene {
  /**
   * @param {HTMLCanvasElement} canvas to draw on
   * @param {DetailSettings} detail
   */
  constructor(canvas, detail) {
    this.canvas = canvas;
    this.renderer = new WebGLRenderer({ canvas, antialias: !detail.plain, powerPreference: 'high-performance' });
    this.renderer.toneMapping = ACESFilmicToneMapping;
    this.renderer.toneMappingExposure = 0.94;
    this.renderer.shadowMap.type = PCFShadowMap;
    this.scene = new Scene();
    this.backdrop = makeBackdrop(DARK_STUDIO);
    this.plainBackground = new Color(DARK_STUDIO[3]);
    /** @type {import('three').Texture | null} */
    this.environment = null;
    this.pixelRatio = detail.pixelRatio;
    /** @type {Bounds} */
    this.target = { center: [0, 0, 0], size: [0.17, 0.25, 0.2] };
    this.fittingDistance = 0; // of the camera, at which the face fills the image
    this.camera = new PerspectiveCamera(FIELD_OF_VIEW, 1, 0.02, 20);
    this.controls = new OrbitControls(this.camera, canvas);
    Object.assign(this.controls, {
      enableDamping: !matchMedia('(prefers-reduced-motion: reduce)').matches,
      dampingFactor: 0.08,
      enablePan: false,
      enableZoom: false, // but with Ctrl, as below
      rotateSpeed: 0.6,
      minPolarAngle: 0.75,
      maxPolarAngle: 2.1,
      minAzimuthAngle: -1.9,
      maxAzimuthAngle: 1.9,
    });
    canvas.style.touchAction = 'pan-y pinch-zoom'; // a finger that moves up or down scrolls the page, as the wheel does
    canvas.addEventListener('wheel', ({ ctrlKey }) => (this.controls.enableZoom = ctrlKey), { capture: true, passive: true });
    this.shadowLights = [KEY_LIGHT, TOP_LIGHT].map((spec) => this.#addLight(spec));
    this.rimLights = RIM_LIGHTS.map((spec) => this.#addLight(spec));
    this.lights = [...this.shadowLights, this.#addLight(FILL_LIGHT), ...this.rimLights];
    this.#setUpShadows();
    this.scene.add(new HemisphereLight(0x9aa6b8, 0x4a3a34, 0.55));
    canvas.addEventListener('dblclick', () => this.recenter());
    canvas.addEventListener('keydown', (event) => this.#onKey(event));
    this.setDetail(detail);
    if (canvas.parentElement) new ResizeObserver(() => this.#resize()).observe(canvas.parentElement);
  }

  get gl() {
    return /** @type {WebGL2RenderingContext} */ (this.renderer.getContext());
  }

  get cameraPosition() {
    return this.camera.position;
  }

  /** @param {import('three').Object3D} object */
  add(object) {
    this.scene.add(object);
  }

  /** @param {import('three').Object3D} object */
  remove(object) {
    this.scene.remove(object);
  }

  /** @param {DetailSettings} detail */
  setDetail({ shadows, plain, pixelRatio }) {
    this.renderer.shadowMap.enabled = shadows;
    for (const { light } of this.shadowLights) light.castShadow = shadows;
    for (const { light } of this.rimLights) light.visible = !plain;
    if (!plain && !this.environment) {
      const generator = new PMREMGenerator(this.renderer);
      this.environment = generator.fromScene(makeSoftboxes(), 0.03).texture;
      generator.dispose();
    }
    this.scene.background = plain ? this.plainBackground : this.backdrop; // a plain one is drawn ten times as fast
    this.scene.environment = plain ? null : this.environment;
    this.scene.environmentIntensity = 0.32;
    this.scene.traverse((object) => {
      if (!(object instanceof Mesh)) return;
      for (const material of [object.material].flat()) material.needsUpdate = true;
    });
    this.pixelRatio = pixelRatio;
    this.#resize();
  }

  /** @param {boolean} light whether the wall is light; takes effect with the next `setDetail` */
  setStudio(light) {
    const colors = light ? LIGHT_STUDIO : DARK_STUDIO;
    this.backdrop.dispose();
    this.backdrop = makeBackdrop(colors);
    this.plainBackground = new Color(colors[3]);
  }

  /**
   * Point camera and lights at a face.
   * @param {Bounds} bounds
   */
  frame(bounds) {
    this.target = bounds;
    const center = new Vector3(...bounds.center);
    const height = bounds.size[1];
    for (const { light, direction } of this.lights) {
      light.target.position.copy(center);
      light.position.copy(center).addScaledVector(direction, height);
    }
    for (const { light, direction } of this.shadowLights) {
      const half = 0.72 * height;
      const distance = direction.length() * height;
      Object.assign(light.shadow.camera, {
        left: -half,
        right: half,
        top: half,
        bottom: -half,
        near: distance - 1.1 * height,
        far: distance + 1.1 * height,
      });
      light.shadow.camera.updateProjectionMatrix();
    }
    this.recenter();
  }

  /** Move the camera back to the front of the face. */
  recenter() {
    this.#placeCamera(new Vector3(0.1, 0.03, 1).normalize(), 1);
  }

  /**
   * @param {Vector3} direction from the face, of length 1
   * @param {number} zoom distance as a multiple of that at which the face fills the image
   */
  #placeCamera(direction, zoom) {
    const { center, size } = this.target;
    const { controls, camera } = this;
    const { enableDamping } = controls;
    controls.enableDamping = false; // stops a damped motion
    controls.update();
    controls.enableDamping = enableDamping;
    const halfHeight = 0.6 * Math.max(size[1], (1.12 * size[0]) / (camera.aspect || 1));
    const distance = halfHeight / Math.tan(((FIELD_OF_VIEW / 2) * Math.PI) / 180) + size[2] / 2;
    controls.target.set(...center);
    this.fittingDistance = distance;
    camera.position.copy(controls.target).addScaledVector(direction, zoom * distance);
    camera.near = distance / 20;
    camera.far = distance * 6;
    camera.updateProjectionMatrix();
    controls.minDistance = 0.4 * distance;
    controls.maxDistance = 2.2 * distance;
    controls.update();
  }

  /**
   * The point that the face looks at for a place of the window: in front of it, as far beside its eyes as that place, for
   * a head of usual size.
   * @param {number} x pixels
   * @param {number} y pixels
   * @returns {number[]} metres from between the eyes: x out of the face, y to its left, z up
   */
  gazeTarget(x, y) {
    const { camera, target } = this;
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const eyes = new Vector3(...target.center);
    eyes.z += target.size[2] / 2;
    const forward = camera.position.clone().sub(eyes).normalize();
    const ray = new Vector3((2 * (x - left)) / width - 1, 1 - (2 * (y - top)) / height, 0.5)
      .unproject(camera)
      .sub(camera.position);
    const distance = eyes.clone().sub(camera.position).dot(forward) / ray.dot(forward);
    const point = camera.position.clone().addScaledVector(ray, distance).sub(eyes); // in the plane of the face
    point.multiplyScalar(USUAL_HEIGHT / target.size[1]).addScaledVector(forward, GAZE_DISTANCE);
    return [point.z, point.x, point.y];
  }

  render() {
    this.controls.update();
    this.renderer.render(this.scene, this.camera);
  }

  /**
   * Draw an object by itself, in the light of the scene, before nothing.
   * @param {import('three').Object3D} object
   * @param {number} size pixels, of a square
   * @returns {Uint8Array} (4 size²,) RGBA from below
   */
  drawAlone(object, size) {
    const { renderer } = this;
    const scene = new Scene();
    scene.add(object);
    this.scene.traverse((light) => {
      if (!(light instanceof Light && light.visible)) return;
      const copy = light.clone();
      scene.add(copy);
      if (copy instanceof DirectionalLight) scene.add(copy.target);
    });
    const target = new WebGLRenderTarget(size, size);
    const alpha = renderer.getClearAlpha();
    renderer.setClearAlpha(0);
    renderer.setRenderTarget(target);
    renderer.render(scene, new Camera());
    const pixels = new Uint8Array(4 * size * size);
    renderer.readRenderTargetPixels(target, 0, 0, size, size, pixels);
    renderer.setRenderTarget(null);
    renderer.setClearAlpha(alpha);
    target.dispose();
    return pixels;
  }

  /** @param {LightSpec} spec */
  #addLight({ direction, color, intensity }) {
    const light = new DirectionalLight(color, intensity);
    this.scene.add(light, light.target);
    return { light, direction: new Vector3(...direction) };
  }

  #setUpShadows() {
    for (const { light } of this.shadowLights) {
      light.shadow.mapSize.set(SHADOW_MAP_SIZE, SHADOW_MAP_SIZE);
      light.shadow.bias = -0.0006;
      light.shadow.normalBias = 0.0012;
      light.shadow.intensity = 0.82;
    }
    this.shadowLights[0].light.shadow.radius = 7;
    this.shadowLights[1].light.shadow.radius = 16;
  }

  /**
   * Arrow keys rotate the face as a drag of the mouse in that direction does; + and - zoom; 0 recentres.
   * @param {KeyboardEvent} event
   */
  #onKey(event) {
    const { controls } = this;
    /** @type {Record<string, () => void>} */
    const actions = {
      ArrowLeft: () => controls.rotateLeft(-KEY_ROTATION),
      ArrowRight: () => controls.rotateLeft(KEY_ROTATION),
      ArrowUp: () => controls.rotateUp(-KEY_ROTATION),
      ArrowDown: () => controls.rotateUp(KEY_ROTATION),
      '+': () => controls.dollyIn(1 / KEY_ZOOM),
      '=': () => controls.dollyIn(1 / KEY_ZOOM), // + without Shift, on many keyboards
      '-': () => controls.dollyOut(1 / KEY_ZOOM),
      0: () => this.recenter(),
    };
    const action = actions[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action();
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas.parentElement ?? this.canvas;
    if (!width || !height) return;
    const previousAspect = this.camera.aspect;
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio || 1, this.pixelRatio));
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    if (Math.abs(previousAspect - this.camera.aspect) < 0.01) return;
    const offset = this.camera.position.clone().sub(this.controls.target);
    if (this.fittingDistance) this.#placeCamera(offset.clone().normalize(), offset.length() / this.fittingDistance);
  }
}

/**
 * A wall, lighter behind the head.
 * @param {string[]} colors
 */
function makeBackdrop([middle, between, edge]) {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 256;
  const context = canvas.getContext('2d');
  if (context) {
    const gradient = context.createRadialGradient(128, 112, 10, 128, 128, 190);
    gradient.addColorStop(0, middle);
    gradient.addColorStop(0.45, between);
    gradient.addColorStop(1, edge);
    context.fillStyle = gradient;
    context.fillRect(0, 0, 256, 256);
  }
  const texture = new CanvasTexture(canvas);
  texture.colorSpace = SRGBColorSpace;
  return texture;
}

/** Environment map for reflections of eyes and lips: dark walls and softboxes. */
function makeSoftboxes() {
  const scene = new Scene();
  scene.background = new Color(0x0d0e10);
  /** @type {(color: number, intensity: number, width: number, height: number, position: Triple) => void} */
  const addBox = (color, intensity, width, height, position) => {
    const material = new MeshBasicMaterial({ color: new Color(color).multiplyScalar(intensity), side: 2 });
    const plane = new Mesh(new PlaneGeometry(width, height), material);
    plane.position.set(...position);
    plane.lookAt(0, 0, 0);
    scene.add(plane);
  };
  addBox(0xfff3e6, 9, 3.2, 3.2, [-3.4, 3.4, 4.2]);
  addBox(0xe2ecff, 3, 2.4, 4.2, [4.6, 0.8, 3.2]);
  addBox(0xffffff, 2.2, 6, 2, [0, 5.2, 0]);
  addBox(0xe8f0ff, 3.2, 1.4, 4, [4.4, 1.5, -3.4]);
  addBox(0x6b5a50, 1.0, 8, 8, [0, -5, 0]);
  return scene;
}
