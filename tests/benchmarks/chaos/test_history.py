"""A history survives the kill of its process, up to the last complete line."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from benchmarks.chaos.history import History, KillSwitch, read_history
from benchmarks.chaos.observations import Process
from benchmarks.chaos.operations import NEVER, operations


def test_a_kill_switch_kills_its_process_the_nth_time_and_logs_it(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    child = os.fork()
    if child == 0:
        kill_switch = KillSwitch(History(path), point="here", nth=3)
        while True:
            kill_switch.reach("elsewhere")
            os.write(os.open(tmp_path / "reached", os.O_WRONLY | os.O_CREAT | os.O_APPEND), b".")
            kill_switch.reach("here")
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    assert [event["point"] for event in read_history(path)] == ["here"]
    assert (tmp_path / "reached").read_bytes() == b"..."


def test_an_incomplete_last_line_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with History(path) as history:
        history.write("start")
    with path.open("ab") as file:
        file.write(b'{"t": 1, "ki')
    assert [event["kind"] for event in read_history(path)] == ["start"]


def test_a_process_that_never_wrote_has_no_history(tmp_path: Path) -> None:
    assert list(read_history(tmp_path / "nothing.jsonl")) == []


def test_a_request_without_a_complete_answer_may_take_effect_at_any_time() -> None:
    events = [
        {"t": 1, "kind": "invoke", "op": 1, "what": "buy", "key": "a", "items": ["i"]},
        {"t": 2, "kind": "info", "op": 1, "cause": "ReadTimeout"},
        {"t": 3, "kind": "invoke", "op": 2, "what": "buy", "key": "b", "items": ["i"]},
    ]
    found = operations([Process(name="p", key_id="k", events=events)])
    assert [(op.key, op.end, op.status) for op in found] == [("a", NEVER, 0), ("b", NEVER, 0)]
