// SPDX-License-Identifier: Apache-2.0
// Simplification of a mesh by edge collapses (M. Garland and P. Heckbert, Surface simplification using quadric error
// metrics, 1997). An edge collapses into one of its ends, so that vertices keep what they have. Nothing of three.js.

const MAX_PASSES = 24;
const MIN_PROGRESS = 0.02; // of the vertices that a pass has to remove for another one
const MIN_COSINE = 0.3; // between the normals of a triangle before and after a collapse
const QUADRIC_LENGTH = 11; // of which the last is the area

/**
 * Triangles of a mesh that lie within some distance of the given ones, in each of several poses. Vertices of the mesh's
 * borders, such as seams of its texture, stay.
 * @param {Uint32Array} triangles (3T,)
 * @param {Float32Array[]} poses (3V,) positions of the vertices
 * @param {number} maxDistance root mean square, in the unit of the positions
 * @returns {Uint32Array} triangles of fewer of the vertices
 */
export function collapseEdges(triangles, poses, maxDistance) {
  const count = poses[0].length / 3;
  const quadrics = poses.map((points) => makeQuadrics(triangles, points));
  let remaining = triangles;
  for (let pass = 0; pass < MAX_PASSES; pass++) {
    const { start, fans } = findFans(remaining, count);
    const isFixed = findBorder(remaining, start, fans);
    /** @type {[cost: number, vertex: number, end: number][]} */
    const collapses = [];
    for (let vertex = 0; vertex < count; vertex++) {
      if (isFixed[vertex] || start[vertex] === start[vertex + 1]) continue;
      let best = maxDistance ** 2;
      let end = -1;
      for (let f = start[vertex]; f < start[vertex + 1]; f++) {
        const t = 3 * fans[f];
        for (let k = t; k < t + 3; k++) {
          const other = remaining[k];
          if (other === vertex) continue;
          let cost = 0;
          for (let p = 0; p < poses.length && cost < best; p++) {
            cost = Math.max(cost, meanSquaredDistance(quadrics[p], vertex, poses[p], other));
          }
          if (cost < best) [best, end] = [cost, other];
        }
      }
      if (end >= 0) collapses.push([best, vertex, end]);
    }
    collapses.sort(([a], [b]) => a - b);
    const isTouched = new Uint8Array(count);
    const target = Uint32Array.from({ length: count }, (_, vertex) => vertex);
    let collapsed = 0;
    for (const [, vertex, end] of collapses) {
      const fan = fans.subarray(start[vertex], start[vertex + 1]);
      if (!canCollapse(remaining, fan, vertex, end, isTouched, poses)) continue;
      for (const triangle of fan) for (let k = 0; k < 3; k++) isTouched[remaining[3 * triangle + k]] = 1;
      target[vertex] = end;
      for (const values of quadrics) {
        const [from, to] = [QUADRIC_LENGTH * vertex, QUADRIC_LENGTH * end];
        for (let k = 0; k < QUADRIC_LENGTH; k++) values[to + k] += values[from + k];
      }
      collapsed++;
    }
    remaining = moveCorners(remaining, target);
    if (collapsed < MIN_PROGRESS * count) break;
  }
  return remaining;
}

/**
 * The quadric of each vertex: the squared distances to the planes of its triangles, weighted by their areas.
 * @param {Uint32Array} triangles (3T,)
 * @param {Float32Array} points (3V,)
 */
function makeQuadrics(triangles, points) {
  const quadrics = new Float64Array((QUADRIC_LENGTH * points.length) / 3);
  const normal = new Float64Array(3);
  for (let t = 0; t < triangles.length; t += 3) {
    const area = crossProduct(points, triangles[t], triangles[t + 1], triangles[t + 2], normal);
    if (!area) continue;
    const [x, y, z] = normal.map((value) => value / area);
    const i = 3 * triangles[t];
    const w = -(x * points[i] + y * points[i + 1] + z * points[i + 2]);
    const plane = [x * x, x * y, x * z, x * w, y * y, y * z, y * w, z * z, z * w, w * w, 1];
    for (let k = t; k < t + 3; k++) {
      const at = QUADRIC_LENGTH * triangles[k];
      for (let j = 0; j < QUADRIC_LENGTH; j++) quadrics[at + j] += area * plane[j];
    }
  }
  return quadrics;
}

/**
 * From the planes of a vertex to another vertex.
 * @param {Float64Array} quadrics (11V,)
 * @param {number} vertex
 * @param {Float32Array} points (3V,)
 * @param {number} other
 */
