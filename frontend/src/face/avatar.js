// SPDX-License-Identifier: Apache-2.0
// A face of the user: a GLB or VRM file with morph targets of a known scheme of names, opened in the browser and never
// uploaded. Its size is limited, and references to other files are rejected.
import { Bone as BoneNode, Box3, Euler, Group, MathUtils, Mesh, Quaternion, SkinnedMesh, Texture, Vector3 } from 'three';
import { TargetDrivers } from './gltf_targets.js';
import { parseGlb } from './mesh_loader.js';

const MAX_FILE_BYTES = 96e6;
const MAX_VERTICES = 400000;
const MAX_TARGETS = 300; // of one mesh
const MAX_TARGETS_TOTAL = 6000;
const COMPRESSION = /_meshopt_compression$|^KHR_draco_mesh_compression$|^KHR_texture_basisu$/;
// of joints beside the head, as in gltf_scene.py: HeadNub
const NO_HEAD_WORDS = new Set(['aim', 'ctrl', 'end', 'eye', 'front', 'ik', 'look', 'nub', 'tail', 'target', 'tip', 'top']);
const MAX_EYE_ANGLE = MathUtils.degToRad(30); // of an eye-look shape at weight 1
const MIN_DISPLACEMENT = 1e-5; // m
const MIN_FIGURE = 0.9; // m; a bust is shorter
const FIGURE_HEADS = 2.5; // a figure is taller than so many heads

/** @typedef {import('three').Object3D} Object3D */
/** @typedef {import('./scene.js').Bounds} Bounds */
/** @typedef {'head' | 'left' | 'right'} BoneName */

