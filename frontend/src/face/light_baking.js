// SPDX-License-Identifier: Apache-2.0
// Light of a mesh at rest, computed once: its vertices are drawn as points of an image.
import { BufferAttribute, BufferGeometry, Points, SkinnedMesh } from 'three';
import { FULL_PAINT, makeVertexLitMaterial } from './vertex_lit_material.js';

/** @typedef {import('three').Mesh} Mesh */

/**
 * The colours of vertices in the light of a scene, as an attribute `paint` of a vertex-lit material.
 * @param {BufferGeometry} geometry with normals
 * @param {import('three').MeshStandardMaterial} material
 * @param {Mesh} mesh where it is
 * @param {import('./scene.js').FaceScene} scene
 */
export function bakeLight(geometry, material, mesh, scene) {
  const { count } = geometry.attributes.position;
  const size = Math.ceil(Math.sqrt(count));
  const lit = makeVertexLitMaterial(material);
  lit.vertexShader = lit.vertexShader.replace(
    '#include <project_vertex>',
    `vec4 mvPosition = vec4( 0.0, 0.0, -1.0, 1.0 ); // seen from the front
	vec2 pixel = vec2( gl_VertexID % ${size}, gl_VertexID / ${size} );
	gl_Position = vec4( ( pixel + 0.5 ) * ${(2 / size).toFixed(9)} - 1.0, 0.0, 1.0 );
	gl_PointSize = 1.0;`,
  );
  lit.fragmentShader = `varying vec3 shade;
void main() {
	gl_FragColor = vec4( ${(FULL_PAINT / 255).toFixed(6)} * shade, 1.0 );
}`;
  const vertices = new BufferGeometry();
  for (const [name, attribute] of Object.entries(geometry.attributes)) vertices.setAttribute(name, attribute);
  const points = new Points(vertices, lit);
  placeAtRest(points, mesh);
  const pixels = scene.drawAlone(points, size);
  vertices.dispose();
  lit.dispose();
  return new BufferAttribute(pixels.slice(0, 4 * count), 4, true);
}

/**
 * Let an object be drawn where a mesh is at rest.
 * @param {import('three').Object3D} object
 * @param {Mesh} mesh
 */
export function placeAtRest(object, mesh) {
  object.frustumCulled = object.matrixAutoUpdate = false;
  object.matrix.copy(mesh instanceof SkinnedMesh ? mesh.bindMatrix : mesh.matrixWorld);
}
