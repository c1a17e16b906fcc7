"""Verifying a cache and repairing it."""
