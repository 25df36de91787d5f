# SPDX-License-Identifier: Apache-2.0
"""The four parts of the network, with explicit state; no streaming, no messages."""
