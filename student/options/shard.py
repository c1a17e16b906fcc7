"""One part of a purchase that is split over workers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

_FORM: Final = re.compile(r"([1-9][0-9]*)/([1-9][0-9]*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `number`, from 1 on, of `count` parts: "2/3" is the second of three."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The shard that `text` names, as K/N. Raises ValueError."""
        found = _FORM.fullmatch(text.strip())
        if found is None or int(found[1]) > int(found[2]):
            message = f"{text} is no shard: write K/N, where K is from 1 to N, such as 1/3"
            raise ValueError(message)
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def has(self, sha256: str) -> bool:
        """Whether the image or text with this SHA-256 (hex) is in this shard.

        It is in exactly one of the shards of a count, on every machine.
        """
        return int(sha256[:16], 16) % self.count == self.number - 1
