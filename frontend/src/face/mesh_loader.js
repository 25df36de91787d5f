// SPDX-License-Identifier: Apache-2.0
// Reads a face as streamingtalker_ros/web/assets.py packs it, and turns it into the picture's axes:
// x to the viewer's right (the person's left), y up, z towards the viewer.
const KINDS = { triangles: Uint32Array, moved: Uint32Array };

export function unpackFace(buffer) {
  const size = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
  const pack = {
    name: header.name,
    shapes: header.shapes,
    counts: header.counts,
    parts: header.parts,
    lipBias: header.lipBias,
  };
  for (const [name, [at, count]] of Object.entries(header.arrays)) {
    const Kind = KINDS[name] || Float32Array;
    pack[name] = new Kind(buffer, 4 + size + at, count);
  }
  pack.vertices = turned(pack.vertices);
  if (pack.deltas) pack.deltas = turned(pack.deltas);
  pack.pivot = turned(Float32Array.from(header.pivot));
  return pack;
}

export async function fetchFace(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`the face could not be fetched (${answer.status})`);
  return unpackFace(await answer.arrayBuffer());
}

// x out of the face, y left, z up -> x left, y up, z out of the face.
export function turned(values) {
  const out = new Float32Array(values.length);
  for (let i = 0; i < values.length; i += 3) {
    out[i] = values[i + 1];
    out[i + 1] = values[i + 2];
    out[i + 2] = values[i];
  }
  return out;
}
