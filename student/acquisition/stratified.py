"""A seeded order of which every prefix is balanced over strata."""

from __future__ import annotations

import heapq
import random
from collections.abc import Hashable, Sequence


def stratified_order(strata: Sequence[Hashable], seed: int) -> list[int]:
    """The indices of `strata` in an order of which every prefix is balanced over the strata.

    A prefix of n items out of N holds, of a stratum of s items, more than n*s/N - 1 and fewer than
    n*s/N + 1 items; no order can guarantee more. The order does not depend on the budget, so a
    larger budget buys a superset. The seed decides inside a stratum and among strata equally due.

    The j-th item of a stratum is released when the stratum's share of the prefix exceeds j - 1
    items, and is due before the share reaches j. Earliest deadline first meets all deadlines (unit
    jobs with integer windows on one machine).
    """
    total = len(strata)
    members: dict[Hashable, list[int]] = {}
    for index, stratum in enumerate(strata):
        members.setdefault(stratum, []).append(index)
    # For a reproducible choice, not for a secret.
    shuffle = random.Random(seed)
    pools = list(members.values())
    for pool in pools:
        shuffle.shuffle(pool)

    # (release, deadline, tie-break, pool, place): release and deadline count prefix lengths.
    waiting = [(0, -(-total // len(pool)), shuffle.random(), n, 0) for n, pool in enumerate(pools)]
    heapq.heapify(waiting)
    ready: list[tuple[int, float, int, int]] = []
    order: list[int] = []
    while len(order) < total:
        while waiting and waiting[0][0] <= len(order):
            _, deadline, tie, number, place = heapq.heappop(waiting)
            heapq.heappush(ready, (deadline, tie, number, place))
        _, _, number, place = heapq.heappop(ready)
        pool = pools[number]
        order.append(pool[place])
        if (following := place + 1) < len(pool):
            release = following * total // len(pool)
            deadline = -(-(following + 1) * total // len(pool))
            heapq.heappush(waiting, (release, deadline, shuffle.random(), number, following))
    return order
