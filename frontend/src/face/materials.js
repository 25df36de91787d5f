// SPDX-License-Identifier: Apache-2.0
// Materials of the default face, a robot's, by its parts.
import {
  DoubleSide,
  MeshLambertMaterial,
  MeshPhongMaterial,
  MeshPhysicalMaterial,
  MeshStandardMaterial,
  ShaderMaterial,
  UniformsLib,
  UniformsUtils,
} from 'three';

/** @typedef {'skin' | 'mouth' | 'eye' | 'glint' | 'teeth' | 'tongue' | 'brow' | 'shell' | 'collar'} MaterialName */

/** @type {readonly MaterialName[]} */
const MATERIAL_NAMES = ['skin', 'mouth', 'eye', 'glint', 'teeth', 'tongue', 'brow', 'shell', 'collar'];

// how far light passes the terminator, as a cosine
const WRAP = 0.12;

/**
 * Diffuse light, computed per vertex up to the colour of the screen: a software renderer fills the pixels between
 * them several times as fast.
 */
function makeVertexLitMaterial() {
  return new ShaderMaterial({
    vertexColors: true,
    lights: true,
    toneMapped: false, // tone mapping is part of the vertex shader
    uniforms: UniformsUtils.merge([UniformsLib.lights, { toneMappingExposure: { value: 1 } }]), // set by the renderer
    vertexShader: `#include <common>
#include <lights_pars_begin>
#include <tonemapping_pars_fragment>
#include <colorspace_pars_fragment>
varying vec3 shade;
void main() {
	vec3 at = normalize( normalMatrix * normal );
	vec3 light = ambientLightColor;
	for ( int i = 0; i < NUM_HEMI_LIGHTS; i ++ ) light += getHemisphereLightIrradiance( hemisphereLights[ i ], at );
	for ( int i = 0; i < NUM_DIR_LIGHTS; i ++ ) {
		float cosine = dot( at, directionalLights[ i ].direction );
		light += saturate( ( cosine + ${WRAP} ) / ${1 + WRAP} ) * directionalLights[ i ].color;
	}
	shade = sRGBTransferOETF( vec4( ACESFilmicToneMapping( RECIPROCAL_PI * light * color.rgb ), 1.0 ) ).rgb;
	gl_Position = projectionMatrix * ( modelViewMatrix * vec4( position, 1.0 ) );
}`,
    fragmentShader: `varying vec3 shade;
void main() { gl_FragColor = vec4( shade, 1.0 ); }`,
  });
}

/**
 * Materials by name.
 * @param {boolean} plain whether they have to suit a software renderer
 * @returns {Record<MaterialName, import('three').Material>}
 */
export function makeMaterials(plain) {
  const common = { vertexColors: true };
  if (plain) {
    const matt = makeVertexLitMaterial();
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
