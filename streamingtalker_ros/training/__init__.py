# SPDX-License-Identifier: Apache-2.0
"""Training of the blendshape and vertex networks, and of the coarticulation model."""
