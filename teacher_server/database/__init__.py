"""The database of the ledger: its engine, tables, migrations and server locks."""
