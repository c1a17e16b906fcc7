"""The error classes match their documentation and state whether anything was charged."""

from __future__ import annotations

import re

import pytest

from student import errors
from student.errors import BudgetExhausted, StudentError, VendorError, VendorMisbehaved


def drawn() -> dict[str, int]:
    assert errors.__doc__ is not None
    return {
        name: int(code)
        for name, code in re.findall(r"^\W*(\w+) +(\d) {3}", errors.__doc__, re.MULTILINE)
    }


def grown(root: type[StudentError]) -> dict[str, int]:
    tree = {root.__name__: root.exit_code}
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            tree |= grown(child)
    return tree


def test_the_docstring_lists_every_error_with_its_exit_code() -> None:
    assert drawn() == grown(StudentError)


def test_no_error_class_exits_with_success() -> None:
    assert all(code > 0 for code in grown(StudentError).values())


@pytest.mark.parametrize(
    ("charged", "sentence"),
    [(False, "Nothing was charged."), (True, "It was charged."), (None, "Only the vendor knows")],
)
def test_a_vendor_error_states_whether_anything_was_charged(
    charged: bool | None, sentence: str
) -> None:
    error = VendorError("It broke.", charged=charged, status=500, code="oops", request_id="req_1")
    assert sentence in str(error)
    assert str(error).startswith("It broke. (HTTP 500, oops, request req_1)")


def test_a_vendor_error_without_facts_has_no_empty_brackets() -> None:
    assert str(VendorMisbehaved("Odd.", charged=False)) == "Odd. Nothing was charged."


def test_an_exhausted_budget_carries_its_figures() -> None:
    error = BudgetExhausted("No.", needed=5, remaining=2)
    assert (error.status, error.needed, error.remaining, error.charged) == (402, 5, 2, False)


def test_a_vendor_error_does_not_repeat_what_the_vendor_said_about_the_charge() -> None:
    error = VendorError("No key. Nothing was charged. Check it.", charged=False, status=401)
    assert str(error) == "No key. Nothing was charged. Check it. (HTTP 401)"
