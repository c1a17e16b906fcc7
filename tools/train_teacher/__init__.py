"""Trains small CLIP teachers, for the data sets of the examples."""
