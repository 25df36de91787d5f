// SPDX-License-Identifier: Apache-2.0
// A packed face as a three.js object: one mesh, its triangles in groups by material. `pose` and `displace` move it.
import { BufferAttribute, BufferGeometry, Color, DynamicDrawUsage, Group, Mesh, Points, PointsMaterial } from 'three';
import { kindOf, makeMaterials } from './materials.js';
import { Shape } from './morph_targets.js';

export class Head {
  // pack: of unpackFace; detail: as `setDetail` takes it.
  constructor(pack, detail) {
    this.object = new Group();
    this.shape = new Shape(pack, detail.fine);
    this.heads = pack.triangles.length > 0;
    this.setDetail(detail);
  }

  get pack() {
    return this.shape.pack;
  }

  build() {
    const { shape } = this,
      geometry = new BufferGeometry();
    this.object.clear();
    if (this.geometry) this.geometry.dispose();
    this.position = new BufferAttribute(shape.outPoints, 3).setUsage(DynamicDrawUsage);
    this.normal = new BufferAttribute(shape.outNormals, 3).setUsage(DynamicDrawUsage);
    geometry.setAttribute('position', this.position);
    geometry.setAttribute('normal', this.normal);
    const colors = linear(this.pack.colors);
    geometry.setAttribute('color', new BufferAttribute(shape.fine ? shape.mixed(colors, 3) : colors, 3));
    this.geometry = geometry;
    if (!this.heads) {
      this.mesh = new Points(geometry, new PointsMaterial({ size: 0.0012, vertexColors: true }));
    } else {
      const { order, groups, kinds } = this._groups();
      this.groups = groups;
      this.order = order;
      geometry.setIndex(new BufferAttribute(this.plain ? order.slice() : order, 1));
      for (const [start, count, place] of groups) geometry.addGroup(start, count, place);
      this.mesh = new Mesh(
        geometry,
        kinds.map((kind) => this.materials[kind]),
      );
      this.mesh.castShadow = this.mesh.receiveShadow = true;
    }
    this.mesh.frustumCulled = false;
    this.object.add(this.mesh);
    if (shape.pack.deltas) shape.pose(new Float32Array(52), null);
    else shape.displace(new Int16Array(shape.points.length), 0);
    this._changed();
  }

  // fine: the finer mesh; plain: materials that a processor can draw.
  setDetail({ fine, plain }) {
    if (fine === this.shape.fine && plain === this.plain) return;
    this.shape.setFine(fine);
    for (const material of new Set(Object.values(this.materials || {}))) material.dispose();
    this.materials = makeMaterials(plain);
    this.plain = plain;
    this.build();
  }

  // The triangles sorted by material: the part of a coarse triangle's first vertex decides for its four.
  _groups() {
    const { triangles } = this.pack,
      step = this.shape.fine ? 12 : 3;
    const kind = new Array(this.shape.count).fill('skin');
    for (const [part, [from, to]] of Object.entries(this.pack.parts)) {
      const name = kindOf(part);
      kind.fill(name in this.materials ? name : 'skin', from, to);
    }
    const by = {},
      same = {}; // kinds of one material are drawn together
    for (const name of Object.keys(this.materials))
      same[name] = Object.keys(this.materials).find((first) => this.materials[first] === this.materials[name]);
    for (let t = 0; t < triangles.length / 3; t++) (by[same[kind[triangles[3 * t]]]] ||= []).push(t);
    const order = new Uint32Array(this.shape.triangles.length),
      groups = [],
      kinds = Object.keys(by);
    let at = 0;
    kinds.forEach((name, place) => {
      const start = at;
      for (const t of by[name]) {
        order.set(this.shape.triangles.subarray(step * t, step * (t + 1)), at);
        at += step;
      }
      groups.push([start, at - start, place]);
    });
    return { order, groups, kinds };
  }

  pose(weights, head) {
    this.shape.pose(weights, head);
    this._changed();
  }

  displace(offsets, scale) {
    this.shape.displace(offsets, scale);
    this._changed();
  }

  _changed() {
    this.position.needsUpdate = this.normal.needsUpdate = true;
  }

  // Keep only the triangles that face the camera, at `eye` (Vector3): a processor is slow with each that it is given.
  cull(eye) {
    if (!this.plain || !this.heads) return;
    const { points } = this.shape,
      { order } = this,
      index = this.geometry.index.array;
    let at = 0;
    this.geometry.clearGroups();
    for (const [start, count, place] of this.groups) {
      const begin = at;
      for (let t = start; t < start + count; t += 3) {
        const a = 3 * order[t],
          b = 3 * order[t + 1],
          c = 3 * order[t + 2];
        const ax = points[a],
          ay = points[a + 1],
          az = points[a + 2];
        const ux = points[b] - ax,
          uy = points[b + 1] - ay,
          uz = points[b + 2] - az;
        const vx = points[c] - ax,
          vy = points[c + 1] - ay,
          vz = points[c + 2] - az;
        if (
          (eye.x - ax) * (uy * vz - uz * vy) +
            (eye.y - ay) * (uz * vx - ux * vz) +
            (eye.z - az) * (ux * vy - uy * vx) <=
          0
        )
          continue;
        index[at++] = order[t];
        index[at++] = order[t + 1];
        index[at++] = order[t + 2];
      }
      this.geometry.addGroup(begin, at - begin, place);
    }
    this.geometry.index.needsUpdate = true;
  }

  // [middle, size] of what the camera should look at: the head without its collar, in metres.
  frame() {
    const low = [1e9, 1e9, 1e9],
      high = [-1e9, -1e9, -1e9],
      { vertices } = this.pack;
    const end = 3 * (this.pack.parts.collar ? this.pack.parts.collar[0] : vertices.length / 3);
    for (let i = 0; i < end; i++) {
      low[i % 3] = Math.min(low[i % 3], vertices[i]);
      high[i % 3] = Math.max(high[i % 3], vertices[i]);
    }
    return { middle: low.map((value, k) => (value + high[k]) / 2), size: high.map((value, k) => value - low[k]) };
  }

  dispose() {
    this.geometry.dispose();
    for (const material of new Set(Object.values(this.materials))) material.dispose();
  }
}

// Colours as painted (sRGB) -> as lit (linear).
function linear(colors) {
  const out = new Float32Array(colors.length),
    color = new Color();
  for (let i = 0; i < colors.length; i += 3) {
    color.setRGB(colors[i], colors[i + 1], colors[i + 2], 'srgb');
    out.set([color.r, color.g, color.b], i);
  }
  return out;
}
