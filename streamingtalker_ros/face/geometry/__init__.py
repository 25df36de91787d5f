# SPDX-License-Identifier: Apache-2.0
"""Geometry of triangle meshes: lip landmarks, vertex normals, Phong tessellation."""
