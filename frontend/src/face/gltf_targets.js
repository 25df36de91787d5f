// SPDX-License-Identifier: Apache-2.0
// What drives each morph target of a glTF file, by the rules of face/formats/gltf_targets.py: its name, or an expression
// of a VRM that binds it.
import schemes from '../../../streamingtalker_ros/face/formats/shape_names.json' with { type: 'json' };
import { matchName } from './arkit_names.js';
import { findDrivers, selectLabels } from './shape_drivers.js';

const PERCENT = 0.01; // weights of VRM 0.x
/** @type {Map<string, string>} */
const PRESETS = new Map(Object.entries(schemes.vrm_presets));

/** @typedef {import('./shape_drivers.js').ShapeDrivers} ShapeDrivers */
/** @typedef {import('./shape_drivers.js').Weights} Weights */
/** @typedef {{mesh: number, target: number, weight: number}} Bind */

/**
 * The fields of a glTF document that say what moves. They are of any JSON type in a damaged file.
 * @typedef {object} TargetsDocument
 * @property {any[]} [meshes]
 * @property {any[]} [nodes]
 * @property {any[]} [accessors]
 * @property {Record<string, any>} [extensions]
 */

export class TargetDrivers {
  /**
   * @param {TargetsDocument} document
   * @param {string[]} names ARKit's
   */
  constructor(document, names) {
    this.document = document;
    this.names = names;
    const { labels, empty } = allLabels(document);
    const expressions = readExpressions(document);
    const named = new Set(
      labels.filter((label) => !empty.has(label)).flatMap((label) => matchName(label, names)?.name ?? []),
    );
    for (const label of expressions.keys()) {
      if (named.has(matchName(label, names)?.name ?? '')) expressions.delete(label);
    }
    const find = () => findDrivers([...labels.filter((label) => !this.empty.has(label)), ...expressions.keys()], names);
    /** Names of targets that move nothing, in place of which others are driven. */
    this.empty = empty;
    /** @type {ShapeDrivers} */
    this.shapes = find();
    if (empty.size) {
      const { driven } = this.shapes;
      this.empty = new Set([...empty].filter((label) => driven.has(matchName(label, names)?.name ?? '')));
      this.shapes = find();
    }
    /** @type {Map<string, Weights>} factors of "mesh target" */
    this.binds = new Map();
    for (const [label, factors] of selectLabels(this.shapes, [...expressions.keys()], names)) {
      for (const { mesh, target, weight } of expressions.get(label) ?? []) {
        const key = `${mesh} ${target}`;
        this.binds.set(key, addWeights(this.binds.get(key), factors, weight));
      }
    }
    this.labels = labels;
  }

  /** ARKit names that move nothing. */
  get missing() {
    return this.names.filter((name) => !this.shapes.driven.has(name));
  }

  /**
   * The targets of a primitive that are driven.
   * @param {number} mesh index in the document
   * @param {number} primitive
   * @returns {[target: number, factors: Weights][]}
   */
  select(mesh, primitive) {
    const definition = this.document.meshes?.[mesh];
    const part = definition?.primitives?.[primitive];
    const count = asList(part?.targets).length;
    const labels = targetNames(definition, part)
      .slice(0, count)
      .map((label) => (this.empty.has(label) ? '' : label));
    const byLabel = selectLabels(this.shapes, labels, this.names);
    /** @type {[number, Weights][]} */
    const selected = [];
    for (let target = 0; target < count; target++) {
      const factors = byLabel.get(labels[target] ?? '');
      const bound = this.binds.get(`${mesh} ${target}`);
      if (factors || bound) selected.push([target, addWeights(bound, factors ?? {}, 1)]);
    }
    return selected;
  }
}

/**
 * @param {Weights | undefined} base
 * @param {Weights} added
 * @param {number} scale of what is added
 * @returns {Weights}
 */
function addWeights(base, added, scale) {
  const sum = { ...base };
  for (const [name, factor] of Object.entries(added)) sum[name] = (sum[name] ?? 0) + scale * factor;
  return sum;
}

/** @param {any} value */
function asList(value) {
  return Array.isArray(value) ? value : [];
}

/**
 * @param {any} mesh
 * @param {any} primitive
 * @returns {string[]}
 */
function targetNames(mesh, primitive) {
  for (const { extras } of [mesh ?? {}, primitive ?? {}]) {
    const names = asList(extras?.targetNames);
    if (names.length) return names.map(String);
  }
  return [];
}

/**
 * Names of all targets, and of those that move nothing as far as the bounds of their positions say.
 * @param {TargetsDocument} document
 */
function allLabels(document) {
  /** @type {Map<string, boolean>} */
  const moving = new Map();
  for (const mesh of asList(document.meshes)) {
    for (const primitive of asList(mesh.primitives)) {
      const targets = asList(primitive.targets);
      for (const [index, label] of targetNames(mesh, primitive).slice(0, targets.length).entries()) {
        moving.set(label, moving.get(label) || moves(document, targets[index]));
      }
    }
  }
  const labels = [...moving.keys()];
  return { labels, empty: new Set(labels.filter((label) => !moving.get(label))) };
}

/**
 * @param {TargetsDocument} document
 * @param {any} target
 * @returns {boolean}
 */
function moves(document, target) {
  const accessor = asList(document.accessors)[target?.POSITION];
  if (!accessor || (accessor.bufferView === undefined && !accessor.sparse)) return false;
  if (!Array.isArray(accessor.min) || !Array.isArray(accessor.max)) return true;
  return [...accessor.min, ...accessor.max].some((value) => value !== 0);
}

/**
 * The expressions of a VRM that move morph targets: a preset has the ARKit name that it stands for, or `VRM preset aa`.
 * @param {TargetsDocument} document
 * @returns {Map<string, Bind[]>}
 */
function readExpressions({ extensions, nodes }) {
  /** @type {Map<string, Bind[]>} */
  const found = new Map();
  /** @type {(preset: string | null, name: string, binds: Bind[]) => void} */
  const add = (preset, name, binds) => {
    const label = preset === null ? name : (PRESETS.get(preset) ?? `VRM preset ${preset}`);
    if (binds.length && !found.has(label)) found.set(label, binds);
  };
  if (extensions?.VRM) {
    for (const { presetName, name, binds } of asList(extensions.VRM.blendShapeMaster?.blendShapeGroups)) {
      const preset = [undefined, null, '', 'unknown'].includes(presetName) ? null : String(presetName);
      const list = asList(binds).map(({ mesh, index, weight }) => ({ mesh, target: index, weight: PERCENT * weight }));
      add(preset, String(name ?? ''), list);
    }
    return found;
  }
  const { preset = {}, custom = {} } = extensions?.VRMC_vrm?.expressions ?? {};
  for (const [isPreset, group] of /** @type {[boolean, object][]} */ ([[true, preset], [false, custom]])) {
    for (const [name, expression] of Object.entries(group)) {
      const list = asList(expression?.morphTargetBinds).map(({ node, index, weight }) => ({
        mesh: asList(nodes)[node]?.mesh,
        target: index,
        weight,
      }));
      add(isPreset ? name : null, name, list);
    }
  }
  return found;
}
