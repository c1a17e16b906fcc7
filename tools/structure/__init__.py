"""Measures how the source tree is organised, so that two commits can be compared."""
