"""Forecasts of the accuracy that more queries would add."""
