"""Sentinel names in result rows."""

ZERO_SHOT = "zero-shot"
"""The teacher itself, on every test image: a reference, not a student."""
NO_TEACHER = "none"
"""The teacher of a method that has none."""
