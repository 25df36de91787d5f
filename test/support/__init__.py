# SPDX-License-Identifier: Apache-2.0
"""Harnesses, fixtures and fake peers that several tests share."""
