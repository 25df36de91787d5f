"""RViz markers of the face."""
