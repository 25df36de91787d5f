# SPDX-License-Identifier: Apache-2.0
"""Text to speech by any command that writes audio: `TtsCommand` runs it, `Speaker` lets the face say it."""
