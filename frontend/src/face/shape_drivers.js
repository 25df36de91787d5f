// SPDX-License-Identifier: Apache-2.0
// How the 52 ARKit weights drive the shapes of a file, by the rules and the table of face/formats/shape_drivers.py: a
// shape with an ARKit name takes its weight, one that stands for a pose (viseme PP, the vowel あ, a blink of both eyes) a
// linear combination of the weights.
import schemes from '../../../streamingtalker_ros/face/formats/shape_names.json' with { type: 'json' };
import { MAX_LABEL_LENGTH, matchName } from './arkit_names.js';

const RIDGE = 0.005;
const MIN_OPEN = 0.3; // of jawOpen, in a pose that opens the mouth
const MIN_BARE_LABELS = 3; // without a prefix: a lone shape with the name "O" is no vowel
const MIN_SUFFIX = 6; // characters; a shorter name must be the whole label
const MIN_WEIGHT = 1e-3;
const MAKERS_RANK = 2;

/** @typedef {Record<string, number>} Weights factor of each ARKit name */

/** @type {Record<string, Weights>} */
const POSES = { ...schemes.viseme_poses, ...schemes.other_poses };
/** @type {Map<string, string>} */
const WHOLES = new Map(Object.entries(schemes.wholes));
/** @type {{name: string, prefixes: string[], labels: Map<string, string>}[]} */
const MOUTH_SCHEMES = schemes.mouth_schemes.map(({ name, prefixes, labels }) => ({
  name,
  prefixes,
  labels: new Map(Object.entries(/** @type {Record<string, string>} */ (/** @type {unknown} */ (labels)))),
}));

/**
 * The weights of a file's shapes.
 * @typedef {object} ShapeDrivers
 * @property {string | null} scheme whose visemes or vowels drive the mouth; null if ARKit shapes do
 * @property {Map<string, Weights>} poses of the labels that stand for poses
 * @property {Set<string>} replaced ARKit shapes that the poses drive in place of shapes with their names
 * @property {boolean} jawCloses whether mouthClose takes back jawOpen
 * @property {Set<string>} driven ARKit shapes that move something
 */

/**
 * Decide what drives each shape of a file.
 * @param {string[]} all names of all morph targets of the file
 * @param {string[]} names ARKit's
 * @returns {ShapeDrivers}
 */
export function findDrivers(all, names) {
  const labels = [...new Set(all)];
  const matches = labels.flatMap((label) => matchName(label, names) ?? []);
  const direct = new Set(matches.map(({ name }) => name));
  /** @type {Map<string, Weights>} */
  const poses = new Map();
  /** @type {string | null} */
  let scheme = null;
  /** @type {Set<string>} */
  let replaced = new Set();
  if (!direct.has('jawOpen')) {
    const mouth = findMouthScheme(labels, names);
    if (mouth) {
      scheme = mouth.name;
      for (const [label, weights] of regress(mouth.poses, names)) poses.set(label, weights);
      replaced = new Set(['mouthClose', ...[...mouth.poses.values()].flatMap((pose) => Object.keys(pose))]);
    }
  }
  for (const label of labels) {
    if (poses.has(label) || matchName(label, names)) continue;
    const whole = Object.entries(wholePose(label, names) ?? {});
    const missing = whole.filter(([name]) => !direct.has(name) && !replaced.has(name));
    if (!missing.length) continue;
    poses.set(label, Object.fromEntries(missing.map(([name, weight]) => [name, weight / whole.length])));
  }
  const driven = new Set([...direct].filter((name) => !replaced.has(name)));
  for (const pose of poses.values()) for (const name of Object.keys(pose)) driven.add(name);
  const jawRank = Math.min(...matches.filter(({ name }) => name === 'jawOpen').map(({ rank }) => rank));
  const jawCloses = jawRank === MAKERS_RANK && !direct.has('mouthClose');
  if (jawCloses) driven.add('mouthClose');
  return { scheme, poses, replaced, jawCloses, driven };
}

/**
 * The labels of one mesh that are driven.
 * @param {ShapeDrivers} drivers
 * @param {string[]} labels
 * @param {string[]} names ARKit's
 * @returns {Map<string, Weights>}
 */
export function selectLabels({ poses, replaced, jawCloses }, labels, names) {
  /** @type {Map<string, Weights>} */
  const selected = new Map();
  for (const [label, name] of selectNames(labels, names)) {
    if (replaced.has(name)) continue;
    selected.set(label, name === 'jawOpen' && jawCloses ? { jawOpen: 1, mouthClose: -1 } : { [name]: 1 });
  }
  for (const label of labels) {
    const pose = poses.get(label);
    if (pose && !selected.has(label)) selected.set(label, pose);
  }
  return selected;
}

/**
 * The labels of one mesh that stand for ARKit shapes. Where it has a shape under several schemes, the most direct one
 * counts.
 * @param {string[]} labels
 * @param {string[]} names ARKit's
 * @returns {Map<string, string>}
 */
function selectNames(labels, names) {
  const found = labels.flatMap((label) => {
    const match = matchName(label, names);
    return match ? [{ label, ...match }] : [];
  });
  /** @type {Map<string, number>} */
  const best = new Map();
  for (const { name, rank } of found) best.set(name, Math.min(rank, best.get(name) ?? rank));
  return new Map(found.filter(({ name, rank }) => rank === best.get(name)).map(({ label, name }) => [label, name]));
}

