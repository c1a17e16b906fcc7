"""receipts.jsonl: every receipt a second time, in a file that only ever grows.

A line is canonical JSON: account, run, receipt, the keys that it paid for in the order in which
they were sent, a version, and the sha256 of all that. It is on disk before the database has the
receipt, so a line may be of a commit that did not happen, and its intent is then still open.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cache.errors import CacheUnavailable
from cache.records.embedding_key import EmbeddingKey, canonical_json
from cache.records.purchase_records import Purchase
from cache.records.receipt import Receipt
from cache.storage.folder import RECEIPTS

_VERSION: Final = 1
_TAIL_BYTES: Final = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedLine:
    """A line that is not what was written: its number from 1, its bytes and what is wrong."""

    number: int
    content: bytes
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """What the file says: one purchase an account and request id, the last line of it."""

    purchases: dict[tuple[str, str], Purchase]
    damaged: tuple[DamagedLine, ...]


def write_line(purchase: Purchase) -> bytes:
    """One purchase as a line."""
    body = {
        "version": _VERSION,
        "account": purchase.account,
        "run": purchase.run,
        "receipt": purchase.receipt.entry(),
        "keys": [key.fields() for key in purchase.keys],
    }
    return canonical_json({**body, "sha256": _sha256(body)}) + b"\n"


def read_line(line: bytes) -> Purchase:
    """The purchase in a line; ValueError, with the reason, when one byte is not as written."""
    try:
        body = json.loads(line)
        said = body.pop("sha256")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = "it is not a line of this file"
        raise ValueError(message) from error
    if said != _sha256(body):
        message = "its sha256 is not that of the rest of the line"
        raise ValueError(message)
    if body.get("version") != _VERSION:
        message = f"it has version {body.get('version')}, this program reads {_VERSION}"
        raise ValueError(message)
    try:
        return Purchase(
            account=body["account"],
            run=body["run"],
            receipt=Receipt.model_validate(body["receipt"]),
            keys=tuple(EmbeddingKey(**key) for key in body["keys"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        message = f"its fields cannot be read ({type(error).__name__})"
        raise ValueError(message) from error


def read_lines(folder: Path) -> list[bytes]:
    """The lines of the file in `folder` as they are, none when it is not there.

    A torn last line is one that a kill cut off or that is just being written: it is left out.
    """
    try:
        content = (folder / RECEIPTS).read_bytes()
    except FileNotFoundError:
        content = b""
    except OSError as error:
        message = f"{folder / RECEIPTS} cannot be read: {error.strerror}"
        raise CacheUnavailable(message) from error
    *lines, tail = content.split(b"\n")
    if _is_whole(tail):
        lines.append(tail)
    return lines


def read_copies(folder: Path) -> Copies:
    """Every purchase of the file in `folder`, none when it is not there; what is torn is none."""
    purchases, damaged = {}, []
    for number, line in enumerate(read_lines(folder), start=1):
        try:
            purchase = read_line(line)
        except ValueError as error:
            damaged.append(DamagedLine(number=number, content=line, reason=str(error)))
        else:
            purchases[purchase.name] = purchase
    return Copies(purchases=purchases, damaged=tuple(damaged))


def append(folder: Path, purchases: Iterable[Purchase]) -> None:
    """Add a line for each, synced before this returns. Only one process may do it at a time.

    A torn last line is mended first: it is of a commit that did not happen. OSError, with no more
    than another torn line written, when the disk does not take it.
    """
    lines = b"".join(write_line(purchase) for purchase in purchases)
    path = folder / RECEIPTS
    is_new = not path.exists()
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        _mend(file)
        _write(file, lines)
        os.fsync(file)
    finally:
        os.close(file)
    if is_new:
        sync_folder(folder)


def rewrite(folder: Path, purchases: Sequence[Purchase]) -> None:
    """Put a file of exactly these lines in the place of the old one, which is whole till then."""
    part = folder / f"{RECEIPTS}.part"
    with part.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.writelines(write_line(purchase) for purchase in purchases)
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / RECEIPTS)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` as durable as the files."""
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _mend(file: int) -> None:
    """End the file with a whole line: a torn one is cut off, one that lacks its break gets it."""
    size = os.fstat(file).st_size
    tail, start = b"", size
    while start and b"\n" not in tail:
        start = max(0, start - _TAIL_BYTES)
        tail = os.pread(file, size - start, start)
    torn = tail[tail.rfind(b"\n") + 1 :]
    if _is_whole(torn):
        _write(file, b"\n")
    elif torn:
        os.ftruncate(file, size - len(torn))


def _is_whole(line: bytes) -> bool:
    try:
        read_line(line)
    except ValueError:
        return False
    return True


def _write(file: int, content: bytes) -> None:
    while content:
        content = content[os.write(file, content) :]


def _sha256(body: object) -> str:
    return hashlib.sha256(canonical_json(body)).hexdigest()
