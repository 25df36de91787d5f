# SPDX-License-Identifier: Apache-2.0
"""Faces: ARKit blendshapes, rigs, rotations, file formats, mesh geometry, rendering and the default head."""
