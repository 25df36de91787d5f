# SPDX-License-Identifier: Apache-2.0
"""Metrics and reports on clips and checkpoints."""