/**
 * A morph target that is driven.
 * @typedef {object} Target
 * @property {Mesh} mesh
 * @property {number} influence index in the mesh's influences
 * @property {[shape: number, factor: number][]} factors of the weights, whose sum is the influence
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
   * @param {string[]} missing ARKit names that move nothing
   */
  constructor(object, targets, bones, name, missing) {
    this.object = object;
    this.targets = targets;
    this.bones = bones;
    this.name = name;
    this.missing = missing;
    /** @type {Vector3 | null} */
    this.pivot = null; // about which the whole avatar turns, if it has no head bone
  }

  /**
   * Parse a file.
   * @param {ArrayBuffer} buffer
   * @param {string} name for messages
   * @param {string[]} names of the weights
   * @param {import('./decoders.js').Decoders | null} decoders of compressed files
   * @throws {Error} if the file cannot be used
   */
  static async parse(buffer, name, names, decoders = null) {
    const document = checkGlb(buffer);
    const drivers = findTargetDrivers(document, names);
    const { scene, parser } = await parseGlb(buffer, document.extensionsUsed, decoders).catch((error) => {
      const reason = String(error.message ?? error).slice(0, 100);
      const isCompressed = document.extensionsUsed?.some((extension) => COMPRESSION.test(extension));
      const cure = isCompressed ? 'without compression, as `gltf-transform copy` does' : 'again';
      throw new Error(`${name} cannot be read (${reason}): export it ${cure}`);
    });
    /** @type {Target[]} */
    const targets = [];
    /** @type {Partial<Record<BoneName, Bone>>} */
    const bones = {};
    const humanoid = vrmBones(document);
    let vertices = 0;
    scene.traverse((node) => {
      if (node instanceof Mesh) {
        vertices += node.geometry.attributes.position.count;
        node.castShadow = node.receiveShadow = true;
        node.frustumCulled = false;
        for (const material of [node.material].flat()) {
          if (material.alphaTest > 0) material.alphaToCoverage = true; // smooth edges of hair
        }
        targets.push(...findTargets(node, drivers, parser.associations.get(node), names));
      } else {
        const name = node.userData.name || node.name; // the loader drops colons and dots of names
        const named = parser.associations.get(node)?.nodes;
        const bone = humanoid.size ? humanoid.get(named ?? -1) : toBoneName(name, node instanceof BoneNode);
        if (bone) bones[bone] ||= { node, rest: node.quaternion.clone(), parent: new Quaternion() };
      }
    });
    if (!targets.length) {
      const some = drivers.labels.slice(0, 3).map((label) => label.slice(0, 40));
      throw new Error(
        `${name} has no morph target with an ARKit name (it has: ${some.join(', ') || 'none'}): name them jawOpen, ` +
          'mouthSmileLeft, …',
      );
    }
    if (vertices > MAX_VERTICES || targets.length > MAX_TARGETS_TOTAL) {
      throw new Error(`${name} has ${vertices} vertices: give at most ${MAX_VERTICES}`);
    }
    const object = new Group();
    if (document.extensions?.VRM) scene.rotation.y += Math.PI; // VRM 0.x faces backwards
    object.add(scene);
    object.updateMatrixWorld(true);
    for (const bone of Object.values(bones)) bone.node.parent?.getWorldQuaternion(bone.parent);
    if (names.some((shape) => shape.startsWith('eyeLook') && drivers.shapes.driven.has(shape))) {
      delete bones.left; // the shapes turn the eyes
      delete bones.right;
    }
    const avatar = new Avatar(object, targets, bones, name, drivers.missing);
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
    for (const { mesh, influence, factors } of this.targets) {
      let sum = 0;
      for (const [shape, factor] of factors) sum += factor * weights[shape];
      if (mesh.morphTargetInfluences) mesh.morphTargetInfluences[influence] = sum;
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
    const moved = new Vector3();
    const displacement = new Vector3();
    const largest = new Vector3();
    for (const mesh of new Set(this.targets.map((target) => target.mesh))) {
      const morphs = mesh.geometry.morphAttributes.position || [];
      const used = new Set(this.targets.filter((target) => target.mesh === mesh).map(({ influence }) => influence));
      const shapes = morphs.filter((_, influence) => used.has(influence));
      for (let i = 0; i < mesh.geometry.attributes.position.count; i++) {
        largest.set(0, 0, 0); // in the units of the mesh, which node or skin bring to metres
        for (const morph of shapes) {
          displacement.fromBufferAttribute(morph, i);
          if (displacement.lengthSq() > largest.lengthSq()) largest.copy(displacement);
        }
        if (!largest.lengthSq()) continue;
        placeVertex(mesh, i, point.fromBufferAttribute(mesh.geometry.attributes.position, i));
        placeVertex(mesh, i, moved.fromBufferAttribute(mesh.geometry.attributes.position, i).add(largest));
        if (moved.distanceTo(point) > MIN_DISPLACEMENT) box.expandByPoint(point);
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
 * @param {GltfDocument} document
 * @param {string[]} names of the weights
 * @throws {Error} if a damaged file has other things where meshes and expressions are
 */
function findTargetDrivers(document, names) {
  try {
    return new TargetDrivers(document, names);
  } catch {
    throw new Error("this file's morph targets are damaged: export it again");
  }
}

/**
 * The morph targets of a mesh that are driven.
 * @param {Mesh} mesh
 * @param {TargetDrivers} drivers
 * @param {{meshes?: number, primitives?: number} | undefined} place of the mesh in the document
 * @param {string[]} names of the weights
 * @returns {Target[]}
 */
function findTargets(mesh, drivers, place, names) {
  if (place?.meshes === undefined) return [];
  return drivers.select(place.meshes, place.primitives ?? 0).map(([influence, factors]) => ({
    mesh,
    influence,
    factors: Object.entries(factors).map(([name, factor]) => [names.indexOf(name), factor]),
  }));
}

/**
 * Bring a point of a mesh to the scene's axes and metres, as its skin or its node does.
 * @param {Mesh} mesh
 * @param {number} vertex
 * @param {Vector3} point in the mesh's units; changed
 */
function placeVertex(mesh, vertex, point) {
  if (mesh instanceof SkinnedMesh) mesh.applyBoneTransform(vertex, point);
  mesh.localToWorld(point);
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
 * The bones that a VRM 0.x or 1.0 names, by the indices of their nodes; empty if it names no head.
 * @param {GltfDocument} document
 * @returns {Map<number, BoneName>}
 */
function vrmBones({ extensions }) {
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
function toBoneName(name, isJoint) {
  const words = (name.match(/[A-Z]+(?![a-z])|[A-Z]?[a-z]+/g) ?? []).map((word) => word.toLowerCase());
  if (isJoint && words.includes('head') && !words.some((word) => NO_HEAD_WORDS.has(word))) return 'head';
  if (!/^(.*[_:. ])?(head|(left|right)_?eye|eye_?(l|r|left|right)|[lr]_?eye)$/i.test(name)) return null;
  if (!/eye/i.test(name)) return 'head';
  return /left|_?l$|(^|[_:. ])l_?eye$/i.test(name) ? 'left' : 'right';
}

/**
 * Check that a file is a complete GLB 2.0 without references to other files.
 * @param {ArrayBuffer} buffer
 * @returns {GltfDocument}
 * @throws {Error} if the file is too large, incomplete or needs others
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
 * @property {string[]} [extensionsUsed]
 * @property {Record<string, object>} [extensions]
 * @property {any[]} [accessors]
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
