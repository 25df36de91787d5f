// SPDX-License-Identifier: Apache-2.0
// The room in which a face is seen: a dark neutral studio with key, fill and rim light, soft shadows, a camera that
// orbits. Knows nothing of the face but where it is.
import {
  ACESFilmicToneMapping,
  CanvasTexture,
  Color,
  DirectionalLight,
  HemisphereLight,
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
} from 'three';
import { OrbitControls } from 'three/examples/jsm/controls/OrbitControls.js';

const FIELD = 20, // degrees, top to bottom
  TURN = 0.12, // radians a key, before damping lets it glide on
  NEARER = 1.1; // times a key
// direction from the face in head heights (right, up, towards the viewer), colour, strength
const KEY = [[-1.5, 2.1, 2.5], 0xfff1e2, 2.7];
const TOP = [[0.25, 3.0, 0.9], 0xf2f4ff, 0.65];
const OTHERS = [
  [[2.4, 0.35, 2.2], 0xdfe9ff, 0.75], // fill
  [[2.2, 1.5, -2.0], 0xe4efff, 1.7], // rims
  [[-2.6, 1.0, -1.8], 0xffe9da, 1.3],
];

export class Studio {
  // canvas: to draw on; detail: as `setDetail` takes it.
  constructor(canvas, detail) {
    this.canvas = canvas;
    this.renderer = new WebGLRenderer({ canvas, antialias: !detail.plain, powerPreference: 'high-performance' });
    this.renderer.toneMapping = ACESFilmicToneMapping;
    this.renderer.toneMappingExposure = 0.94;
    this.renderer.shadowMap.type = PCFShadowMap;
    this.scene = new Scene();
    this.wall = backdrop();
    this.flat = new Color(0x24272b);
    this.camera = new PerspectiveCamera(FIELD, 1, 0.02, 20);
    this.controls = new OrbitControls(this.camera, canvas);
    Object.assign(this.controls, {
      enableDamping: true,
      dampingFactor: 0.08,
      enablePan: false,
      rotateSpeed: 0.6,
      minPolarAngle: 0.75,
      maxPolarAngle: 2.1,
      minAzimuthAngle: -1.9,
      maxAzimuthAngle: 1.9,
    });
    canvas.addEventListener('dblclick', () => this.recenter());
    canvas.addEventListener('keydown', (event) => this._key(event));
    this._light();
    this.place = { middle: new Vector3(), size: [0.17, 0.25, 0.2] };
    this.setDetail(detail);
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement);
    this.resize();
  }

  _light() {
    const make = ([where, color, strength]) => {
      const light = new DirectionalLight(color, strength);
      light.away = new Vector3(...where);
      this.scene.add(light, light.target);
      return light;
    };
    this.shady = [KEY, TOP].map(make);
    this.lights = [...this.shady, ...OTHERS.map(make)];
    this.scene.add(new HemisphereLight(0x9aa6b8, 0x4a3a34, 0.55));
    for (const light of this.shady) {
      light.shadow.mapSize.set(1024, 1024);
      light.shadow.bias = -0.0006;
      light.shadow.normalBias = 0.0012;
      light.shadow.intensity = 0.82;
    }
    this.shady[0].shadow.radius = 7;
    this.shady[1].shadow.radius = 16;
  }

  // shadows, plain (few lights, no mirrored room); ratio: most pixels of the screen per pixel of the page.
  setDetail({ shadows, plain, ratio }) {
    this.renderer.shadowMap.enabled = shadows;
    for (const light of this.shady) light.castShadow = shadows;
    for (const light of this.lights.slice(3)) light.visible = !plain;
    if (!plain && !this.room) {
      const generator = new PMREMGenerator(this.renderer);
      this.room = generator.fromScene(softboxes(), 0.03).texture;
      generator.dispose();
    }
    this.scene.background = plain ? this.flat : this.wall; // a processor fills a flat one ten times as fast
    this.scene.environment = plain ? null : this.room;
    this.scene.environmentIntensity = 0.32;
    this.scene.traverse((thing) => {
      for (const material of [].concat(thing.material || [])) material.needsUpdate = true;
    });
    this.ratio = ratio;
    this.resize();
  }

  // Look at a face: where {middle, size} of Head.frame says, in metres.
  frame({ middle, size }) {
    this.place = { middle: new Vector3(...middle), size };
    const [middleOf, tall] = [this.place.middle, size[1]];
    for (const light of this.lights) {
      light.target.position.copy(middleOf);
      light.position.copy(middleOf).addScaledVector(light.away, tall);
    }
    for (const light of this.shady) {
      const camera = light.shadow.camera,
        half = 0.72 * tall,
        away = light.away.length() * tall;
      Object.assign(camera, {
        left: -half,
        right: half,
        top: half,
        bottom: -half,
        near: away - 1.1 * tall,
        far: away + 1.1 * tall,
      });
      camera.updateProjectionMatrix();
    }
    this.recenter();
  }

  recenter() {
    const { middle, size } = this.place,
      { enableDamping } = this.controls,
      aspect = this.camera.aspect || 1;
    this.controls.enableDamping = false; // nothing glides on
    this.controls.update();
    this.controls.enableDamping = enableDamping;
    const tall = 0.6 * Math.max(size[1], (1.12 * size[0]) / aspect),
      away = tall / Math.tan(((FIELD / 2) * Math.PI) / 180) + size[2] / 2;
    this.controls.target.copy(middle);
    this.camera.position.copy(middle).add(new Vector3(0.1, 0.03, 1).normalize().multiplyScalar(away));
    this.camera.near = away / 20;
    this.camera.far = away * 6;
    this.camera.updateProjectionMatrix();
    Object.assign(this.controls, { minDistance: 0.4 * away, maxDistance: 2.2 * away });
    this.controls.update();
  }

  _key(event) {
    const { controls } = this,
      keys = {
        ArrowLeft: () => controls.rotateLeft(-TURN),
        ArrowRight: () => controls.rotateLeft(TURN),
        ArrowUp: () => controls.rotateUp(-TURN), // the face turns as it does when it is dragged that way
        ArrowDown: () => controls.rotateUp(TURN),
        '+': () => controls.dollyIn(1 / NEARER),
        '=': () => controls.dollyIn(1 / NEARER), // + without Shift, on many keyboards
        '-': () => controls.dollyOut(1 / NEARER),
        0: () => this.recenter(),
      };
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas.parentElement;
    if (!width || !height) return;
    const before = this.camera.aspect;
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio || 1, this.ratio));
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    if (Math.abs(before - this.camera.aspect) > 0.01) this.recenter();
  }

  render() {
    this.controls.update();
    this.renderer.render(this.scene, this.camera);
  }
}

