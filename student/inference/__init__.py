"""What a finished student is used for: predictions, embeddings, exported files and a server."""