function meanSquaredDistance(quadrics, vertex, points, other) {
  const q = QUADRIC_LENGTH * vertex;
  const x = points[3 * other];
  const y = points[3 * other + 1];
  const z = points[3 * other + 2];
  const sum =
    x * (quadrics[q] * x + 2 * (quadrics[q + 1] * y + quadrics[q + 2] * z + quadrics[q + 3])) +
    y * (quadrics[q + 4] * y + 2 * (quadrics[q + 5] * z + quadrics[q + 6])) +
    z * (quadrics[q + 7] * z + 2 * quadrics[q + 8]) +
    quadrics[q + 9];
  return Math.abs(sum) / (quadrics[q + 10] || 1);
}

/**
 * The triangles around each vertex.
 * @param {Uint32Array} triangles (3T,)
 * @param {number} count of the vertices
 */
function findFans(triangles, count) {
  const start = new Uint32Array(count + 2);
  for (const vertex of triangles) start[vertex + 2]++;
  for (let vertex = 0; vertex < count; vertex++) start[vertex + 2] += start[vertex + 1];
  const fans = new Uint32Array(triangles.length);
  for (let k = 0; k < triangles.length; k++) fans[start[triangles[k] + 1]++] = Math.floor(k / 3);
  return { start, fans };
}

/**
 * Which vertices lie on an edge of one triangle, or of more than two.
 * @param {Uint32Array} triangles (3T,)
 * @param {Uint32Array} start of each vertex in the fans
 * @param {Uint32Array} fans
 */
function findBorder(triangles, start, fans) {
  const isBorder = new Uint8Array(start.length - 1);
  const uses = new Int32Array(start.length - 1); // of the vertices around one
  for (let vertex = 0; vertex < start.length - 2; vertex++) {
    const fan = fans.subarray(start[vertex], start[vertex + 1]);
    for (const triangle of fan) for (let k = 0; k < 3; k++) uses[triangles[3 * triangle + k]]++;
    for (const triangle of fan) {
      for (let k = 0; k < 3; k++) {
        const other = triangles[3 * triangle + k];
        if (other !== vertex && uses[other] !== 2) isBorder[vertex] = 1;
      }
    }
    for (const triangle of fan) for (let k = 0; k < 3; k++) uses[triangles[3 * triangle + k]] = 0;
  }
  return isBorder;
}

/**
 * Whether a vertex can be moved to another one: no triangle turns over, and nothing around it has moved.
 * @param {Uint32Array} triangles (3T,)
 * @param {Uint32Array} fan triangles around the vertex
 * @param {number} vertex
 * @param {number} end
 * @param {Uint8Array} isTouched
 * @param {Float32Array[]} poses
 */
function canCollapse(triangles, fan, vertex, end, isTouched, poses) {
  const before = new Float64Array(3);
  const after = new Float64Array(3);
  for (const triangle of fan) {
    const corners = triangles.subarray(3 * triangle, 3 * triangle + 3);
    if (corners.some((corner) => isTouched[corner])) return false;
    if (corners.includes(end)) continue;
    const [a, b, c] = corners.map((corner) => (corner === vertex ? end : corner));
    for (const points of poses) {
      const areas =
        crossProduct(points, corners[0], corners[1], corners[2], before) * crossProduct(points, a, b, c, after);
      if (before[0] * after[0] + before[1] * after[1] + before[2] * after[2] <= MIN_COSINE * areas) return false;
    }
  }
  return true;
}

/**
 * @param {Float32Array} points (3V,)
 * @param {number} a vertex
 * @param {number} b vertex
 * @param {number} c vertex
 * @param {Float64Array} normal output, as long as the area is large
 * @returns {number} twice the area
 */
function crossProduct(points, a, b, c, normal) {
  const [i, j, k] = [3 * a, 3 * b, 3 * c];
  const ux = points[j] - points[i];
  const uy = points[j + 1] - points[i + 1];
  const uz = points[j + 2] - points[i + 2];
  const vx = points[k] - points[i];
  const vy = points[k + 1] - points[i + 1];
  const vz = points[k + 2] - points[i + 2];
  normal[0] = uy * vz - uz * vy;
  normal[1] = uz * vx - ux * vz;
  normal[2] = ux * vy - uy * vx;
  return Math.sqrt(normal[0] * normal[0] + normal[1] * normal[1] + normal[2] * normal[2]);
}

/**
 * The triangles with their corners at other vertices, without those that have lost their area.
 * @param {Uint32Array} triangles (3T,)
 * @param {Uint32Array} target vertex of each vertex
 */
function moveCorners(triangles, target) {
  const moved = triangles.map((vertex) => target[vertex]);
  let at = 0;
  for (let t = 0; t < moved.length; t += 3) {
    const [a, b, c] = [moved[t], moved[t + 1], moved[t + 2]];
    if (a === b || b === c || c === a) continue;
    moved.set([a, b, c], at);
    at += 3;
  }
  return moved.slice(0, at);
}
