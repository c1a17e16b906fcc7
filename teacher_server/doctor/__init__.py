"""Finds what would stop the vendor from selling, and changes nothing; each fault names its fix."""
