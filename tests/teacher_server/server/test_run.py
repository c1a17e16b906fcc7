"""The whole vendor in its own process, used through the stock openai SDK."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from benchmarks.support.vendor_in_process import b64, data_uri, picture
from teacher_server.inference.encoder import load_encoder
from teacher_server.inference.model_info import Encoder
from teacher_server.server.load_model import load_model
from teacher_server.settings import VendorSettings
from tests.support.vendor_process import TOKEN, Server, server_at


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Iterator[Server]:
    with server_at(tmp_path_factory.mktemp("server"), checkpoint) as running:
        yield running


@pytest.fixture(scope="module")
def sdk(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=TOKEN, base_url=f"{server.url}/v1", max_retries=2) as client:
        yield client


def test_the_openai_sdk_embeds_a_text_and_a_list(sdk: openai.OpenAI) -> None:
    single = sdk.embeddings.create(model="tiny-clip", input="a photo of a dog")
    many = sdk.embeddings.create(model="tiny-clip", input=["a photo of a dog", "a cat"])
    assert (single.usage.prompt_tokens, len(single.data[0].embedding)) == (7, 32)
    assert [item.index for item in many.data] == [0, 1]
    np.testing.assert_allclose(single.data[0].embedding, many.data[0].embedding, atol=1e-5)


def test_the_openai_sdk_decodes_base64_to_the_floats_that_it_asks_for(
    sdk: openai.OpenAI,
) -> None:
    packed = sdk.embeddings.create(model="tiny-clip", input="a")  # asks for base64 by itself
    floats = sdk.embeddings.create(model="tiny-clip", input="a", encoding_format="float")
    np.testing.assert_array_equal(
        np.array(packed.data[0].embedding, np.float32),
        np.array(floats.data[0].embedding, np.float32),
    )


def test_the_openai_sdk_embeds_images(sdk: openai.OpenAI) -> None:
    file = picture()
    parts = sdk.embeddings.create(
        model="tiny-clip",
        input="",
        extra_body={"input": [{"image": data_uri(file)}, {"text": "a dog"}]},
    )
    strings = sdk.embeddings.create(
        model="tiny-clip", input=[b64(file)], extra_body={"modality": "image"}
    )
    np.testing.assert_allclose(parts.data[0].embedding, strings.data[0].embedding, atol=1e-5)
    assert parts.model_extra is not None
    assert parts.model_extra["receipt"]["units"] == 2


def test_the_openai_sdk_retrieves_the_model_and_raises_typed_errors(sdk: openai.OpenAI) -> None:
    assert [model.id for model in sdk.models.list()] == ["tiny-clip"]
    assert sdk.models.retrieve("tiny-clip").owned_by == "teacher-server"
    with pytest.raises(openai.NotFoundError) as missing:
        sdk.embeddings.create(model="gpt-5", input="a")
    assert missing.value.code == "unknown_model"
    with pytest.raises(openai.UnprocessableEntityError) as unreadable:
        sdk.embeddings.create(model="tiny-clip", input=["x"], extra_body={"modality": "image"})
    assert unreadable.value.code == "invalid_image"
    assert unreadable.value.request_id is not None
    with pytest.raises(openai.AuthenticationError):
        sdk.with_options(api_key="sk_first_wrongwrongwrong").models.list()


def test_the_openai_sdk_does_not_retry_an_exhausted_budget(
    sdk: openai.OpenAI, server: Server
) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        sdk.embeddings.create(model="tiny-clip", input=["a"] * 51)
    assert (refused.value.status_code, refused.value.code) == (402, "request_exceeds_budget")
    page = httpx.get(f"{server.url}/metrics").text
    labels = 'code="request_exceeds_budget",method="POST",route="/v1/embeddings",status="402"'
    assert f"teacher_requests_total{{{labels}}} 1.0" in page


def test_the_openai_sdks_retry_under_one_key_is_one_purchase(sdk: openai.OpenAI) -> None:
    headers = {"Idempotency-Key": "sdk-1"}
    answers = [
        sdk.embeddings.create(model="tiny-clip", input="a", extra_headers=headers) for _ in range(2)
    ]
    receipts = [(answer.model_extra or {})["receipt"] for answer in answers]
    assert receipts[0] == receipts[1]


def test_usage_agrees_with_the_key_and_the_ledger(server: Server) -> None:
    with server.http() as http:
        http.post("/v1/embeddings", json={"model": "tiny-clip", "input": ["a", "b"]})
        spent = http.get("/v1/key").json()["spent_units"]
        buckets = http.get("/v1/usage", params={"bucket_width": "1m"}).json()["data"]
        lines = [httpx.Response(200, text=t).json() for t in http.get("/v1/ledger").iter_lines()]
    used = sum(result["units"] for bucket in buckets for result in bucket["results"])
    charged = sum(line["units"] for line in lines if line["kind"] == "charge")
    assert spent == used == charged
    assert spent >= 2


def test_a_body_over_the_limit_gets_its_413_over_a_real_socket(server: Server) -> None:
    with server.http() as http:
        response = http.post(
            "/v1/embeddings",
            content=b"x" * (70 * 2**20),
            headers={"Content-Type": "application/json"},
        )
        assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
        assert http.get("/livez").status_code == 200


def test_no_secret_is_in_the_log_and_requests_are(server: Server) -> None:
    with server.http() as http:
        request_id = http.get("/v1/key").headers["X-Request-Id"]
    # The line is written after the answer was sent, so it may not be there yet.
    deadline = time.monotonic() + 30
    while request_id not in (log := server.log.read_text()):
        assert time.monotonic() < deadline, log
        time.sleep(0.05)
    assert TOKEN not in log
    assert TOKEN.split("_")[2] not in log


def test_a_restart_keeps_the_ledger_the_key_and_the_paid_answers(
    tmp_path: Path, checkpoint: Path
) -> None:
    body = {"model": "tiny-clip", "input": ["a", "b"]}
    headers = {"Idempotency-Key": "k"}
    with server_at(tmp_path, checkpoint, is_forked=False) as first:
        with first.http() as http:
            paid = http.post("/v1/embeddings", json=body, headers=headers)
        assert paid.status_code == 200
        second = subprocess.run(
            [sys.executable, "-m", "teacher_server", "serve", "--model", str(checkpoint)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode == 1
        assert second.stderr.splitlines()[-1].startswith("error: another server is using")
        assert first.stop() == 0
        # Nothing after it, such as a report of leaks by a library that torch has loaded.
        assert "Finished server process" in first.log.read_text().splitlines()[-1]
    with server_at(tmp_path, checkpoint) as again, again.http() as http:
        account = http.get("/v1/key").json()
        assert (account["budget_units"], account["spent_units"]) == (50, 2)
        replay = http.post("/v1/embeddings", json=body, headers=headers)
        assert replay.content == paid.content
        assert http.get("/v1/key").json()["spent_units"] == 2
        again.process.kill()
        again.process.wait(30)
    verified = subprocess.run(
        [sys.executable, "-m", "teacher_server", "ledger", "verify"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert verified.stdout == "1 keys, 2 entries, 2 queries charged: the ledger balances\n"


def test_the_model_is_loaded_by_a_thread_that_ends_with_its_openmp_team(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[threading.Thread] = []

    def loaded(*arguments: Any, **options: Any) -> Encoder:
        threads.append(threading.current_thread())
        return load_encoder(*arguments, **options)

    monkeypatch.setattr("teacher_server.inference.encoder.load_encoder", loaded)
    load_model(VendorSettings(threads=2))
    assert threads[0] is not threading.main_thread()
    assert not threads[0].is_alive()
