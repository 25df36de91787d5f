// SPDX-License-Identifier: Apache-2.0
// Deformable mesh on the CPU, equal to face/rig.py and face/geometry/phong_tessellation.py: `pose` computes vertices
// from weights and head rotation, `displace` from offsets; both then compute smooth normals and, if wanted, a
// tessellated mesh. Plain arrays, nothing of three.js.

const PHONG_ALPHA = 0.75; // of Phong tessellation (Boubekeur and Alexa, 2008)
const MIN_WEIGHT = 1e-4;

/** @typedef {import('./mesh_loader.js').FaceMeshData} FaceMeshData */

export class MorphTargets {
  /**
   * @param {FaceMeshData} mesh
   * @param {boolean} tessellated whether each triangle is split in four
   */
  constructor(mesh, tessellated) {
    this.mesh = mesh;
    this.count = mesh.vertices.length / 3;
    this.points = mesh.vertices.slice();
    this.normals = new Float32Array(this.points.length);
    const { edges, triangles } = splitTriangles(mesh.triangles, this.count);
    this.edges = edges; // (2E,) vertices of each edge
    this.fineTriangles = triangles;
    this.tessellated = tessellated;
    this.outputPoints = this.points;
    this.outputNormals = this.normals;
    this.triangles = mesh.triangles;
    this.setTessellated(tessellated);
  }

  /** @param {boolean} tessellated */
  setTessellated(tessellated) {
    this.tessellated = tessellated;
    const length = this.points.length + (3 * this.edges.length) / 2;
    this.outputPoints = tessellated ? new Float32Array(length) : this.points;
    this.outputNormals = tessellated ? new Float32Array(length) : this.normals;
    this.triangles = tessellated ? this.fineTriangles : this.mesh.triangles;
  }

  /**
   * Compute the vertices of a pose.
   * @param {Float32Array} weights (52,)
   * @param {ArrayLike<number> | null} head quaternion xyzw in the package's axes; null: at rest
   */
  pose(weights, head) {
    const { points, mesh } = this;
    points.set(mesh.vertices);
    mesh.targets.forEach((target, shape) => addTarget(points, target, weights[shape]));
    if (head) this.#rotate(head);
    this.#updateOutput();
  }

  /**
   * Compute the vertices of a frame of a vertex model.
   * @param {Int16Array} offsets (3V,) in the package's axes
   * @param {number} scale metres per unit
   */
  displace(offsets, scale) {
    const { points } = this;
    const { vertices } = this.mesh;
    for (let i = 0; i < points.length; i += 3) {
      points[i] = vertices[i] + scale * offsets[i + 1];
      points[i + 1] = vertices[i + 1] + scale * offsets[i + 2];
      points[i + 2] = vertices[i + 2] + scale * offsets[i];
    }
    this.#updateOutput();
  }

  /**
   * Values per vertex for the output mesh; those of an edge's vertex are the mean of its ends.
   * @param {Float32Array} values (width * V,)
   * @param {number} width
   */
  interpolate(values, width) {
    if (!this.tessellated) return values;
    const { edges } = this;
    const out = new Float32Array(width * (this.count + edges.length / 2));
    out.set(values);
    let at = values.length;
    for (let e = 0; e < edges.length; e += 2) {
      for (let k = 0; k < width; k++) {
        out[at++] = (values[width * edges[e] + k] + values[width * edges[e + 1] + k]) / 2;
      }
    }
    return out;
  }

  /**
   * Rotate about the pivot; each vertex by its fraction.
   * @param {ArrayLike<number>} head quaternion xyzw in the package's axes
   */
  #rotate(head) {
    const x = head[1]; // in the scene's axes
    const y = head[2];
    const z = head[0];
    const w = head[3];
    const { points } = this;
    const { headFollow } = this.mesh;
    const [px, py, pz] = this.mesh.pivot;
    const n = 2 / (x * x + y * y + z * z + w * w);
    const m00 = 1 - n * (y * y + z * z);
    const m01 = n * (x * y - z * w);
    const m02 = n * (x * z + y * w);
    const m10 = n * (x * y + z * w);
    const m11 = 1 - n * (x * x + z * z);
    const m12 = n * (y * z - x * w);
    const m20 = n * (x * z - y * w);
    const m21 = n * (y * z + x * w);
    const m22 = 1 - n * (x * x + y * y);
    for (let i = 0, v = 0; i < points.length; i += 3, v++) {
      const fraction = headFollow ? headFollow[v] : 1;
      if (fraction === 0) continue;
      const dx = points[i] - px;
      const dy = points[i + 1] - py;
      const dz = points[i + 2] - pz;
      points[i] += fraction * (m00 * dx + m01 * dy + m02 * dz - dx);
      points[i + 1] += fraction * (m10 * dx + m11 * dy + m12 * dz - dy);
      points[i + 2] += fraction * (m20 * dx + m21 * dy + m22 * dz - dz);
    }
  }

  #updateOutput() {
    computeNormals(this.points, this.mesh.triangles, this.normals);
    if (this.tessellated) this.#tessellate();
  }

  /** Phong tessellation: the middle of each edge is moved towards the tangent planes of its ends. */
  #tessellate() {
    const { points, normals, outputPoints, outputNormals, edges } = this;
    outputPoints.set(points);
    outputNormals.set(normals);
    let at = points.length;
    for (let e = 0; e < edges.length; e += 2, at += 3) {
      const a = 3 * edges[e];
      const b = 3 * edges[e + 1];
      const ax = normals[a];
      const ay = normals[a + 1];
      const az = normals[a + 2];
      const bx = normals[b];
      const by = normals[b + 1];
      const bz = normals[b + 2];
      const hx = (points[b] - points[a]) / 2;
      const hy = (points[b + 1] - points[a + 1]) / 2;
      const hz = (points[b + 2] - points[a + 2]) / 2;
      const distanceA = (PHONG_ALPHA / 2) * (hx * ax + hy * ay + hz * az);
      const distanceB = (-PHONG_ALPHA / 2) * (hx * bx + hy * by + hz * bz);
      outputPoints[at] = points[a] + hx - distanceA * ax - distanceB * bx;
      outputPoints[at + 1] = points[a + 1] + hy - distanceA * ay - distanceB * by;
      outputPoints[at + 2] = points[a + 2] + hz - distanceA * az - distanceB * bz;
      const nx = ax + bx;
      const ny = ay + by;
      const nz = az + bz;
      const length = Math.sqrt(nx * nx + ny * ny + nz * nz) || 1;
      outputNormals[at] = nx / length;
      outputNormals[at + 1] = ny / length;
      outputNormals[at + 2] = nz / length;
    }
  }
}

