"""Who buys what, with which budgets: three caches, two keys, five clients, a wall for each.

`alone` (one client) and `shared` (two) spend the same key, whose budget at the vendor covers a part
of what they want. `capped` (two clients) has a key of its own that could pay for everything, and a
budget of the client's that cannot. So both walls must be met to the last unit.
"""

from __future__ import annotations

from dataclasses import dataclass

from teacher_server.ledger.keys import ApiKey

PLENTY = 10**9
ALONE_SHARE, SHARED_SHARE = 0.25, 0.35


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A key of the vendor's; `spends_to` is what will have been charged when all is done."""

    key: ApiKey
    budget: int
    spends_to: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPlan:
    """A cache: who pays, the client's own budget, how many wares it wants, how many clients."""

    name: str
    purse: Account
    budget: int
    wants: int
    clients: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The baskets of one run; their wants sum to `queries`, what can be paid to `budget`."""

    baskets: tuple[ClientPlan, ...]

    @property
    def purses(self) -> dict[str, Account]:
        """The purses by their key's id."""
        return {basket.purse.key.id: basket.purse for basket in self.baskets}

    @property
    def num_wares(self) -> int:
        """Every basket wants the wares from 0 on."""
        return max(basket.wants for basket in self.baskets)


def make_scenario(*, queries: int, budget: int) -> Scenario:
    """The scene for so many wanted queries, of which the budgets let `budget` be bought."""
    if not 10 <= budget < queries:
        message = f"a budget of {budget} must be smaller than the {queries} queries wanted"
        raise ValueError(message)
    alone, shared = round(queries * ALONE_SHARE), round(queries * SHARED_SHARE)
    capped = queries - alone - shared
    vendor_wall = round(budget * (alone + shared) / queries)
    client_wall = budget - vendor_wall
    first = Account(key=ApiKey.new(), budget=vendor_wall, spends_to=vendor_wall)
    second = Account(key=ApiKey.new(), budget=queries, spends_to=client_wall)
    return Scenario(
        baskets=(
            ClientPlan(name="alone", purse=first, budget=PLENTY, wants=alone, clients=1),
            ClientPlan(name="shared", purse=first, budget=PLENTY, wants=shared, clients=2),
            ClientPlan(name="capped", purse=second, budget=client_wall, wants=capped, clients=2),
        )
    )
