# SPDX-License-Identifier: Apache-2.0
"""Real-time sessions between audio packets and published frames; independent of transports."""
