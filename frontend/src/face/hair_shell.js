// SPDX-License-Identifier: Apache-2.0
// Hair of cards as one surface around the head, with the picture of the cards on it: a software renderer is slow with
// thousands of cards that cover one another.
//
// Directions from the middle of the hair are mapped to a disc (azimuthal equidistant projection), whose rim is where
// there is no hair: at the face or the neck. Over a grid of the disc, the shell is as far out as the outer hair.
import {
  BufferAttribute,
  BufferGeometry,
  DataTexture,
  DoubleSide,
  LinearFilter,
  Matrix3,
  Matrix4,
  Mesh,
  Vector2,
  Vector3,
} from 'three';
import { placeAtRest } from './light_baking.js';
import { toFloats } from './mesh_loader.js';
import { FULL_PAINT, makeVertexLitMaterial } from './vertex_lit_material.js';

const MIN_CARDS = 200; // of a mesh with cut-out alpha, from which it is hair
const GRID = 48; // cells along the disc
const TEXTURE_SIZE = 1024; // pixels along the disc
const OUTER = 16; // exponent of the radii that favours the outer hair
const DIRECTIONS = 100; // among which is that without hair
const CONE = 0.75; // cosine of half the angle in which hair is counted
const STEP = 8; // every so many vertices are counted
const MAX_GAP = 10; // pixels between cards that are closed
const MIN_ALPHA = 0.35; // of hair; smaller images of the texture hold less alpha

/** @typedef {import('three').MeshStandardMaterial} MeshStandardMaterial */

/**
 * Whether a mesh consists of many cards with cut-out alpha, which no morph target moves.
 * @param {Mesh} mesh
 */
export function isHair({ geometry: { index, attributes, morphAttributes }, material }) {
  if (!index || morphAttributes.position || Array.isArray(material) || !(material.alphaTest > 0)) return false;
  return countParts(index.array, attributes.position.count) >= MIN_CARDS;
}

/**
 * The shell of the hair, and its materials: where hair covers it, and where in part.
 * @param {Mesh} hair at rest
 * @param {import('./scene.js').FaceScene} scene
 */
export function makeHairShell(hair, scene) {
  const disc = new Disc(toFloats(hair.geometry.attributes.position, 3));
  const pixels = drawCards(hair, disc, scene);
  fillGaps(pixels);
  const texture = new DataTexture(pixels, TEXTURE_SIZE, TEXTURE_SIZE);
  Object.assign(texture, { generateMipmaps: true, magFilter: LinearFilter, needsUpdate: true });
  const materials = [{ alphaTest: 0 }, { alphaTest: MIN_ALPHA }].map(({ alphaTest }) =>
    makeVertexLitMaterial({ map: texture, alphaTest, side: DoubleSide }, true),
  );
  materials[0].addEventListener('dispose', () => texture.dispose());
  return { geometry: makeGrid(hair.geometry, disc, pixels), material: materials };
}

/** Projection of the directions from a point to a disc of radius 1. */
class Disc {
  /** @param {Float32Array} points (3V,) */
  constructor(points) {
    this.points = points;
    this.center = new Vector3();
    for (let i = 0; i < points.length; i += 3) this.center.add(new Vector3().fromArray(points, i));
    this.center.multiplyScalar(3 / points.length);
    const pole = findBareDirection(points, this.center).negate();
    const across = new Vector3(pole.y, pole.z, pole.x).cross(pole).normalize();
    /** Its columns are the axes of the disc, and the direction of its middle. */
    this.axes = new Matrix4().makeBasis(across, pole.clone().cross(across), pole);
    this.toDisc = this.axes.clone().transpose();
    this.maxAngle = 0;
    this.maxRadius = 0;
    for (let i = 0; i < points.length; i += 3) {
      const { angle, radius } = this.project(i / 3);
      this.maxAngle = Math.max(this.maxAngle, angle);
      this.maxRadius = Math.max(this.maxRadius, radius);
    }
  }

  /** @param {number} vertex */
  project(vertex) {
    const direction = new Vector3().fromArray(this.points, 3 * vertex).sub(this.center);
    const radius = direction.length();
    const { x, y, z } = direction.applyMatrix4(this.toDisc);
    const angle = Math.atan2(Math.hypot(x, y), z);
    const scale = angle / (this.maxAngle * Math.hypot(x, y) || 1);
    return { angle, radius, place: new Vector2(scale * x, scale * y) };
  }

  /**
   * @param {Vector2} place
   * @param {number} radius
   */
  unproject(place, radius) {
    const angle = Math.min(Math.PI, this.maxAngle * place.length());
    const [x, y] = place.clone().normalize().multiplyScalar(Math.sin(angle)).toArray();
    return new Vector3(x, y, Math.cos(angle)).applyMatrix4(this.axes).multiplyScalar(radius).add(this.center);
  }
}

