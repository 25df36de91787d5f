// SPDX-License-Identifier: Apache-2.0
// Culling of back faces on the CPU: a software renderer is slow with each triangle.

/**
 * Copy the triangles that face the camera.
 * @param {ArrayLike<number>} points (3V,) vertices
 * @param {Uint32Array} triangles (3T,)
 * @param {import('three').Vector3} camera its position, in the axes of the vertices
 * @param {import('three').TypedArray} visible output
 * @param {number} at index in the output at which they begin
 * @returns {number} the index at which they end
 */
export function selectFrontFaces(points, triangles, camera, visible, at) {
  for (let t = 0; t < triangles.length; t += 3) {
    const a = 3 * triangles[t];
    const b = 3 * triangles[t + 1];
    const c = 3 * triangles[t + 2];
    const ax = points[a];
    const ay = points[a + 1];
    const az = points[a + 2];
    const ux = points[b] - ax;
    const uy = points[b + 1] - ay;
    const uz = points[b + 2] - az;
    const vx = points[c] - ax;
    const vy = points[c + 1] - ay;
    const vz = points[c + 2] - az;
    const facing =
      (camera.x - ax) * (uy * vz - uz * vy) +
      (camera.y - ay) * (uz * vx - ux * vz) +
      (camera.z - az) * (ux * vy - uy * vx);
    if (facing <= 0) continue;
    visible[at++] = triangles[t];
    visible[at++] = triangles[t + 1];
    visible[at++] = triangles[t + 2];
  }
  return at;
}
