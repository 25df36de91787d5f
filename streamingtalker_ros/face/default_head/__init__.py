# SPDX-License-Identifier: Apache-2.0
"""The default head, a robot's, modelled in code: skin, mouth, eyes, shell, colours and the 52 ARKit shapes.

`assemble.build_default_rig` joins them, `stored.default_rig` reads the result from a file. All lengths are in
millimetres until then.
"""
