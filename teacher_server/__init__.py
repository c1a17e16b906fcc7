"""The vendor: sells CLIP embeddings by the query and keeps a ledger that can be audited."""
