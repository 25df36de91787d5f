// SPDX-License-Identifier: Apache-2.0
// Linear blend skinning on the CPU: a software renderer is slow to fetch the matrices of bones for each vertex.
import { Matrix4 } from 'three';
import { toFloats } from './mesh_loader.js';

const BONES_PER_VERTEX = 4;
const MATRIX_LENGTH = 16;

/** @typedef {import('three').BufferGeometry} BufferGeometry */

export class SkinDeformer {
  #matrix = new Matrix4();

  /**
   * @param {import('three').SkinnedMesh} mesh whose bones move the vertices
   * @param {BufferGeometry} geometry of the vertices; their bones and weights are taken out of it
   */
  constructor(mesh, geometry) {
    const { skinIndex, skinWeight } = geometry.attributes;
    this.mesh = mesh;
    this.bones = Uint16Array.from(toFloats(skinIndex, BONES_PER_VERTEX));
    this.weights = toFloats(skinWeight, BONES_PER_VERTEX);
    this.matrices = new Float32Array(MATRIX_LENGTH * mesh.skeleton.bones.length);
    geometry.deleteAttribute('skinIndex').deleteAttribute('skinWeight');
  }

  /**
   * Move the vertices as the bones stand.
   * @param {Float32Array} points (3V,) changed
   */
  apply(points) {
    const { bones, weights, matrices } = this;
    this.#updateMatrices();
    const m = new Float64Array(12); // rows of three by columns of four, by columns
    for (let v = 0; v < points.length / 3; v++) {
      m.fill(0);
      for (let b = BONES_PER_VERTEX * v; b < BONES_PER_VERTEX * (v + 1); b++) {
        const weight = weights[b];
        if (!weight) continue;
        const at = MATRIX_LENGTH * bones[b];
        for (let column = 0; column < 4; column++) {
          for (let row = 0; row < 3; row++) m[3 * column + row] += weight * matrices[at + 4 * column + row];
        }
      }
      const i = 3 * v;
      const x = points[i];
      const y = points[i + 1];
      const z = points[i + 2];
      points[i] = m[0] * x + m[3] * y + m[6] * z + m[9];
      points[i + 1] = m[1] * x + m[4] * y + m[7] * z + m[10];
      points[i + 2] = m[2] * x + m[5] * y + m[8] * z + m[11];
    }
  }

  #updateMatrices() {
    const { skeleton, bindMatrix, bindMatrixInverse } = this.mesh;
    skeleton.update();
    skeleton.bones.forEach((_, bone) => {
      this.#matrix.fromArray(skeleton.boneMatrices ?? [], MATRIX_LENGTH * bone);
      this.#matrix.multiply(bindMatrix).premultiply(bindMatrixInverse);
      this.#matrix.toArray(this.matrices, MATRIX_LENGTH * bone);
    });
  }
}
