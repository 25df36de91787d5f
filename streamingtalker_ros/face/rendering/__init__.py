# SPDX-License-Identifier: Apache-2.0
"""Images and videos of a face: renderers, contact sheet, MP4 writer."""
