# SPDX-License-Identifier: Apache-2.0
"""File formats of faces and face motion: glTF, OBJ, PLY, Live Link Face CSV."""
