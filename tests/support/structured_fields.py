"""RFC 9651 Lists of String items with parameters, parsed strictly: anything else is an error."""

from __future__ import annotations

import re
from dataclasses import dataclass

Value = int | str | bool
_KEY = re.compile(r"[a-z*][a-z0-9_.*-]*")
_INTEGER = re.compile(r"-?\d{1,15}(?![\d.])")
_STRING = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')


@dataclass
class _Text:
    text: str
    at: int = 0

    def take(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.match(self.text, self.at)
        assert match is not None, f"{pattern.pattern} expected at {self.text[self.at :]!r}"
        self.at = match.end()
        return match

    def skips(self, pattern: str) -> bool:
        match = re.compile(pattern).match(self.text, self.at)
        if match is None:
            return False
        self.at = match.end()
        return True


def parse_list(field: str) -> dict[str, dict[str, Value]]:
    """The members' parameters by the members' names; a name that comes twice is an error."""
    rest, members = _Text(field.strip(" ")), {}
    while True:
        name = _string(rest)
        assert name not in members
        members[name] = _parameters(rest)
        if rest.at == len(rest.text):
            return members
        assert rest.skips(r"[ \t]*,[ \t]*")


def _parameters(rest: _Text) -> dict[str, Value]:
    found: dict[str, Value] = {}
    while rest.skips("; *"):
        key = rest.take(_KEY)[0]
        found[key] = _bare_item(rest) if rest.skips("=") else True
    return found


def _bare_item(rest: _Text) -> Value:
    if rest.text[rest.at : rest.at + 1] == '"':
        return _string(rest)
    return int(rest.take(_INTEGER)[0])


def _string(rest: _Text) -> str:
    return re.sub(r"\\(.)", r"\1", rest.take(_STRING)[1])
