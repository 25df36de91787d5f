// SPDX-License-Identifier: Apache-2.0
// The bones of an avatar that turn its head and its eyes: which ones they are, and their rotation.
import { Quaternion } from 'three';

// of joints beside the head, as in gltf_scene.py: HeadNub
const NO_HEAD_WORDS = new Set(['aim', 'ctrl', 'end', 'eye', 'front', 'ik', 'look', 'nub', 'tail', 'target', 'tip', 'top']);

/** @typedef {'head' | 'left' | 'right'} BoneName */

/**
 * A bone that is rotated.
 * @typedef {object} Bone
 * @property {import('three').Object3D} node
 * @property {Quaternion} rest its own rotation
 * @property {Quaternion} parent world rotation of its parent
 */

/**
 * @param {import('three').Object3D} node
 * @returns {Bone}
 */
export const makeBone = (node) => ({ node, rest: node.quaternion.clone(), parent: new Quaternion() });

/**
 * Apply a rotation in the scene's axes to a bone, whose own is relative to its parent.
 * @param {Bone} bone
 * @param {Quaternion} rotation
 */
export function rotateBone({ node, rest, parent }, rotation) {
  node.quaternion.copy(parent).invert().multiply(rotation).multiply(parent).multiply(rest);
}

/**
 * The bones that a VRM 0.x or 1.0 names, by the indices of their nodes; empty if it names no head.
 * @param {import('./glb_document.js').GltfDocument} document
 * @returns {Map<number, BoneName>}
 */
export function vrmBones({ extensions }) {
  const { VRM: vrm0, VRMC_vrm: vrm1 } = /** @type {Record<string, any>} */ (extensions ?? {});
  const bones = vrm0 ? vrm0.humanoid?.humanBones : vrm1?.humanoid?.humanBones;
  /** @type {(bone: string) => unknown} */
  const find = (bone) =>
    Array.isArray(bones) ? bones.find((entry) => entry?.bone === bone)?.node : bones?.[bone]?.node;
  /** @type {Map<number, BoneName>} */
  const found = new Map();
  for (const [bone, name] of /** @type {[string, BoneName][]} */ ([['head', 'head'], ['leftEye', 'left'], ['rightEye', 'right']])) {
    const node = find(bone);
    if (typeof node === 'number') found.set(node, name);
  }
  return [...found.values()].includes('head') ? found : new Map();
}

/**
 * @param {string} name of a node
 * @param {boolean} isJoint whether a skin uses it
 * @returns {BoneName | null}
 */
export function toBoneName(name, isJoint) {
  const words = (name.match(/[A-Z]+(?![a-z])|[A-Z]?[a-z]+/g) ?? []).map((word) => word.toLowerCase());
  if (isJoint && words.includes('head') && !words.some((word) => NO_HEAD_WORDS.has(word))) return 'head';
  if (!/^(.*[_:. ])?(head|(left|right)_?eye|eye_?(l|r|left|right)|[lr]_?eye)$/i.test(name)) return null;
  if (!/eye/i.test(name)) return 'head';
  return /left|_?l$|(^|[_:. ])l_?eye$/i.test(name) ? 'left' : 'right';
}
