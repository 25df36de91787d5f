// SPDX-License-Identifier: Apache-2.0
// A face of the user: a GLB file with ARKit morph targets, opened in the browser and never uploaded. Its size is
// limited, and references to other files are rejected.
import { Box3, Euler, Group, MathUtils, Mesh, Quaternion, Texture, Vector3 } from 'three';
import { matchName } from './arkit_names.js';
import { parseGlb } from './mesh_loader.js';

const MAX_FILE_BYTES = 96e6;
const MAX_VERTICES = 400000;
const MAX_TARGETS = 300; // of one mesh
const MAX_TARGETS_TOTAL = 6000;
const COMPRESSIONS = ['KHR_draco_mesh_compression', 'EXT_meshopt_compression', 'KHR_texture_basisu'];
const MAX_EYE_ANGLE = MathUtils.degToRad(30); // of an eye-look shape at weight 1
const MIN_DISPLACEMENT = 1e-5; // m
const MIN_FIGURE = 0.9; // m; a bust is shorter
const FIGURE_HEADS = 2.5; // a figure is taller than so many heads

/** @typedef {import('three').Object3D} Object3D */
/** @typedef {import('./scene.js').Bounds} Bounds */
/** @typedef {'head' | 'left' | 'right'} BoneName */

/**
 * A morph target with an ARKit name.
 * @typedef {object} Target
 * @property {Mesh} mesh
 * @property {number} influence index in the mesh's influences
 * @property {number} shape index of the weight
 */

/**
 * A bone that is rotated.
 * @typedef {object} Bone
 * @property {Object3D} node
 * @property {Quaternion} rest its own rotation
 * @property {Quaternion} parent world rotation of its parent
 */

export class Avatar {
  #rotation = new Quaternion();
  #gaze = new Euler();

  /**
   * @param {Group} object
   * @param {Target[]} targets
   * @param {Partial<Record<BoneName, Bone>>} bones
   * @param {string} name
   */
  constructor(object, targets, bones, name) {
    this.object = object;
    this.targets = targets;
    this.bones = bones;
    this.name = name;
    /** @type {Vector3 | null} */
    this.pivot = null; // about which the whole avatar turns, if it has no head bone
  }

  /**
   * Parse a file.
   * @param {ArrayBuffer} buffer
   * @param {string} name for messages
   * @param {string[]} names of the weights
   * @throws {Error} if the file cannot be used
   */
  static async parse(buffer, name, names) {
    checkGlb(buffer);
    const scene = await parseGlb(buffer);
    /** @type {Target[]} */
    const targets = [];
    /** @type {Partial<Record<BoneName, Bone>>} */
    const bones = {};
    let vertices = 0;
    scene.traverse((node) => {
      if (node instanceof Mesh) {
        vertices += node.geometry.attributes.position.count;
        node.castShadow = node.receiveShadow = true;
        node.frustumCulled = false;
        targets.push(...findTargets(node, names));
      } else {
        const bone = toBoneName(node.userData.name || node.name); // the loader drops colons and dots of names
        if (bone) bones[bone] ||= { node, rest: node.quaternion.clone(), parent: new Quaternion() };
      }
    });
    if (!targets.length) {
      throw new Error(`${name} has no morph target with an ARKit name: name them jawOpen, mouthSmileLeft, …`);
    }
    if (vertices > MAX_VERTICES || targets.length > MAX_TARGETS_TOTAL) {
      throw new Error(`${name} has ${vertices} vertices: give at most ${MAX_VERTICES}`);
    }
    const object = new Group();
    if (parseGlbJson(buffer)?.extensions?.VRM) scene.rotation.y += Math.PI; // VRM 0.x faces backwards
    object.add(scene);
    object.updateMatrixWorld(true);
    for (const bone of Object.values(bones)) bone.node.parent?.getWorldQuaternion(bone.parent);
    if (targets.some(({ shape }) => names[shape].startsWith('eyeLook'))) {
      delete bones.left; // the shapes turn the eyes
      delete bones.right;
    }
    const avatar = new Avatar(object, targets, bones, name);
    if (!bones.head) avatar.#detachHead();
    return avatar;
  }

