// SPDX-License-Identifier: Apache-2.0
// Materials of the default face by its parts: skin with wrap lighting, wet eyes, teeth, lips, cloth.
import {
  DoubleSide,
  MeshLambertMaterial,
  MeshPhongMaterial,
  MeshPhysicalMaterial,
  MeshStandardMaterial,
  ShaderChunk,
  ShaderMaterial,
  UniformsLib,
  UniformsUtils,
} from 'three';

/** @typedef {'skin' | 'mouth' | 'eye' | 'glint' | 'teeth' | 'tongue' | 'brow' | 'hair' | 'collar'} MaterialName */

/** @type {readonly MaterialName[]} */
const MATERIAL_NAMES = ['skin', 'mouth', 'eye', 'glint', 'teeth', 'tongue', 'brow', 'hair', 'collar'];

// the statement of three.js that wrap lighting replaces
const LAMBERT_STATEMENT = 'vec3 irradiance = dotNL * directLight.color;';
// wrap lighting of `wrapped` = normal · light
const WRAP_LIGHTING = `vec3 wrap = vec3( 0.22, 0.12, 0.09 );
	vec3 lit = saturate( ( wrapped + wrap ) / ( 1.0 + wrap ) );
	lit = pow( lit, vec3( 1.15, 1.25, 1.3 ) );`;

/**
 * Add wrap lighting, in which diffuse light passes the terminator, red furthest: an approximation of subsurface
 * scattering (Jimenez et al., GPU Pro 2; GPU Gems, chapter 16). Lips, detected by their redness, are smoother.
 * @param {MeshPhysicalMaterial} material
 */
function addSkinShading(material) {
  material.onBeforeCompile = (shader) => {
    const chunk = ShaderChunk.lights_physical_pars_fragment;
    if (!chunk.includes(LAMBERT_STATEMENT)) {
      throw new Error('three.js has changed its lighting: adapt LAMBERT_STATEMENT in materials.js');
    }
    const wrapLighting = `float wrapped = dot( geometryNormal, directLight.direction );
	${WRAP_LIGHTING}
	vec3 irradiance = lit * directLight.color;`;
    shader.fragmentShader = shader.fragmentShader
      .replace('#include <lights_physical_pars_fragment>', chunk.replace(LAMBERT_STATEMENT, wrapLighting))
      .replace(
        '#include <roughnessmap_fragment>',
        `#include <roughnessmap_fragment>
	float lips = smoothstep( 0.20, 0.34, diffuseColor.r - diffuseColor.g );
	roughnessFactor = mix( roughnessFactor, 0.34, lips );`,
      );
  };
  material.customProgramCacheKey = () => 'skin';
  return material;
}

/**
 * The same lighting without specular reflection, computed per vertex up to the colour of the screen: a software
 * renderer fills the pixels between them several times as fast.
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
		float wrapped = dot( at, directionalLights[ i ].direction );
		${WRAP_LIGHTING}
		light += lit * directionalLights[ i ].color;
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
      hair: matt,
      collar: matt,
    };
  }
  return {
    skin: addSkinShading(
      new MeshPhysicalMaterial({
        ...common,
        roughness: 0.54,
        specularIntensity: 0.55,
        sheen: 0.12,
        sheenRoughness: 0.6,
        sheenColor: 0xffb4a0,
      }),
    ),
    mouth: new MeshStandardMaterial({ ...common, roughness: 0.5, envMapIntensity: 0.25, side: DoubleSide }),
    eye: new MeshPhysicalMaterial({
      ...common,
      roughness: 0.32,
      clearcoat: 1,
      clearcoatRoughness: 0.06,
      envMapIntensity: 0.9,
    }),
    glint: new MeshStandardMaterial({ color: 0xffffff, emissive: 0xffffff, emissiveIntensity: 0.85 }),
    teeth: new MeshPhysicalMaterial({ ...common, roughness: 0.28, clearcoat: 0.5, clearcoatRoughness: 0.2 }),
    tongue: new MeshStandardMaterial({ ...common, roughness: 0.36 }),
    brow: new MeshStandardMaterial({ ...common, roughness: 0.85 }),
    hair: new MeshPhysicalMaterial({
      ...common,
      roughness: 0.5,
      specularIntensity: 0.6,
      sheen: 0.3,
      sheenRoughness: 0.45,
      sheenColor: 0x9a6a48,
    }),
    collar: new MeshStandardMaterial({ ...common, roughness: 0.9 }),
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