/**
 * The scheme with most poses among the labels.
 * @param {string[]} labels
 * @param {string[]} names ARKit's
 * @returns {{name: string, poses: Map<string, Weights>} | null}
 */
function findMouthScheme(labels, names) {
  let best = null;
  let bestCount = 0;
  for (const scheme of MOUTH_SCHEMES) {
    /** @type {Map<string, string>} */
    const found = new Map();
    let isPrefixed = false;
    for (const label of labels) {
      const match = schemePose(label, scheme);
      if (!match || [...found.values()].includes(match.pose)) continue;
      found.set(label, match.pose);
      isPrefixed ||= match.prefix !== '';
    }
    /** @type {Map<string, Weights>} */
    const poses = new Map();
    for (const [label, pose] of found) {
      const shapes = poseShapes(pose, names);
      if (Object.keys(shapes).length) poses.set(label, shapes);
    }
    const opens = [...poses.values()].some((pose) => (pose.jawOpen ?? 0) >= MIN_OPEN);
    if (opens && (isPrefixed || found.size >= MIN_BARE_LABELS) && found.size > bestCount) {
      best = { name: scheme.name, poses };
      bestCount = found.size;
    }
  }
  return best;
}

/**
 * @param {string} label
 * @param {typeof MOUTH_SCHEMES[number]} scheme
 */
function schemePose(label, { prefixes, labels }) {
  for (const key of labelKeys(label)) {
    for (const prefix of prefixes) {
      for (const [name, pose] of labels) {
        const full = prefix + name;
        if (key === full || (full.length >= MIN_SUFFIX && key.endsWith(full))) return { prefix, pose };
      }
    }
  }
  return null;
}

/**
 * The pose of a shape of both sides, which ARKit has for each: mouthSmile, eyesClosed.
 * @param {string} label
 * @param {string[]} names ARKit's
 * @returns {Weights | null}
 */
function wholePose(label, names) {
  for (const key of labelKeys(label)) {
    const pose = WHOLES.get(key);
    if (pose) return poseShapes(pose, names);
    const sides = names.filter((name) => [`${key}left`, `${key}right`].includes(name.toLowerCase()));
    if (sides.length === 2 && key !== 'mouth' && key !== 'jaw') {
      return Object.fromEntries(sides.map((name) => [name, 1]));
    }
  }
  return null;
}

/**
 * The label's letters and digits in lower case: of its last part, and of all of it.
 * @param {string} label
 */
function labelKeys(label) {
  if (label.length > MAX_LABEL_LENGTH) return [];
  return [label.split(/[.:|/]/).pop() ?? label, label].map((text) => text.toLowerCase().replace(/[^\p{L}\p{N}]/gu, ''));
}

/**
 * @param {string} pose
 * @param {string[]} names ARKit's
 * @returns {Weights}
 */
function poseShapes(pose, names) {
  return Object.fromEntries(
    Object.entries(POSES[pose]).flatMap(([name, weight]) =>
      (names.includes(name) ? [name] : [`${name}Left`, `${name}Right`]).map((full) => [full, weight]),
    ),
  );
}

/**
 * Factors of each label that reproduce the ARKit weights best as a sum of poses. The regression sees the opening of
 * the lips, jawOpen - mouthClose, in place of jawOpen.
 * @param {Map<string, Weights>} poses
 * @param {string[]} names ARKit's
 * @returns {Map<string, Weights>}
 */
function regress(poses, names) {
  const jaw = names.indexOf('jawOpen');
  const close = names.indexOf('mouthClose');
  const matrix = [...poses.values()].map((pose) => {
    const row = names.map((name) => pose[name] ?? 0);
    row[jaw] -= row[close];
    return row;
  });
  const normal = matrix.map((a, i) =>
    matrix.map((b, j) => a.reduce((sum, value, k) => sum + value * b[k], i === j ? RIDGE : 0)),
  );
  const factors = solve(normal, matrix);
  for (const row of factors) row[close] -= row[jaw];
  return new Map(
    [...poses.keys()].map((label, i) => [
      label,
      Object.fromEntries(names.map((name, k) => [name, factors[i][k]]).filter(([, factor]) => Math.abs(+factor) > MIN_WEIGHT)),
    ]),
  );
}

/**
 * Solve a positive definite system by elimination.
 * @param {number[][]} normal (n, n)
 * @param {number[][]} right (n, m)
 * @returns {number[][]} (n, m)
 */
function solve(normal, right) {
  const rows = normal.map((row, i) => [...row, ...right[i]]);
  const count = rows.length;
  for (let pivot = 0; pivot < count; pivot++) {
    const scale = rows[pivot][pivot];
    rows[pivot] = rows[pivot].map((value) => value / scale);
    for (let i = 0; i < count; i++) {
      if (i === pivot) continue;
      const factor = rows[i][pivot];
      rows[i] = rows[i].map((value, k) => value - factor * rows[pivot][k]);
    }
  }
  return rows.map((row) => row.slice(count));
}
