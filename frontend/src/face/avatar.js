// SPDX-License-Identifier: Apache-2.0
// A face of the user: a GLB or VRM file with morph targets of a known scheme of names, opened in the browser and never
// uploaded.
import { Bone as Joint, Box3, Euler, Group, MathUtils, Mesh, Quaternion, SkinnedMesh, Texture, Vector3 } from 'three';
import { makeBone, rotateBone, toBoneName, vrmBones } from './bones.js';
import { checkGlb } from './glb_document.js';
import { TargetDrivers } from './gltf_targets.js';
import { parseGlb } from './mesh_loader.js';
import { SimplifiedMesh } from './simplified_mesh.js';

const MAX_VERTICES = 400000;
const MAX_TARGETS_TOTAL = 6000;
const COMPRESSION = /_meshopt_compression$|^KHR_draco_mesh_compression$|^KHR_texture_basisu$/;
const MAX_EYE_ANGLE = MathUtils.degToRad(30); // of an eye-look shape at weight 1
const MIN_DISPLACEMENT = 1e-5; // m
const MIN_FIGURE = 0.9; // m; a bust is shorter
const FIGURE_HEADS = 2.5; // a figure is taller than so many heads

/** @typedef {import('./scene.js').Bounds} Bounds */
/** @typedef {import('./bones.js').Bone} Bone */
/** @typedef {import('./bones.js').BoneName} BoneName */
/** @typedef {import('./glb_document.js').GltfDocument} GltfDocument */

/**
 * A morph target that is driven.
 * @typedef {object} Target
 * @property {Mesh} mesh
 * @property {number} influence index in the mesh's influences
 * @property {[shape: number, factor: number][]} factors of the weights, whose sum is the influence
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
    object.updateMatrixWorld(true);
    this.movingBox = this.#findMovingBox();
    /** @type {SimplifiedMesh[] | null} */
    this.simplified = null; // made for the first software renderer
  }

  /**
   * @param {{plain: boolean}} detail plain: whether materials and meshes suit a software renderer
   * @param {import('./scene.js').FaceScene} scene
   */
  setDetail({ plain }, scene) {
    if (plain) {
      this.simplified ??= this.#meshes().map((mesh) => new SimplifiedMesh(mesh, metresPerUnit(mesh), scene));
    }
    for (const mesh of this.simplified ?? []) mesh.show(plain);
  }

  /**
   * On a software renderer, drop the triangles that face away from the camera.
   * @param {Vector3} camera position
   */
  cullBackFaces(camera) {
    for (const mesh of this.simplified ?? []) mesh.cullBackFaces(camera);
  }

  #meshes() {
    /** @type {Mesh[]} */
    const meshes = [];
    this.object.traverse((node) => {
      if (node instanceof Mesh) meshes.push(node);
    });
    return meshes;
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
        const bone = humanoid.size ? humanoid.get(named ?? -1) : toBoneName(name, node instanceof Joint);
        if (bone) bones[bone] ||= makeBone(node);
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
    if (!this.simplified) return;
    this.object.updateMatrixWorld();
    for (const mesh of this.simplified) mesh.update();
  }

  /**
   * Bounding box of the vertices that the shapes move, with a margin for hair.
   * @returns {Bounds}
   */
  bounds() {
    const box = this.movingBox;
    const size = box.getSize(new Vector3());
    const center = box.getCenter(new Vector3());
    center.y += 0.06 * size.y;
    this.pivot = new Vector3(center.x, box.min.y - 0.2 * size.y, center.z - 0.3 * size.z);
    return { center: center.toArray(), size: [1.25 * size.x, 1.35 * size.y, size.z] };
  }

  /** Bounding box of the vertices that the shapes move; of the whole avatar, if none does. */
  #findMovingBox() {
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
    const box = this.movingBox.clone();
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
    for (const mesh of this.#meshes()) {
      if (new Box3().setFromObject(mesh).min.y >= box.min.y - 0.3 * height) head.attach(mesh);
    }
    this.bones.head = makeBone(head);
  }

  /** Release the GPU's memory. */
  dispose() {
    for (const mesh of this.simplified ?? []) {
      mesh.show(false);
      mesh.dispose();
    }
    for (const { geometry, material } of this.#meshes()) {
      geometry.dispose();
      for (const each of [material].flat()) {
        for (const value of Object.values(each)) if (value instanceof Texture) value.dispose();
        each.dispose();
      }
    }
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
 * Metres per unit of a mesh's vertices, as its skin or its node brings them to the scene.
 * @param {Mesh} mesh
 */
function metresPerUnit(mesh) {
  const { position } = mesh.geometry.attributes;
  const { min, max } = new Box3().setFromBufferAttribute(/** @type {import('three').BufferAttribute} */ (position));
  const corners = [min, max].map((corner) => {
    const placed = corner.clone();
    placeVertex(mesh, 0, placed);
    return placed;
  });
  return corners[0].distanceTo(corners[1]) / (min.distanceTo(max) || 1);
}
