"""Finds what would stop or spoil a run, before anything is bought; each finding names the fix."""
