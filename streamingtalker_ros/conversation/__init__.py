# SPDX-License-Identifier: Apache-2.0
"""Conversational behaviour of a face by rules: prosody, listening, turn-taking; numpy alone, no transport."""
