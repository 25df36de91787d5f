// SPDX-License-Identifier: Apache-2.0
// The picture: faces in the studio, posed by the frames of a timeline, and measured. `draw` makes one picture.
import { Avatar } from './face/avatar.js';
import { Detail } from './face/level_of_detail.js';
import { Head } from './face/face_mesh.js';
import { fetchFace } from './face/mesh_loader.js';
import { Studio } from './face/scene.js';
import { Measure } from './metrics.js';
import { VERTICES } from './protocol.js';
import { mix, whole } from './timeline.js';

export class Picture {
  // canvas: to draw on; wish: level of detail; onface: called when another face is shown.
  constructor(canvas, wish, onface) {
    this.faces = {};
    this.which = null;
    this.onface = onface;
    this.now = { weights: new Float32Array(52), head: new Float32Array([0, 0, 0, 1]) };
    this.since = 0; // animation frames since the last picture
    this.frame = null; // the last one that this picture fully shows
    this.trace = null; // what is shown, for who asks: rows of [time, weights]
    this.detail = new Detail(wish, (settings) => this._detailed(settings));
    this.studio = new Studio(canvas, this.detail.settings);
    this.measure = new Measure(this.studio.renderer.getContext());
  }

  async load() {
    const pack = await fetchFace('/default.face');
    this.lips = { bias: pack.lipBias, row: pack.lip };
    this.faces.default = new Head(pack, this.detail.settings);
    this.show('default');
  }

  // names: ARKit's 52, in the order of the weights; vertices: whether the model has a face of its own.
  async told(names, vertices) {
    this.names = names;
    this.index = Object.fromEntries(names.map((name, i) => [name, i]));
    if (!vertices || this.faces.model) return;
    this.faces.model = new Head(await fetchFace('/model.face'), { ...this.detail.settings, fine: false });
    this.show('model');
  }

  _detailed(settings) {
    this.studio?.setDetail(settings);
    this.faces.default?.setDetail(settings);
    this.faces.model?.setDetail({ ...settings, fine: false });
  }

  get state() {
    return { weights: this.now.weights.slice(), head: this.now.head.slice() };
  }

  // Opening of the lips in mm, for weights.
  gap(weights) {
    return 1000 * this.lips.row.reduce((sum, value, i) => sum + value * weights[i], this.lips.bias);
  }

  show(which) {
    const face = this.faces[which];
    if (this.which) this.studio.scene.remove(this.faces[this.which].object);
    this.which = which;
    this.studio.scene.add(face.object);
    this.studio.frame(face.frame());
    this.onface();
  }

  // A visitor's own face. Throws an Error with a sentence for a file that cannot be used.
  async open(bytes, name) {
    const avatar = await Avatar.read(bytes, name, this.names);
    if (this.which === 'avatar') this.show('default');
    this.faces.avatar?.dispose();
    this.faces.avatar = avatar;
    this.show('avatar');
  }

  // An animation frame begins at `now`; sounding: whether the timeline's clock is that of a sound.
  draw(now, timeline, sounding) {
    const { measure, studio } = this;
    if (this.then) this.detail.picture(now - this.then);
    this.then = now;
    measure.frame(now, sounding);
    this.since++;
    if (measure.full) return;
    if (timeline) timeline.lead = measure.lag / 1000;
    const shown = timeline?.at(performance.now() + measure.lag) || null; // it will be seen so much later
    const frame = shown && whole(shown);
    if (this.since < this.detail.every && frame === this.frame) return;
    this.since = 0;
    this.frame = frame;
    if (shown) this._pose(shown, timeline.before);
    this.faces[this.which].cull?.(studio.camera.position);
    studio.render();
    measure.drawn(timeline, shown);
  }

  _pose({ from, to, share, fade, time }, before) {
    const face = this.faces[this.which];
    if (from.kind === VERTICES) {
      const frame = share > 0.5 ? to : from;
      face.displace?.(frame.offsets, frame.scale);
      return;
    }
    mix(from, to, share, this.now);
    if (fade < 1) mix(before, this.now, fade, this.now);
    face.pose(this.now.weights, this.now.head, this.index);
    if (this.trace) this.trace.push([time, ...this.now.weights]);
  }
}
