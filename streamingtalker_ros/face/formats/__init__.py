# SPDX-License-Identifier: Apache-2.0
"""File formats of faces and of face motion: glTF, OBJ, PLY, Live Link Face CSV."""
