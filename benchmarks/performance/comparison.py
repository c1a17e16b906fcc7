"""One claim about speed: this project and a peer, measured in turn in the same run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

Better = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is compared. `better` says whether a higher or a lower ratio (ours/peer) is better.

    `name` identifies the comparison in the results for ever. `goal` is the ratio aimed at, or None
    where there is none.
    """

    section: str
    name: str
    unit: str
    peer: str
    better: Better
    goal: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The rounds of one subject, ours and the peer's, in `subject.unit`."""

    subject: Subject
    ours: tuple[float, ...]
    peers: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """Ours over the peer's, round by round."""
        return tuple(ours / peer for ours, peer in zip(self.ours, self.peers, strict=True))

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return median(self.ratios)

    @property
    def meets_goal(self) -> bool | None:
        """Whether the ratio is as good as the goal; None without a goal."""
        goal = self.subject.goal
        if goal is None:
            return None
        return self.ratio >= goal if self.subject.better == "higher" else self.ratio <= goal

    def as_json(self) -> dict[str, Any]:
        """Return the subject, the rounds, and what follows from them."""
        return {
            **asdict(self.subject),
            "ours": list(self.ours),
            "peers": list(self.peers),
            "ours_median": median(self.ours),
            "peer_median": median(self.peers),
            "ratio": self.ratio,
            "meets_goal": self.meets_goal,
        }


def compare(
    subject: Subject,
    ours: Callable[[], float],
    peer: Callable[[], float],
    *,
    rounds: int = 5,
    warm_up: int = 1,
) -> Comparison:
    """Measure both sides in turn, `rounds` times; which goes first changes with each round.

    `ours` and `peer` do the work once and return the figure in `subject.unit`. The first `warm_up`
    rounds are not counted.
    """
    measured: list[tuple[float, float]] = []
    for number in range(warm_up + rounds):
        if number % 2:
            theirs = peer()
            measured.append((ours(), theirs))
        else:
            own = ours()
            measured.append((own, peer()))
    kept = measured[warm_up:]
    return Comparison(
        subject=subject,
        ours=tuple(own for own, _ in kept),
        peers=tuple(theirs for _, theirs in kept),
    )
