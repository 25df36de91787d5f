// SPDX-License-Identifier: Apache-2.0
// The moving shape of a face on the processor, as face/rig.py, face/rendering/vtk_renderer.py and face/geometry/phong_tessellation.py have it:
// `pose` gives vertices from weights and head, `displace` from offsets; both then make smooth normals and, if asked,
// a finer mesh. Plain arrays, nothing of three.js.
const ALPHA = 0.75;

export class Shape {
  // pack: of unpackFace; fine: cut each triangle in four (Phong tessellation).
  constructor(pack, fine) {
    this.pack = pack;
    this.count = pack.vertices.length / 3;
    this.points = pack.vertices.slice();
    this.normals = new Float32Array(this.points.length);
    this.first = [];
    let at = 0;
    for (const count of pack.counts || []) {
      this.first.push(at);
      at += count;
    }
    this.setFine(fine);
  }

  setFine(fine) {
    const { triangles, count } = this;
    if (!this.edges) this._cut(this.pack.triangles);
    this.fine = fine;
    const total = fine ? this.count + this.edges.length / 2 : this.count;
    this.outPoints = fine ? new Float32Array(3 * total) : this.points;
    this.outNormals = fine ? new Float32Array(3 * total) : this.normals;
    this.triangles = fine ? this.fineTriangles : this.pack.triangles;
  }

  // weights: (52,), head: quaternion xyzw in the package's axes, or null.
  pose(weights, head) {
    const { points, pack, first } = this;
    points.set(pack.vertices);
    const { moved, deltas, counts } = pack;
    for (let s = 0; s < counts.length; s++) {
      const w = weights[s];
      if (w < 1e-4 && w > -1e-4) continue;
      for (let j = first[s], end = j + counts[s]; j < end; j++) {
        const i = 3 * moved[j],
          d = 3 * j;
        points[i] += w * deltas[d];
        points[i + 1] += w * deltas[d + 1];
        points[i + 2] += w * deltas[d + 2];
      }
    }
    if (head) this._turn(head);
    this._finish();
  }

  // offsets: (3V,) s16 in the package's axes; scale: metres per step; share: of them, 0..1.
  displace(offsets, scale) {
    const { points } = this,
      rest = this.pack.vertices;
    for (let i = 0; i < points.length; i += 3) {
      points[i] = rest[i] + scale * offsets[i + 1];
      points[i + 1] = rest[i + 1] + scale * offsets[i + 2];
      points[i + 2] = rest[i + 2] + scale * offsets[i];
    }
    this._finish();
  }

  _turn([qx, qy, qz, w]) {
    const x = qy,
      y = qz,
      z = qx; // the quaternion in the picture's axes
    const { points, pack } = this,
      [px, py, pz] = pack.pivot,
      follow = pack.follow;
    const n = 2 / (x * x + y * y + z * z + w * w);
    const a = 1 - n * (y * y + z * z),
      b = n * (x * y - z * w),
      c = n * (x * z + y * w);
    const d = n * (x * y + z * w),
      e = 1 - n * (x * x + z * z),
      f = n * (y * z - x * w);
    const g = n * (x * z - y * w),
      h = n * (y * z + x * w),
      k = 1 - n * (x * x + y * y);
    for (let i = 0, v = 0; i < points.length; i += 3, v++) {
      const share = follow ? follow[v] : 1;
      if (share === 0) continue;
      const u = points[i] - px,
        p = points[i + 1] - py,
        q = points[i + 2] - pz;
      points[i] += share * (a * u + b * p + c * q - u);
      points[i + 1] += share * (d * u + e * p + f * q - p);
      points[i + 2] += share * (g * u + h * p + k * q - q);
    }
  }

  _finish() {
    smoothNormals(this.points, this.pack.triangles, this.normals);
    if (this.fine) this._refine();
  }

