"""Reproduces the published tables; needs the data sets and a GPU."""