// A grey wall, lighter behind the head.
function backdrop() {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 256;
  const pen = canvas.getContext('2d'),
    light = pen.createRadialGradient(128, 112, 10, 128, 128, 190);
  light.addColorStop(0, '#4a4e55');
  light.addColorStop(0.45, '#2f3238');
  light.addColorStop(1, '#15171a');
  pen.fillStyle = light;
  pen.fillRect(0, 0, 256, 256);
  const texture = new CanvasTexture(canvas);
  texture.colorSpace = SRGBColorSpace;
  return texture;
}

// What eyes and lips mirror: dark walls and three softboxes.
function softboxes() {
  const room = new Scene();
  room.background = new Color(0x0d0e10);
  const box = (color, strength, width, height, where) => {
    const material = new MeshBasicMaterial({ color: new Color(color).multiplyScalar(strength), side: 2 });
    const plane = new Mesh(new PlaneGeometry(width, height), material);
    plane.position.set(...where);
    plane.lookAt(0, 0, 0);
    room.add(plane);
  };
  box(0xfff3e6, 9, 3.2, 3.2, [-3.4, 3.4, 4.2]);
  box(0xe2ecff, 3, 2.4, 4.2, [4.6, 0.8, 3.2]);
  box(0xffffff, 2.2, 6, 2, [0, 5.2, 0]);
  box(0xe8f0ff, 3.2, 1.4, 4, [4.4, 1.5, -3.4]);
  box(0x6b5a50, 1.0, 8, 8, [0, -5, 0]);
  return room;
}
