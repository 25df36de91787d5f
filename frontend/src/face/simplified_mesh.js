// SPDX-License-Identifier: Apache-2.0
// A mesh of an avatar as a software renderer draws it fast enough for speech: lit per vertex, with the texture of its
// colour alone, its morph targets added on the CPU, and hair of fewer cards.
import { BufferAttribute, BufferGeometry, DynamicDrawUsage, MeshStandardMaterial } from 'three';
import { toFloats, toMorphTarget } from './mesh_loader.js';
import { addTarget } from './morph_targets.js';
import { makeVertexLitMaterial } from './vertex_lit_material.js';

const MIN_CARDS = 200; // of a mesh with cut-out alpha, from which it is hair
const CARDS_STEP = 2; // of which one card is drawn

/** @typedef {import('three').Mesh} Mesh */
/** @typedef {import('three').Material} Material */

export class SimplifiedMesh {
  /** @param {Mesh} mesh */
  constructor(mesh) {
    this.mesh = mesh;
    const { geometry, material } = mesh;
    this.detailed = { geometry, material };
    this.rest = toFloats(geometry.attributes.position, 3);
    this.targets = (geometry.morphAttributes.position ?? []).map(toMorphTarget);
    this.positions = new BufferAttribute(this.rest.slice(), 3).setUsage(DynamicDrawUsage);
    const simplified = new BufferGeometry();
    simplified.index = selectTriangles(mesh);
    for (const { start, count, materialIndex } of geometry.groups) simplified.addGroup(start, count, materialIndex);
    for (const [name, attribute] of Object.entries(geometry.attributes)) simplified.setAttribute(name, attribute);
    simplified.setAttribute('position', this.positions);
    this.simplified = {
      geometry: simplified,
      material: Array.isArray(material) ? material.map(simplifyMaterial) : simplifyMaterial(material),
    };
  }

  /** @param {boolean} isSimplified whether this form of the mesh is drawn, or the detailed one */
  show(isSimplified) {
    Object.assign(this.mesh, isSimplified ? this.simplified : this.detailed);
    if (isSimplified) this.update();
  }

  /** Move the vertices as the influences of the mesh's morph targets say. */
  update() {
    const { mesh, positions, rest, targets } = this;
    if (mesh.geometry !== this.simplified.geometry || !targets.length) return;
    const points = positions.array;
    points.set(rest);
    targets.forEach((target, k) => addTarget(points, target, mesh.morphTargetInfluences?.[k] ?? 0));
    positions.needsUpdate = true;
  }

  /** Release the GPU's memory. */
  dispose() {
    this.simplified.geometry.dispose();
    for (const material of [this.simplified.material].flat()) material.dispose();
  }
}

/**
 * @param {Material} material
 * @returns {Material}
 */
function simplifyMaterial(material) {
  return material instanceof MeshStandardMaterial && !material.emissiveMap ? makeVertexLitMaterial(material) : material;
}

/**
 * The triangles that are drawn: those of every second card of hair, else all.
 * @param {Mesh} mesh
 */
function selectTriangles({ geometry: { attributes, index }, material }) {
  if (!index || Array.isArray(material) || !(material.alphaTest > 0)) return index;
  const cards = findCards(index.array, attributes.position.count);
  if (new Set(cards).size < MIN_CARDS) return index;
  return new BufferAttribute(Uint32Array.from(index.array.filter((vertex) => cards[vertex] % CARDS_STEP === 0)), 1);
}

/**
 * The number of the card, the connected part of the mesh, of each vertex.
 * @param {ArrayLike<number>} triangles (3T,)
 * @param {number} count of the vertices
 */
function findCards(triangles, count) {
  const parents = Uint32Array.from({ length: count }, (_, vertex) => vertex);
  /** @param {number} vertex */
  const root = (vertex) => {
    while (parents[vertex] !== vertex) vertex = parents[vertex] = parents[parents[vertex]];
    return vertex;
  };
  for (let i = 0; i < triangles.length; i++) {
    const [a, b] = [root(triangles[i]), root(triangles[i - (i % 3)])];
    parents[Math.max(a, b)] = Math.min(a, b);
  }
  /** @type {Map<number, number>} */
  const numbers = new Map();
  return Array.from(parents, (_, vertex) => {
    const first = root(vertex);
    if (!numbers.has(first)) numbers.set(first, numbers.size);
    return numbers.get(first) ?? 0;
  });
}
