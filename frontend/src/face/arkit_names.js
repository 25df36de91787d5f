// SPDX-License-Identifier: Apache-2.0
// Maps spellings of morph target names to ARKit's, as face/formats/importers.py does: mouthSmile_L,
// Face.M_JawOpen, …

/**
 * @param {string} label name of a morph target
 * @param {string[]} names ARKit's
 * @returns {string | null} the matching ARKit name
 */
export function toArkitName(label, names) {
  const known = new Map(names.map((name) => [name.toLowerCase(), name]));
  const tail = label.split(/[.:|/]/).pop() ?? label;
  for (const text of [tail, label]) {
    const side = text.match(/[_\-. ]([lr])$/i);
    const stem = side ? text.slice(0, side.index) + (side[1].toLowerCase() === 'l' ? 'left' : 'right') : text;
    const key = stem.toLowerCase().replace(/[^a-z0-9]/g, '');
    const candidates = [
      key,
      key.replace(/^(blendshapes?\d*|face|bs|m|key)/, ''),
      key.replace(/(left|right)$/, ''), // halves of a shape that is one in ARKit
    ];
    for (const candidate of candidates) {
      const name = known.get(candidate);
      if (name) return name;
    }
  }
  return null;
}