  /**
   * Pose the avatar.
   * @param {Float32Array} weights (52,)
   * @param {ArrayLike<number>} head quaternion xyzw in the package's axes
   * @param {Record<string, number>} index of each weight, by its name
   */
  pose(weights, head, index) {
    for (const { mesh, influence } of this.targets) setInfluence(mesh, influence, 0);
    for (const { mesh, influence, shape } of this.targets) {
      setInfluence(mesh, influence, (mesh.morphTargetInfluences?.[influence] ?? 0) + weights[shape]);
    }
    const rotation = this.#rotation.set(head[1], head[2], head[0], head[3]);
    if (this.bones.head) {
      rotateBone(this.bones.head, rotation);
    } else if (this.pivot) {
      this.object.quaternion.copy(rotation);
      this.object.position.copy(this.pivot).applyQuaternion(rotation).negate().add(this.pivot);
    }
    /** @type {(shape: string) => number} */
    const look = (shape) => weights[index[`eyeLook${shape}`]];
    this.#rotateEye(this.bones.left, look('DownLeft') - look('UpLeft'), look('OutLeft') - look('InLeft'));
    this.#rotateEye(this.bones.right, look('DownRight') - look('UpRight'), look('InRight') - look('OutRight'));
  }

  /**
   * Bounding box of the vertices that the shapes move, with a margin for hair.
   * @returns {Bounds}
   */
  bounds() {
    const box = this.#movingBox();
    const size = box.getSize(new Vector3());
    const center = box.getCenter(new Vector3());
    center.y += 0.06 * size.y;
    this.pivot = new Vector3(center.x, box.min.y - 0.2 * size.y, center.z - 0.3 * size.z);
    return { center: center.toArray(), size: [1.25 * size.x, 1.35 * size.y, size.z] };
  }

  /** Bounding box of the vertices that the shapes move; of the whole avatar, if none does. */
  #movingBox() {
    const box = new Box3();
    const point = new Vector3();
    const displacement = new Vector3();
    for (const mesh of new Set(this.targets.map((target) => target.mesh))) {
      const morphs = mesh.geometry.morphAttributes.position || [];
      const used = new Set(this.targets.filter((target) => target.mesh === mesh).map(({ influence }) => influence));
      const shapes = morphs.filter((_, influence) => used.has(influence));
      for (let i = 0; i < mesh.geometry.attributes.position.count; i++) {
        const moves = shapes.some(
          (morph) => displacement.fromBufferAttribute(morph, i).lengthSq() > MIN_DISPLACEMENT ** 2,
        );
        if (moves) box.expandByPoint(mesh.localToWorld(mesh.getVertexPosition(i, point))); // by its skin, if any
      }
    }
    return box.isEmpty() ? box.setFromObject(this.object) : box;
  }

  /** Let the meshes of a whole figure's head turn without its body, if no bone does it; see whole_figure.py. */
  #detachHead() {
    const box = this.#movingBox();
    const all = new Box3().setFromObject(this.object);
    for (const mesh of new Set(this.targets.map((target) => target.mesh))) {
      const whole = new Box3().setFromObject(mesh);
      if (whole.max.y - whole.min.y < FIGURE_HEADS * Math.max(...box.getSize(new Vector3()).toArray())) box.union(whole);
    }
    const height = box.max.y - box.min.y;
    if (all.max.y - all.min.y < Math.max(MIN_FIGURE, FIGURE_HEADS * height)) return;
    const center = box.getCenter(new Vector3());
    const head = new Group();
    head.position.set(center.x, box.min.y + 0.2 * height, center.z);
    this.object.add(head);
    this.object.updateMatrixWorld(true);
    /** @type {Mesh[]} */
    const meshes = [];
    this.object.traverse((node) => {
      if (node instanceof Mesh && new Box3().setFromObject(node).min.y >= box.min.y - 0.3 * height) meshes.push(node);
    });
    for (const mesh of meshes) head.attach(mesh);
    this.bones.head = { node: head, rest: head.quaternion.clone(), parent: new Quaternion() };
  }

  /** Release the GPU's memory. */
  dispose() {
    this.object.traverse((node) => {
      if (!(node instanceof Mesh)) return;
      node.geometry.dispose();
      for (const material of [node.material].flat()) {
        for (const value of Object.values(material)) if (value instanceof Texture) value.dispose();
        material.dispose();
      }
    });
  }

  /**
   * @param {Bone | undefined} bone
   * @param {number} down -1..1
   * @param {number} left -1..1
   */
  #rotateEye(bone, down, left) {
    if (!bone) return;
    this.#gaze.set(MAX_EYE_ANGLE * down, MAX_EYE_ANGLE * left, 0);
    rotateBone(bone, new Quaternion().setFromEuler(this.#gaze));
  }
}

