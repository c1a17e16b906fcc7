"""The routes about the model, the prices and the calling key."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

from benchmarks.support.vendor_in_process import Vendor, b64, picture
from teacher_server.inference.encoder import OpenClipEncoder


async def test_models_publishes_identity_and_limits(
    vendor: Vendor, encoder: OpenClipEncoder, checkpoint: Path
) -> None:
    listing = (await vendor.http.get("/v1/models")).json()
    (model,) = listing["data"]
    weights = (checkpoint / "open_clip_model.safetensors").read_bytes()
    assert listing["object"] == "list"
    assert model["id"] == "tiny-clip"
    assert model["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert (model["dim"], model["image_size"], model["context_length"]) == (32, 32, 16)
    assert model["embedded"] is False
    assert model["limits"] == {
        "max_items": 256,
        "max_image_bytes": 20 * 2**20,
        "max_image_pixels": 50_000_000,
        "max_body_bytes": 64 * 2**20,
        "image_formats": ["JPEG", "PNG", "WEBP", "GIF", "BMP"],
        "max_image_aspect_ratio": 100,
    }
    identity = {
        "id": model["id"],
        "weights_sha256": model["weights_sha256"],
        "preprocess": model["preprocess"],
        "dim": model["dim"],
        "normalized": True,
    }
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    assert model["fingerprint"] == "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()
    assert (await vendor.http.get("/v1/models/tiny-clip")).json() == model
    assert (await vendor.embed("a")).json()["model_fingerprint"] == encoder.info.fingerprint


async def test_an_unknown_model_is_not_found(vendor: Vendor) -> None:
    response = await vendor.http.get("/v1/models/ViT-B-16/openai")
    assert (response.status_code, response.json()["code"]) == (404, "unknown_model")


async def test_prices_are_integers_with_a_version(vendor: Vendor) -> None:
    assert (await vendor.http.get("/v1/prices")).json() == {
        "version": "2026-11",
        "currency": "USD",
        "units": {"image": 1, "text": 1},
        "micro_usd_per_unit": 100,
        "answers_kept_days": 90,
    }


async def test_key_shows_what_is_left(vendor: Vendor) -> None:
    await vendor.embed(["a", "b", {"image": b64(picture())}])
    account = (await vendor.http.get("/v1/key")).json()
    assert vendor.key.secret not in json.dumps(account)
    created = account.pop("created_ms")
    assert abs(created - time.time() * 1000) < 60_000
    assert account == {
        "id": vendor.key.id,
        "name": "test",
        "budget_units": 100,
        "spent_units": 3,
        "reserved_units": 0,
        "remaining_units": 97,
        "scopes": ["embed", "read"],
        "expires_ms": None,
        "requests_per_minute": 6000,
        "max_concurrent": 64,
        "period": "none",
        "period_start_ms": None,
        "allowance_units": 100,
        "used_units": 3,
    }


async def test_key_shows_its_period_and_what_that_has_used(vendor: Vendor) -> None:
    key = vendor.another_key(budget=9, period="day", max_concurrent=2)
    account = (await vendor.http.get("/v1/key", headers=vendor.of(key))).json()
    assert (account["period"], account["max_concurrent"]) == ("day", 2)
    assert account["period_start_ms"] % 86_400_000 == 0
    assert (account["allowance_units"], account["used_units"]) == (9, 0)


async def test_usage_adds_up_charges_by_bucket(vendor: Vendor) -> None:
    await vendor.embed(["a", {"image": b64(picture())}])
    await vendor.embed(["b"])
    page = (await vendor.http.get("/v1/usage", params={"bucket_width": "1h"})).json()
    assert (page["object"], page["has_more"], page["next_page"]) == ("page", False, None)
    results = [result for bucket in page["data"] for result in bucket["results"]]
    totals = {name: sum(result[name] for result in results) for name in results[0]}
    assert totals == {
        "images": 1,
        "texts": 2,
        "units": 3,
        "cost_micro_usd": 300,
        "num_model_requests": 2,
    }
    for bucket in page["data"]:
        assert bucket["start_time"] % 3600 == 0
        assert bucket["start_time"] < bucket["end_time"] <= bucket["start_time"] + 3600


async def test_usage_outside_the_span_is_left_out(vendor: Vendor) -> None:
    await vendor.embed(["a"])
    page = await vendor.http.get("/v1/usage", params={"start_time": 0, "end_time": 86400})
    assert page.json()["data"] == []


async def test_usage_refuses_a_bad_span_or_width(vendor: Vendor) -> None:
    for params in (
        {"start_time": "10", "end_time": "10"},
        {"start_time": "-1"},
        {"start_time": "x"},
        {"bucket_width": "1y"},
    ):
        response = await vendor.http.get("/v1/usage", params=params)
        assert (response.status_code, response.json()["code"]) == (400, "invalid_request"), params


async def test_the_ledger_is_read_by_sequence_until_an_empty_page(vendor: Vendor) -> None:
    for number in range(4):
        await vendor.embed([f"t{number}"])
    seen: list[int] = []
    while True:
        response = await vendor.http.get(
            "/v1/ledger", params={"after": seen[-1] if seen else 0, "limit": 2}
        )
        assert response.headers["content-type"] == "application/jsonl"
        lines = [json.loads(line) for line in response.text.splitlines()]
        if not lines:
            break
        seen += [line["seq"] for line in lines]
    assert seen == [1, 2, 3, 4, 5]
    assert (await vendor.http.get("/v1/ledger?limit=0")).status_code == 400


async def test_the_chain_can_be_checked_from_the_wire_alone(vendor: Vendor) -> None:
    await vendor.embed(["a"])
    await vendor.embed([{"image": b64(picture())}], idempotency_key="k")
    previous = "0" * 64
    for text in (await vendor.http.get("/v1/ledger")).text.splitlines():
        entry = json.loads(text)
        claimed = entry.pop("hash")
        canonical = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        assert entry["prev_hash"] == previous
        assert claimed == hashlib.sha256(canonical.encode()).hexdigest()
        previous = claimed
