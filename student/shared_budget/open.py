"""Opens a shared budget; SQLAlchemy, an extra, is loaded only then."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from student.errors import BadInput

if TYPE_CHECKING:
    from student.shared_budget.books import SharedBudget


def open_shared_budget(location: str) -> SharedBudget:
    """The shared budget in a SQLite file or a PostgreSQL database.

    Raises BadInput where there is none, and SharedBudgetError.
    """
    require_extra()
    from student.shared_budget.books import SharedBudget

    return SharedBudget.open(location)


def require_extra() -> None:
    """Raises BadInput, naming the extra, without SQLAlchemy."""
    if find_spec("sqlalchemy") is None:
        message = "a shared budget needs sqlalchemy: pip install 'rented-teacher[shared-budget]'"
        raise BadInput(message)
