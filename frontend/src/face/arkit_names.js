// SPDX-License-Identifier: Apache-2.0
// Morph-target names as artists write them -> ARKit's, as face/formats/importers.py reads them: mouthSmile_L, Face.M_JawOpen, …
export function arkitName(label, names) {
  const known = new Map(names.map((name) => [name.toLowerCase(), name]));
  const tail = label.split(/[.:|/]/).pop();
  for (const text of [tail, label]) {
    const side = text.match(/[_\-. ]([lr])$/i);
    const stem = side ? text.slice(0, side.index) + (side[1].toLowerCase() === 'l' ? 'left' : 'right') : text;
    const key = stem.toLowerCase().replace(/[^a-z0-9]/g, '');
    for (const candidate of [
      key,
      key.replace(/^(blendshapes?\d*|face|bs|m|key)/, ''),
      key.replace(/(left|right)$/, ''),
    ]) {
      if (known.has(candidate)) return known.get(candidate);
    }
  }
  return null;
}
