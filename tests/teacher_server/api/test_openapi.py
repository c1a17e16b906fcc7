"""docs/reference/openapi.json is the contract: current, complete, and with examples that hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.support.vendor_in_process import Vendor
from teacher_server.api.app import openapi_document
from teacher_server.api.embedding_request import EmbeddingRequest
from teacher_server.api.problem_types import PROBLEM_TYPES
from teacher_server.api.schemas import EmbeddingResponse, ProblemDocument
from teacher_server.cli import main

COMMITTED = Path(__file__).parents[3] / "docs" / "reference" / "openapi.json"


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


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_no_page_is_served_that_loads_scripts_of_other_hosts(
    vendor: Vendor, path: str
) -> None:
    assert (await vendor.http.get(path)).status_code == 404


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for path in document["paths"].values() for operation in path.values()]


def responses(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """An operation's responses by status, references followed."""
    shared = document["components"]["responses"]
    return {
        status: shared[response["$ref"].rpartition("/")[2]] if "$ref" in response else response
        for status, response in operation["responses"].items()
    }


def test_every_reference_leads_somewhere_and_every_shared_part_is_used(
    document: dict[str, Any],
) -> None:
    text = json.dumps(document)
    for kind in ("schemas", "responses"):
        start = f'"#/components/{kind}/'
        names = {part.split('"')[0] for part in text.split(start)[1:]}
        assert names
        assert names <= set(document["components"][kind])
    assert names == set(document["components"]["responses"])


def test_every_problem_example_is_a_problem_document_of_its_status(
    document: dict[str, Any],
) -> None:
    seen = set()
    for operation in operations(document):
        for status, response in responses(document, operation).items():
            media = response.get("content", {}).get("application/problem+json")
            if media is None:
                assert status.startswith("2")
                continue
            for code, example in media["examples"].items():
                problem = ProblemDocument.model_validate(example["value"])
                assert (problem.code, str(problem.status)) == (code, status)
                seen.add(code)
    assert seen == {code.value for code in PROBLEM_TYPES} - {"not_found", "method_not_allowed"}


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


async def test_a_trailing_slash_is_not_found_and_does_not_redirect(vendor: Vendor) -> None:
    """Starlette would redirect it, which is documented nowhere, to the host that was asked for."""
    for path in ("/v1/key/", "/livez/", "/admin/keys/"):
        answer = await vendor.http.get(path, headers={"Host": "evil.example"})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert "location" not in answer.headers


def test_routes_that_need_a_key_say_so(document: dict[str, Any]) -> None:
    for name, path in document["paths"].items():
        for operation in path.values():
            assert ("security" in operation) == name.startswith(("/v1/", "/admin/"))


def test_every_link_leads_to_an_operation_and_gives_it_a_parameter(
    document: dict[str, Any],
) -> None:
    takes = {
        operation["operationId"]: {
            parameter["name"] for parameter in operation.get("parameters", [])
        }
        for operation in operations(document)
    }
    assert len(takes) == len(operations(document))
    links = [
        link
        for operation in operations(document)
        for response in operation["responses"].values()
        for link in response.get("links", {}).values()
    ]
    assert {link["operationId"] for link in links} >= {"paid_answer", "get_key", "top_up_key"}
    for link in links:
        assert set(link["parameters"]) <= takes[link["operationId"]]


def test_the_headers_of_an_answer_are_documented(document: dict[str, Any]) -> None:
    answers = responses(document, document["paths"]["/v1/embeddings"]["post"])
    assert set(answers["200"]["headers"]) == {
        "Idempotent-Replayed",
        "RateLimit",
        "RateLimit-Policy",
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
    }
    assert "Retry-After" in answers["429"]["headers"]
