"""Corpora, the procedural teacher and the two training stages."""
