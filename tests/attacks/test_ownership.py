"""On every route, a key can read and change only its own data."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.support.vendor_in_process import HashEncoder, Vendor, vendor_at
from teacher_server.ledger.api_key import ApiKey
from tests.support.vendor_routes import routes_of

PARAMETERS = ("key_id", "key", "id", "account", "account_id", "user", "owner", "api_key", "name")
# Their responses contain no data of any key.
PUBLIC = {"/openapi.json", "/livez", "/readyz", "/metrics"}


@dataclass(frozen=True, slots=True)
class Victim:
    """A key with a purchase, and every string that would reveal it."""

    key: ApiKey
    receipt: dict[str, Any]
    vector: str

    @property
    def words(self) -> tuple[str, ...]:
        names = ("request_id", "idempotency_key", "hash", "prev_hash")
        return (self.key.id, "victim-name", self.vector, *(self.receipt[name] for name in names))


@pytest.fixture
async def vendor(tmp_path: Path, hashing: HashEncoder) -> AsyncIterator[Vendor]:
    async with vendor_at(tmp_path, hashing) as running:
        yield running


@pytest.fixture
async def victim(vendor: Vendor) -> Victim:
    key = ApiKey.new()
    vendor.ledger.keys.create(key, name="victim-name", budget=77, price_version="p")
    answer = await vendor.http.post(
        "/v1/embeddings",
        json={"model": "hash", "input": ["a secret text"]},
        headers=vendor.of(key) | {"Idempotency-Key": "victim-purchase"},
    )
    sold = answer.json()
    return Victim(key, sold["receipt"], answer.text.partition('"embedding":[')[2][:40])


def asked(vendor: Vendor, victim: Victim, *, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(method, path) of every route, with the victim's values for the parameters."""
    ids = (victim.key.id, victim.receipt["request_id"], victim.receipt["idempotency_key"])
    for method, template in routes_of(vendor.app):
        if template in PUBLIC or not template.startswith(prefix):
            continue
        before, bracket, rest = template.partition("{")
        for value in ids if bracket else ("",):
            yield method, before + value + rest.partition("}")[2]


async def ask(
    vendor: Vendor, key: ApiKey, method: str, path: str, **options: Any
) -> httpx.Response:
    return await vendor.http.request(method, path, headers=vendor.of(key), **options)


async def test_every_route_answers_another_key_without_data_of_the_victim(
    vendor: Vendor, victim: Victim
) -> None:
    other_key, seen = vendor.another_key(), 0
    before = vendor.ledger.keys.get(victim.key.id)
    bodies: tuple[Any, ...] = (
        None,
        {"model": "hash", "input": "b", "user": victim.key.id},
        {"request_id": victim.receipt["request_id"], "units": 1, "reason": "mine"},
        {"units": 5},
        {},
    )
    for method, path in asked(vendor, victim):
        for body in bodies if method != "GET" else (None,):
            response = await ask(vendor, other_key, method, path, json=body)
            # The response may repeat the request, but must not show data of the victim.
            words = [word for word in victim.words if word not in path]
            assert [word for word in words if word in response.text] == [], (method, path)
            assert response.status_code != 500
            seen += 1
    assert seen > 20
    after = vendor.ledger.keys.get(victim.key.id)
    assert (after.spent_units, after.budget_units) == (before.spent_units, before.budget_units)
    assert (after.scopes, after.revoked_ms) == (before.scopes, None)
    assert vendor.audit.faults == ()


async def test_the_victims_own_key_sees_all_of_that_data(vendor: Vendor, victim: Victim) -> None:
    shown = ""
    for method, path in asked(vendor, victim, prefix="/v1"):
        if method == "GET":
            shown += (await ask(vendor, victim.key, method, path)).text
    assert [word for word in victim.words if word not in shown] == []


async def test_a_parameter_cannot_name_another_key(vendor: Vendor, victim: Victim) -> None:
    other_key = vendor.another_key()
    for method, path in asked(vendor, victim, prefix="/v1"):
        if method != "GET":
            continue
        plain = await ask(vendor, other_key, method, path)
        for name in PARAMETERS:
            named = await ask(vendor, other_key, method, path, params={name: victim.key.id})
            assert (named.status_code, len(named.text)) == (plain.status_code, len(plain.text))
            assert "victim-name" not in named.text


