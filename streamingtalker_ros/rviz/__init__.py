# SPDX-License-Identifier: Apache-2.0
"""Shows the face in RViz: `markers` builds it from FaceMotion, `marker_cdr` serializes it quickly."""
