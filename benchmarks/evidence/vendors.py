"""The vendor of each teacher, in a process of its own while its answers are bought."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from pydantic import SecretStr

from benchmarks.evidence.protocol import TEACHERS
from student.bench.purchase import VendorEndpoint
from student.errors import BadInput
from student.vendor.client import connect
from tools.local_vendor import create_key_file, local_vendor


def local_vendors(
    folder: Path, *, budget: int
) -> Callable[[str], AbstractContextManager[VendorEndpoint]]:
    """Opens teachers one at a time, all on one ledger and one key under `folder`.

    Raises BadInput, naming the command that makes it, where a teacher's weights are not there.
    """

    @contextmanager
    def opened(teacher: str) -> Iterator[VendorEndpoint]:
        model = TEACHERS[teacher].model
        if (made_by := TEACHERS[teacher].made_by) and not Path(
            model.removeprefix("recorded:")
        ).is_dir():
            message = f"no teacher in {model}; make it with: {made_by}"
            raise BadInput(message)
        folder.mkdir(parents=True, exist_ok=True)
        database = f"sqlite:///{folder}/ledger.db"
        key = SecretStr(create_key_file(folder, database, budget).read_text().strip())
        with local_vendor(folder, database, model=model) as url:
            yield VendorEndpoint(open=lambda: connect(url, key))

    return opened
