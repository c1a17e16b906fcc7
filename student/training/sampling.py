"""Which images a step trains on, and every random source: functions of the seed and the step.

A killed run can therefore be resumed without the state of any generator.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray


def random_source(*path: int) -> np.random.Generator:
    """A random source for one purpose, identified by seed, stage, purpose and step."""
    return np.random.default_rng(path)


def torch_source(*path: int) -> torch.Generator:
    """The same for torch, on the CPU."""
    return torch.Generator().manual_seed(torch_seed(*path))


def torch_seed(*path: int) -> int:
    """A seed for torch's own generator."""
    return int(random_source(*path).integers(2**63 - 1))


class BalancedSampler:
    """Batches with the same number of images of every domain, each domain in shuffled epochs.

    domains (N,) int64; only `useful` (N,) images are used, all if None. Some images of a domain
    with fewer than `per_domain` images are in a batch twice.
    """

    def __init__(
        self,
        domains: NDArray[np.int64],
        *,
        per_domain: int,
        seed: int,
        useful: NDArray[np.bool_] | None = None,
    ) -> None:
        shown = np.ones(len(domains), dtype=bool) if useful is None else useful
        self._members = [
            np.flatnonzero((domains == domain) & shown) for domain in np.unique(domains[shown])
        ]
        self._per_domain = per_domain
        self._seed = seed
        self._shuffled: dict[int, tuple[int, NDArray[np.int64]]] = {}

    @property
    def rows(self) -> int:
        """The number of images of every step."""
        return len(self._members) * self._per_domain

    def indices(self, step: int) -> NDArray[np.int64]:
        """The images of this step, domain after domain: (domains x per_domain,)."""
        return np.concatenate([self._of(domain, step) for domain in range(len(self._members))])

    def _of(self, domain: int, step: int) -> NDArray[np.int64]:
        members = self._members[domain]
        places = np.arange(step * self._per_domain, (step + 1) * self._per_domain)
        epochs, offsets = np.divmod(places, len(members))
        return np.concatenate(
            [
                self._epoch(domain, int(epoch))[offsets[epochs == epoch]]
                for epoch in np.unique(epochs)
            ]
        )

    def _epoch(self, domain: int, epoch: int) -> NDArray[np.int64]:
        at, order = self._shuffled.get(domain, (-1, self._members[domain]))
        if at != epoch:
            order = random_source(self._seed, domain, epoch).permutation(self._members[domain])
            self._shuffled[domain] = (epoch, order)
        return order
