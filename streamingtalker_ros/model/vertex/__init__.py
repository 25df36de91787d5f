# SPDX-License-Identifier: Apache-2.0
"""The vertex family: the paper's published checkpoints, HuBERT, VQ-VAE codec, predictor, affine head.

`offline` reproduces the published order of computation, `streaming` bounds its cost.
"""
