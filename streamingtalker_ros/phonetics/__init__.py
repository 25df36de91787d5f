"""Phones, forced alignment, sentences and text-to-speech voices."""
