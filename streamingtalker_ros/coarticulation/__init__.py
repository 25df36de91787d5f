# SPDX-License-Identifier: Apache-2.0
"""Rule-based face motion from timed phones: a dominance model of coarticulation (Cohen and Massaro, 1993).

`dominance` blends viseme targets into lip motion, `residual` corrects lip aperture and width by a small
network, `upper_face` adds blinks, gaze, brows and head, and `face_motion` combines them. NumPy only.
"""
