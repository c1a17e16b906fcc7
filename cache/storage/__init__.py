"""How records lie on disk: the fenced diskcache, its codec, and receipts.jsonl beside it."""
