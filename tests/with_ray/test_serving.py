"""The vendor on a real Ray Serve: two replicas of the API, two of the model, one ledger."""

from __future__ import annotations

import base64
import os
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from benchmarks.ray_serve.update import ENVIRONMENT
from benchmarks.ray_serve.vendor_process import RayVendor, ray_vendor
from benchmarks.support.vendor_in_process import b64, picture
from teacher_server.inference.decode_image import ImageLimits, decode_image
from teacher_server.inference.encoder import load_encoder
from teacher_server.ledger.api_key import ApiKey
from tests.with_ray.failing_vendor import DIED

pytestmark = pytest.mark.timeout(600)
MARK = f"mark-{uuid.uuid4()}"


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayVendor]:
    folder = tmp_path_factory.mktemp("ray")
    more = {DIED: str(folder / "died"), "TEST_MARK": MARK, "TEACHER_LEASE_SECONDS": "60"}
    with ray_vendor(
        folder, ENVIRONMENT | more, command=("-m", "tests.with_ray.failing_vendor")
    ) as running:
        yield running


@pytest.fixture
def http(vendor: RayVendor) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {vendor.key.token}"}
    with httpx.Client(base_url=vendor.url, headers=headers, timeout=120) as client:
        yield client


def buy(http: httpx.Client, *items: object, key: str) -> httpx.Response:
    body = {"model": "embedded", "input": items, "encoding_format": "base64"}
    return http.post("/v1/embeddings", json=body, headers={"Idempotency-Key": key})


def test_embeddings_are_those_of_the_model_and_are_replayed_byte_for_byte(
    http: httpx.Client,
) -> None:
    files = [picture(seed, size=(90, 70)) for seed in range(3)]
    items = [{"text": "a photo of a dog"}, *({"image": b64(file)} for file in files)]
    sold = buy(http, *items, key="replayed")
    assert sold.status_code == 200, sold.text
    for _ in range(8):  # also by the replica that did not sell it
        again = buy(http, *items, key="replayed")
        assert again.content == sold.content
        assert again.headers["Idempotent-Replayed"] == "true"
    encoder = load_encoder("embedded")
    limits = ImageLimits(max_bytes=2**20, max_pixels=2**20)
    images = [encoder.prepare_image(decode_image(file, limits)) for file in files]
    expected = [*encoder.encode([encoder.prepare_text("a photo of a dog")])]
    expected += [*encoder.encode(images)]
    for row, vector in zip(sold.json()["data"], expected, strict=True):
        found = np.frombuffer(base64.b64decode(row["embedding"]), "<f4")
        assert np.abs(found - vector).max() <= 1e-5


def test_errors_are_the_vendors_problems_with_its_request_id(http: httpx.Client) -> None:
    for answer, status, code in (
        (buy(http, key="empty"), 400, "empty_input"),
        (buy(http, {"image": b64(b"no image")}, key="broken"), 422, "invalid_image"),
        (http.get("/nowhere"), 404, "not_found"),
        (buy(http, "full", key="full"), 429, "overloaded"),
        (buy(http, "poison", key="poison"), 500, "internal_error"),
    ):
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (status, code), answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["X-Request-Id"] == problem["request_id"]
        assert "Traceback" not in answer.text


def test_a_request_without_a_valid_key_is_refused_and_not_charged(vendor: RayVendor) -> None:
    account, audit, _ = vendor.books()
    token = vendor.key.token
    for sent, code in (
        ({}, "missing_key"),
        ({"Authorization": f"Basic {token}"}, "invalid_key"),
        ({"Authorization": f"Bearer {token[:-1]}"}, "invalid_key"),
        ({"Authorization": f"Bearer {ApiKey.new().token}"}, "invalid_key"),
    ):
        with httpx.Client(base_url=vendor.url, headers=sent, timeout=120) as stranger:
            for _ in range(4):  # both replicas of the API
                answer = buy(stranger, "a photo of a dog", key="a stranger's")
                assert (answer.status_code, answer.json()["code"]) == (401, code), answer.text
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert "receipt" not in answer.text
    after, audited, _ = vendor.books()
    assert (after.spent_units, after.reserved_units, audited) == (
        account.spent_units,
        account.reserved_units,
        audit,
    )


def test_the_rate_of_a_key_holds_over_all_replicas(vendor: RayVendor) -> None:
    key = vendor.new_key(requests_per_minute=1)
    headers = {"Authorization": f"Bearer {key.token}"}
    with httpx.Client(base_url=vendor.url, headers=headers, timeout=120) as limited:

        def ask(number: int) -> int:
            return buy(limited, "a photo of a dog", key=f"limited-{number}").status_code

        with ThreadPoolExecutor(8) as pool:
            statuses = Counter(pool.map(ask, range(8)))
    assert statuses == {200: 1, 429: 7}


def test_an_encoder_that_dies_with_a_batch_is_replaced_by_another_within_the_request(
    vendor: RayVendor, http: httpx.Client
) -> None:
    before = vendor.books()[0].spent_units
    sold = buy(http, "die", "a photo of a cat", key="die")
    assert sold.status_code == 200, sold.text
    account, audit, _ = vendor.books()
    assert (account.spent_units - before, account.reserved_units, audit.faults) == (2, 0, ())


def test_no_secret_is_on_a_command_line_or_in_a_file_of_ray(
    vendor: RayVendor, http: httpx.Client
) -> None:
    assert buy(http, "a secret purchase", key="secret").status_code == 200
    secrets = [vendor.pepper.encode(), vendor.key.token.encode()]
    marked = list(_processes())
    assert len(marked) > 4
    for process in marked:
        line = (process / "cmdline").read_bytes()
        secrets_of_ray = _variable(process, b"RAY_AUTH_TOKEN")
        assert secrets_of_ray is None or secrets_of_ray not in line
        assert not any(secret in line for secret in secrets), line
    session = Path("/tmp/ray/session_latest").resolve()
    files = [file for file in session.rglob("*") if file.is_file()]
    assert files
    for file in [*files, vendor.log]:
        content = file.read_bytes()
        assert not any(secret in content for secret in secrets), file


def test_the_vendor_is_ready_and_ends_with_all_of_its_processes(
    vendor: RayVendor, http: httpx.Client
) -> None:
    """The last test of this file: it stops the vendor."""
    assert http.get("/readyz").status_code == 200
    assert vendor.stop() == 0
    deadline = time.monotonic() + 60
    while list(_processes()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert list(_processes()) == []


def _processes() -> Iterator[Path]:
    """The processes that inherited the mark of this test, in /proc."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            try:
                if _variable(folder, b"TEST_MARK") == MARK.encode():
                    yield folder
            except OSError:
                continue


def _variable(process: Path, name: bytes) -> bytes | None:
    for entry in (process / "environ").read_bytes().split(b"\0"):
        found, _, value = entry.partition(b"=")
        if found == name:
            return value
    return None
