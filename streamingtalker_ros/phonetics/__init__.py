# SPDX-License-Identifier: Apache-2.0
"""Phones, forced alignment, sentences and text to speech."""
