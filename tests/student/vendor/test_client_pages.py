"""Recovery, the vendor's pages, secrets, and connecting."""

from __future__ import annotations

import logging

import httpx
import pytest
from pydantic import SecretStr

from student.errors import (
    BadInput,
    VendorError,
    VendorMisbehaved,
)
from student.vendor.client import connect
from student.vendor.request import Batch, Item
from student.vendor.schemas import Model, Prices
from tests.support.ledger_vendor import (
    KEY,
    LedgerVendor,
    lost_request,
    model_facts,
    problem,
    refusing,
)
from tests.support.purchase_setup import URL, Clock, client_of


def batch(vendor: LedgerVendor, *payloads: bytes) -> Batch:
    return Batch(
        model=Model.model_validate(vendor.model),
        prices=Prices.model_validate(vendor.price),
        items=tuple(Item(modality="image", payload=payload) for payload in payloads or (b"a",)),
    )


async def test_recover_finds_a_paid_answer_and_charges_nothing(vendor: LedgerVendor) -> None:
    wanted = batch(vendor, b"a", b"b")
    async with client_of(vendor) as client:
        bought = await client.embed(wanted, "key/1 ?")
        again = await client.recover(wanted.expected("key/1 ?"))
    assert again is not None
    assert again.replayed
    assert again.receipt == bought.receipt
    assert vendor.spent == 2


async def test_recover_of_an_unknown_purchase_is_none(vendor: LedgerVendor) -> None:
    async with client_of(vendor) as client:
        assert await client.recover(batch(vendor).expected("never")) is None


@pytest.mark.parametrize(
    "page", [problem(404, "not_found"), httpx.Response(404, text="nginx")], ids=["route", "proxy"]
)
async def test_another_404_does_not_prove_that_nothing_was_charged(page: httpx.Response) -> None:
    async with client_of(lambda _: page) as client:
        with pytest.raises(VendorError):
            await client.recover(batch(LedgerVendor()).expected("key-1"))


async def test_recover_waits_for_a_purchase_that_is_still_processed(
    vendor: LedgerVendor, clock: Clock
) -> None:
    wanted = batch(vendor)

    def finishing(request: httpx.Request) -> httpx.Response:
        if clock.sleeps:
            vendor.in_flight.clear()
        return vendor(request)

    async with client_of(finishing, clock) as client:
        await client.embed(wanted, "key-1")
        vendor.in_flight.add("key-1")
        assert await client.recover(wanted.expected("key-1")) is not None
    assert 1 <= clock.sleeps[0] <= 1.5


async def test_the_vendors_pages_are_read(vendor: LedgerVendor) -> None:
    async with client_of(vendor) as client:
        (model,) = await client.models()
        prices, account = await client.prices(), await client.account()
        assert await client.ready()
        assert client.ledger_name(account) == f"{URL}#testkey"
    assert (model.id, model.dim, model.limits.max_items) == ("tiny", 8, 64)
    assert (prices.cost(3), prices.units_for("text")) == (300, 1)
    assert account.remaining_units == 1000


async def test_a_fingerprint_that_does_not_fit_the_model_is_refused(
    vendor: LedgerVendor,
) -> None:
    vendor.model = {**model_facts(), "weights_sha256": "00" * 32}
    async with client_of(vendor) as client:
        with pytest.raises(VendorMisbehaved, match="does not fit"):
            await client.models()


@pytest.mark.parametrize("units", [{"image": 0, "text": 1}, {"image": 1.5, "text": 1}, {}])
async def test_an_invalid_price_list_is_refused(
    vendor: LedgerVendor, units: dict[str, object]
) -> None:
    vendor.price["units"] = units
    async with client_of(vendor) as client:
        with pytest.raises(VendorMisbehaved, match="Prices cannot be read"):
            await client.prices()


async def test_not_ready_is_reported_without_retrying(clock: Clock) -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        message = "refused"
        raise httpx.ConnectError(message)

    for far_end in (refuse, lambda _: problem(503, "not_ready")):
        async with client_of(far_end, clock) as client:
            assert not await client.ready()
    assert clock.sleeps == []


async def test_the_key_is_in_no_text_that_the_client_makes(
    vendor: LedgerVendor, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in a repr, a log line or an error, even when the vendor repeats it."""
    caplog.set_level(logging.DEBUG)
    vendor.faults.extend([lost_request, refusing(503, f"echo {KEY}"), refusing(401, f"for {KEY}")])
    async with client_of(vendor) as client:
        with pytest.raises(VendorError) as caught:
            await client.embed(batch(vendor), "key-1")
        texts = [repr(client), str(client), caplog.text, str(caught.value), repr(caught.value)]
    assert "for [key]" in str(caught.value)
    assert not any(KEY in text for text in texts)


async def test_the_vendors_text_cannot_send_terminal_control_codes(vendor: LedgerVendor) -> None:
    vendor.faults.append(refusing(400, "x", detail="\x1b[2J\r\n" + "y" * 9000))
    async with client_of(vendor) as client:
        with pytest.raises(VendorError) as caught:
            await client.embed(batch(vendor), "key-1")
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 600


async def test_a_redirect_is_not_followed_with_the_key() -> None:
    hosts: list[str] = []

    def elsewhere(request: httpx.Request) -> httpx.Response:
        hosts.append(request.url.host)
        return httpx.Response(307, headers={"Location": "http://thief.test/"})

    async with client_of(elsewhere) as client:
        with pytest.raises(VendorError):
            await client.account()
    assert hosts == ["vendor.test"]


async def test_connect_makes_a_client_that_identifies_itself_and_has_timeouts() -> None:
    async with connect("http://vendor.test:8000/", SecretStr(KEY)) as client:
        assert client.url == "http://vendor.test:8000"
        assert client._transport._http.headers["User-Agent"].startswith("distill-client/")
        assert client._transport._http.timeout.read is not None
        assert KEY not in repr(client._transport._http.headers)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "vendor:8000",
        "ftp://vendor",
        "http://",
        "http://me:pw@vendor/",
        "http://[::1",
        "http://[",
        "http://xn--a",
        "http://vendor:port",
    ],
)
async def test_a_url_that_cannot_be_used_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(BadInput) as caught:
        async with connect(url, SecretStr(KEY)):
            raise AssertionError
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "sk_\u00e9"])
async def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    with pytest.raises(BadInput, match="key is empty or has"):
        async with connect(URL, SecretStr(key)):
            raise AssertionError
