# SPDX-License-Identifier: Apache-2.0
"""Rule-based face motion from timed phones (dominance model of Cohen and Massaro)."""
