"""Corpora for training: storage, and the builders that make them."""
