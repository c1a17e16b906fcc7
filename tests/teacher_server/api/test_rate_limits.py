"""Scopes, rates and concurrency of a key, and the headers that report them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from benchmarks.support.vendor_in_process import HashEncoder, Vendor, vendor_at
from teacher_server.api.rate_limits import duration
from teacher_server.ledger.append import MAX_GRANTED
from tests.support.structured_fields import parse_list

MINUTE_NS = 60 * 10**9


@pytest.fixture
async def vendor(tmp_path: Path, hashing: HashEncoder) -> AsyncIterator[Vendor]:
    async with vendor_at(tmp_path, hashing, limits={"requests_per_minute": 60}) as running:
        yield running


def refused(response: httpx.Response, status: int, code: str) -> None:
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert "Nothing was charged." in response.json()["detail"]
    assert response.headers["x-should-retry"] == ("true" if status == 429 else "false")
    assert response.headers["content-type"] == "application/problem+json"


async def test_the_headers_are_structured_fields_that_add_up(vendor: Vendor) -> None:
    answer = await vendor.embed(["a", "b"])
    policy = parse_list(answer.headers["RateLimit-Policy"])
    assert policy == {
        "requests": {"q": 60, "w": 60},
        "concurrent": {"q": 64, "qu": "concurrent-requests"},
        "budget": {"q": 100, "qu": "queries"},
    }
    left = parse_list(answer.headers["RateLimit"])
    assert left == {
        "requests": {"r": 59, "t": 1},
        "concurrent": {"r": 63},
        "budget": {"r": 98},
    }
    assert answer.headers["x-ratelimit-limit-requests"] == "60"
    assert answer.headers["x-ratelimit-remaining-requests"] == "59"
    assert answer.headers["x-ratelimit-reset-requests"].endswith("ms")
    assert answer.json()["receipt"]["balance_units"] == left["budget"]["r"]


@pytest.mark.parametrize(
    "body",
    [b"{", b'{"model":"hash","input":[]}', b'{"model":"other","input":"a"}'],
)
async def test_refusals_of_a_known_key_carry_the_headers(vendor: Vendor, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await vendor.http.post("/v1/embeddings", content=body, headers=headers)
    assert answer.status_code in {400, 404}
    assert parse_list(answer.headers["RateLimit"])["budget"] == {"r": 100}
    assert parse_list(answer.headers["RateLimit-Policy"])["requests"] == {"q": 60, "w": 60}


async def test_an_exhausted_budget_and_a_failing_model_carry_them_too(
    vendor: Vendor, hashing: HashEncoder
) -> None:
    failed = await vendor.embed(hashing.failing_text)
    over = await vendor.embed(["a"] * 101)
    assert (failed.status_code, over.status_code) == (500, 402)
    for answer in (failed, over):
        assert parse_list(answer.headers["RateLimit"])["budget"] == {"r": 100}


async def test_an_unauthenticated_client_gets_no_limit_headers(vendor: Vendor) -> None:
    vendor.http.headers["Authorization"] = f"Bearer sk_{vendor.key.id}_{'0' * 43}"
    answer = await vendor.embed("a")
    assert answer.status_code == 401
    assert not [name for name in answer.headers if "ratelimit" in name]


async def test_a_budget_too_large_for_a_structured_field_is_capped_in_the_header(
    tmp_path: Path, hashing: HashEncoder
) -> None:
    async with vendor_at(tmp_path, hashing, budget=MAX_GRANTED) as vendor:
        answer = await vendor.embed("a")
    assert parse_list(answer.headers["RateLimit-Policy"])["budget"]["q"] == 10**15 - 1
    assert parse_list(answer.headers["RateLimit"])["budget"]["r"] == 10**15 - 1


async def test_a_budget_with_a_period_states_its_window_and_when_it_ends(vendor: Vendor) -> None:
    for period, longest in (("day", 86_400), ("month", 31 * 86_400)):
        key = vendor.another_key(budget=7, period=period)
        answer = await vendor.http.post(
            "/v1/embeddings", json={"model": "hash", "input": "a"}, headers=vendor.of(key)
        )
        policy = parse_list(answer.headers["RateLimit-Policy"])["budget"]
        left = parse_list(answer.headers["RateLimit"])["budget"]
        window, ends = policy["w"], left["t"]
        assert (policy["q"], left["r"]) == (7, 6)
        assert isinstance(window, int)
        assert isinstance(ends, int)
        assert 28 * 86_400 <= window <= longest if period == "month" else window == longest
        start = vendor.ledger.keys.get(key.id).period_start_ms // 1000
        assert abs(start + window - ends - datetime.now(UTC).timestamp()) < 60


async def test_a_request_over_the_rate_is_refused_with_the_time_to_wait(
    tmp_path: Path, hashing: HashEncoder
) -> None:
    async with vendor_at(tmp_path, hashing, limits={"requests_per_minute": 2}) as vendor:
        assert (await vendor.embed("a")).status_code == 200
        second = await vendor.embed("b")
        assert parse_list(second.headers["RateLimit"])["requests"] == {"r": 0, "t": 30}
        assert second.headers["x-ratelimit-remaining-requests"] == "0"
        answer = await vendor.embed("c")
        refused(answer, 429, "rate_limited")
        assert answer.headers["Retry-After"] in {"29", "30"}
        assert vendor.account.spent_units == 2
        # A limit of the key's own, not of the vendor's.
        other = vendor.another_key()
        fine = await vendor.http.get("/v1/key", headers=vendor.of(other))
        assert fine.json()["requests_per_minute"] == 6000


async def test_the_rate_is_checked_before_the_body_is_read(
    tmp_path: Path, hashing: HashEncoder
) -> None:
    async with vendor_at(tmp_path, hashing, limits={"requests_per_minute": 1}) as vendor:
        await vendor.embed("a")

        async def body() -> AsyncIterator[bytes]:
            raise AssertionError
            yield b""

        headers = {"Content-Type": "application/json"}
        answer = await vendor.http.post("/v1/embeddings", content=body(), headers=headers)
        refused(answer, 429, "rate_limited")


async def test_requests_over_the_concurrency_limit_are_refused_until_one_finishes(
    tmp_path: Path, hashing: HashEncoder
) -> None:
    async with vendor_at(tmp_path, hashing, limits={"max_concurrent": 2}) as vendor:
        hashing.may_encode.clear()
        held = [asyncio.create_task(vendor.embed([f"t{i}"])) for i in range(2)]
        while vendor.account.reserved_units < 2:
            await asyncio.sleep(0)
        answer = await vendor.embed("c")
        refused(answer, 429, "too_many_concurrent")
        assert answer.headers["Retry-After"] == "1"
        assert parse_list(answer.headers["RateLimit"])["concurrent"] == {"r": 0}
        held[0].cancel()
        await asyncio.wait({held[0]})
        hashing.may_encode.set()
        assert (await held[1]).status_code == 200
        assert (await vendor.embed("c")).status_code == 200
        assert (vendor.account.spent_units, vendor.account.reserved_units) == (2, 0)


async def test_a_changed_limit_holds_from_the_next_request_on(vendor: Vendor) -> None:
    await vendor.embed("a")
    vendor.ledger.keys.set_limits(vendor.key.id, requests_per_minute=1)
    answer = await vendor.embed("b")
    assert parse_list(answer.headers["RateLimit-Policy"])["requests"] == {"q": 1, "w": 60}


ROUTES = {
    "embed": [("POST", "/v1/embeddings")],
    "read": [("GET", "/v1/usage"), ("GET", "/v1/ledger")],
    "embed read": [
        ("GET", "/v1/key"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/hash"),
        ("GET", "/v1/prices"),
        ("POST", "/v1/tokens"),
        ("GET", "/v1/requests/k"),
    ],
    "admin": [
        ("GET", "/admin/keys"),
        ("POST", "/admin/keys"),
        ("GET", "/admin/keys/k"),
        ("PATCH", "/admin/keys/k"),
        ("POST", "/admin/keys/k/topup"),
        ("POST", "/admin/keys/k/revoke"),
        ("POST", "/admin/keys/k/rotate"),
        ("POST", "/admin/corrections"),
        ("GET", "/admin/ledger/verify"),
    ],
}


@pytest.mark.parametrize("scope", ["embed", "read", "admin"])
async def test_a_key_can_use_only_the_routes_of_its_scopes(vendor: Vendor, scope: str) -> None:
    key = vendor.another_key(scopes=(scope,))
    for scopes, routes in ROUTES.items():
        for method, path in routes:
            answer = await vendor.http.request(method, path, headers=vendor.of(key))
            if scope in scopes.split():
                assert answer.status_code not in {401, 403}, (method, path)
            else:
                refused(answer, 403, "insufficient_scope")
                assert scopes.split()[0] in answer.json()["detail"]
    assert {path for routes in ROUTES.values() for path in routes} >= {
        (method.upper(), path.replace("{model}", "hash").replace("{idempotency_key}", "k"))
        for path, operations in vendor.app.openapi()["paths"].items()
        for method in operations
        if path.startswith("/v1/")
    }


async def test_a_refused_scope_counts_as_a_request(tmp_path: Path, hashing: HashEncoder) -> None:
    async with vendor_at(tmp_path, hashing, limits={"requests_per_minute": 1}) as vendor:
        refused(await vendor.http.get("/admin/keys"), 403, "insufficient_scope")
        refused(await vendor.http.get("/admin/keys"), 429, "rate_limited")


@pytest.mark.parametrize(
    ("nanoseconds", "written"),
    [
        (0, "0ms"),
        (1, "1ms"),
        (20 * 10**6, "20ms"),
        (999 * 10**6 + 1, "1s"),
        (10**9, "1s"),
        (10**9 + 1, "2s"),
        (59 * 10**9 + 1, "1m0s"),
        (6 * MINUTE_NS, "6m0s"),
        (61 * MINUTE_NS + 1, "61m1s"),
    ],
)
def test_a_wait_is_written_as_openai_writes_it_and_never_too_short(
    nanoseconds: int, written: str
) -> None:
    assert duration(nanoseconds) == written
