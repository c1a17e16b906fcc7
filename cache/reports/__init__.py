"""Spend reports, on a terminal or for other programs."""
