"""Sentinel names in result rows."""

ZERO_SHOT = "zero-shot"
"""Method name for the teacher itself, evaluated on every test image; not a student."""
NO_TEACHER = "none"
"""Teacher name for a method without a teacher."""