/**
 * The direction in which there is the least hair.
 * @param {Float32Array} points (3V,)
 * @param {Vector3} center
 */
function findBareDirection(points, center) {
  const directions = Array.from({ length: DIRECTIONS }, (_, i) => {
    const z = 1 - (2 * i + 1) / DIRECTIONS; // a spiral from pole to pole
    const longitude = i * Math.PI * (3 - Math.sqrt(5));
    return new Vector3(Math.cos(longitude), Math.sin(longitude), 0).multiplyScalar(Math.sqrt(1 - z * z)).setZ(z);
  });
  const counts = directions.map(() => 0);
  const point = new Vector3();
  for (let i = 0; i < points.length; i += 3 * STEP) {
    point.fromArray(points, i).sub(center).normalize();
    directions.forEach((direction, k) => (counts[k] += Math.max(0, direction.dot(point) - CONE)));
  }
  return directions[counts.indexOf(Math.min(...counts))];
}

/**
 * The cards as they are seen from outside, on the disc.
 * @param {Mesh} hair
 * @param {Disc} disc
 * @param {import('./scene.js').FaceScene} scene
 */
function drawCards(hair, disc, scene) {
  const material = makeVertexLitMaterial(/** @type {MeshStandardMaterial} */ (hair.material));
  Object.assign(material.uniforms, {
    center: { value: disc.center },
    toDisc: { value: new Matrix3().setFromMatrix4(disc.toDisc) },
    maxAngle: { value: disc.maxAngle },
    maxRadius: { value: disc.maxRadius },
  });
  material.vertexShader = material.vertexShader
    .replace(
      'void main()',
      `uniform vec3 center;
uniform mat3 toDisc;
uniform float maxAngle, maxRadius;
void main()`,
    )
    .replace(
      '#include <project_vertex>',
      `vec3 outward = transformed - center;
	vec4 mvPosition = vec4( - normalMatrix * outward, 1.0 );
	vec3 direction = normalize( toDisc * outward );
	vec2 place = acos( clamp( direction.z, -1.0, 1.0 ) ) / maxAngle * normalize( direction.xy );
	gl_Position = vec4( place, 1.0 - 1.9 * length( outward ) / maxRadius, 1.0 );`,
    );
  const copy = new Mesh(hair.geometry, material);
  placeAtRest(copy, hair);
  const pixels = scene.drawAlone(copy, TEXTURE_SIZE);
  material.dispose();
  return pixels;
}

/**
 * Close narrow gaps between the cards, and give the other pixels without hair the mean colour of the rest, which shows
 * where pixels are averaged.
 * @param {Uint8Array} pixels RGBA; changed
 */
function fillGaps(pixels) {
  for (const step of [1, TEXTURE_SIZE]) {
    for (let line = 0; line < TEXTURE_SIZE; line++) {
      const start = line * (step === 1 ? TEXTURE_SIZE : 1);
      let last = -Infinity; // index of the last pixel with hair
      for (let k = 0; k < TEXTURE_SIZE; k++) {
        const at = 4 * (start + k * step);
        if (!pixels[at + 3]) continue;
        if (k - last <= MAX_GAP) {
          for (let gap = last + 1; gap < k; gap++) pixels.copyWithin(4 * (start + gap * step), at, at + 4);
        }
        last = k;
      }
    }
  }
  const sum = [0, 0, 0];
  let count = 0;
  for (let i = 0; i < pixels.length; i += 4) {
    if (!pixels[i + 3]) continue;
    for (let k = 0; k < 3; k++) sum[k] += pixels[i + k];
    count++;
  }
  for (let i = 0; i < pixels.length; i += 4) {
    if (!pixels[i + 3]) pixels.set([...sum.map((value) => value / (count || 1)), 0], i);
  }
}

/**
 * The grid over the disc, where there is hair.
 * @param {BufferGeometry} cards
 * @param {Disc} disc
 * @param {Uint8Array} pixels RGBA of the disc
 */
