"""Pictures and videos of a face."""