async def test_the_victims_answer_looks_nonexistent_to_another_key(
    vendor: Vendor, victim: Victim
) -> None:
    other_key = vendor.another_key()
    for known in (victim.receipt["idempotency_key"], victim.receipt["request_id"]):
        real = await ask(vendor, other_key, "GET", f"/v1/requests/{known}")
        never = await ask(vendor, other_key, "GET", "/v1/requests/never-bought")
        assert real.status_code == never.status_code == 404
        real_problem, missing_problem = real.json(), never.json()
        for differs in ("request_id",):
            del real_problem[differs], missing_problem[differs]
        assert real_problem == missing_problem
    mine = await ask(vendor, victim.key, "GET", "/v1/requests/victim-purchase")
    assert mine.status_code == 200


async def test_the_same_idempotency_key_of_another_key_is_another_purchase(
    vendor: Vendor, victim: Victim
) -> None:
    other_key = vendor.another_key()
    response = await vendor.http.post(
        "/v1/embeddings",
        json={"model": "hash", "input": ["a secret text"]},
        headers=vendor.of(other_key) | {"Idempotency-Key": "victim-purchase"},
    )
    assert response.status_code == 200
    assert "idempotent-replayed" not in response.headers
    assert response.json()["receipt"]["request_id"] != victim.receipt["request_id"]
    assert vendor.ledger.keys.get(other_key.id).spent_units == 1
    assert vendor.ledger.keys.get(victim.key.id).spent_units == 1


@pytest.mark.parametrize("scopes", [("embed",), ("read",), ("embed", "read")])
async def test_no_admin_route_answers_a_key_without_that_scope(
    vendor: Vendor, victim: Victim, scopes: tuple[str, ...]
) -> None:
    key, routes = vendor.another_key(scopes=scopes), 0
    for method, path in asked(vendor, victim, prefix="/admin"):
        for body in (None, {}, {"units": 5}, {"scopes": ["admin"]}):
            response = await ask(vendor, key, method, path, json=body)
            assert (response.status_code, response.json()["code"]) == (403, "insufficient_scope")
        routes += 1
    assert routes >= 9
    assert vendor.ledger.keys.get(key.id).scopes == scopes


async def test_every_route_that_is_not_public_refuses_requests_without_a_key(
    vendor: Vendor, victim: Victim
) -> None:
    del vendor.http.headers["Authorization"]
    for method, path in asked(vendor, victim):
        for header in ({}, {"Authorization": "Bearer sk_nobody_0123456789abcdef"}):
            response = await vendor.http.request(method, path, headers=header, json={})
            assert response.status_code == 401, (method, path)


def bodies_of(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(method, path, schema) of every JSON body that the API documents."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" in content:
                name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
                yield method.upper(), path, document["components"]["schemas"][name]


async def test_no_body_takes_a_field_that_belongs_to_the_vendor(
    vendor: Vendor, victim: Victim
) -> None:
    admin = vendor.another_key(scopes=("embed", "admin"))
    document = vendor.app.openapi()
    schemas = document["components"]["schemas"].values()
    known = {name for schema in schemas for name in schema.get("properties", {})}
    assert {"spent_units", "reserved_units", "balance_units", "created_ms", "hash"} <= known
    tried = 0
    for method, path, schema in bodies_of(document):
        for name in sorted(known - set(schema["properties"])):
            given = schema["examples"][0] | {name: 1}
            if "model" in given:
                given["model"] = "hash"
            response = await vendor.http.request(
                method,
                path.replace("{key_id}", victim.key.id),
                json=given,
                headers=vendor.of(admin) | {"Idempotency-Key": f"mass-{tried}"},
            )
            problem = response.json()
            assert (response.status_code, problem["error"]["param"]) == (400, name), (path, problem)
            tried += 1
    assert tried > 100
    assert vendor.ledger.keys.get(victim.key.id).budget_units == 77
    assert vendor.ledger.keys.get(admin.id).spent_units == 0
