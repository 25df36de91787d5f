# SPDX-License-Identifier: Apache-2.0
"""Training corpora: their storage and the builders that write them."""
