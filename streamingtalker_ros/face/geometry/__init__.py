# SPDX-License-Identifier: Apache-2.0
"""Mesh geometry: lip landmarks, normals, tessellation."""
