"""How long the vendor's threads spin before they sleep."""

from __future__ import annotations

import os

import pytest

from teacher_server.cli import _let_threads_spin_briefly

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in WAITING:
        # Set first: only what is set is restored after the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


def test_threads_spin_briefly_unless_the_user_has_decided_it(unset: pytest.MonkeyPatch) -> None:
    _let_threads_spin_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == "10000"


@pytest.mark.parametrize("name", WAITING)
def test_a_users_own_way_of_waiting_is_kept(unset: pytest.MonkeyPatch, name: str) -> None:
    unset.setenv(name, "7")
    _let_threads_spin_briefly()
    assert {one for one in WAITING if one in os.environ} == {name}
