// SPDX-License-Identifier: Apache-2.0
// The JSON document of a GLB file of the user, whose size is limited, and in which references to other files are
// rejected.

const MAX_FILE_BYTES = 96e6;
const MAX_TARGETS = 300; // of one mesh

/**
 * The fields of a glTF document that are checked.
 * @typedef {object} GltfDocument
 * @property {{uri?: string}[]} [buffers]
 * @property {{uri?: string}[]} [images]
 * @property {{children?: number[]}[]} [nodes]
 * @property {string[]} [extensionsUsed]
 * @property {Record<string, object>} [extensions]
 * @property {any[]} [accessors]
 * @property {{primitives?: {targets?: object[]}[]}[]} [meshes]
 */

/**
 * Check that a file is a complete GLB 2.0 without references to other files.
 * @param {ArrayBuffer} buffer
 * @returns {GltfDocument}
 * @throws {Error} if the file is too large, incomplete or needs others
 */
export function checkGlb(buffer) {
  checkFileSize(buffer.byteLength);
  const document = parseGlbJson(buffer);
  if (!document) throw new Error('this is not a complete GLB 2.0 file: export the face as .glb');
  const resources = [...(document.buffers || []), ...(document.images || [])];
  if (resources.some(({ uri }) => uri && !uri.startsWith('data:'))) {
    throw new Error('this file needs others beside it: export it as one .glb with everything inside');
  }
  if (!isForest(document.nodes || [])) throw new Error("this file's nodes are no tree: export it again");
  for (const mesh of document.meshes || []) {
    for (const { targets = [] } of mesh.primitives || []) {
      if (targets.length > MAX_TARGETS) {
        throw new Error(`this file has ${targets.length} morph targets in one mesh: give at most ${MAX_TARGETS}`);
      }
    }
  }
  return document;
}

/**
 * @param {number} bytes
 * @throws {Error} if a file of this size is too large
 */
export function checkFileSize(bytes) {
  if (bytes <= MAX_FILE_BYTES) return;
  throw new Error(`this file has ${Math.round(bytes / 1e6)} MB: give at most ${MAX_FILE_BYTES / 1e6}`);
}

/**
 * Whether every node has at most one parent and a root above it; the loader waits for ever on a ring.
 * @param {{children?: number[]}[]} nodes
 */
function isForest(nodes) {
  const parents = new Array(nodes.length).fill(-1);
  for (const [index, { children }] of nodes.entries()) {
    for (const child of Array.isArray(children) ? children : []) {
      if (parents[child] !== -1) return false; // two parents, or no such node
      parents[child] = index;
    }
  }
  const stack = [...parents.keys()].filter((index) => parents[index] === -1);
  let reached = 0;
  while (stack.length) {
    const { children } = nodes[stack.pop() ?? 0];
    reached++;
    if (Array.isArray(children)) stack.push(...children);
  }
  return reached === nodes.length;
}

/**
 * @param {ArrayBuffer} buffer
 * @returns {GltfDocument | null} null if this is not a complete GLB 2.0 file
 */
function parseGlbJson(buffer) {
  if (buffer.byteLength < 20) return null;
  const view = new DataView(buffer);
  const jsonLength = view.getUint32(12, true);
  const isGlb2 = view.getUint32(0, true) === 0x46546c67 && view.getUint32(4, true) === 2;
  if (!isGlb2 || view.getUint32(8, true) > buffer.byteLength || 20 + jsonLength > buffer.byteLength) return null;
  try {
    return JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 20, jsonLength)));
  } catch {
    return null;
  }
}
