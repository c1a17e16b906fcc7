"""Texts that the model would not read to their end are found before anything is paid."""

from __future__ import annotations

import json

import httpx
import pytest

from student.errors import BadInput
from student.purchase.text_lengths import require_whole_texts
from student.vendor.client import connect
from tests.support.ledger_vendor import LedgerVendor
from tests.support.purchase_setup import PurchaseSetup, client_of


def counting(vendor: LedgerVendor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the vendor count a token for each word, and two for the marks."""
    serve = vendor.serve

    def counted(request: httpx.Request) -> httpx.Response:
        if request.url.path != "/v1/tokens":
            return serve(request)
        texts = [item["text"] for item in json.loads(request.content)["input"]]
        return httpx.Response(
            200,
            json={
                "model": "tiny",
                "context_length": 24,
                "tokens": [2 + len(text.split()) for text in texts],
            },
        )

    monkeypatch.setattr(vendor, "serve", counted)


async def test_every_text_that_is_too_long_is_named_before_the_purchase(
    setup: PurchaseSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting(setup.vendor, monkeypatch)
    plan = setup.plan([setup.text("short"), setup.text("word " * 30), setup.text("ab " * 22)])
    with pytest.raises(BadInput, match=r"1 of 3 texts .* 24 tokens .*\(32 tokens\)") as caught:
        async with client_of(setup.vendor) as client:
            await require_whole_texts(client, plan)
    assert "Nothing was bought" in str(caught.value)
    assert setup.vendor.posts == []


async def test_a_vendor_that_cannot_count_tokens_is_asked_to_sell(setup: PurchaseSetup) -> None:
    async with client_of(setup.vendor) as client:
        await require_whole_texts(client, setup.plan([setup.text("word " * 30)]))


async def test_a_plan_without_texts_asks_for_no_count(setup: PurchaseSetup) -> None:
    before = len(setup.vendor.seen)
    async with client_of(setup.vendor) as client:
        await require_whole_texts(client, setup.plan(setup.images(2)))
    assert len(setup.vendor.seen) == before


async def test_the_client_takes_the_path_of_the_api_off_the_vendors_url() -> None:
    from pydantic import SecretStr

    for written in ("http://vendor:8000/v1", "http://vendor:8000/v1/embeddings/"):
        async with connect(written, SecretStr("sk_a_b")) as client:
            assert client.url == "http://vendor:8000"
