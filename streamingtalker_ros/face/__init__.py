"""The face: ARKit-52 names, the rig, its default sculpture, importers, rendering."""
