"""Rule-based face motion from timed phones (dominance model of Cohen and Massaro)."""
