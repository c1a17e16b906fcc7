"""Who buys what, and with which budgets: three caches, two keys, five clients.

`alone` (one client) and `shared` (two clients) spend the same key, whose budget at the vendor
covers a part of what they want. `capped` (two clients) has a key of its own that could pay for
everything, and a client budget that cannot. Both kinds of budget must be spent to the last query.
"""

from __future__ import annotations

from dataclasses import dataclass

from teacher_server.ledger.api_key import ApiKey

NO_LIMIT = 10**9  # queries
ALONE_SHARE, SHARED_SHARE = 0.25, 0.35  # of the queries wanted; `capped` wants the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One API key: its budget at the vendor, and the charges expected at the end, in queries."""

    key: ApiKey
    budget: int
    expected_charges: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPlan:
    """One cache: the key it pays with, its client budget, its number of items and of clients."""

    name: str
    account: Account
    budget: int
    num_items: int
    num_clients: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The caches of a chaos test and the clients that fill them."""

    plans: tuple[ClientPlan, ...]

    @property
    def accounts(self) -> dict[str, Account]:
        """The accounts by key id."""
        return {plan.account.key.id: plan.account for plan in self.plans}

    @property
    def num_items(self) -> int:
        """The number of different items: every plan wants the items from 0 on."""
        return max(plan.num_items for plan in self.plans)


def make_scenario(*, queries: int, budget: int) -> Scenario:
    """Return a scenario in which `queries` are wanted and `budget` of them can be paid for.

    Raises ValueError unless 10 <= budget < queries.
    """
    if not 10 <= budget < queries:
        message = f"budget {budget} is not between 10 and the {queries} queries wanted"
        raise ValueError(message)
    alone, shared = round(queries * ALONE_SHARE), round(queries * SHARED_SHARE)
    capped = queries - alone - shared
    vendor_limit = round(budget * (alone + shared) / queries)
    client_limit = budget - vendor_limit
    first = Account(key=ApiKey.new(), budget=vendor_limit, expected_charges=vendor_limit)
    second = Account(key=ApiKey.new(), budget=queries, expected_charges=client_limit)
    return Scenario(
        plans=(
            ClientPlan(
                name="alone", account=first, budget=NO_LIMIT, num_items=alone, num_clients=1
            ),
            ClientPlan(
                name="shared", account=first, budget=NO_LIMIT, num_items=shared, num_clients=2
            ),
            ClientPlan(
                name="capped", account=second, budget=client_limit, num_items=capped, num_clients=2
            ),
        )
    )
