# SPDX-License-Identifier: Apache-2.0
"""The blendshape family: ARKit-52 weights and a head rotation per frame."""
