"""Reading a vendor's ledger, and every way in which that can fail."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from cache.audit.ledger_client import VendorAccount, VendorLedger
from cache.errors import AuditImpossible
from tests.support.cache_purchases import (
    KEY_ID,
    SECRET,
    FakeVendor,
    Ledger,
    image,
    intent_of,
    vendor_of,
)


class Answering(FakeVendor):
    """A vendor that gives the same response to every request."""

    def __init__(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        super().__init__(lines=[])
        self.reply = (status, body, headers or {})

    def answer(self, path: str, authorization: str) -> tuple[int, bytes, dict[str, str]]:
        """The one answer."""
        return self.reply


def failure(vendor: FakeVendor, call: str = "account") -> str:
    """The message of the error that the call raises."""
    with vendor.serving() as url, pytest.raises(AuditImpossible) as caught:
        getattr(VendorLedger(url=url, key=SECRET, timeout_s=10), call)()
    assert SECRET not in str(caught.value)
    return str(caught.value).replace(url, "VENDOR")


def test_the_account_of_a_key_is_what_the_vendor_says() -> None:
    """Its id and what it has spent."""
    vendor = vendor_of([])
    vendor.key = {"id": KEY_ID, "spent_units": 7, "budget_units": 9, "name": "x"}
    with vendor.serving() as url:
        account = VendorLedger(url=f"{url}/", key=SECRET).account()
    assert account == VendorAccount(id=KEY_ID, spent_units=7)
    assert vendor.asked == ["/v1/key"]


def test_entries_are_the_ledger_s_lines_in_order() -> None:
    """Every one of them, whatever its kind."""
    ledger = Ledger()
    for number in range(4):
        ledger.charge(intent_of(image(number)))
    with vendor_of(ledger.entries).serving() as url:
        assert VendorLedger(url=url, key=SECRET).entries() == ledger.entries


def test_an_error_of_the_vendor_is_reported_in_its_words() -> None:
    """As its problem document says."""
    vendor = vendor_of([])
    vendor.secret = "sk_k1_another"
    sentence = "VENDOR/v1/key answered 401: This key is not known; nothing charged."
    assert failure(vendor) == sentence


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (500, b"oops", "VENDOR/v1/key answered 500 (Internal Server Error)"),
        (503, b'{"detail": 7}', "VENDOR/v1/key answered 503 (Service Unavailable)"),
        (404, b"[]", "VENDOR/v1/key answered 404 (Not Found)"),
        (200, b"<html>", "the response of VENDOR/v1/key is not an account"),
        (200, b"[]", "the response of VENDOR/v1/key is not an account"),
        (200, b'{"id": "k1"}', "the response of VENDOR/v1/key is not an account"),
        (
            200,
            b'{"id": "k1", "spent_units": "x"}',
            "the response of VENDOR/v1/key is not an account",
        ),
        (200, b"\xff\xfe", "the response of VENDOR/v1/key is not an account"),
    ],
)
def test_an_invalid_response_is_reported_in_a_sentence(
    status: int, body: bytes, sentence: str
) -> None:
    """Not in a traceback."""
    assert failure(Answering(status, body)) == sentence


def test_a_redirect_is_not_followed_with_the_key() -> None:
    """urllib would send the key to whatever host the redirect names."""
    thief = vendor_of([])
    with thief.serving() as elsewhere:
        vendor = Answering(302, b"", {"Location": f"{elsewhere}/v1/key"})
        assert "answered 302" in failure(vendor)
    assert thief.asked == []


def test_an_invalid_entry_is_named_by_its_position() -> None:
    """The page before it was read."""
    ledger = Ledger()
    ledger.charge(intent_of(image(1)))
    vendor = vendor_of(ledger.entries)
    vendor.lines += [json.dumps({**ledger.entries[1].entry(), "units": "1"})]
    assert failure(vendor, "entries") == "line 1 after seq 2 of the vendor's ledger is not an entry"


@pytest.mark.parametrize("line", ["{", "[]", "null", '{"seq": 1}'])
def test_a_broken_connection_is_reported_in_a_sentence(line: str) -> None:
    """Whatever the fault is."""
    vendor = vendor_of([])
    vendor.lines = [line]
    assert "is not an entry" in failure(vendor, "entries")


def test_a_ledger_that_repeats_a_page_ends_the_audit() -> None:
    """The audit does not hang."""
    line = json.dumps(Ledger().entries[0].entry()).encode()
    assert "repeats entries after seq 1" in failure(Answering(200, line), "entries")


def test_an_endless_response_is_cut_off() -> None:
    """It would fill the memory."""
    with Answering(200, b"x" * 1000).serving() as url:
        ledger = VendorLedger(url=url, key=SECRET, max_response_bytes=999)
        with pytest.raises(AuditImpossible, match="exceeds 999 bytes"):
            ledger.account()


def test_a_remote_vendor_is_reached_through_the_configured_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A vendor on this machine is reached directly."""
    vendor = vendor_of([])
    with vendor.serving() as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("no_proxy", "")
        account = Answering(200, b'{"id": "direct", "spent_units": 0}')
        with account.serving() as url:
            assert VendorLedger(url=url, key=SECRET).account().id == "direct"
        assert vendor.asked == []
        assert VendorLedger(url="http://vendor.invalid", key=SECRET).account().id == KEY_ID
        assert vendor.asked == ["http://vendor.invalid/v1/key"]


def test_blank_lines_are_ignored() -> None:
    """As is a trailing line break."""
    with Answering(200, b"\n \n").serving() as url:
        assert VendorLedger(url=url, key=SECRET).entries() == []


def test_an_unreachable_vendor_is_reported_in_a_sentence() -> None:
    """With the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(AuditImpossible, match=f"cannot reach the vendor at {url}"):
        VendorLedger(url=url, key=SECRET).account()


def test_a_silent_vendor_times_out() -> None:
    """It accepts the connection and sends nothing."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(AuditImpossible, match="timed out"):
            VendorLedger(url=url, key=SECRET, timeout_s=0.1).account()


@pytest.mark.parametrize(
    "url", ["", "vendor:8000", "ftp://vendor", "file:///etc/passwd", "http://", "http://u:p@host"]
)
def test_only_http_addresses_are_accepted(url: str) -> None:
    """urllib would open a file as well."""
    with pytest.raises(AuditImpossible, match="not an http or https address"):
        VendorLedger(url=url, key=SECRET)


@pytest.mark.parametrize("key", ["", "a b", "sk_\n", "sk_\r\nX-Evil: 1", "schlüssel"])
def test_an_invalid_key_is_rejected_without_repeating_it(key: str) -> None:
    """The error of http.client would quote the whole header."""
    with pytest.raises(AuditImpossible) as caught:
        VendorLedger(url="http://vendor", key=key)
    expected: Any = "the vendor's key is empty, or has blanks or non-ASCII characters"
    assert str(caught.value) == expected
