# SPDX-License-Identifier: Apache-2.0
"""Shading of textured materials for VTK: GGX reflection, normal maps, translucent skin, strands of hair.

The lighting replaces that of VTK's fragment shader, whose lights and attributes it uses. It works in linear
light. Skin takes light past the terminator, red furthest (J. Jimenez et al., GPU Pro 2); hair reflects along
its strands (J. Kajiya and T. Kay, SIGGRAPH 1989). Alpha cuts whole pixels: the renderer draws such faces
twice as large.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import require
from streamingtalker_ros.face.surface_material import (
    CLEARCOAT_ROUGHNESS,
    SurfaceMaterial,
    decode_image,
)

_SKIN_WRAP: Final = (0.30, 0.13, 0.08)  # how far light passes the terminator, as a cosine
_AMBIENT_SKY: Final = (0.25, 0.26, 0.28)
_AMBIENT_GROUND: Final = (0.17, 0.14, 0.13)
_LIGHT_GAIN: Final = 1.02  # of the scene's lights, which are set for light that is not linear

_LIGHT: Final = """
  light = -lightDirectionVC{k};
  cosine = dot(normal, light);
  lit = clamp((cosine + wrap) / (1.0 + wrap), 0.0, 1.0);
  {reflection}
  radiance += lightColor{k} * {gain:.3f} * (albedo * lit + reflected * clamp(4.0 * cosine + 0.4, 0.0, 1.0));
"""
_GGX: Final = """reflected = vec3(ggx(normal, light, eye, roughness) * clamp(cosine, 0.0, 1.0));
  reflected *= 1.0 - {clearcoat:.3f};
  reflected += {clearcoat:.3f} * ggx(smoothNormal, light, eye, {coat_roughness:.3f})
    * clamp(dot(smoothNormal, light), 0.0, 1.0);"""
_STRANDS: Final = """halfway = normalize(light + eye);
  along = dot(strand, halfway);
  along = max(1.0 - along * along, 0.0);
  reflected = (0.07 * pow(along, 80.0) + 1.5 * albedo * pow(along, 12.0)) * clamp(cosine + 0.4, 0.0, 1.0);"""
_FUNCTIONS: Final = """
float ggx(vec3 normal, vec3 light, vec3 eye, float roughness) {
  vec3 halfway = normalize(light + eye);
  float a2 = roughness * roughness * roughness * roughness;
  float nh = clamp(dot(normal, halfway), 0.0, 1.0), nv = clamp(dot(normal, eye), 0.02, 1.0);
  float nl = clamp(dot(normal, light), 0.0, 1.0);
  float d = nh * nh * (a2 - 1.0) + 1.0;
  float fresnel = min(0.04 + 0.96 * pow(1.0 - clamp(dot(light, halfway), 0.0, 1.0), 5.0), 0.16);
  return fresnel * a2 / (d * d) * 0.25 / max(mix(2.0 * nl * nv, nl + nv, roughness), 0.02) * 2.0;
}
"""
_BODY: Final = """
  vec4 base = texture(baseMap, tcoordVCVSOutput);
  {alpha}
  vec3 albedo = pow(base.rgb, vec3(2.2)) * vec3({factor});
  vec3 smoothNormal = normalVCVSOutput, normal = normalVCVSOutput, eye = normalize(-vertexVC.xyz);
  vec3 px = dFdx(vertexVC.xyz), py = dFdy(vertexVC.xyz);
  vec2 tx = dFdx(tcoordVCVSOutput), ty = dFdy(tcoordVCVSOutput);
  vec3 up = cross(normal, px), across = cross(py, normal);
  vec3 tangent = across * tx.x + up * ty.x, bitangent = across * tx.y + up * ty.y;
  float size = inversesqrt(max(max(dot(tangent, tangent), dot(bitangent, bitangent)), 1e-20));
  {normal}
  float roughness = max({roughness}, 0.06), cosine, along;
  vec3 wrap = vec3({wrap}), light, lit, halfway, reflected, strand = normalize(bitangent * size + 1e-6);
  vec3 radiance = albedo * mix(vec3({ground}), vec3({sky}), 0.5 + 0.5 * normal.y);
  {lights}
  radiance = min(radiance, 0.7 + (1.0 - exp(-max(radiance - 0.7, 0.0) * 2.0)) * 0.3);
  fragOutput0 = vec4(pow(radiance, vec3(1.0 / 2.2)), {opacity});
