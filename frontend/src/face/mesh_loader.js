// SPDX-License-Identifier: Apache-2.0
// Loader of GLB files: `parseGlb` for any of them, `fetchFaceMesh` for the faces of the server, whose shapes are
// computed on the CPU (see morph_targets.js). The axes of glTF are those of the scene: x to the viewer's right (the
// person's left), y up, z towards the viewer.
import { BufferAttribute, Mesh, Points } from 'three';
import { GLTFLoader } from 'three/examples/jsm/loaders/GLTFLoader.js';

/** @typedef {import('three').InterleavedBufferAttribute} InterleavedBufferAttribute */

/**
 * Displacements of the vertices that a shape moves.
 * @typedef {object} MorphTarget
 * @property {Uint32Array} indices (n,) of the vertices
 * @property {Float32Array} deltas (3n,) metres at weight 1
 */

/**
 * A face whose shapes are computed on the CPU, as face/formats/gltf_writer.py writes it.
 * @typedef {object} FaceMeshData
 * @property {Float32Array} vertices (3V,) metres
 * @property {Uint32Array} triangles (3T,); empty for a cloud of points
 * @property {Float32Array} colors (3V,) linear
 * @property {MorphTarget[]} targets in the order of the weights
 * @property {Record<string, [number, number]>} parts vertex range of each part
 * @property {[number, number, number]} pivot where the head turns
 * @property {Float32Array | null} headFollow (V,) fraction of the head's rotation that a vertex takes; null: all
 * @property {{bias: number, weights: number[]} | null} lipGap the gap in metres is bias + weights · blendshape weights
 */

/**
 * Parse a GLB file.
 * @param {ArrayBuffer} buffer
 * @param {string[]} extensions that the file uses
 * @param {import('./decoders.js').Decoders | null} decoders of compressed files
 * @returns {Promise<import('three/examples/jsm/loaders/GLTFLoader.js').GLTF>}
 */
export async function parseGlb(buffer, extensions = [], decoders = null) {
  const loader = new GLTFLoader();
  await decoders?.prepare(loader, extensions);
  return loader.parseAsync(buffer, '');
}

/**
 * Fetch a face of the server.
 * @param {string} url
 * @returns {Promise<FaceMeshData>}
 */
export async function fetchFaceMesh(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`the face could not be fetched (${response.status})`);
  const { scene } = await parseGlb(await response.arrayBuffer());
  /** @type {FaceMeshData | null} */
  let data = null;
  scene.traverse((object) => {
    if (object instanceof Mesh || object instanceof Points) data ??= toFaceMeshData(object);
  });
  if (!data) throw new Error('the face holds no mesh');
  return data;
}

/**
 * @param {Mesh | Points} object
 * @returns {FaceMeshData}
 */
function toFaceMeshData({ geometry, userData }) {
  const { position, color, _head_follow: follow } = geometry.attributes;
  const rig = userData.rig ?? {};
  const data = {
    vertices: toFloats(position, 3),
    triangles: geometry.index ? Uint32Array.from(geometry.index.array) : new Uint32Array(),
    colors: color ? toFloats(color, 3) : new Float32Array(3 * position.count).fill(0.7),
    targets: (geometry.morphAttributes.position ?? []).map(toMorphTarget),
    parts: rig.parts ?? {},
    pivot: rig.pivot ?? [0, 0, 0],
    headFollow: follow ? toFloats(follow, 1) : null,
    lipGap: rig.lipGap ?? null,
  };
  geometry.dispose();
  return data;
}

/**
 * @param {BufferAttribute | InterleavedBufferAttribute} attribute
 * @param {number} width components to take of each item
 */
export function toFloats(attribute, width) {
  if (attribute instanceof BufferAttribute && attribute.array instanceof Float32Array && attribute.itemSize === width) {
    return attribute.array.slice();
  }
  const out = new Float32Array(width * attribute.count);
  for (let i = 0; i < attribute.count; i++) {
    for (let k = 0; k < width; k++) out[width * i + k] = attribute.getComponent(i, k);
  }
  return out;
}

/**
 * @param {BufferAttribute | InterleavedBufferAttribute} attribute displacements of all vertices
 * @returns {MorphTarget}
 */
export function toMorphTarget(attribute) {
  const all = toFloats(attribute, 3);
  /** @type {number[]} */
  const indices = [];
  for (let v = 0; v < attribute.count; v++) {
    if (all[3 * v] !== 0 || all[3 * v + 1] !== 0 || all[3 * v + 2] !== 0) indices.push(v);
  }
  const deltas = new Float32Array(3 * indices.length);
  indices.forEach((v, i) => deltas.set(all.subarray(3 * v, 3 * v + 3), 3 * i));
  return { indices: Uint32Array.from(indices), deltas };
}
