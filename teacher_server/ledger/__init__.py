"""API keys, reservations, and an append-only, hash-chained ledger."""
