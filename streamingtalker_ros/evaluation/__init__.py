"""Metrics and reports on clips and checkpoints."""
