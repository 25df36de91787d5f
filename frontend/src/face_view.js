// SPDX-License-Identifier: Apache-2.0
// View of the face: the faces in their scene, posed by the frames of a timeline. `draw` renders one image.
import { Color } from 'three';
import { Avatar } from './face/avatar.js';
import { Decoders } from './face/decoders.js';
import { FaceMesh } from './face/face_mesh.js';
import { LevelOfDetail } from './face/level_of_detail.js';
import { fetchFaceMesh } from './face/mesh_loader.js';
import { FaceScene } from './face/scene.js';
import { Metrics } from './metrics.js';
import { blendPoses, completedFrame, isFaceFrame } from './timeline.js';

/** @typedef {import('./timeline.js').Timeline} Timeline */
/** @typedef {import('./timeline.js').TimelineSample} TimelineSample */
/** @typedef {import('./timeline.js').Pose} Pose */
/** @typedef {import('./protocol.js').Frame} Frame */
/** @typedef {import('./player.js').ServerInfo} ServerInfo */
/** @typedef {'default' | 'template' | 'avatar'} FaceName */

export class FaceView {
  /**
   * @param {HTMLCanvasElement} canvas to draw on
   * @param {string} detail level of detail, or "auto"
   * @param {(path: string) => string} [toUrl] URL of a file of the server
   */
  constructor(canvas, detail, toUrl = (path) => path) {
    this.onFaceChange = () => {}; // called when another face is shown
    this.toUrl = toUrl;
    /** @type {string | null} */
    this.background = null; // CSS colour, or "transparent"; null: the studio
    /** @type {{default?: FaceMesh, template?: FaceMesh, avatar?: Avatar}} */
    this.faces = {};
    /** @type {FaceName | null} */
    this.shownFace = null;
    /** @type {Pose} */
    this.pose = { weights: new Float32Array(52), head: new Float32Array([0, 0, 0, 1]) };
    /** @type {string[]} */
    this.names = []; // of the weights
    /** @type {Record<string, number>} */
    this.index = {}; // of each weight, by its name
    /** @type {number[][] | null} */
    this.poseLog = null; // set by tests: rows of [time, weights]
    this.animationFrames = 0; // since the last image
    /** @type {Frame | null} */
    this.completedFrame = null; // the last one that the image shows completely
    this.lastAnimationFrame = 0; // ms
    this.detail = new LevelOfDetail(detail, () => this.#applyDetail());
    this.scene = new FaceScene(canvas, this.detail.settings);
    this.metrics = new Metrics(this.scene.gl);
  }

  /** Load the default face and show it. */
  async load() {
    this.faces.default = new FaceMesh(await fetchFaceMesh(this.toUrl('/face.glb')), this.detail.settings);
    this.show('default');
  }

  /** @param {string[]} names of the weights */
  setNames(names) {
    this.names = names;
    this.index = Object.fromEntries(names.map((name, index) => [name, index]));
  }

  /**
   * Load the faces of the model and of the server.
   * @param {ServerInfo} info
   */
  async setModel({ names, vertices, face }) {
    this.setNames(names);
    if (vertices && !this.faces.template) {
      const mesh = await fetchFaceMesh(this.toUrl('/template.glb'));
      this.faces.template = new FaceMesh(mesh, { ...this.detail.settings, tessellated: false });
      this.show('template');
    } else if (face && !this.faces.avatar) {
      const response = await fetch(this.toUrl('/avatar.glb'));
      await this.openAvatar(await response.arrayBuffer(), face);
    }
  }

  /** A copy of the pose that is shown. */
  copyPose() {
    return { weights: this.pose.weights.slice(), head: this.pose.head.slice() };
  }

  /**
   * Lip gap of the default face in mm.
   * @param {Float32Array} weights (52,)
   */
  lipGap(weights) {
    const lipGap = this.faces.default?.mesh.lipGap;
    if (!lipGap) return 0;
    return 1000 * lipGap.weights.reduce((sum, value, i) => sum + value * weights[i], lipGap.bias);
  }

  /**
   * Show a face that has been loaded.
   * @param {FaceName} name
   */
  show(name) {
    const face = this.faces[name];
    if (!face) return;
    const shown = this.shownFace && this.faces[this.shownFace];
    if (shown) this.scene.remove(shown.object);
    this.shownFace = name;
    this.scene.add(face.object);
    this.scene.frame(face.bounds());
    this.onFaceChange();
  }

  /**
   * Show a GLB file of the user.
   * @param {ArrayBuffer} bytes
   * @param {string} name for messages
   * @throws {Error} if the file cannot be used
   */
  async openAvatar(bytes, name) {
    const decoders = new Decoders(this.toUrl('/'), this.scene.renderer);
    const avatar = await Avatar.parse(bytes, name, this.names, decoders).finally(() => decoders.dispose());
    const previous = this.faces.avatar;
    if (previous && this.shownFace === 'avatar') {
      this.scene.remove(previous.object);
      this.shownFace = null;
    }
    previous?.dispose();
    avatar.setDetail(this.detail.settings, this.scene);
    this.faces.avatar = avatar;
    this.show('avatar');
  }

  /**
   * Show something else than the studio behind the face.
   * @param {string | null} background CSS colour, or "transparent"; null: the studio
   */
  setBackground(background) {
    this.background = background;
    this.#applyDetail();
  }

  /** @param {boolean} light whether the studio is light */
  setStudio(light) {
    this.scene.setStudio(light);
    this.#applyDetail();
  }

  /** Release the GPU's memory, for good. */
  dispose() {
    this.faces.avatar?.dispose();
    this.scene.controls.dispose();
    this.scene.renderer.dispose();
    this.scene.renderer.forceContextLoss();
  }

  /**
   * Draw an image, if one is due.
   * @param {number} now time of the animation frame, ms
   * @param {Timeline | null} timeline
   * @param {boolean} hasSound whether the timeline's clock is that of audible sound
   * @returns {boolean} whether an image was drawn
   */
  draw(now, timeline, hasSound) {
    const { metrics, scene } = this;
    if (this.lastAnimationFrame) this.detail.onAnimationFrame(now - this.lastAnimationFrame);
    this.lastAnimationFrame = now;
    metrics.onAnimationFrame(hasSound);
    this.animationFrames++;
    if (metrics.isGpuBusy) return false;
    if (timeline) timeline.displayLatency = metrics.displayLatencyMs / 1000;
    const sample = timeline?.sample(performance.now() + metrics.displayLatencyMs) ?? null;
    const frame = sample && completedFrame(sample);
    if (this.animationFrames < this.detail.drawEvery && frame === this.completedFrame) return false;
    this.animationFrames = 0;
    this.completedFrame = frame;
    if (sample && timeline) this.#applySample(sample, timeline.initialPose);
    const face = this.shownFace && this.faces[this.shownFace];
    face?.cullBackFaces(scene.cameraPosition);
    scene.render();
    metrics.onDraw(timeline, sample);
    return true;
  }

  /**
   * @param {TimelineSample} sample
   * @param {Pose} initialPose
   */
  #applySample({ from, to, ratio, fade, time }, initialPose) {
    const face = this.shownFace && this.faces[this.shownFace];
    if (!isFaceFrame(from) || !isFaceFrame(to)) {
      const frame = ratio > 0.5 ? to : from;
      if (face instanceof FaceMesh && !isFaceFrame(frame)) face.displace(frame.offsets, frame.scale);
      return;
    }
    blendPoses(from, to, ratio, this.pose);
    if (fade < 1) blendPoses(initialPose, this.pose, fade, this.pose);
    if (face) face.pose(this.pose.weights, this.pose.head, this.index);
    if (this.poseLog) this.poseLog.push([time, ...this.pose.weights]);
  }

  #applyDetail() {
    const { settings } = this.detail;
    this.scene.setDetail(settings);
    const { scene, renderer } = this.scene;
    renderer.setClearAlpha(this.background === 'transparent' ? 0 : 1);
    if (this.background === 'transparent') scene.background = null;
    else if (this.background !== null) scene.background = new Color(this.background);
    this.faces.default?.setDetail(settings);
    this.faces.avatar?.setDetail(settings, this.scene);
    this.faces.template?.setDetail({ ...settings, tessellated: false });
  }
}
