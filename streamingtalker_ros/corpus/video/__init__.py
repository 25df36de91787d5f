# SPDX-License-Identifier: Apache-2.0
"""Corpora from video: landmark tracking, neutral pose, blendshape solver, clips."""
