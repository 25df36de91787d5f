# SPDX-License-Identifier: Apache-2.0
"""The paper's published checkpoints: HuBERT, the VQ-VAE codec, the predictor, the affine head; vertices out.

Layer names follow the facts of the release; `exact` reproduces its order of computation, `streaming` bounds
it.
"""
