"""Mesh geometry: lip landmarks, normals, tessellation."""
