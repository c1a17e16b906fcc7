"""Words that stand in rows in the place of a method's or a teacher's name."""

ZERO_SHOT = "zero-shot"
"""The teacher itself, asked about every test image: a line to compare with, not a student."""
NO_TEACHER = "none"
"""Of a method that asks a teacher nothing."""
