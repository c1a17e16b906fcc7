"""Training of small CLIP teachers, on the data sets of the examples."""
