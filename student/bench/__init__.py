"""Trains grids of methods, budgets and seeds from a single purchase, and reports the results."""
