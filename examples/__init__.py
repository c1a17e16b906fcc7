"""Examples to copy; tests/examples runs the short ones."""
