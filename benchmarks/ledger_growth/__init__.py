"""How a PostgreSQL ledger sells and forgets as it grows, and what partitions would change."""
