"""Which embeddings a split needs, and where they are found."""
