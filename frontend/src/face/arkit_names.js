// SPDX-License-Identifier: Apache-2.0
// Maps spellings of morph target names to ARKit's by the rules and the table of face/formats/names.py:
// mouthSmile_L, A38_Mouth_Smile_Left, Face.M_JawOpen, …
import schemes from '../../../streamingtalker_ros/face/formats/shape_names.json' with { type: 'json' };

const BLOCKED = new Set(schemes.blocked);
/** @type {Map<string, string>} */
const ALIASES = new Map(Object.entries(schemes.aliases));
/** @type {Map<string, string>} */
const SIDES = new Map([
  ['l', 'left'],
  ['r', 'right'],
]);
export const MAX_LABEL_LENGTH = 120;
const WORD = /[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+/g;

/**
 * What a label stands for. `rank` is 0 for ARKit's own name, 1 for one with a prefix or suffix, or a half of a shape, 2
 * for a maker's own name; of several labels of one shape in a mesh, those of the lowest rank count.
 * @typedef {{name: string, rank: number}} NameMatch
 */

/**
 * @param {string} label name of a morph target
 * @param {string[]} names ARKit's
 * @returns {NameMatch | null}
 */
export function matchName(label, names) {
  if (label.length > MAX_LABEL_LENGTH) return null;
  const known = new Map(names.map((name) => [name.toLowerCase(), name]));
  const tail = label.split(/[.:|/]/).pop() ?? label;
  for (const text of [tail, label]) {
    for (const [rank, key] of plainKeys(text)) {
      const name = known.get(key);
      if (name) return { name, rank };
    }
  }
  for (const text of [tail, label]) {
    const match = matchWords((text.match(WORD) ?? []).map((word) => word.toLowerCase()), known);
    if (match) return match;
  }
  return null;
}

/**
 * Rank and key of the ways to read a label that is a name of ARKit but for its case, side and prefix.
 * @param {string} text
 * @returns {[number, string][]}
 */
function plainKeys(text) {
  const side = text.match(/[_\-. ]([lr])$/i);
  const stem = side ? text.slice(0, side.index) + SIDES.get(side[1].toLowerCase()) : text;
  const key = stem.toLowerCase().replace(/[^a-z0-9]/g, '');
  return [
    [0, key],
    [1, key.replace(/^(blendshapes?\d*|face|bs|m|key)/, '')],
    [1, key.replace(/(left|right)$/, '')], // halves of a shape that is one in ARKit
  ];
}

/**
 * The longest run of words that is a name, where the words around it change nothing of its meaning.
 * @param {string[]} words
 * @param {Map<string, string>} known
 * @returns {NameMatch | null}
 */
function matchWords(words, known) {
  for (let length = words.length; length > 0; length--) {
    for (let first = 0; first + length <= words.length; first++) {
      const match = matchRun(words.slice(first, first + length), known);
      if (!match) continue;
      const around = [...words.slice(0, first), ...words.slice(first + length)];
      return around.some((word) => BLOCKED.has(word) || SIDES.has(word)) ? null : match;
    }
  }
  return null;
}

/**
 * @param {string[]} run
 * @param {Map<string, string>} known
 * @returns {NameMatch | null}
 */
function matchRun(run, known) {
  const words = run.map((word) => SIDES.get(word) ?? word);
  const sides = words.filter((word) => word === 'left' || word === 'right');
  const others = words.filter((word) => word !== 'left' && word !== 'right');
  const keys = [words.join('')];
  if (sides.length === 1 && others.length) keys.push(others.join('') + sides[0], others.join(''));
  for (const [rank, table] of /** @type {[number, Map<string, string>][]} */ ([[1, known], [2, ALIASES]])) {
    for (const key of keys) {
      const name = table.get(key);
      if (name) return { name, rank };
    }
  }
  return null;
}