  // The ends of every edge, and the four triangles that each one becomes.
  _cut(triangles) {
    const places = new Map(),
      edges = [],
      fine = new Uint32Array(4 * triangles.length),
      count = this.count;
    const middle = (a, b) => {
      const key = a < b ? a * count + b : b * count + a;
      let place = places.get(key);
      if (place === undefined) {
        place = count + edges.length / 2;
        places.set(key, place);
        edges.push(Math.min(a, b), Math.max(a, b));
      }
      return place;
    };
    for (let t = 0; t < triangles.length; t += 3) {
      const a = triangles[t],
        b = triangles[t + 1],
        c = triangles[t + 2];
      const ab = middle(a, b),
        bc = middle(b, c),
        ca = middle(c, a);
      fine.set([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], 4 * t);
    }
    this.edges = Uint32Array.from(edges);
    this.fineTriangles = fine;
  }

  _refine() {
    const { points, normals, outPoints, outNormals, edges } = this;
    outPoints.set(points);
    outNormals.set(normals);
    let at = points.length;
    for (let e = 0; e < edges.length; e += 2, at += 3) {
      const a = 3 * edges[e],
        b = 3 * edges[e + 1];
      const ax = normals[a],
        ay = normals[a + 1],
        az = normals[a + 2];
      const bx = normals[b],
        by = normals[b + 1],
        bz = normals[b + 2];
      const hx = (points[b] - points[a]) / 2,
        hy = (points[b + 1] - points[a + 1]) / 2,
        hz = (points[b + 2] - points[a + 2]) / 2;
      const onA = (ALPHA / 2) * (hx * ax + hy * ay + hz * az),
        onB = (-ALPHA / 2) * (hx * bx + hy * by + hz * bz);
      outPoints[at] = points[a] + hx - onA * ax - onB * bx;
      outPoints[at + 1] = points[a + 1] + hy - onA * ay - onB * by;
      outPoints[at + 2] = points[a + 2] + hz - onA * az - onB * bz;
      const nx = ax + bx,
        ny = ay + by,
        nz = az + bz,
        length = Math.sqrt(nx * nx + ny * ny + nz * nz) || 1;
      outNormals[at] = nx / length;
      outNormals[at + 1] = ny / length;
      outNormals[at + 2] = nz / length;
    }
  }

  // Values per vertex, `width` wide -> the same for the finer mesh, edges taking their ends' mean.
  mixed(values, width) {
    const out = new Float32Array(width * (this.count + this.edges.length / 2));
    out.set(values);
    let at = values.length;
    for (let e = 0; e < this.edges.length; e += 2) {
      for (let k = 0; k < width; k++)
        out[at++] = (values[width * this.edges[e] + k] + values[width * this.edges[e + 1] + k]) / 2;
    }
    return out;
  }
}

// Vertex normals, exact on a sphere whatever its triangles (N. Max, 1999), into `normals`.
export function smoothNormals(points, triangles, normals) {
  normals.fill(0);
  for (let t = 0; t < triangles.length; t += 3) {
    const a = 3 * triangles[t],
      b = 3 * triangles[t + 1],
      c = 3 * triangles[t + 2];
    const ux = points[b] - points[a],
      uy = points[b + 1] - points[a + 1],
      uz = points[b + 2] - points[a + 2];
    const vx = points[c] - points[a],
      vy = points[c + 1] - points[a + 1],
      vz = points[c + 2] - points[a + 2];
    const wx = vx - ux,
      wy = vy - uy,
      wz = vz - uz;
    const x = uy * vz - uz * vy,
      y = uz * vx - ux * vz,
      z = ux * vy - uy * vx;
    const u = ux * ux + uy * uy + uz * uz + 1e-12,
      v = vx * vx + vy * vy + vz * vz + 1e-12;
    const w = wx * wx + wy * wy + wz * wz + 1e-12;
    const p = 1 / (u * v),
      q = 1 / (u * w),
      r = 1 / (w * v);
    normals[a] += p * x;
    normals[a + 1] += p * y;
    normals[a + 2] += p * z;
    normals[b] += q * x;
    normals[b + 1] += q * y;
    normals[b + 2] += q * z;
    normals[c] += r * x;
    normals[c + 1] += r * y;
    normals[c + 2] += r * z;
  }
  for (let i = 0; i < normals.length; i += 3) {
    const x = normals[i],
      y = normals[i + 1],
      z = normals[i + 2],
      length = Math.sqrt(x * x + y * y + z * z) || 1;
    normals[i] = x / length;
    normals[i + 1] = y / length;
    normals[i + 2] = z / length;
  }
}
