"""The administrator's routes: secrets shown once, grants made once, and corrections as entries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.support.vendor_in_process import HashEncoder, Vendor, vendor_at
from teacher_server.ledger.account import LAST_MS
from teacher_server.ledger.append import MAX_GRANTED


@dataclass(frozen=True)
class Office:
    """A vendor and its administrator's client."""

    vendor: Vendor
    headers: dict[str, str]

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = self.headers | options.pop("headers", {})
        return await self.vendor.http.request(method, f"/admin{path}", headers=headers, **options)

    async def create(self, **fields: Any) -> dict[str, Any]:
        answer = await self.ask("POST", "/keys", json={"name": "n", "budget_units": 9} | fields)
        assert answer.status_code == 201
        made: dict[str, Any] = answer.json()
        return made

    async def embed(self, token: str, given: object = "a") -> httpx.Response:
        return await self.vendor.http.post(
            "/v1/embeddings",
            json={"model": "hash", "input": given},
            headers={"Authorization": f"Bearer {token}"},
        )

    async def top_up(self, key_id: str, units: int, name: str) -> httpx.Response:
        return await self.ask(
            "POST",
            f"/keys/{key_id}/topup",
            json={"units": units},
            headers={"Idempotency-Key": name},
        )

    async def correct(self, name: str = "c-1", **body: object) -> httpx.Response:
        headers = {"Idempotency-Key": name}
        return await self.ask("POST", "/corrections", json=body, headers=headers)


@pytest.fixture
async def office(tmp_path: Path, hashing: HashEncoder) -> AsyncIterator[Office]:
    async with vendor_at(tmp_path, hashing) as vendor:
        admin = vendor.another_key(budget=0, scopes=("admin",))
        yield Office(vendor, vendor.of(admin))


def refused(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_key_is_made_used_and_its_secret_shown_once(office: Office) -> None:
    answer = await office.ask(
        "POST", "/keys", json={"name": "lab", "budget_units": 5, "scopes": ["embed"]}
    )
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    made = answer.json()
    assert (made["budget_units"], made["scopes"], made["period"]) == (5, ["embed"], "none")
    assert (await office.embed(made["key"])).status_code == 200
    secret = made["key"].split("_", 2)[2]
    for path in ("/keys", f"/keys/{made['id']}"):
        assert secret not in (await office.ask("GET", path)).text
    listed = (await office.ask("GET", "/keys")).json()["data"]
    assert [key["id"] for key in listed].count(made["id"]) == 1
    seen = (await office.ask("GET", f"/keys/{made['id']}")).json()
    assert (seen["spent_units"], seen["remaining_units"]) == (1, 4)
    assert seen["last_used_ms"] >= seen["created_ms"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("spent_units", 0),
        ("id", "chosen"),
        ("key", "sk_a_b"),
        ("budget_units", -1),
        ("budget_units", "5"),
        ("budget_units", 1.5),
        ("budget_units", 10**18),
        ("name", ""),
        ("name", "a\0b"),
        ("scopes", []),
        ("scopes", ["root"]),
        ("period", "week"),
        ("requests_per_minute", 0),
        ("max_concurrent", True),
        ("expires_ms", -1),
        ("expires_ms", LAST_MS + 1),
    ],
)
async def test_an_unknown_or_invalid_field_is_refused_and_no_key_is_created(
    office: Office, field: str, value: object
) -> None:
    body = {"name": "n", "budget_units": 1} | {field: value}
    answer = await office.ask("POST", "/keys", json=body)
    refused(answer, 400, "invalid_request")
    assert answer.json()["error"]["param"] == field
    assert len(office.vendor.ledger.keys.all()) == 2


async def test_an_invalid_field_is_reported_as_for_a_purchase(office: Office) -> None:
    answer = await office.ask("POST", "/keys", json={"budget_units": 1, "colour": "red"})
    assert answer.json()["detail"].startswith("`name` is missing.")
    answer = await office.ask("POST", "/keys", json={"name": "n", "budget_units": 1, "colour": 1})
    assert answer.json()["detail"].startswith("`colour` is not a known field.")


