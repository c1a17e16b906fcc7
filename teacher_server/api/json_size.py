"""Looks at the bytes of a JSON body before the parser builds an object for each value."""

from __future__ import annotations

import re

# All bytes but the marks that begin or separate JSON values. For 8 MiB of `[],` or `1,` the parser
# took gigabytes.
_NO_MARKS = bytes(set(range(256)) - set(b"[{,:"))
# Possessive, and a missing closing quote ends with the body, so that no byte is read twice.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_TOKEN_IDS = re.compile(rb'"input"\s{0,99}:\s{0,99}\[\s{0,99}(?:\[\s{0,99})?\d{1,9}\s{0,99}[,\]]')


def has_more_marks(body: bytes, limit: int) -> bool:
    """Whether the body has more than `limit` values, counted by the marks around them."""
    # Texts may contain marks. Strings are skipped only if the quick count is too high.
    return _marks(body) > limit and _marks_outside_strings(body, limit) > limit


def has_token_ids(body: bytes) -> bool:
    """Whether `input` is a list of numbers, or of lists of numbers."""
    return _TOKEN_IDS.search(body) is not None


def _marks(part: bytes) -> int:
    return len(part.translate(None, _NO_MARKS))


def _marks_outside_strings(body: bytes, limit: int) -> int:
    """Count the marks outside strings, and each string as one; stops soon after `limit`."""
    marks = position = 0
    for string in _STRING.finditer(body):
        marks += _marks(body[position : string.start()]) + 1
        position = string.end()
        if marks > limit:
            return marks
    return marks + _marks(body[position:])
