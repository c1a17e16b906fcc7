"""What a client writes to its history about an answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.chaos.client import RecordingTransport
from benchmarks.chaos.history import History, KillSwitch, read_history

PROBLEM = {"code": "not_ready", "charged_units": 0}


async def told(folder: Path, answer: httpx.Response, *, is_behind_proxy: bool) -> dict[str, Any]:
    """The event that a client writes when it gets this answer to a purchase."""
    with History(folder / "history.jsonl") as history:
        transport = RecordingTransport(
            httpx.MockTransport(lambda request: answer),
            history,
            KillSwitch(history),
            is_behind_proxy=is_behind_proxy,
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://vendor") as http:
            headers = {"Idempotency-Key": "k"}
            await http.post("/v1/embeddings", json={"input": [{"text": "a"}]}, headers=headers)
    *_, last = read_history(folder / "history.jsonl")
    return last


@pytest.mark.parametrize("status", [500, 503])
async def test_an_error_that_a_proxy_makes_for_a_dead_vendor_says_nothing_of_the_purchase(
    tmp_path: Path, status: int
) -> None:
    answer = httpx.Response(status, text="Internal Server Error")
    event = await told(tmp_path, answer, is_behind_proxy=True)
    assert (event["kind"], event["cause"]) == ("info", f"{status} of the proxy")


async def test_a_problem_of_the_vendor_is_its_word_behind_a_proxy_too(tmp_path: Path) -> None:
    answer = httpx.Response(
        503,
        content=json.dumps(PROBLEM),
        headers={"Content-Type": "application/problem+json"},
    )
    event = await told(tmp_path, answer, is_behind_proxy=True)
    assert (event["kind"], event["status"], event["code"]) == ("fail", 503, "not_ready")


async def test_without_a_proxy_every_error_is_the_vendors(tmp_path: Path) -> None:
    answer = httpx.Response(500, json={})
    event = await told(tmp_path, answer, is_behind_proxy=False)
    assert (event["kind"], event["status"]) == ("fail", 500)