/**
 * The morph targets of a mesh with ARKit names. Where it has a shape under several schemes of names, the most direct
 * one counts.
 * @param {Mesh} mesh
 * @param {string[]} names of the weights
 * @returns {Target[]}
 */
function findTargets(mesh, names) {
  const found = Object.entries(mesh.morphTargetDictionary || {}).flatMap(([label, influence]) => {
    const match = matchName(label, names);
    return match ? [{ mesh, influence, shape: names.indexOf(match.name), rank: match.rank }] : [];
  });
  /** @type {Map<number, number>} */
  const best = new Map();
  for (const { shape, rank } of found) best.set(shape, Math.min(rank, best.get(shape) ?? rank));
  return found.filter(({ shape, rank }) => rank === best.get(shape));
}

/**
 * @param {Mesh} mesh
 * @param {number} influence
 * @param {number} value
 */
function setInfluence({ morphTargetInfluences }, influence, value) {
  if (morphTargetInfluences) morphTargetInfluences[influence] = value;
}

/**
 * Apply a rotation in the scene's axes to a bone, whose own is relative to its parent.
 * @param {Bone} bone
 * @param {Quaternion} rotation
 */
function rotateBone({ node, rest, parent }, rotation) {
  node.quaternion.copy(parent).invert().multiply(rotation).multiply(parent).multiply(rest);
}

/**
 * @param {string} name of a node
 * @returns {BoneName | null}
 */
function toBoneName(name) {
  if (!/^(.*[_:. ])?(head|(left|right)_?eye|eye_?(l|r|left|right)|[lr]_?eye)$/i.test(name)) return null;
  if (!/eye/i.test(name)) return 'head';
  return /left|_?l$|(^|[_:. ])l_?eye$/i.test(name) ? 'left' : 'right';
}

/**
 * Check that a file is a complete GLB 2.0 without references to other files.
 * @param {ArrayBuffer} buffer
 * @throws {Error}
 */
function checkGlb(buffer) {
  if (buffer.byteLength > MAX_FILE_BYTES) {
    const megabytes = Math.round(buffer.byteLength / 1e6);
    throw new Error(`this file has ${megabytes} MB: give at most ${MAX_FILE_BYTES / 1e6}`);
  }
  const document = parseGlbJson(buffer);
  if (!document) throw new Error('this is not a complete GLB 2.0 file: export the face as .glb');
  const resources = [...(document.buffers || []), ...(document.images || [])];
  if (resources.some(({ uri }) => uri && !uri.startsWith('data:'))) {
    throw new Error('this file needs others beside it: export it as one .glb with everything inside');
  }
  const compression = COMPRESSIONS.find((name) => (document.extensionsRequired || []).includes(name));
  if (compression) throw new Error(`this file is compressed (${compression}): export it without compression`);
  if (!isForest(document.nodes || [])) throw new Error("this file's nodes are no tree: export it again");
  for (const mesh of document.meshes || []) {
    for (const { targets = [] } of mesh.primitives || []) {
      if (targets.length > MAX_TARGETS) {
        throw new Error(`this file has ${targets.length} morph targets in one mesh: give at most ${MAX_TARGETS}`);
      }
    }
  }
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
 * The fields of a glTF document that are checked.
 * @typedef {object} GltfDocument
 * @property {{uri?: string}[]} [buffers]
 * @property {{uri?: string}[]} [images]
 * @property {{children?: number[]}[]} [nodes]
 * @property {string[]} [extensionsRequired]
 * @property {Record<string, object>} [extensions]
 * @property {{primitives?: {targets?: object[]}[]}[]} [meshes]
 */

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
