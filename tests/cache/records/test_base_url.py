"""A vendor's URL may be written as OpenAI's clients write it."""

from __future__ import annotations

import pytest

from cache.audit.ledger_client import VendorLedger
from cache.records.receipt import base_url


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("http://host:8000", "http://host:8000"),
        ("http://host:8000/", "http://host:8000"),
        ("http://host:8000/v1", "http://host:8000"),
        ("http://host:8000/v1/", "http://host:8000"),
        ("http://host:8000//v1//", "http://host:8000"),
        ("http://host:8000/v1/embeddings", "http://host:8000"),
        ("https://host/teacher/v1/models/", "https://host/teacher"),
        ("https://host/teacher/", "https://host/teacher"),
        ("https://host/v12", "https://host/v12"),
        ("https://v1", "https://v1"),
        ("https://v1/v1", "https://v1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000"),
    ],
)
def test_the_apis_own_path_is_taken_off_the_end_of_a_vendors_url(
    written: str, expected: str
) -> None:
    assert base_url(written) == expected


def test_an_audit_asks_the_vendor_at_its_base_url() -> None:
    assert VendorLedger(url="http://host:8000/v1/", key="k").url == "http://host:8000"
