"""Merging caches, and writing off purchases that nobody can settle."""
