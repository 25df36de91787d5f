# SPDX-License-Identifier: Apache-2.0
"""Corpora for training: storage, and the builders that make them."""
