"""`distill-client serve`: an application changes its base URL and goes on."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from openai import NotFoundError, OpenAI

from cache.paid_cache import PaidCache
from student.commands.serve import bought_texts
from student.inference.trained_student import load
from tests.support.cache_purchases import (
    ACCOUNT,
    FINGERPRINT,
    Ledger,
    intent_of,
    rows_of,
    text,
    vector_of,
)
from tests.support.pictures import write_picture
from tests.support.saved_student import saved_student
from tests.support.shaded_images import DIM

CAT = text("a photo of a cat")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a student, the cache it was made from, with one text, and two pictures."""
    folder = tmp_path_factory.mktemp("serve")
    for number in range(2):
        write_picture(folder / f"{number}.png", number)
    with PaidCache.open(folder / "cache") as cache:
        intent = intent_of(CAT)
        receipt = Ledger().charge(intent)
        cache.reserve(intent, budget=1)
        cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    meta = {"teacher": {"fingerprint": FINGERPRINT}, "settings": {"cache": str(folder / "cache")}}
    saved_student(folder / "student", meta)
    return folder


@pytest.fixture(scope="module")
def url(made: Path) -> Iterator[str]:
    """The base URL of a server in a process of its own."""
    command = [sys.executable, "-m", "student", "serve", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--student", str(made / "student")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.search(r"running on (http://\S+)", line):
                yield found[1]
                break
        else:
            pytest.fail("the server ended before it listened")
    finally:
        process.terminate()
        process.stderr.close()
        process.wait()


def data_uri(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def test_a_stock_sdk_gets_the_students_own_embedding_of_an_image(made: Path, url: str) -> None:
    client = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    pictures = [made / "0.png", made / "1.png"]
    answer = client.embeddings.create(model="any", input=[data_uri(path) for path in pictures])
    expected = load(made / "student").embed(pictures)
    found = np.array([item.embedding for item in answer.data], dtype=np.float32)
    # The server is another process, and its number of threads may differ in the last bits.
    assert np.allclose(found, expected, rtol=0, atol=1e-6)
    assert found.shape == (2, DIM)


def test_a_bought_text_is_answered_from_the_cache_beside_an_image(made: Path, url: str) -> None:
    body = {"input": ["a photo of a cat", {"image": data_uri(made / "0.png")}]}
    answer = httpx.post(f"{url}/v1/embeddings", json=body).json()
    found = np.array(answer["data"][0]["embedding"], np.float32)
    assert np.array_equal(found, vector_of(CAT))
    assert answer["usage"] == {"prompt_tokens": 0, "total_tokens": 0, "images": 1, "texts": 1}


def test_base64_and_floats_are_the_same_vector(made: Path, url: str) -> None:
    body = {"input": [{"image": data_uri(made / "1.png")}], "encoding_format": "base64"}
    coded = httpx.post(f"{url}/v1/embeddings", json=body).json()["data"][0]["embedding"]
    expected = load(made / "student").embed([made / "1.png"])[0]
    assert np.allclose(np.frombuffer(base64.b64decode(coded), "<f4"), expected, rtol=0, atol=1e-6)


def test_a_text_that_was_not_bought_is_not_found(url: str) -> None:
    client = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    with pytest.raises(NotFoundError, match="was not bought, and the student has none of texts"):
        client.embeddings.create(model="any", input="a photo of a dog")


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"input": ["data:image/png;base64,!!"]}, 400, "item 0: the image is not base64"),
        ({"input": ["data:image/png,abc"]}, 400, "ends in ;base64"),
        ({"input": ["https://a.example/b.png"], "modality": "image"}, 400, "are not fetched"),
        ({"input": [{"image": "bm8gaW1hZ2U="}]}, 400, "item 0 cannot be read as an image"),
        ({"input": ["x"], "dimensions": 3}, 400, f"the student's embeddings have {DIM} numbers"),
        ({"input": ["x"] * 257}, 413, "input has 257 items"),
        ({"input": []}, 400, "input"),
        ({}, 400, "input: Field required"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_openais_shape(
    url: str, body: dict[str, object], status: int, message: str
) -> None:
    answer = httpx.post(f"{url}/v1/embeddings", json=body)
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]


def test_the_model_is_listed_by_the_digest_of_its_weights(made: Path, url: str) -> None:
    (model,) = httpx.get(f"{url}/v1/models").json()["data"]
    assert model["id"] == f"student-{load(made / 'student').meta['weights_sha256'][:12]}"
    assert model["dim"] == DIM


def test_the_start_says_in_which_words_a_text_is_found(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = load(made / "student")
    trained.meta["classes"] = ["a dog of nobody", "cat"]
    find = bought_texts(trained, None)
    assert f"{made / 'cache'}, in the words that were bought, such as 'a photo of a cat'" in (
        capsys.readouterr().out
    )
    assert find("cat") is None
    assert find("a photo of a cat") is not None
