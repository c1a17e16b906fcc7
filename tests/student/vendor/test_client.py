"""The HTTP client: what is retried, for how long and under which key; no secret is printed."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import SecretStr

from student.errors import (
    BadInput,
    BudgetExhausted,
    VendorError,
    VendorMisbehaved,
    VendorUnreachable,
)
from student.vendor.client import connect
from student.vendor.request import Batch, Item
from student.vendor.retry import Retry, RetryPolicy
from student.vendor.schemas import Model, Prices
from student.vendor.transport import MAX_RESPONSE_BYTES
from tests.support.ledger_vendor import (
    KEY,
    LedgerVendor,
    lost_answer,
    lost_request,
    refusing,
)
from tests.support.purchase_setup import Clock, client_of


def batch(vendor: LedgerVendor, *payloads: bytes) -> Batch:
    return Batch(
        model=Model.model_validate(vendor.model),
        prices=Prices.model_validate(vendor.price),
        items=tuple(Item(modality="image", payload=payload) for payload in payloads or (b"a",)),
    )


NEVER_RETRIED = [
    (400, "invalid_request"),
    (401, "invalid_key"),
    (402, "budget_exhausted"),
    (402, "request_exceeds_budget"),
    (403, "forbidden"),
    (403, "insufficient_scope"),
    (404, "unknown_model"),
    (405, "method_not_allowed"),
    (409, "conflict_of_another_kind"),
    (410, "answer_purged"),
    (413, "image_too_large"),
    (413, "body_too_large"),
    (415, "unsupported_media_type"),
    (422, "invalid_image"),
    (422, "idempotency_key_reused"),
    (501, "not_implemented"),
    (302, "moved"),
]
RETRIED = [
    (408, "timeout"),
    (409, "request_in_flight"),
    (425, "too_early"),
    (429, "overloaded"),
    (429, "budget_in_flight"),
    (429, "rate_limited"),
    (429, "too_many_concurrent"),
    (500, "internal_error"),
    (502, "bad_gateway"),
    (503, "not_ready"),
    (504, "gateway_timeout"),
]


@pytest.mark.parametrize(("status", "code"), NEVER_RETRIED)
async def test_final_statuses_are_not_retried(
    vendor: LedgerVendor, clock: Clock, status: int, code: str
) -> None:
    vendor.faults.extend([refusing(status, code)] * 3)
    async with client_of(vendor, clock) as client:
        with pytest.raises(VendorError) as caught:
            await client.embed(batch(vendor), "key-1")
    assert (caught.value.status, caught.value.code) == (status, code)
    assert caught.value.request_id == "req_refused"
    assert (len(vendor.posts), clock.sleeps, vendor.spent) == (1, [], 0)


@pytest.mark.parametrize(("status", "code"), RETRIED)
async def test_retryable_statuses_are_retried_under_the_same_key(
    vendor: LedgerVendor, clock: Clock, status: int, code: str
) -> None:
    vendor.faults.extend([refusing(status, code)] * 2)
    retries: list[Retry] = []
    async with client_of(vendor, clock) as client:
        await client.embed(batch(vendor), "key-1", on_retry=retries.append)
    assert [seen.idempotency_key for seen in vendor.posts] == ["key-1"] * 3
    assert [(retry.attempt, retry.status) for retry in retries] == [(1, status), (2, status)]
    assert [retry.is_pushback for retry in retries] == [status in {429, 503}] * 2
    assert vendor.spent == 1


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.ReadError,
        httpx.ReadTimeout,
        httpx.WriteError,
        httpx.WriteTimeout,
        httpx.RemoteProtocolError,
    ],
)
async def test_a_broken_connection_is_retried(
    vendor: LedgerVendor, clock: Clock, error: type[httpx.TransportError]
) -> None:
    def broken(_vendor: LedgerVendor, _request: httpx.Request) -> httpx.Response:
        message = "broken"
        raise error(message)

    vendor.faults.extend([broken, broken])
    async with client_of(vendor, clock) as client:
        await client.embed(batch(vendor), "key-1")
    assert len(vendor.posts) == 3
    assert len(clock.sleeps) == 2


async def test_a_purchase_charged_before_a_timeout_is_paid_once(vendor: LedgerVendor) -> None:
    vendor.faults.extend([lost_answer, lost_answer])
    async with client_of(vendor) as client:
        answer = await client.embed(batch(vendor, b"a", b"b"), "key-1")
    assert answer.replayed
    assert vendor.spent == 2
    assert len(vendor.ledger) == 1


@pytest.mark.parametrize(
    ("fault", "charged"),
    [
        (lost_request, None),
        (lost_answer, None),
        (refusing(503, "not_ready"), False),
        (refusing(429, "overloaded"), False),
        # The first attempt is still being processed, and it will be charged.
        (refusing(409, "request_in_flight"), None),
        # A gateway does not know the vendor's ledger.
        (lambda vendor, request: httpx.Response(502, text="<html>"), None),
    ],
    ids=["lost request", "lost answer", "503", "429", "409", "502 of a gateway"],
)
async def test_the_final_error_states_what_is_known_about_charges(
    vendor: LedgerVendor, fault: object, charged: bool | None
) -> None:
    vendor.faults.extend([fault] * 3)  # type: ignore[list-item]
    async with client_of(vendor, retry_policy=RetryPolicy(attempts=3)) as client:
        with pytest.raises(VendorError) as caught:
            await client.embed(batch(vendor), "key-1")
    assert caught.value.charged is charged
    assert len(vendor.posts) == 3


async def test_a_vendor_that_was_never_reached_charged_nothing(clock: Clock) -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        message = "refused"
        raise httpx.ConnectError(message)

    async with client_of(refuse, clock, RetryPolicy(attempts=2)) as client:
        with pytest.raises(VendorUnreachable, match="2 attempts") as caught:
            await client.embed(batch(LedgerVendor()), "key-1")
    assert caught.value.charged is False


async def test_a_refusal_after_an_unresolved_attempt_proves_nothing(vendor: LedgerVendor) -> None:
    vendor.faults.extend([lost_answer, refusing(401, "invalid_key")])
    async with client_of(vendor) as client:
        with pytest.raises(VendorError) as caught:
            await client.embed(batch(vendor), "key-1")
    assert caught.value.charged is None


async def test_402_carries_what_would_still_fit(vendor: LedgerVendor) -> None:
    vendor.budget = 2
    async with client_of(vendor) as client:
        with pytest.raises(BudgetExhausted) as caught:
            await client.embed(batch(vendor, b"a", b"b", b"c"), "key-1")
    assert (caught.value.needed, caught.value.remaining, caught.value.charged) == (3, 2, False)


@pytest.mark.parametrize(
    "retries",
    [RetryPolicy(attempts=4), RetryPolicy(total_seconds=0.0)],
    ids=["attempts", "seconds"],
)
async def test_attempts_and_time_are_both_capped(
    vendor: LedgerVendor, clock: Clock, retries: RetryPolicy
) -> None:
    vendor.faults.extend([refusing(503, "not_ready")] * 50)
    async with client_of(vendor, clock, retries) as client:
        with pytest.raises(VendorError):
            await client.embed(batch(vendor), "key-1")
    assert len(vendor.posts) == (4 if retries.attempts == 4 else 1)


async def test_the_time_cap_holds_whatever_retry_after_says(
    vendor: LedgerVendor, clock: Clock
) -> None:
    started = clock.now
    fault = refusing(503, "not_ready", headers={"Retry-After": "59"})
    vendor.faults.extend([fault] * 50)
    async with client_of(vendor, clock, RetryPolicy(attempts=50, total_seconds=150)) as client:
        with pytest.raises(VendorError):
            await client.embed(batch(vendor), "key-1")
    assert clock.now - started <= 150
    assert len(vendor.posts) == 3


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [("7", 7, 7.5), ("0", 0, 0.5), ("86400", 60, 60.5), ("9" * 400, 60, 60.5), ("-5", 0, 0.5)],
)
async def test_retry_after_is_obeyed_and_bounded(
    vendor: LedgerVendor, clock: Clock, asked: str, least: float, most: float
) -> None:
    vendor.faults.append(refusing(429, "overloaded", headers={"Retry-After": asked}))
    async with client_of(vendor, clock) as client:
        await client.embed(batch(vendor), "key-1")
    assert len(clock.sleeps) == 1
    assert least <= clock.sleeps[0] <= most


async def test_a_slowly_sent_answer_is_cut_off(clock: Clock) -> None:
    async def drip() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.01)

    def endless(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=drip())

    retries = RetryPolicy(attempts=2, request_seconds=0.05)
    async with client_of(endless, clock, retries) as client:
        with pytest.raises(VendorUnreachable) as caught:
            await client.embed(batch(LedgerVendor()), "key-1")
    assert caught.value.charged is None


async def test_an_endless_answer_is_cut_off_before_it_fills_the_memory(
    clock: Clock,
) -> None:
    async def flood() -> AsyncIterator[bytes]:
        part = b" " * (MAX_RESPONSE_BYTES // 4)
        while True:
            yield part

    async with client_of(lambda _: httpx.Response(200, content=flood()), clock) as client:
        with pytest.raises(VendorMisbehaved, match="exceeds 256 MiB") as caught:
            await client.embed(batch(LedgerVendor()), "key-1")
    assert caught.value.charged is None


async def test_an_answer_with_a_broken_encoding_is_refused() -> None:
    def torn(_: httpx.Request) -> httpx.Response:
        async def halves() -> AsyncIterator[bytes]:
            yield b"\x1f\x8b" + gzip.compress(b"x")[2:9] + b"garbage"

        headers = {"Content-Encoding": "gzip"}
        return httpx.Response(200, headers=headers, content=halves())

    async with client_of(torn) as client:
        with pytest.raises(VendorMisbehaved):
            await client.embed(batch(LedgerVendor()), "key-1")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1080"),
        ("NO_PROXY", "localhost,[::1]"),
        ("SSL_CERT_FILE", "/no/such.pem"),
        ("HTTPS_PROXY", "http://host:port"),
    ],
)
async def test_a_network_variable_that_cannot_be_used_is_named_in_one_line(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache.audit.network.find_spec", lambda _: None)
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadInput, match=f"environment variable {variable}") as error:
        async with connect("http://127.0.0.1:8000", SecretStr(KEY)):
            pass
    assert "\n" not in str(error.value)


async def test_a_vendor_on_loopback_is_not_reached_through_a_proxy_and_another_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@127.0.0.1:9")
    async with connect("http://127.0.0.1:8000", SecretStr(KEY)) as client:
        assert client.proxy == ""
    async with connect("http://vendor.example", SecretStr(KEY)) as client:
        assert client.proxy == "http://***@127.0.0.1:9 (HTTP_PROXY)"
