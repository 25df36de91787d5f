# SPDX-License-Identifier: Apache-2.0
"""The default head, modelled in code: skin, mouth, eyes, hair, colours and the 52 ARKit shapes.

`assemble.default_rig` joins them. All lengths are in millimetres until then.
"""
