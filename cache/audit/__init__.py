"""Comparison of the client's receipts with the vendor's ledger."""
