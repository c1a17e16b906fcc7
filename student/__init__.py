"""The client: buys embeddings within a budget and distils them into a small student."""
