"""The vendor: sells CLIP embeddings by the query and keeps books that can be checked."""
