"""Servers of embeddings, the bare model, and a load on them, for comparisons of speed."""
