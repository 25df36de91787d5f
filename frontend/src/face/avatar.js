// SPDX-License-Identifier: Apache-2.0
// A face of the visitor's own: a GLB with ARKit morph targets, opened in the browser and never uploaded. Bounded in
// size; what points outside of the file is refused.
import { Box3, Euler, Group, MathUtils, Quaternion, Vector3 } from 'three';
import { GLTFLoader } from 'three/examples/jsm/loaders/GLTFLoader.js';
import { arkitName } from './arkit_names.js';

const MOST_BYTES = 96e6,
  MOST_VERTICES = 400000,
  MOST_TARGETS = 300;
const SQUEEZED = ['KHR_draco_mesh_compression', 'EXT_meshopt_compression', 'KHR_texture_basisu'];
const EYE = MathUtils.degToRad(30); // of an eye-look shape at 1

export class Avatar {
  constructor(object, targets, bones, name) {
    Object.assign(this, { object, targets, bones, name });
    this.turn = new Quaternion();
    this.look = new Euler();
  }

  // buffer: the file; names: ARKit's 52. Throws an Error with a sentence for a file that cannot be used.
  static async read(buffer, name, names) {
    check(buffer);
    const gltf = await new GLTFLoader().parseAsync(buffer, '');
    const targets = [],
      bones = {},
      wrapper = new Group();
    let vertices = 0;
    gltf.scene.traverse((thing) => {
      if (thing.isMesh) {
        vertices += thing.geometry.attributes.position.count;
        thing.castShadow = thing.receiveShadow = true;
        thing.frustumCulled = false;
        for (const [label, place] of Object.entries(thing.morphTargetDictionary || {})) {
          const shape = names.indexOf(arkitName(label, names));
          if (shape >= 0) targets.push({ mesh: thing, place, shape });
        }
      } else if (/^(.*[_:])?(head|lefteye|righteye|eye_?l|eye_?r)$/i.test(thing.name)) {
        const key = /eye/i.test(thing.name) ? (/left|l$/i.test(thing.name) ? 'left' : 'right') : 'head';
        bones[key] ||= { node: thing, rest: thing.quaternion.clone(), parent: new Quaternion() };
      }
    });
    if (!targets.length)
      throw new Error(`${name} has no morph target with an ARKit name: name them jawOpen, mouthSmileLeft, …`);
    if (vertices > MOST_VERTICES || targets.length > 20 * MOST_TARGETS)
      throw new Error(`${name} has ${vertices} vertices: give at most ${MOST_VERTICES}`);
    wrapper.add(gltf.scene);
    wrapper.updateMatrixWorld(true);
    for (const bone of Object.values(bones)) bone.node.parent.getWorldQuaternion(bone.parent);
    if (targets.some(({ shape }) => names[shape].startsWith('eyeLook'))) {
      delete bones.left;
      delete bones.right;
    }
    return new Avatar(wrapper, targets, bones, name);
  }

  // weights: (52,); head: quaternion xyzw in the package's axes; index: name -> place of a weight.
  pose(weights, head, index) {
    for (const { mesh, place } of this.targets) mesh.morphTargetInfluences[place] = 0;
    for (const { mesh, place, shape } of this.targets) mesh.morphTargetInfluences[place] += weights[shape];
    const turn = this.turn.set(head[1], head[2], head[0], head[3]);
    if (this.bones.head) this._rotate(this.bones.head, turn);
    else if (this.middle) {
      this.object.quaternion.copy(turn);
      this.object.position.copy(this.middle).applyQuaternion(turn).negate().add(this.middle);
    }
    for (const [side, out, inward] of [
      ['left', 'OutLeft', 'InLeft'],
      ['right', 'InRight', 'OutRight'],
    ]) {
      if (!this.bones[side]) continue;
      const s = side === 'left' ? 'Left' : 'Right',
        at = (label) => weights[index[`eyeLook${label}`]];
      this.look.set(EYE * (at(`Down${s}`) - at(`Up${s}`)), EYE * (at(out) - at(inward)), 0);
      this._rotate(this.bones[side], new Quaternion().setFromEuler(this.look));
    }
  }

  // A rotation given in the scene's axes, applied to a bone in its parent's.
  _rotate({ node, rest, parent }, turn) {
    const back = parent.clone().invert();
    node.quaternion.copy(back).multiply(turn).multiply(parent).multiply(rest);
  }

  // Where the camera looks: the vertices that the shapes move, with some hair around them.
  frame() {
    const box = new Box3(),
      point = new Vector3(),
      moved = new Vector3();
    for (const mesh of new Set(this.targets.map((target) => target.mesh))) {
      const position = mesh.geometry.attributes.position,
        morphs = mesh.geometry.morphAttributes.position || [];
      for (let i = 0; i < position.count; i++) {
        if (!morphs.some((morph) => moved.fromBufferAttribute(morph, i).lengthSq() > 1e-10)) continue;
        mesh.localToWorld(point.fromBufferAttribute(position, i));
        box.expandByPoint(point);
      }
    }
    if (box.isEmpty()) box.setFromObject(this.object);
    const size = box.getSize(new Vector3()),
      middle = box.getCenter(new Vector3());
    middle.y += 0.06 * size.y;
    this.middle = new Vector3(middle.x, box.min.y - 0.2 * size.y, middle.z - 0.3 * size.z);
    return { middle: middle.toArray(), size: [1.25 * size.x, 1.35 * size.y, size.z] };
  }

  dispose() {
    this.object.traverse((thing) => {
      if (thing.geometry) thing.geometry.dispose();
      for (const material of [].concat(thing.material || [])) {
        for (const value of Object.values(material)) if (value && value.isTexture) value.dispose();
        material.dispose();
      }
    });
  }
}

// Throws unless this is a whole GLB 2.0 that keeps to itself.
function check(buffer) {
  if (buffer.byteLength > MOST_BYTES)
    throw new Error(`this file has ${Math.round(buffer.byteLength / 1e6)} MB: give at most ${MOST_BYTES / 1e6}`);
  const view = new DataView(buffer),
    bad = new Error('this is not a whole GLB 2.0 file: export the face as .glb');
  if (buffer.byteLength < 20 || view.getUint32(0, true) !== 0x46546c67 || view.getUint32(4, true) !== 2) throw bad;
  const size = view.getUint32(12, true);
  if (view.getUint32(8, true) > buffer.byteLength || 20 + size > buffer.byteLength) throw bad;
  let json;
  try {
    json = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 20, size)));
  } catch {
    throw bad;
  }
  const outside = [...(json.buffers || []), ...(json.images || [])].find(
    ({ uri }) => uri && !uri.startsWith('data:'),
  );
  if (outside) throw new Error('this file needs others beside it: export it as one .glb with everything inside');
  const squeezed = SQUEEZED.find((name) => (json.extensionsRequired || []).includes(name));
  if (squeezed) throw new Error(`this file is compressed (${squeezed}): export it without compression`);
  const targets = Math.max(
    0,
    ...(json.meshes || []).flatMap((mesh) => (mesh.primitives || []).map((part) => (part.targets || []).length)),
  );
  if (targets > MOST_TARGETS)
    throw new Error(`this file has ${targets} morph targets in one mesh: give at most ${MOST_TARGETS}`);
}
