"""docs/openapi.json is the contract: current, complete, and with examples that hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from teacher_server.api.app import openapi_document
from teacher_server.api.problems import KINDS
from teacher_server.api.schemas import EmbeddingRequest, EmbeddingResponse, ProblemDocument
from teacher_server.cli import main
from tests.teacher_server.in_process import Vendor

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi_document()


def test_the_committed_file_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["openapi"]) == 0
    assert capsys.readouterr().out == COMMITTED.read_text(encoding="utf-8")


async def test_the_running_app_publishes_the_same_document(
    vendor: Vendor, document: dict[str, Any]
) -> None:
    assert (await vendor.http.get("/openapi.json")).json() == document
    assert (await vendor.http.get("/docs")).status_code == 200


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    names = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert names
    assert names <= set(document["components"]["schemas"])


def test_every_problem_example_is_a_problem_document_of_its_status(
    document: dict[str, Any],
) -> None:
    seen = set()
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                media = response.get("content", {}).get("application/problem+json")
                if media is None:
                    assert status.startswith("2")
                    continue
                for code, example in media["examples"].items():
                    problem = ProblemDocument.model_validate(example["value"])
                    assert (problem.code, str(problem.status)) == (code, status)
                    seen.add(code)
    assert seen == {code.value for code in KINDS} - {"not_found", "method_not_allowed"}


def test_the_examples_of_request_and_answer_hold(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for example in schemas["EmbeddingRequest"]["examples"]:
        EmbeddingRequest.model_validate_json(json.dumps(example))
    for example in schemas["EmbeddingResponse"]["examples"]:
        EmbeddingResponse.model_validate(example)


async def test_a_real_answer_has_the_documented_shape(vendor: Vendor) -> None:
    for encoding in ("float", "base64"):
        response = await vendor.embed(["a"], encoding_format=encoding)
        EmbeddingResponse.model_validate_json(response.content)


def test_routes_that_need_a_key_say_so(document: dict[str, Any]) -> None:
    for name, path in document["paths"].items():
        for operation in path.values():
            assert ("security" in operation) == name.startswith("/v1/")
