"""The values that a cache stores: keys, receipts, embeddings, purchases and runs."""
