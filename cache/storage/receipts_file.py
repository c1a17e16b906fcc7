"""receipts.jsonl: a second copy of every receipt, in a file that is only appended to.

A line is canonical JSON: a version, the account, the run, the receipt, the keys that it paid for in
the order in which they were sent, and the SHA-256 of all that. The line is on disk before the
database has the receipt. A line may therefore belong to a commit that did not happen; the purchase
is then still open.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from cache.errors import CacheUnavailable
from cache.records.canonical_json import canonical_json, json_sha256
from cache.records.embedding_key import EmbeddingKey
from cache.records.purchase_records import Purchase
from cache.records.receipt import Receipt
from cache.storage.atomic_file import open_owner_only, replacing, sync_folder
from cache.storage.folder import RECEIPTS

_VERSION: Final = 1
_TAIL_BYTES: Final = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedLine:
    """A line that is not what was written: its number (from 1), its bytes and the reason."""

    number: int
    content: bytes
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptCopies:
    """The content of receipts.jsonl.

    `purchases` maps account and request id to a purchase; the last line of a name counts.
    """

    purchases: dict[tuple[str, str], Purchase]
    damaged: tuple[DamagedLine, ...]


def encode_line(purchase: Purchase) -> bytes:
    """Encode one purchase as a line, with its line break."""
    body = {
        "version": _VERSION,
        "account": purchase.account,
        "run": purchase.run,
        "receipt": purchase.receipt.entry(),
        "keys": [key.fields() for key in purchase.keys],
    }
    return canonical_json({**body, "sha256": json_sha256(body)}) + b"\n"


def decode_line(line: bytes) -> Purchase:
    """Decode one line. Raises ValueError, with the reason, if any byte has changed."""
    try:
        body = json.loads(line)
        stated = body.pop("sha256")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = "it is not a line of this file"
        raise ValueError(message) from error
    if stated != json_sha256(body):
        message = "its sha256 does not match the rest of the line"
        raise ValueError(message)
    if body.get("version") != _VERSION:
        message = f"it has version {body.get('version')}; this program reads version {_VERSION}"
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
    """Read the lines of receipts.jsonl in `folder`, undecoded; none if there is no file.

    Leaves out an incomplete last line: a kill cut it off, or it is being written right now.
    """
    *lines, tail = _read(folder).split(b"\n")
    if _is_complete(tail):
        lines.append(tail)
    return lines


def incomplete_tail(folder: Path) -> int:
    """Return the length in bytes of an incomplete last line of receipts.jsonl; 0 without one."""
    tail = _read(folder).rpartition(b"\n")[2]
    return 0 if _is_complete(tail) else len(tail)


def _read(folder: Path) -> bytes:
    try:
        return (folder / RECEIPTS).read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        message = f"cannot read {folder / RECEIPTS}: {error.strerror}"
        raise CacheUnavailable(message) from error


def read_copies(folder: Path) -> ReceiptCopies:
    """Read every purchase of receipts.jsonl in `folder`; none if there is no file."""
    purchases, damaged = {}, []
    for number, line in enumerate(read_lines(folder), start=1):
        try:
            purchase = decode_line(line)
        except ValueError as error:
            damaged.append(DamagedLine(number=number, content=line, reason=str(error)))
        else:
            purchases[purchase.name] = purchase
    return ReceiptCopies(purchases=purchases, damaged=tuple(damaged))


def append(folder: Path, purchases: Iterable[Purchase]) -> None:
    """Append one line for each purchase and sync it. Only one process may do so at a time.

    Removes an incomplete last line first: it belongs to a commit that did not happen. Raises
    OSError if the disk cannot take the lines; at most an incomplete line is then left behind.
    """
    lines = b"".join(encode_line(purchase) for purchase in purchases)
    path = folder / RECEIPTS
    is_new = not path.exists()
    with open_owner_only(path, "a+b", buffering=0) as file:
        _complete_last_line(file)
        _write_all(file, lines)
        os.fsync(file.fileno())
    if is_new:
        sync_folder(folder)


def rewrite(folder: Path, purchases: Sequence[Purchase]) -> None:
    """Replace receipts.jsonl by a file of exactly these lines, atomically."""
    with replacing(folder / RECEIPTS, owner_only=True) as file:
        file.writelines(encode_line(purchase) for purchase in purchases)


def _complete_last_line(file: BinaryIO) -> None:
    """Cut off an incomplete last line; if it only lacks its line break, add that instead."""
    size = file.seek(0, os.SEEK_END)
    tail, start = b"", size
    while start and b"\n" not in tail:
        start = max(0, start - _TAIL_BYTES)
        file.seek(start)
        tail = file.read(size - start)
    last = tail[tail.rfind(b"\n") + 1 :]
    if _is_complete(last):
        _write_all(file, b"\n")
    elif last:
        file.truncate(size - len(last))


def _is_complete(line: bytes) -> bool:
    try:
        decode_line(line)
    except ValueError:
        return False
    return True


def _write_all(file: BinaryIO, content: bytes) -> None:
    while content:
        content = content[file.write(content) :]
