# SPDX-License-Identifier: Apache-2.0
"""Training of the vertex family on VOCASET and BIWI: data sets, HuBERT features, the two stages."""