/**
 * Add the displacements of a morph target.
 * @param {import('three').TypedArray} points (3V,) changed
 * @param {import('./mesh_loader.js').MorphTarget} target
 * @param {number} weight
 */
export function addTarget(points, { indices, deltas }, weight) {
  if (Math.abs(weight) < MIN_WEIGHT) return;
  for (let j = 0; j < indices.length; j++) {
    const i = 3 * indices[j];
    const d = 3 * j;
    points[i] += weight * deltas[d];
    points[i + 1] += weight * deltas[d + 1];
    points[i + 2] += weight * deltas[d + 2];
  }
}

/**
 * The edges of a mesh, and its triangles split in four at the middles of their edges.
 * @param {Uint32Array} triangles (3T,)
 * @param {number} count of the vertices
 */
function splitTriangles(triangles, count) {
  /** @type {Map<number, number>} */
  const middles = new Map();
  /** @type {number[]} */
  const edges = [];
  const fine = new Uint32Array(4 * triangles.length);
  /** @type {(a: number, b: number) => number} */
  const middle = (a, b) => {
    const key = a < b ? a * count + b : b * count + a;
    let index = middles.get(key);
    if (index === undefined) {
      index = count + edges.length / 2;
      middles.set(key, index);
      edges.push(Math.min(a, b), Math.max(a, b));
    }
    return index;
  };
  for (let t = 0; t < triangles.length; t += 3) {
    const a = triangles[t];
    const b = triangles[t + 1];
    const c = triangles[t + 2];
    const ab = middle(a, b);
    const bc = middle(b, c);
    const ca = middle(c, a);
    fine.set([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], 4 * t);
  }
  return { edges: Uint32Array.from(edges), triangles: fine };
}

/**
 * Smooth vertex normals, exact on a sphere for any triangulation (N. Max, Weights for computing vertex normals, 1999).
 * @param {Float32Array} points (3V,)
 * @param {Uint32Array} triangles (3T,)
 * @param {Float32Array} normals (3V,) output
 */
function computeNormals(points, triangles, normals) {
  normals.fill(0);
  for (let t = 0; t < triangles.length; t += 3) {
    const a = 3 * triangles[t];
    const b = 3 * triangles[t + 1];
    const c = 3 * triangles[t + 2];
    const ux = points[b] - points[a];
    const uy = points[b + 1] - points[a + 1];
    const uz = points[b + 2] - points[a + 2];
    const vx = points[c] - points[a];
    const vy = points[c + 1] - points[a + 1];
    const vz = points[c + 2] - points[a + 2];
    const wx = vx - ux;
    const wy = vy - uy;
    const wz = vz - uz;
    const x = uy * vz - uz * vy;
    const y = uz * vx - ux * vz;
    const z = ux * vy - uy * vx;
    const u = ux * ux + uy * uy + uz * uz + 1e-12;
    const v = vx * vx + vy * vy + vz * vz + 1e-12;
    const w = wx * wx + wy * wy + wz * wz + 1e-12;
    const weightA = 1 / (u * v);
    const weightB = 1 / (u * w);
    const weightC = 1 / (w * v);
    normals[a] += weightA * x;
    normals[a + 1] += weightA * y;
    normals[a + 2] += weightA * z;
    normals[b] += weightB * x;
    normals[b + 1] += weightB * y;
    normals[b + 2] += weightB * z;
    normals[c] += weightC * x;
    normals[c + 1] += weightC * y;
    normals[c + 2] += weightC * z;
  }
  for (let i = 0; i < normals.length; i += 3) {
    const x = normals[i];
    const y = normals[i + 1];
    const z = normals[i + 2];
    const length = Math.sqrt(x * x + y * y + z * z) || 1;
    normals[i] = x / length;
    normals[i + 1] = y / length;
    normals[i + 2] = z / length;
  }
}
