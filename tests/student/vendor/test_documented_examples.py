"""The client understands every refusal and shape in the committed OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from student.errors import BudgetExhausted, VendorError
from student.vendor.problem import read_problem
from student.vendor.schemas import Account, Model, Prices

DOCUMENT: dict[str, Any] = json.loads(Path("docs/reference/openapi.json").read_text())
# Whether a refusal was charged, where it is not free.
MONEY = {"request_in_flight": None, "answer_purged": True}


def answer_of(given: dict[str, Any]) -> dict[str, Any]:
    """A route's answer, with a reference to a shared answer resolved."""
    name = given.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = DOCUMENT["components"]["responses"][name] if name else given
    return found


def refusals() -> Iterator[Any]:
    """Each example of each problem of each route."""
    for route, verbs in DOCUMENT["paths"].items():
        for verb, operation in verbs.items():
            for status, given in operation["responses"].items():
                problem = answer_of(given).get("content", {}).get("application/problem+json", {})
                for name, example in problem.get("examples", {}).items():
                    label = f"{verb} {route} {status} {name}"
                    yield pytest.param(int(status), example["value"], id=label)


def test_every_refusal_that_a_route_names_has_an_example() -> None:
    """Otherwise the next test would check nothing."""
    named = [
        f"{verb} {route} {status}"
        for route, verbs in DOCUMENT["paths"].items()
        for verb, operation in verbs.items()
        for status, given in operation["responses"].items()
        if "application/problem+json" in answer_of(given).get("content", {})
    ]
    shown = {parameter.id.rpartition(" ")[0] for parameter in refusals()}
    assert named
    assert set(named) == shown


@pytest.mark.parametrize(("status", "example"), list(refusals()))
def test_a_documented_refusal_is_understood(status: int, example: dict[str, Any]) -> None:
    error = read_problem(
        status, json.dumps(example).encode(), is_doubtful=False, printable=lambda text: text
    )
    assert isinstance(error, VendorError)
    assert error.code == example["code"]
    assert error.status == status == example["status"]
    assert example["detail"] in str(error)
    # A refusal is free, except for a purchase in progress and a purchase that was charged before.
    assert error.charged is MONEY.get(error.code, False)
    assert isinstance(error, BudgetExhausted) == (status == 402)


@pytest.mark.parametrize(
    ("schema", "shape"), [("Model", Model), ("Prices", Prices), ("KeyStanding", Account)]
)
def test_what_the_client_requires_is_what_the_document_promises(schema: str, shape: Any) -> None:
    promised = DOCUMENT["components"]["schemas"][schema]
    required = {name for name, field in shape.model_fields.items() if field.is_required()}
    assert required <= set(promised["required"])
