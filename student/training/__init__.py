"""Trains a small student from embeddings that are already paid for; it cannot reach a vendor."""