function makeGrid(cards, disc, pixels) {
  const width = GRID + 1; // nodes
  const { radii, nearest } = findRadii(disc, width);
  const positions = new Float32Array(3 * width * width);
  const uv = new Float32Array(2 * width * width);
  for (let node = 0; node < radii.length; node++) {
    const place = new Vector2(node % width, Math.floor(node / width)).multiplyScalar(2 / GRID).subScalar(1);
    disc.unproject(place, radii[node]).toArray(positions, 3 * node);
    uv.set([(place.x + 1) / 2, (place.y + 1) / 2], 2 * node);
  }
  /** @type {number[][]} */
  const [whole, partial] = [[], []]; // triangles that hair covers, and that it covers in part: these are slower
  for (let cell = 0; cell < GRID * GRID; cell++) {
    const [x, y] = [cell % GRID, Math.floor(cell / GRID)];
    const node = width * y + x;
    const cover = findCover(pixels, x, y);
    if (!cover) continue;
    (cover === 1 ? whole : partial).push(node, node + 1, node + width + 1, node, node + width + 1, node + width);
  }
  const geometry = new BufferGeometry();
  geometry.setIndex([...whole, ...partial]);
  geometry.addGroup(0, whole.length, 0);
  geometry.addGroup(whole.length, partial.length, 1);
  geometry.setAttribute('position', new BufferAttribute(positions, 3));
  geometry.setAttribute('uv', new BufferAttribute(uv, 2));
  geometry.setAttribute('paint', new BufferAttribute(new Uint8Array(4 * radii.length).fill(FULL_PAINT), 4, true));
  for (const name of ['skinIndex', 'skinWeight']) {
    const attribute = cards.attributes[name];
    if (!attribute) continue;
    const values = toFloats(attribute, attribute.itemSize);
    const rows = Array.from(nearest, (vertex) =>
      Array.from(values.subarray(attribute.itemSize * vertex, attribute.itemSize * (vertex + 1))),
    );
    geometry.setAttribute(name, new BufferAttribute(Float32Array.from(rows.flat()), attribute.itemSize));
  }
  return geometry;
}

/**
 * How far out the hair is at the nodes of the grid, and a vertex there.
 * @param {Disc} disc
 * @param {number} width nodes along the grid
 */
function findRadii(disc, width) {
  const weights = new Float64Array(width * width);
  const radii = new Float64Array(width * width);
  const nearest = new Uint32Array(width * width);
  const largest = new Float64Array(width * width);
  for (let vertex = 0; vertex < disc.points.length / 3; vertex++) {
    const { place, radius } = disc.project(vertex);
    const [x, y] = [((place.x + 1) / 2) * GRID, ((place.y + 1) / 2) * GRID];
    for (const column of [Math.floor(x), Math.floor(x) + 1]) {
      for (const row of [Math.floor(y), Math.floor(y) + 1]) {
        if (column >= width || row >= width) continue;
        const node = width * row + column;
        const weight = (1 - Math.abs(x - column)) * (1 - Math.abs(y - row)) * (radius / disc.maxRadius) ** OUTER;
        weights[node] += weight;
        radii[node] += weight * radius;
        if (weight > largest[node]) [largest[node], nearest[node]] = [weight, vertex];
      }
    }
  }
  for (let node = 0; node < radii.length; node++) if (weights[node]) radii[node] /= weights[node];
  spread(radii, nearest, width);
  return { radii, nearest };
}

/**
 * Give nodes without hair the values of those beside them.
 * @param {Float64Array} radii changed
 * @param {Uint32Array} nearest changed
 * @param {number} width
 */
function spread(radii, nearest, width) {
  for (let isSpreading = true; isSpreading; ) {
    const before = radii.slice();
    isSpreading = false;
    for (let node = 0; node < radii.length; node++) {
      if (before[node]) continue;
      const beside = [node - 1, node + 1, node - width, node + width].filter((other) => before[other] > 0);
      if (!beside.length) continue;
      radii[node] = beside.reduce((sum, other) => sum + before[other], 0) / beside.length;
      nearest[node] = nearest[beside[0]];
      isSpreading = true;
    }
  }
}

/**
 * How much of a cell of the grid hair covers, 0..1.
 * @param {Uint8Array} pixels RGBA of the disc
 * @param {number} x
 * @param {number} y
 */
function findCover(pixels, x, y) {
  const pixel = (/** @type {number} */ cell) => Math.floor((cell * TEXTURE_SIZE) / GRID);
  let count = 0;
  let covered = 0;
  for (let row = pixel(y); row < pixel(y + 1); row++) {
    for (let column = pixel(x); column < pixel(x + 1); column++) {
      count++;
      if (pixels[4 * (TEXTURE_SIZE * row + column) + 3]) covered++;
    }
  }
  return covered / count;
}

/**
 * Connected parts of a mesh.
 * @param {ArrayLike<number>} triangles (3T,)
 * @param {number} count of the vertices
 */
function countParts(triangles, count) {
  const parents = Uint32Array.from({ length: count }, (_, vertex) => vertex);
  /** @param {number} vertex */
  const root = (vertex) => {
    while (parents[vertex] !== vertex) vertex = parents[vertex] = parents[parents[vertex]];
    return vertex;
  };
  for (let i = 0; i < triangles.length; i++) {
    const [a, b] = [root(triangles[i]), root(triangles[i - (i % 3)])];
    parents[Math.max(a, b)] = Math.min(a, b);
  }
  return new Set(Array.from(triangles, root)).size;
}