async def test_limits_are_changed_one_at_a_time_and_null_restores_the_default(
    office: Office,
) -> None:
    made = await office.create(requests_per_minute=5)
    changed = await office.ask("PATCH", f"/keys/{made['id']}", json={"max_concurrent": 3})
    assert (changed.json()["requests_per_minute"], changed.json()["max_concurrent"]) == (5, 3)
    back = await office.ask("PATCH", f"/keys/{made['id']}", json={"requests_per_minute": None})
    assert (back.json()["requests_per_minute"], back.json()["max_concurrent"]) == (6000, 3)
    for body in (
        {"budget_units": 10**6},
        {"scopes": None},
        {"name": "other"},
        {"revoked_ms": None},
    ):
        refused(await office.ask("PATCH", f"/keys/{made['id']}", json=body), 400, "invalid_request")


async def test_expired_and_revoked_keys_are_refused_like_unknown_keys(office: Office) -> None:
    expired = await office.create(expires_ms=1)
    revoked = await office.create()
    await office.ask("POST", f"/keys/{revoked['id']}/revoke")
    answers = [await office.embed(key["key"]) for key in (expired, revoked)]
    answers.append(await office.embed(f"sk_nobody_{'0' * 43}"))
    for answer in answers:
        refused(answer, 401, "invalid_key")
        assert answer.json()["detail"] == answers[0].json()["detail"]


async def test_a_rotated_key_keeps_its_ledger_and_loses_its_old_secret(office: Office) -> None:
    made = await office.create()
    await office.embed(made["key"])
    answer = await office.ask("POST", f"/keys/{made['id']}/rotate")
    assert answer.headers["Cache-Control"] == "no-store"
    rotated = answer.json()
    assert (rotated["id"], rotated["spent_units"]) == (made["id"], 1)
    refused(await office.embed(made["key"]), 401, "invalid_key")
    assert (await office.embed(rotated["key"])).status_code == 200
    await office.ask("POST", f"/keys/{made['id']}/revoke")
    refused(await office.ask("POST", f"/keys/{made['id']}/rotate"), 400, "invalid_request")


