"""Chaos test: vendors and clients are killed behind a faulty network, then checked."""
