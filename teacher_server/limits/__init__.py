"""Limits on what one API key, and all keys together, may use at the same time."""
