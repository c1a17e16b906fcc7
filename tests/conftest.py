"""What every test may rely on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.temporary_files import use_memory

if TYPE_CHECKING:
    from benchmarks.support.postgresql import Postgres

# As the commands do. Threads that spin while they wait would take the processors from the tests of
# the other workers. Here, because a conftest of a folder may import torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
_PLACE = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Handle SIGINT: a shell's background job ignores it, and its child processes would, too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.stash[_PLACE] = use_memory(os.environ)


def pytest_report_header(config: pytest.Config) -> str:
    """Say where the temporary files of the tests are."""
    return f"temporary files: {config.stash[_PLACE]}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL server for all tests of this process; each folder has databases of its own."""
    # Most tests need none of what this imports.
    from benchmarks.support.postgresql import running

    with running() as server:
        yield server
