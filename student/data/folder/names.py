"""When two folder names are one name: they differ only in what a reader does not see as different.

Two tools, two systems or two people write one class in several ways: composed and decomposed
accents, capitals, underscores for blanks, a blank at the end.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from student.errors import BadInput

_BLANKS = re.compile(r"[\s_]+")
# A hyphen between words; the sign of a number ("temp -5") is kept.
_HYPHEN = re.compile(r"(?<=\w)(?:[-\u2010-\u2015]| [-\u2010-\u2015] )(?=\w)")


def folded(name: str) -> str:
    """What two spellings of one name have in common; the name itself where nothing would be left.

    NFKC, case folding, no invisible characters, and one blank for any run of blanks and underscores
    or a hyphen between words.
    """
    text = unicodedata.normalize("NFKC", name).casefold()
    text = "".join(char for char in text if unicodedata.category(char) != "Cf")
    text = _BLANKS.sub(" ", unicodedata.normalize("NFKC", text)).strip()
    return _HYPHEN.sub(" ", text) or name


def nfc(name: str) -> str:
    """The name with composed accents: a system may store that of a file decomposed, where a table
    has it composed."""
    return unicodedata.normalize("NFC", name)


def shown_path(path: Path, root: Path) -> str:
    """The path below the root; the whole path where it lies elsewhere, as a manifest may say."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def class_names(folders: Iterable[tuple[str, str]]) -> tuple[dict[str, str], list[str]]:
    """The class of each name of a class folder, and a sentence for each class with several names.

    `folders` are pairs of a domain and a class folder. A class has the spelling of most domains.
    Raises BadInput for two spellings of one class in one domain, or of one domain.
    """
    domains_of: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    pairs = sorted(set(folders))
    _require_distinct(sorted({domain for domain, _ in pairs}), "domains", "")
    for domain, name in pairs:
        domains_of[folded(name)][name].append(domain)
    used: dict[str, str] = {}
    said: list[str] = []
    for spellings in domains_of.values():
        in_domain: dict[str, list[str]] = defaultdict(list)
        for name, domains in spellings.items():
            for domain in domains:
                in_domain[domain].append(name)
        for domain, names in in_domain.items():
            _require_distinct(names, "classes", f"{domain}/")
        chosen = min(spellings, key=lambda name: (-len(spellings[name]), not _is_clean(name), name))
        used |= dict.fromkeys(spellings, chosen)
        if len(spellings) > 1:
            shown = quoted([*spellings, chosen])
            ways = "; ".join(
                f"{text} in {', '.join(domains)}"
                for text, domains in zip(shown, spellings.values(), strict=False)
            )
            said.append(f"one class is spelt in several ways, and read as {shown[-1]}: {ways}")
    return used, said


def same_name(wanted: str, names: Sequence[str]) -> str:
    """The one of `names` that `wanted` spells, exactly or in another way; `wanted` if there is
    none."""
    if wanted in names:
        return wanted
    return next((name for name in names if folded(name) == folded(wanted)), wanted)


def quoted(names: Sequence[str]) -> list[str]:
    """The names in quotes, in ASCII where they look the same otherwise."""
    looks = {unicodedata.normalize("NFKC", name) for name in names}
    return [repr(name) if len(looks) == len(set(names)) else ascii(name) for name in names]


def listed(names: Sequence[str], *, most: int = 5) -> str:
    """The names with commas, at most `most` of them, and how many more there are."""
    rest = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def by_reason(reasons: Iterable[tuple[str, str]]) -> list[str]:
    """One line for each reason of these pairs of a name and a reason: how many names it concerns,
    and the first of them."""
    names: dict[str, list[str]] = {}
    for name, reason in reasons:
        names.setdefault(reason, []).append(name)
    return [
        f"{len(group):,}: {reason} ({listed(group, most=3)})" for reason, group in names.items()
    ]


def _is_clean(name: str) -> bool:
    is_visible = all(unicodedata.category(char) != "Cf" for char in name)
    return is_visible and name == unicodedata.normalize("NFC", name).strip()


def _require_distinct(names: Sequence[str], kind: str, place: str) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(folded(name), name)) != name:
            first, second = quoted([f"{place}{other}", f"{place}{name}"])
            message = (
                f"{first} and {second} would be two {kind} with one name: rename or "
                "merge them; nothing was bought"
            )
            raise BadInput(message)
