"""Paid embeddings kept on disk for ever, and the reports from which query spend is audited.

Imports nothing by itself, so that `cache-report --help` stays quick: take `PaidCache` from
`cache.paid_cache`, `materialise` from `cache.embedding_table`, `markdown_report` from
`cache.reports.spend`.
"""
