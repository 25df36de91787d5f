// SPDX-License-Identifier: Apache-2.0
// A face of the server as a three.js object: one mesh, its triangles grouped by material. `pose` and `displace` deform
// it on the CPU.
import { BufferAttribute, BufferGeometry, DynamicDrawUsage, Group, Mesh, Points, PointsMaterial } from 'three';
import { selectFrontFaces } from './front_faces.js';
import { makeMaterials, partToMaterial } from './materials.js';
import { MorphTargets } from './morph_targets.js';

const POINT_SIZE = 0.0012; // m
const INDICES_PER_TRIANGLE = 3;

/** @typedef {import('./mesh_loader.js').FaceMeshData} FaceMeshData */
/** @typedef {import('./materials.js').MaterialName} MaterialName */
/** @typedef {import('./scene.js').Bounds} Bounds */
/** @typedef {Pick<import('./level_of_detail.js').DetailSettings, 'tessellated' | 'plain'>} MeshDetail */

/**
 * The triangles sorted by material.
 * @typedef {object} TriangleGroups
 * @property {Uint32Array} indices
 * @property {[start: number, count: number][]} ranges of each material
 * @property {MaterialName[]} materials
 */

export class FaceMesh {
  /**
   * @param {FaceMeshData} mesh
   * @param {MeshDetail} detail
   */
  constructor(mesh, detail) {
    this.mesh = mesh;
    this.object = new Group();
    this.morphTargets = new MorphTargets(mesh, detail.tessellated);
    this.plain = detail.plain;
    this.materials = makeMaterials(detail.plain);
    this.geometry = new BufferGeometry();
    /** @type {TriangleGroups | null} */
    this.groups = null;
    this.#build();
  }

  /** @param {MeshDetail} detail */
  setDetail({ tessellated, plain }) {
    if (tessellated === this.morphTargets.tessellated && plain === this.plain) return;
    this.dispose();
    this.morphTargets.setTessellated(tessellated);
    this.materials = makeMaterials(plain);
    this.plain = plain;
    this.#build();
  }

  /**
   * Pose the face.
   * @param {Float32Array} weights (52,)
   * @param {ArrayLike<number> | null} head quaternion xyzw in the package's axes
   */
  pose(weights, head) {
    this.morphTargets.pose(weights, head);
    this.#upload();
  }

  /**
   * Show a frame of a vertex model.
   * @param {Int16Array} offsets (3V,) in the package's axes
   * @param {number} scale metres per unit
   */
  displace(offsets, scale) {
    this.morphTargets.displace(offsets, scale);
    this.#upload();
  }

  /**
   * On a software renderer, drop the triangles that face away from the camera.
   * @param {import('three').Vector3} camera position
   */
  cullBackFaces(camera) {
    const { groups } = this;
    const index = this.geometry.index;
    if (!this.plain || !groups || !index) return;
    let at = 0;
    this.geometry.clearGroups();
    groups.ranges.forEach(([start, count], material) => {
      const begin = at;
      const triangles = groups.indices.subarray(start, start + count);
      at = selectFrontFaces(this.morphTargets.points, triangles, camera, index.array, at);
      this.geometry.addGroup(begin, at - begin, material);
    });
    index.needsUpdate = true;
  }

  /**
   * Bounding box of the head without its collar.
   * @returns {Bounds}
   */
  bounds() {
    const { vertices, parts } = this.mesh;
    const end = 3 * (parts.collar ? parts.collar[0] : vertices.length / 3);
    const low = [Infinity, Infinity, Infinity];
    const high = [-Infinity, -Infinity, -Infinity];
    for (let i = 0; i < end; i++) {
      low[i % 3] = Math.min(low[i % 3], vertices[i]);
      high[i % 3] = Math.max(high[i % 3], vertices[i]);
    }
    return {
      center: [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, (low[2] + high[2]) / 2],
      size: [high[0] - low[0], high[1] - low[1], high[2] - low[2]],
    };
  }

  /** Release the GPU's memory. */
  dispose() {
    this.geometry.dispose();
    for (const material of new Set(Object.values(this.materials))) material.dispose();
  }

  #build() {
    const { morphTargets, mesh } = this;
    const geometry = new BufferGeometry();
    geometry.setAttribute('position', dynamicAttribute(morphTargets.outputPoints));
    geometry.setAttribute('normal', dynamicAttribute(morphTargets.outputNormals));
    geometry.setAttribute('color', new BufferAttribute(morphTargets.interpolate(mesh.colors, 3), 3));
    this.geometry = geometry;
    /** @type {Mesh | Points} */
    let object;
    if (mesh.triangles.length) {
      const groups = this.#groupTriangles();
      this.groups = groups;
      geometry.setIndex(new BufferAttribute(this.plain ? groups.indices.slice() : groups.indices, 1));
      groups.ranges.forEach(([start, count], material) => geometry.addGroup(start, count, material));
      object = new Mesh(
        geometry,
        groups.materials.map((name) => this.materials[name]),
      );
      object.castShadow = object.receiveShadow = true;
    } else {
      object = new Points(geometry, new PointsMaterial({ size: POINT_SIZE, vertexColors: true }));
    }
    object.frustumCulled = false;
    this.object.clear();
    this.object.add(object);
    if (mesh.targets.length) this.pose(new Float32Array(mesh.targets.length), null);
    else this.displace(new Int16Array(mesh.vertices.length), 0);
  }

  /**
   * Sort the triangles by material: the part of a triangle's first vertex decides.
   * @returns {TriangleGroups}
   */
  #groupTriangles() {
    const { mesh, morphTargets, materials } = this;
    const length = INDICES_PER_TRIANGLE * (morphTargets.tessellated ? 4 : 1); // indices per triangle of the mesh
    /** @type {MaterialName[]} */
    const materialOfVertex = new Array(morphTargets.count).fill('skin');
    for (const [part, [first, end]] of Object.entries(mesh.parts)) {
      materialOfVertex.fill(partToMaterial(part), first, end);
    }
    // names of one material are drawn together
    const names = /** @type {MaterialName[]} */ (Object.keys(materials));
    const canonical = /** @type {Record<MaterialName, MaterialName>} */ (
      Object.fromEntries(names.map((name) => [name, names.find((first) => materials[first] === materials[name])]))
    );
    /** @type {Map<MaterialName, number[]>} */
    const trianglesOf = new Map();
    for (let t = 0; t < mesh.triangles.length / 3; t++) {
      const name = canonical[materialOfVertex[mesh.triangles[3 * t]]];
      const list = trianglesOf.get(name);
      if (list) list.push(t);
      else trianglesOf.set(name, [t]);
    }
    const indices = new Uint32Array(morphTargets.triangles.length);
    /** @type {[number, number][]} */
    const ranges = [];
    let at = 0;
    for (const triangles of trianglesOf.values()) {
      const start = at;
      for (const t of triangles) {
        indices.set(morphTargets.triangles.subarray(length * t, length * (t + 1)), at);
        at += length;
      }
      ranges.push([start, at - start]);
    }
    return { indices, ranges, materials: [...trianglesOf.keys()] };
  }

  #upload() {
    this.geometry.attributes.position.needsUpdate = true;
    this.geometry.attributes.normal.needsUpdate = true;
  }
}

/** @param {Float32Array} values (3V,) */
const dynamicAttribute = (values) => new BufferAttribute(values, 3).setUsage(DynamicDrawUsage);
