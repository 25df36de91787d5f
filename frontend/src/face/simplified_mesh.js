// SPDX-License-Identifier: Apache-2.0
// A mesh of an avatar as a software renderer draws it fast enough for speech: fewer triangles, moved by morph targets
// and bones on the CPU, lit once at rest, with the texture of its colour alone; hair as a shell.
import {
  BufferAttribute,
  BufferGeometry,
  DynamicDrawUsage,
  FrontSide,
  Mesh,
  MeshStandardMaterial,
  SkinnedMesh,
  Vector3,
} from 'three';
import { collapseEdges } from './edge_collapse.js';
import { selectFrontFaces } from './front_faces.js';
import { isHair, makeHairShell } from './hair_shell.js';
import { toFloats, toMorphTarget } from './mesh_loader.js';
import { bakeLight } from './light_baking.js';
import { addTarget } from './morph_targets.js';
import { SkinDeformer } from './skin_deformer.js';
import { makeVertexLitMaterial } from './vertex_lit_material.js';

const MAX_DISTANCE = 0.0005; // m, from the detailed mesh
const MIXED_POSES = 2; // in which it is kept, beside the rest

/** @typedef {import('./mesh_loader.js').MorphTarget} MorphTarget */

export class SimplifiedMesh {
  #camera = new Vector3();

  /**
   * @param {Mesh} detailed
   * @param {number} scale metres per unit of its vertices
   * @param {import('./scene.js').FaceScene} scene
   */
  constructor(detailed, scale, scene) {
    this.detailed = detailed;
    const isShell = isHair(detailed);
    const { geometry, targets, material } = isShell
      ? { ...makeHairShell(detailed, scene), targets: [] }
      : simplify(detailed, MAX_DISTANCE / scale, scene);
    this.targets = targets;
    this.skin = detailed instanceof SkinnedMesh ? new SkinDeformer(detailed, geometry) : null;
    this.rest = toFloats(geometry.attributes.position, 3);
    this.points = this.rest.slice();
    geometry.setAttribute('position', new BufferAttribute(this.points, 3).setUsage(DynamicDrawUsage));
    this.mesh = new Mesh(geometry, material);
    this.mesh.frustumCulled = false;
    this.mesh.renderOrder = isShell ? 1 : 0; // most of its inner side lies behind the head
    this.triangles = Uint32Array.from(geometry.index?.array ?? []); // of which those that face the camera are drawn
  }

  /** @param {boolean} isShown whether this form of the mesh is drawn, or the detailed one */
  show(isShown) {
    const { detailed, mesh } = this;
    if (isShown) detailed.add(mesh);
    else detailed.remove(mesh);
    if (isShown) detailed.layers.disableAll();
    else detailed.layers.set(0);
    this.update();
  }

  /** Move the vertices as the influences of the morph targets and the bones say. */
  update() {
    const { detailed, mesh, points, rest, targets, skin } = this;
    if (!mesh.parent || !(targets.length || skin)) return;
    points.set(rest);
    targets.forEach((target, k) => addTarget(points, target, detailed.morphTargetInfluences?.[k] ?? 0));
    skin?.apply(points);
    mesh.geometry.attributes.position.needsUpdate = true;
  }

  /**
   * Drop the triangles that face away from the camera.
   * @param {Vector3} camera position in the scene
   */
  cullBackFaces(camera) {
    const { mesh, points, triangles } = this;
    const { index } = mesh.geometry;
    if (!mesh.parent || !index || [mesh.material].flat()[0].side !== FrontSide) return;
    const end = selectFrontFaces(points, triangles, mesh.worldToLocal(this.#camera.copy(camera)), index.array, 0);
    mesh.geometry.setDrawRange(0, end);
    index.needsUpdate = true;
  }

  /** Release the GPU's memory. */
  dispose() {
    this.mesh.geometry.dispose();
    for (const material of [this.mesh.material].flat()) material.dispose();
  }
}

/**
 * A mesh with fewer vertices and triangles.
 * @param {Mesh} mesh
 * @param {number} maxDistance from its triangles, in units of its vertices
 * @param {import('./scene.js').FaceScene} scene
 */
function simplify(mesh, maxDistance, scene) {
  const { attributes, index, morphAttributes } = mesh.geometry;
  const rest = toFloats(attributes.position, 3);
  const all = Uint32Array.from(index?.array ?? rest.subarray(0, attributes.position.count).keys());
  const morphs = (morphAttributes.position ?? []).map(toMorphTarget);
  const mixedPoses = Array.from({ length: morphs.length ? MIXED_POSES : 0 }, (_, pose) => {
    const points = rest.slice();
    morphs.forEach((morph, k) => addTarget(points, morph, k % MIXED_POSES === pose ? 1 : 0));
    return points;
  });
  const triangles = collapseEdges(all, [rest, ...mixedPoses], maxDistance);
  const kept = Uint32Array.from(new Set(triangles));
  const numbers = new Int32Array(attributes.position.count).fill(-1); // of the vertices that are kept
  kept.forEach((vertex, number) => (numbers[vertex] = number));
  const simplified = new BufferGeometry();
  simplified.setIndex(new BufferAttribute(triangles.map((vertex) => numbers[vertex]), 1));
  for (const [name, attribute] of Object.entries(attributes)) {
    const values = toFloats(attribute, attribute.itemSize);
    simplified.setAttribute(name, new BufferAttribute(select(values, kept, attribute.itemSize), attribute.itemSize));
  }
  if (!attributes.normal) simplified.computeVertexNormals();
  const targets = morphs.map(({ indices, deltas }) => {
    const moved = indices.map((_, i) => i).filter((i) => numbers[indices[i]] >= 0);
    return { indices: moved.map((i) => numbers[indices[i]]), deltas: select(deltas, moved, 3) };
  });
  const [material] = [mesh.material].flat();
  if (!(material instanceof MeshStandardMaterial) || material.emissiveMap) {
    return { geometry: simplified, targets, material };
  }
  simplified.setAttribute('paint', bakeLight(simplified, material, mesh, scene));
  return { geometry: simplified, targets, material: makeVertexLitMaterial(material, true) };
}

/**
 * Rows of an array.
 * @param {Float32Array} values (N width,)
 * @param {Uint32Array} rows (n,)
 * @param {number} width
 */
function select(values, rows, width) {
  const out = new Float32Array(width * rows.length);
  rows.forEach((row, i) => out.set(values.subarray(width * row, width * (row + 1)), width * i));
  return out;
}
