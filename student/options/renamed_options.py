"""Options of version 0.1 that have another name today, and those that have left the product."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from student.errors import BadInput

RENAMED: Mapping[str, str] = MappingProxyType(
    {
        "exact": "clean_prob",
        "drawn": "line_drawing_prob",
        "stand_ins": "text_targets",
        "between": "mean_target_prob",
    }
)
"""Today's name of each option that was renamed after version 0.1."""

RENAMED_METHODS: Mapping[str, str] = MappingProxyType({"ours": "vl2v-adip-1q"})
"""Today's name of each method that was renamed after version 0.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retired:
    """An option of which some values left the product after version 0.1.

    With `neutral` the option itself left: that value, its default, is what always happens now.
    """

    values: tuple[str, ...]
    advice: str
    neutral: str | None = None


RETIRED: Mapping[str, Retired] = MappingProxyType(
    {
        "align": Retired(values=("ridge",), neutral="sgd", advice="leave the option out"),
        "mix": Retired(values=("mixup", "cutmix"), neutral="none", advice="leave the option out"),
        "averaging": Retired(values=("ema",), advice="use swad (the default) or none"),
    }
)

V = TypeVar("V")
_log = logging.getLogger(__name__)


def is_retired(name: str, value: object) -> bool:
    """Whether this value of the option can no longer be trained with."""
    return name in RETIRED and value in RETIRED[name].values


def renamed_options(stored: Mapping[str, V]) -> dict[str, V]:
    """Options that a file of results holds, by today's names; retired ones are left as they are."""
    named = {RENAMED.get(name, name): value for name, value in stored.items()}
    return {
        name: value
        for name, value in named.items()
        if not (name in RETIRED and value == RETIRED[name].neutral)
    }


def renamed_method(name: str) -> str:
    """Today's name of a method."""
    return RENAMED_METHODS.get(name, name)


def current_options(given: Mapping[str, object], spell: Callable[[str], str]) -> dict[str, object]:
    """Options that a user gives, by today's names, with a line on stderr for each old spelling.

    `spell` writes a name as the user does. Raises BadInput for a value that has left the product
    and for an option in two spellings.
    """
    options: dict[str, object] = {}
    for name, value in given.items():
        if refused(name, value, spell):
            continue
        today = RENAMED.get(name, name)
        if today != name:
            _log.warning("%s is now called %s", spell(name), spell(today))
            if today in given:
                message = f"{spell(name)} and {spell(today)} are the same option"
                raise BadInput(message)
        if name == "method" and isinstance(value, str):
            value = current_method(value)
        options[today] = value
    return options


def current_method(name: str) -> str:
    """Today's name of a method that a user gives, with a line on stderr if it is an old name."""
    today = renamed_method(name)
    if today != name:
        _log.warning("the method %s is now called %s", name, today)
    return today


def refused(name: str, value: object, spell: Callable[[str], str]) -> bool:
    """Whether the option has left the product and the value asks for nothing. Raises BadInput where
    it asks for what has left."""
    if is_retired(name, value):
        message = (
            f"{spell(name)} {value} left the product after version 0.1, because it did not help "
            f"(docs/experiments.md): {RETIRED[name].advice}"
        )
        raise BadInput(message)
    if name not in RETIRED or RETIRED[name].neutral is None:
        return False
    if value == RETIRED[name].neutral:
        _log.warning("%s left after version 0.1; %s is what always happens", spell(name), value)
        return True
    return False


def flag(name: str) -> str:
    """An option as the command line spells it."""
    return f"--{name.replace('_', '-')}"


def current_arguments(argv: Sequence[str]) -> list[str]:
    """A command line in today's spelling. Raises BadInput as `current_options` does."""
    words: list[str] = []
    rest = iter(argv)
    for word in rest:
        spelt, equals, value = word.partition("=")
        name = spelt.removeprefix("--").replace("-", "_")
        if not spelt.startswith("--") or name not in {"method", *RETIRED, *_NEGATED}:
            words.append(word)
            continue
        if name in _NEGATED:
            words.append(_today(spelt, name) + equals + value)
            continue
        given = [spelt]
        if not equals:
            value = next(rest, "")
            given = [spelt, value] if value else [spelt]
        if refused(name, value, flag):
            continue
        if name == "method":
            value = current_method(value)
        words += [f"{spelt}={value}"] if equals else [*given[:1], *([value] if value else [])]
    return words


_NEGATED = frozenset(RENAMED) | {f"no_{name}" for name in RENAMED}


def _today(spelt: str, name: str) -> str:
    prefix = "no_" if name.startswith("no_") else ""
    today = flag(prefix + RENAMED[name.removeprefix("no_")])
    _log.warning("%s is now called %s", spelt, today)
    return today
