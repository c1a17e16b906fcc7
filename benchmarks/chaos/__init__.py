"""Vendors and clients killed behind a faulty network, and their books compared."""
