"""The committed wire contract, read by the client: every documented refusal and shape."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from student.errors import BudgetExhausted, VendorError
from student.purchase.refusal import read_refusal
from student.purchase.wire import Account, Model, Prices

DOCUMENT: dict[str, Any] = json.loads(Path("docs/openapi.json").read_text())
CODES_WITH_A_LATER_CHARGE = {"request_in_flight"}


def refusals() -> Iterator[Any]:
    """Each example of each problem of each route."""
    for route, verbs in DOCUMENT["paths"].items():
        for verb, operation in verbs.items():
            for status, answer in operation["responses"].items():
                problem = answer.get("content", {}).get("application/problem+json", {})
                for name, example in problem.get("examples", {}).items():
                    label = f"{verb} {route} {status} {name}"
                    yield pytest.param(int(status), example["value"], id=label)


@pytest.mark.parametrize(("status", "example"), list(refusals()))
def test_a_documented_refusal_is_understood(status: int, example: dict[str, Any]) -> None:
    error = read_refusal(
        status, json.dumps(example).encode(), is_doubtful=False, printable=lambda text: text
    )
    assert isinstance(error, VendorError)
    assert error.code == example["code"]
    assert error.status == status == example["status"]
    assert example["detail"] in str(error)
    # A refusal is free, but for a purchase that is under way and will be charged.
    assert error.charged is (None if error.code in CODES_WITH_A_LATER_CHARGE else False)
    assert isinstance(error, BudgetExhausted) == (status == 402)


@pytest.mark.parametrize(
    ("schema", "shape"), [("Model", Model), ("Prices", Prices), ("KeyStanding", Account)]
)
def test_what_the_client_requires_is_what_the_document_promises(schema: str, shape: Any) -> None:
    promised = DOCUMENT["components"]["schemas"][schema]
    required = {name for name, field in shape.model_fields.items() if field.is_required()}
    assert required <= set(promised["required"])
