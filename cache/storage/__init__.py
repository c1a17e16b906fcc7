"""Storage: the protected diskcache, the record format, receipts.jsonl and the locks."""
