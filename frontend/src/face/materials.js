// SPDX-License-Identifier: Apache-2.0
// Materials of the default face, a robot's, by its parts.
import {
  DoubleSide,
  MeshLambertMaterial,
  MeshPhongMaterial,
  MeshPhysicalMaterial,
  MeshStandardMaterial,
} from 'three';
import { makeVertexLitMaterial } from './vertex_lit_material.js';

/** @typedef {'skin' | 'mouth' | 'eye' | 'glint' | 'teeth' | 'tongue' | 'brow' | 'shell' | 'collar'} MaterialName */

/** @type {readonly MaterialName[]} */
const MATERIAL_NAMES = ['skin', 'mouth', 'eye', 'glint', 'teeth', 'tongue', 'brow', 'shell', 'collar'];

/**
 * Materials by name.
 * @param {boolean} plain whether they have to suit a software renderer
 * @returns {Record<MaterialName, import('three').Material>}
 */
export function makeMaterials(plain) {
  const common = { vertexColors: true };
  if (plain) {
    const matt = makeVertexLitMaterial(common);
    const wet = new MeshPhongMaterial({ ...common, specular: 0x888888, shininess: 60 });
    const glint = new MeshLambertMaterial({ color: 0xffffff, emissive: 0xffffff });
    return {
      skin: matt,
      mouth: matt,
      eye: wet,
      glint,
      teeth: wet,
      tongue: wet,
      brow: matt,
      shell: matt,
      collar: matt,
    };
  }
  return {
    skin: new MeshPhysicalMaterial({ ...common, roughness: 0.5, clearcoat: 0.25, clearcoatRoughness: 0.35 }),
    mouth: new MeshStandardMaterial({ ...common, roughness: 1, envMapIntensity: 0.1, side: DoubleSide }),
    eye: new MeshPhysicalMaterial({
      ...common,
      roughness: 0.32,
      clearcoat: 1,
      clearcoatRoughness: 0.06,
      envMapIntensity: 0.9,
    }),
    glint: new MeshStandardMaterial({ color: 0xffffff, emissive: 0xffffff, emissiveIntensity: 0.85 }),
    teeth: new MeshPhysicalMaterial({ ...common, roughness: 0.4, clearcoat: 0.2, clearcoatRoughness: 0.3 }),
    tongue: new MeshStandardMaterial({ ...common, roughness: 0.7, envMapIntensity: 0.3 }),
    brow: new MeshStandardMaterial({ ...common, roughness: 0.85 }),
    shell: new MeshPhysicalMaterial({ ...common, roughness: 0.45, clearcoat: 0.2, clearcoatRoughness: 0.4 }),
    collar: new MeshStandardMaterial({ ...common, roughness: 0.6 }),
  };
}

/**
 * Name of a part's material; "skin" for unknown parts.
 * @param {string} part such as "eye_left"
 * @returns {MaterialName}
 */
export function partToMaterial(part) {
  const prefix = part.split('_')[0];
  return MATERIAL_NAMES.find((name) => name === prefix) ?? 'skin';
}
