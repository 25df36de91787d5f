// SPDX-License-Identifier: Apache-2.0
// Material for software renderers: diffuse light, computed per vertex for each image or once.
import { Color, LinearMipmapNearestFilter, NoColorSpace, ShaderMaterial, UniformsLib, UniformsUtils } from 'three';

const MIDDLE = 0.25; // of the colours of textures, linear
const WRAP = 0.12; // how far light passes the terminator, as a cosine
/** Factor of the texture in a vertex attribute `paint`, of bytes, that leaves the texture as it is. */
export const FULL_PAINT = 128;

/**
 * What a vertex-lit material takes over of another.
 * @typedef {Partial<Pick<import('three').MeshStandardMaterial, 'map' | 'color' | 'opacity' | 'vertexColors' |
 *   'alphaTest' | 'side' | 'transparent' | 'depthWrite'>>} VertexLitOptions
 */

/**
 * The vertices have the colours of the screen: a software renderer fills the pixels between them several times as fast.
 * They are multiplied by the texture as it is stored, as if tone mapping were linear beside MIDDLE.
 * @param {VertexLitOptions} options
 * @param {boolean} isPainted whether the vertices have their colours, as an attribute `paint` of four bytes
 */
export function makeVertexLitMaterial(options, isPainted = false) {
  const { map = null, color, opacity = 1, vertexColors, alphaTest = 0, side, transparent, depthWrite } = options;
  const texture = map && toScreenTexture(map);
  const material = new ShaderMaterial({
    lights: !isPainted,
    toneMapped: false, // tone mapping is part of the vertex shader
    uniforms: {
      ...UniformsUtils.merge([UniformsLib.lights, { toneMappingExposure: { value: 1 } }]), // set by the renderer
      baseColor: { value: color ?? new Color(0xffffff) },
      opacity: { value: opacity },
      map: { value: texture },
      mapTransform: { value: texture?.matrix },
    },
    vertexShader: `#include <common>
#include <lights_pars_begin>
#include <tonemapping_pars_fragment>
#include <colorspace_pars_fragment>
uniform vec3 baseColor;
varying vec3 shade;
#ifdef HAS_MAP
	uniform mat3 mapTransform;
	varying vec2 mapUv;
#endif
vec3 toScreen( vec3 linear ) {
	return sRGBTransferOETF( vec4( ACESFilmicToneMapping( linear ), 1.0 ) ).rgb;
}
#ifdef PAINTED
	attribute vec4 paint;
#endif
void main() {
	#include <begin_vertex>
	#include <project_vertex>
	#ifdef HAS_MAP
		mapUv = ( mapTransform * vec3( MAP_UV, 1.0 ) ).xy;
	#endif
	#ifdef PAINTED
		shade = ${(255 / FULL_PAINT).toFixed(6)} * paint.rgb;
		return;
	#endif
	#include <beginnormal_vertex>
	#include <defaultnormal_vertex>
	vec3 at = normalize( transformedNormal );
	#ifdef DOUBLE_SIDED
		at = faceforward( at, mvPosition.xyz, at );
	#endif
	vec3 light = ambientLightColor;
	for ( int i = 0; i < NUM_HEMI_LIGHTS; i ++ ) light += getHemisphereLightIrradiance( hemisphereLights[ i ], at );
	for ( int i = 0; i < NUM_DIR_LIGHTS; i ++ ) {
		float cosine = dot( at, directionalLights[ i ].direction );
		light += saturate( ( cosine + ${WRAP} ) / ${1 + WRAP} ) * directionalLights[ i ].color;
	}
	shade = RECIPROCAL_PI * light * baseColor;
	#ifdef USE_COLOR
		shade *= color.rgb;
	#endif
	#ifdef HAS_MAP
		shade = toScreen( shade * MIDDLE ) / sRGBTransferOETF( vec4( MIDDLE ) ).rgb;
	#else
		shade = toScreen( shade );
	#endif
}`,
    fragmentShader: `uniform float opacity;
varying vec3 shade;
#ifdef HAS_MAP
	uniform sampler2D map;
	varying vec2 mapUv;
#endif
void main() {
	gl_FragColor = vec4( shade, opacity );
	#ifdef HAS_MAP
		gl_FragColor *= texture2D( map, mapUv );
		#ifdef ALPHA_TEST
			if ( gl_FragColor.a < ALPHA_TEST ) discard;
		#endif
		#ifdef OPAQUE
			gl_FragColor.a = 1.0;
		#endif
	#endif
}`,
  });
  if (map) {
    const uv = map.channel ? `uv${map.channel}` : 'uv';
    Object.assign(material.defines, { HAS_MAP: '', MIDDLE, MAP_UV: uv, [`USE_${uv.toUpperCase()}`]: '' });
  }
  if (isPainted) material.defines.PAINTED = '';
  if (alphaTest > 0) material.defines.ALPHA_TEST = alphaTest.toFixed(3);
  material.setValues({ vertexColors, side, transparent, depthWrite });
  material.addEventListener('dispose', () => texture?.dispose());
  return material;
}

/**
 * The texture without a conversion to linear colours, and filtered within one of its sizes.
 * @param {import('three').Texture} map
 */
function toScreenTexture(map) {
  const texture = map.clone();
  Object.assign(texture, { colorSpace: NoColorSpace, minFilter: LinearMipmapNearestFilter, anisotropy: 1 });
  texture.updateMatrix();
  return texture;
}
