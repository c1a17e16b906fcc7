"""Faults of other embedding servers, each tested here.

The numbers are issues of michaelfeil/infinity; a fault without a number was found in its sources.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from benchmarks.support.vendor_in_process import HashEncoder, Vendor, data_uri, picture, vendor_at
from teacher_server.ledger.api_key import ApiKey


@pytest.fixture
async def vendor(tmp_path: Path, hashing: HashEncoder) -> AsyncIterator[Vendor]:
    async with vendor_at(tmp_path, hashing) as running:
        yield running


@contextmanager
def visited() -> Iterator[tuple[str, list[object]]]:
    """A URL on this machine, and the requests to it."""
    visitors: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def wait() -> None:
            with suppress(OSError):
                while True:
                    connection, address = listener.accept()
                    visitors.append(address)
                    connection.close()

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/secret.png", visitors
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


async def test_infinity_242_367_609_one_bad_image_ends_the_pipeline_for_good(
    vendor: Vendor,
) -> None:
    whole = picture(1, size=(200, 200), form="JPEG")
    for length in (
        len(whole) // 2,
        len(whole) - 200,
    ):  # the header is complete: only decoding finds the fault
        answer = await vendor.embed([{"image": data_uri(whole[:length], "image/jpeg")}])
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_image")
    assert (await vendor.embed([{"image": data_uri(whole, "image/jpeg")}])).status_code == 200
    assert (await vendor.http.get("/readyz")).status_code == 200
    assert vendor.account.spent_units == 1


async def test_infinity_609_a_failing_model_leaves_other_requests_queued_for_ever(
    vendor: Vendor, hashing: HashEncoder
) -> None:
    for failure in (ValueError("broke"), RuntimeError("out of memory"), SystemExit(1)):
        hashing.failure = failure
        assert (await vendor.embed(hashing.failing_text)).status_code == 500
        assert (await vendor.embed("a neighbour")).status_code == 200
    assert vendor.audit.faults == ()


async def test_infinity_health_reports_the_time_whatever_state_its_workers_are_in(
    tmp_path: Path, hashing: HashEncoder
) -> None:
    hashing.may_encode.clear()  # the model hangs
    async with vendor_at(tmp_path, hashing) as stuck:
        try:
            assert (await stuck.http.get("/livez")).status_code == 200
            assert (await stuck.http.get("/readyz")).status_code == 503
        finally:
            hashing.may_encode.set()


@pytest.mark.parametrize("field", ["image", "text", "plain"])
async def test_infinity_fetches_any_url_that_a_client_sends(vendor: Vendor, field: str) -> None:
    with visited() as (url, visitors):
        given = url if field == "plain" else [{field: url}]
        modality = {"modality": "image"} if field == "plain" else {}
        answer = await vendor.embed(given, **modality)
        assert answer.status_code == (200 if field == "text" else 422)
        assert visitors == []


async def test_infinity_has_no_limit_on_the_pixels_of_an_image(
    tmp_path: Path, hashing: HashEncoder
) -> None:
    async with vendor_at(tmp_path, hashing, max_image_pixels=10_000) as vendor:
        bomb = picture(2, size=(101, 100))
        answer = await vendor.embed([{"image": data_uri(bomb)}])
        assert (answer.status_code, answer.json()["code"]) == (413, "image_too_many_pixels")
        assert (await vendor.embed([{"image": data_uri(picture(size=(1, 1)))}])).status_code == 200


async def test_infinity_keeps_a_single_plain_text_key_for_all_clients(vendor: Vendor) -> None:
    """The comparison stops at the first differing byte; here it takes constant time."""
    folder = Path(str(vendor.engine.url.database)).parent
    on_disk = b"".join(file.read_bytes() for file in folder.iterdir())
    assert vendor.key.secret.encode() not in on_disk
    last = "B" if vendor.key.secret.endswith("A") else "A"
    almost = ApiKey(vendor.key.id, vendor.key.secret[:-1] + last)
    answer = await vendor.http.get("/v1/key", headers={"Authorization": f"Bearer {almost.token}"})
    assert answer.status_code == 401


async def test_infinity_bills_characters_instead_of_queries(vendor: Vendor) -> None:
    usage = (await vendor.embed(["a", "b" * 5000])).json()["usage"]
    assert (usage["billed_units"], usage["texts"], usage["prompt_tokens"]) == (2, 2, 6)


async def test_infinity_caches_by_content_alone_so_a_new_model_returns_the_old_models_vectors(
    vendor: Vendor, tmp_path: Path
) -> None:
    before = (await vendor.embed("a", idempotency_key="k")).json()
    folder = tmp_path / "another"
    folder.mkdir()
    async with vendor_at(folder, HashEncoder(dim=16)) as another:
        after = (await another.embed("a", idempotency_key="k")).json()
    assert before["model_fingerprint"] != after["model_fingerprint"]
    assert len(after["data"][0]["embedding"]) == 16
