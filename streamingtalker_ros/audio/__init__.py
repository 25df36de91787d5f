# SPDX-License-Identifier: Apache-2.0
"""From audio payloads of any format to 16 kHz mono float32 on one clock; augmentation of speech."""
