"""Harnesses, fixtures and fake peers that several tests share."""