async def test_a_top_up_is_granted_once_however_often_it_is_sent(office: Office) -> None:
    made = await office.create()
    answers = await asyncio.gather(*(office.top_up(made["id"], 5, "invoice-1") for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["budget_units"] for answer in answers} == {14}
    assert (await office.top_up(made["id"], 5, "invoice-2")).json()["budget_units"] == 19
    refused(await office.top_up(made["id"], 6, "invoice-1"), 422, "idempotency_key_reused")
    assert office.vendor.audit.faults == ()


async def test_a_top_up_without_an_idempotency_key_is_refused(office: Office) -> None:
    made = await office.create()
    answer = await office.ask("POST", f"/keys/{made['id']}/topup", json={"units": 5})
    refused(answer, 400, "invalid_request")
    assert answer.json()["error"]["param"] == "Idempotency-Key"
    refused(await office.top_up(made["id"], 5, "x" * 256), 400, "invalid_request")


async def test_a_top_up_beyond_what_a_key_can_hold_is_refused_for_good(office: Office) -> None:
    full = office.vendor.another_key(budget=MAX_GRANTED)
    answer = await office.top_up(full.id, 1, "invoice-1")
    refused(answer, 400, "invalid_request")
    assert answer.headers["x-should-retry"] == "false"
    assert str(MAX_GRANTED) in answer.json()["detail"]


@pytest.mark.parametrize("key_id", ["nobody", "a%00b", "%C3%BC", "x" * 300])
async def test_an_unknown_key_is_not_found(office: Office, key_id: str) -> None:
    for method, path in (("GET", ""), ("POST", "/revoke"), ("POST", "/rotate")):
        refused(await office.ask(method, f"/keys/{key_id}{path}"), 404, "unknown_key")
    refused(await office.ask("PATCH", f"/keys/{key_id}", json={}), 404, "unknown_key")
    refused(await office.top_up(key_id, 1, "k"), 404, "unknown_key")


async def test_a_wrong_charge_is_corrected_by_a_new_entry(office: Office) -> None:
    """LiteLLM #20615: a wrong price could only be corrected by deleting its rows."""
    made = await office.create()
    receipt = (await office.embed(made["key"], ["a", "b"])).json()["receipt"]
    correction = {"request_id": receipt["request_id"], "units": 1, "cost_micro_usd": 100}
    answer = await office.correct(**correction, reason="too dear")
    assert answer.status_code == 201
    entry = answer.json()
    assert (entry["kind"], entry["units"], entry["cost_micro_usd"]) == ("correction", -1, -100)
    assert (entry["idempotency_key"], entry["prev_hash"]) == (
        receipt["request_id"],
        receipt["hash"],
    )
    ledger = await office.vendor.http.get(
        "/v1/ledger", headers={"Authorization": f"Bearer {made['key']}"}
    )
    assert [json.loads(line) for line in ledger.iter_lines()][1:] == [receipt, entry]
    record = (await office.ask("GET", f"/keys/{made['id']}")).json()
    assert (record["spent_units"], record["remaining_units"]) == (1, 8)
    over = await office.correct("c-2", **correction | {"units": 2}, reason="again")
    refused(over, 400, "invalid_request")
    assert office.vendor.audit.faults == ()


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"request_id": "req_unknown"}, 404, "unknown_request"),
        ({"request_id": ""}, 400, "invalid_request"),
        ({"units": -1}, 400, "invalid_request"),
        ({"reason": " "}, 400, "invalid_request"),
        ({"reason": "a\0b"}, 400, "invalid_request"),
        ({"actor": "somebody else"}, 400, "invalid_request"),
    ],
)
async def test_an_invalid_correction_is_refused(
    office: Office, changes: dict[str, object], status: int, code: str
) -> None:
    made = await office.create()
    receipt = (await office.embed(made["key"])).json()["receipt"]
    body = {"request_id": receipt["request_id"], "units": 1, "reason": "r"} | changes
    refused(await office.correct(**body), status, code)


async def test_a_correction_is_made_once_however_often_it_is_sent(office: Office) -> None:
    made = await office.create()
    receipt = (await office.embed(made["key"], ["a", "b", "c"])).json()["receipt"]
    body = {"request_id": receipt["request_id"], "units": 1, "reason": "r"}
    answers = await asyncio.gather(*(office.correct("ticket-7", **body) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["hash"] for answer in answers}) == 1
    assert (await office.ask("GET", f"/keys/{made['id']}")).json()["spent_units"] == 2
    more = body | {"units": 2}
    refused(await office.correct("ticket-7", **more), 422, "idempotency_key_reused")
    refused(await office.ask("POST", "/corrections", json=body), 400, "invalid_request")
    assert office.vendor.audit.faults == ()


async def test_the_ledger_is_verified_over_http(office: Office) -> None:
    await office.embed((await office.create())["key"])
    assert (await office.ask("GET", "/ledger/verify")).json() == {
        "balanced": True,
        "keys": 3,
        "entries": 4,
        "units_charged": 1,
        "units_corrected": 0,
        "charges_without_digest": 0,
        "faults": [],
    }


async def test_a_body_that_is_not_json_is_refused_and_an_unauthenticated_one_is_not_read(
    office: Office,
) -> None:
    text = {"content": b"name=n", "headers": {"Content-Type": "text/plain"}}
    refused(await office.ask("POST", "/keys", **text), 415, "unsupported_media_type")
    broken = {"content": b"[1", "headers": {"Content-Type": "application/json"}}
    refused(await office.ask("POST", "/keys", **broken), 400, "invalid_request")
    long = {"content": b" " * 70_000, "headers": {"Content-Type": "application/json"}}
    refused(await office.ask("POST", "/keys", **long), 413, "body_too_large")

    async def body() -> AsyncIterator[bytes]:
        raise AssertionError
        yield b""

    answer = await office.vendor.http.post("/admin/keys", content=body())
    refused(answer, 403, "insufficient_scope")