"""
_NORMAL_MAP: Final = """vec3 bump = texture(normalMap, tcoordVCVSOutput).xyz * 2.0 - 1.0;
  normal = normalize(tangent * size * bump.x + bitangent * size * bump.y + normal * bump.z);"""
_CUT: Final = "if (base.a < {cutoff}) discard;"


def apply_material(vtk: Any, actor: Any, material: SurfaceMaterial, num_lights: int) -> None:
    """Give an actor a textured material.

    Args:
        vtk: The module vtk.
        actor: Its mesh has normals and texture coordinates.
        material: The material.
        num_lights: Directional lights of the scene.
    """
    surface = actor.GetProperty()
    surface.SetBackfaceCulling(not material.double_sided)
    encoded = (material.base_color, material.normal, material.roughness_map)
    images = [None if image is None else decode_image(image) for image in encoded]
    if images[0] is None:
        images[0] = np.full((1, 1, 3), 255, np.uint8)  # VTK declares texture coordinates for a texture alone
    normal, roughness = (image is not None for image in images[1:])
    for name, image in zip(("baseMap", "normalMap", "roughnessMap"), images, strict=True):
        if image is not None:
            surface.SetTexture(name, _texture(vtk, image))
    is_skin, is_hair = material.name.startswith("skin"), material.name.startswith("hair")
    reflection = (
        _STRANDS if is_hair else _GGX.format(clearcoat=material.clearcoat, coat_roughness=CLEARCOAT_ROUGHNESS)
    )
    code = _BODY.format(
        alpha=_CUT.format(cutoff=material.alpha_cutoff) if material.alpha == "MASK" else "",
        factor=_vector(material.base_factor),
        normal=_NORMAL_MAP if normal else "",
        roughness=f"{material.roughness:.4f}"
        + (" * texture(roughnessMap, tcoordVCVSOutput).g" if roughness else ""),
        wrap=_vector(_SKIN_WRAP if is_skin else (0.25, 0.25, 0.25) if is_hair else (0.0, 0.0, 0.0)),
        sky=_vector(_AMBIENT_SKY),
        ground=_vector(_AMBIENT_GROUND),
        lights="".join(
            _LIGHT.format(k=k, gain=_LIGHT_GAIN, reflection=reflection) for k in range(num_lights)
        ),
        opacity="base.a" if material.alpha == "BLEND" else "1.0",
    )
    shader = actor.GetShaderProperty()
    if material.alpha == "BLEND":
        actor.ForceTranslucentOn()
    else:
        actor.ForceOpaqueOn()
    shader.AddFragmentShaderReplacement(
        "//VTK::TCoord::Dec", True, "//VTK::TCoord::Dec\n" + _FUNCTIONS, False
    )
    shader.AddFragmentShaderReplacement("//VTK::TCoord::Impl", True, code, False)


def _vector(values: tuple[float, float, float]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)


def _texture(vtk: Any, pixels: npt.NDArray[np.uint8]) -> Any:
    """A mipmapped, repeating texture of an image (rows, columns, 3 or 4)."""
    numpy_support = require("vtk.util.numpy_support", "rendering")
    data = vtk.vtkImageData()
    data.SetDimensions(pixels.shape[1], pixels.shape[0], 1)
    rows = np.ascontiguousarray(pixels[::-1]).reshape(-1, pixels.shape[2])
    data.GetPointData().SetScalars(numpy_support.numpy_to_vtk(rows, deep=True))
    texture = vtk.vtkTexture()
    texture.SetInputData(data)
    texture.InterpolateOn()
    texture.MipmapOn()
    texture.RepeatOn()
    texture.SetColorModeToDirectScalars()
    return texture
