# SPDX-License-Identifier: Apache-2.0
"""Charts of evaluation results as matplotlib figures, converted to inline SVG."""
