# SPDX-License-Identifier: Apache-2.0
"""The face: ARKit-52 names, the rig, its default sculpture, importers, rendering."""
