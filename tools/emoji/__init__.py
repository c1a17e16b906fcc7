"""The embedded emoji teacher, and figures for the documentation."""
