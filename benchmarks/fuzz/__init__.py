"""Attacks on the vendor with generated requests and hostile image files."""
