# SPDX-License-Identifier: Apache-2.0
"""The default face, sculpted in code: surface, mouth, eyes,
hair, paint and the 52 shapes; `assemble` joins them."""
