# SPDX-License-Identifier: Apache-2.0
"""Networks of both families with explicit state, the DDIM sampler and the protocol of talkers."""
