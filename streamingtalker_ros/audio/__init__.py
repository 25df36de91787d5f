# SPDX-License-Identifier: Apache-2.0
"""Any audio payload to 16 kHz mono float32 with a clock."""
