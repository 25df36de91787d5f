// SPDX-License-Identifier: Apache-2.0
// The materials of the default face by its parts: skin that lets light in at its edge, wet eyes, teeth, lips, cloth.
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

const SPOT = 'vec3 irradiance = dotNL * directLight.color;';
// How light wraps around to `wrapped` = normal · light.
const WRAP = `vec3 wrap = vec3( 0.22, 0.12, 0.09 );
	vec3 lit = saturate( ( wrapped + wrap ) / ( 1.0 + wrap ) );
	lit = pow( lit, vec3( 1.15, 1.25, 1.3 ) );`;

// Diffuse light wraps around the terminator, red furthest: the cheap half of subsurface scattering (Jimenez and others,
// GPU Pro 2, and the wrap lighting of GPU Gems 16). Lips, told by their redness, are smoother than the skin.
function asSkin(material) {
  material.onBeforeCompile = (shader) => {
    const chunk = ShaderChunk.lights_physical_pars_fragment;
    if (!chunk.includes(SPOT)) throw new Error('three.js has changed its lights: see materials.js');
    const soft = `float wrapped = dot( geometryNormal, directLight.direction );
	${WRAP}
	vec3 irradiance = lit * directLight.color;`;
    shader.fragmentShader = shader.fragmentShader
      .replace('#include <lights_physical_pars_fragment>', chunk.replace(SPOT, soft))
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

// The same light without gloss, worked out at the vertices alone, up to the colour of the screen: a processor fills the
// pixels between them several times as fast.
function atVertices() {
  return new ShaderMaterial({
    vertexColors: true,
    lights: true,
    toneMapped: false, // it is done here
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
		${WRAP}
		light += lit * directionalLights[ i ].color;
	}
	shade = sRGBTransferOETF( vec4( ACESFilmicToneMapping( RECIPROCAL_PI * light * color.rgb ), 1.0 ) ).rgb;
	gl_Position = projectionMatrix * ( modelViewMatrix * vec4( position, 1.0 ) );
}`,
    fragmentShader: `varying vec3 shade;
void main() { gl_FragColor = vec4( shade, 1.0 ); }`,
  });
}

// kind of part -> material; "skin" stands in for parts that are not known. plain: for processors that draw without a
// graphics card.
export function makeMaterials(plain) {
  const common = { vertexColors: true };
  if (plain) {
    const matt = atVertices(),
      wet = new MeshPhongMaterial({ ...common, specular: 0x888888, shininess: 60 });
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
    skin: asSkin(
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

export const kindOf = (part) => (part === 'ear_left' || part === 'ear_right' ? 'skin' : part.split('_')[0]);
