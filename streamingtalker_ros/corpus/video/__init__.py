# SPDX-License-Identifier: Apache-2.0
"""Face motion from video: track landmarks, find the speaker's neutral, solve for the 52 shapes, cut clips."""
