"""A text that the model would not read to its end is refused, or cut where the request asks."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from benchmarks.support.vendor_in_process import Vendor, b64, data_uri, picture
from teacher_server.canonical_json import canonical_sha256
from teacher_server.ledger.purchase import Price, Purchase, Reservation

LONG = "dog " * 15  # 17 tokens with its marks; the model reads 16


async def test_all_texts_that_are_too_long_are_named_and_nothing_is_charged(vendor: Vendor) -> None:
    items = ["a dog", LONG, {"image": b64(picture())}, {"text": "dog " * 99}]
    asked: list[dict[str, Any]] = [{}, {"truncate": None}, {"truncate": False}]
    for fields in asked:
        answer = await vendor.embed(items, **fields)
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (413, "text_too_long")
        assert (problem["index"], problem["indexes"]) == (1, [1, 3])
        assert problem["context_length"] == 16
        assert "Item 1 is 17 tokens long, and the model reads 16" in problem["detail"]
        assert "truncate: true" in problem["detail"]
    assert (vendor.account.spent_units, vendor.account.reserved_units) == (0, 0)


async def test_a_text_is_cut_where_the_request_asks_and_the_answer_says_so(vendor: Vendor) -> None:
    answer = (await vendor.embed(["a dog", LONG, LONG + "cat"], truncate=True)).json()
    assert answer["truncated"] == [1, 2]
    assert answer["data"][1]["embedding"] == answer["data"][2]["embedding"]
    whole = (await vendor.embed(["dog " * 14], truncate=True)).json()
    assert whole["truncated"] == []
    assert "truncated" not in (await vendor.embed(["a dog"])).json()


async def test_a_form_may_ask_for_a_cut(vendor: Vendor) -> None:
    def form(**fields: str) -> list[tuple[str, tuple[None, str]]]:
        every = {"model": vendor.model, "text": LONG, **fields}
        return [(name, (None, value)) for name, value in every.items()]

    assert (await vendor.http.post("/v1/embeddings", files=form())).status_code == 413
    for word, status in (("false", 413), ("yes", 400)):
        answer = await vendor.http.post("/v1/embeddings", files=form(truncate=word))
        assert answer.status_code == status
    answer = await vendor.http.post("/v1/embeddings", files=form(truncate="true"))
    assert answer.json()["truncated"] == [0]


async def test_a_request_that_asks_for_a_cut_is_another_purchase(vendor: Vendor) -> None:
    assert (await vendor.embed(["a"], idempotency_key="k")).status_code == 200
    other = await vendor.embed(["a"], idempotency_key="k", truncate=True)
    assert other.json()["code"] == "idempotency_key_reused"


async def test_a_purchase_of_a_cut_text_from_before_is_still_replayed(vendor: Vendor) -> None:
    """Earlier versions cut every text; their answers are asked for again without the new field."""
    refused = await vendor.embed([LONG], idempotency_key="old")
    assert refused.status_code == 413
    # The digest of the payload as version 0.1 computed it.
    digests = [["text", sha256(LONG.encode()).hexdigest()]]
    purchase = Purchase(
        request_id="req_old",
        key_id=vendor.key.id,
        idempotency_key="old",
        payload_sha256=canonical_sha256([vendor.model, "float", digests]),
        images=0,
        texts=1,
    )
    reserved = vendor.ledger.charges.reserve(purchase, Price(version="p", micro_usd_per_unit=1))
    assert isinstance(reserved, Reservation)
    vendor.ledger.charges.post(
        reserved, model=vendor.model, model_fingerprint="f", render=lambda entry: b'{"old": 1}'
    )
    replay = await vendor.embed([LONG], idempotency_key="old")
    assert (replay.status_code, replay.content) == (200, b'{"old": 1}')


async def test_the_contract_states_the_context_length_and_the_rule(vendor: Vendor) -> None:
    (model,) = (await vendor.http.get("/v1/models")).json()["data"]
    assert (model["context_length"], model["truncation"]) == (16, "on_request")


async def test_tokens_are_counted_free_of_charge(vendor: Vendor) -> None:
    body = {"model": vendor.model, "input": ["a dog", LONG, {"text": "dog " * 99}]}
    counted = (await vendor.http.post("/v1/tokens", json=body)).json()
    assert counted == {"model": vendor.model, "context_length": 16, "tokens": [4, 17, 101]}
    for given in ([{"image": b64(picture())}], [data_uri(picture())], [b64(picture())], []):
        refused = await vendor.http.post("/v1/tokens", json=body | {"input": given})
        assert refused.status_code == 400
    assert vendor.account.spent_units == 0
