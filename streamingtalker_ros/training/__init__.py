# SPDX-License-Identifier: Apache-2.0
"""Corpora, the procedural teacher and the two training stages."""
