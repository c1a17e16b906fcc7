"""The problem codes, and what each states about a retry."""

from __future__ import annotations

import json

import pytest

from teacher_server.api.problem_types import PROBLEM_TYPES, Code
from teacher_server.api.problems import Problem


def test_every_code_has_a_sentence_and_402_is_never_retriable_and_429_always() -> None:
    for code, kind in PROBLEM_TYPES.items():
        assert kind.title
        assert kind.advice.endswith(".")
        assert kind.is_retriable == (kind.status in {408, 409, 429, 500, 503}), code
    assert json.dumps(Code.OVERLOADED) == '"overloaded"'
    assert set(PROBLEM_TYPES) == set(Code)


@pytest.mark.parametrize("code", Code)
def test_a_document_says_what_happened_that_it_was_free_and_what_to_do(code: Code) -> None:
    problem = Problem(code, "it rained", param="input", index=3)
    document = problem.document("req_1")
    advice = PROBLEM_TYPES[code].advice
    assert document["detail"] == f"It rained. {PROBLEM_TYPES[code].cost} {advice}"
    assert document["detail"].startswith("It rained. Nothing was charged")
    assert document["error"]["message"] == document["detail"]
    assert (document["request_id"], document["index"]) == ("req_1", 3)
    assert json.loads(json.dumps(document)) == document


def test_half_of_a_surrogate_pair_that_a_client_sent_can_be_answered() -> None:
    problem = Problem(Code.INVALID_REQUEST, "`\ud800` is not a known field", param="a\udfff")
    document = problem.document("req_1")
    assert json.loads(json.dumps(document, ensure_ascii=False).encode()) == document
    assert document["error"]["param"] == r"a\udfff"
    assert document["detail"].startswith(r"`\ud800` is")


def test_a_purged_answer_is_said_to_have_been_charged_before() -> None:
    purged = Problem(Code.ANSWER_PURGED, "it is gone").document("req_1")
    assert (purged["status"], purged["retriable"], purged["charged_units"]) == (410, False, 0)
    assert "Nothing was charged." not in purged["detail"]
    assert "was charged when it was first answered" in purged["detail"]


def test_a_known_wait_replaces_the_codes_default() -> None:
    assert Problem(Code.RATE_LIMITED, "x", retry_after=7).headers["Retry-After"] == "7"
    assert Problem(Code.RATE_LIMITED, "x").headers["Retry-After"] == "1"


@pytest.mark.parametrize("code", Code)
def test_headers_agree_with_the_document(code: Code) -> None:
    problem = Problem(code, "it rained")
    retriable = problem.document("req_1")["retriable"]
    assert problem.headers["x-should-retry"] == ("true" if retriable else "false")
    assert ("Retry-After" in problem.headers) == (problem.problem_type.status in {409, 429, 503})
    assert ("WWW-Authenticate" in problem.headers) == (problem.problem_type.status == 401)
