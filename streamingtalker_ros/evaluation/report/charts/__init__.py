# SPDX-License-Identifier: Apache-2.0
"""Pictures of a study, each a matplotlib Figure turned into SVG that an HTML page can hold."""
