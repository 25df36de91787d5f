# SPDX-License-Identifier: Apache-2.0
"""Training of the published family on VOCASET and BIWI: data sets, HuBERT's hearing, the two stages."""
