"""Turns figures into pages, and serves the files that the pages load."""
