"""A charge commits to the embeddings that it pays for, in whatever form they are sent."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from sqlalchemy import select, update

from benchmarks.support.vendor_in_process import Vendor
from cache.records.embeddings_digest import embeddings_sha256 as customers_digest
from teacher_server.api.render_response import wire_bytes
from teacher_server.database.engine import read_transaction, write_transaction
from teacher_server.database.tables import answers, requests
from teacher_server.ledger.embeddings_digest import digest_of_answer, embeddings_sha256
from tests.support.ledger_operations import PRICE, OneKeyLedger, body_of

Answer = dict[str, Any]
TEXTS = ["a dog", "a cat", "a guitar"]


def body_with(vectors: NDArray[np.float32], encoding: str) -> Answer:
    """An answer as the vendor renders it, read as JSON."""
    rows = [
        {
            "index": index,
            "embedding": base64.b64encode(wire_bytes(vector)).decode()
            if encoding == "base64"
            else [float(value) for value in vector],
        }
        for index, vector in enumerate(vectors)
    ]
    read: Answer = json.loads(json.dumps({"data": rows}))
    return read


@given(
    vectors=arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 9)),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
)
def test_floats_base64_vendor_and_customer_give_one_digest(vectors: NDArray[np.float32]) -> None:
    """Also for subnormal numbers and negative zeros."""
    expected = hashlib.sha256(vectors.astype("<f4").tobytes()).hexdigest()
    assert embeddings_sha256(map(wire_bytes, vectors)) == expected
    assert customers_digest(vectors) == expected
    assert digest_of_answer(body_with(vectors, "base64")) == expected
    assert digest_of_answer(body_with(vectors, "float")) == expected


def swap_indices(answer: Answer) -> None:
    answer["data"][0]["index"], answer["data"][1]["index"] = 1, 0


def swap_rows(answer: Answer) -> None:
    first, second, *rest = answer["data"]
    answer["data"] = [second, first, *rest]


def swap_vectors(answer: Answer) -> None:
    one, other = answer["data"][0], answer["data"][1]
    one["embedding"], other["embedding"] = other["embedding"], one["embedding"]


def change_a_value(answer: Answer) -> None:
    embedding = answer["data"][2]["embedding"]
    if isinstance(embedding, str):
        raw = bytearray(base64.b64decode(embedding))
        raw[0] ^= 1
        answer["data"][2]["embedding"] = base64.b64encode(raw).decode()
    else:
        embedding[0] += 1e-12  # less than a float32 can hold


def drop_a_row(answer: Answer) -> None:
    del answer["data"][2]


def break_a_row(answer: Answer) -> None:
    answer["data"][0]["embedding"] = "no base64!"


FORGERIES = [swap_indices, swap_rows, swap_vectors, change_a_value, drop_a_row, break_a_row]


@pytest.mark.parametrize("encoding", ["float", "base64"])
@pytest.mark.parametrize("forge", FORGERIES)
async def test_a_changed_embedding_of_a_stored_answer_is_found(
    vendor: Vendor, encoding: str, forge: Callable[[Answer], None]
) -> None:
    sold = await vendor.embed(TEXTS, encoding_format=encoding)
    assert sold.json()["receipt"]["embeddings_sha256"] == digest_of_answer(sold.json())
    assert vendor.audit.faults == ()
    assert vendor.audit.charges_without_digest == 0
    answer = sold.json()
    forge(answer)
    with write_transaction(vendor.engine) as connection:
        connection.execute(update(answers).values(body=json.dumps(answer).encode()))
    faults: list[str] = list(vendor.audit.faults)
    expected = "the embeddings in its stored answer are not those that were charged"
    assert [expected in fault for fault in faults] == [True]


async def test_a_stored_answer_that_names_another_model_is_found(vendor: Vendor) -> None:
    answer = (await vendor.embed(TEXTS)).json() | {"model_fingerprint": "sha256:" + "0" * 64}
    with write_transaction(vendor.engine) as connection:
        connection.execute(update(answers).values(body=json.dumps(answer).encode()))
    (fault,) = vendor.audit.faults
    assert "names another model than its ledger entry" in fault


def test_charges_from_before_the_digest_keep_their_hash_and_are_counted(
    one_key: OneKeyLedger,
) -> None:
    old = one_key.buy(2)
    assert "embeddings_sha256" not in old.document()
    reservation = one_key.reserve(1)
    one_key.ledger.charges.post(
        reservation,
        model="m",
        model_fingerprint="sha256:f",
        embeddings_sha256="0" * 64,
        render=body_of,
    )
    assert PRICE.version == one_key.entries[-1].price_version
    assert one_key.entries[-1].embeddings_sha256 == "0" * 64
    audit = one_key.ledger.records.verify()
    assert audit.charges_without_digest == 1
    # The stored body of this test has no vectors at all.
    assert [fault.endswith("not those that were charged") for fault in audit.faults] == [True]


async def test_a_correction_is_answered_without_a_digest(vendor: Vendor) -> None:
    """Its hash does not cover one."""
    sold = (await vendor.embed(TEXTS)).json()["receipt"]
    entry = vendor.ledger.records.correct(
        sold["request_id"], units=1, cost_micro_usd=1, reason="r", actor="ann"
    )
    assert "embeddings_sha256" not in entry.document()
    assert entry.hash == entry.expected_hash
    with read_transaction(vendor.engine) as connection:
        assert connection.scalar(select(requests.c.state)) == "posted"
    assert vendor.audit.faults == ()
