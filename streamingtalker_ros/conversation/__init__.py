# SPDX-License-Identifier: Apache-2.0
"""Rules of behaviour in conversation on top of the network's motion: gaze, emotion, gestures, listening.

Numpy only: no transport, no torch, no clock of its own; time is counted in frames.
"""
