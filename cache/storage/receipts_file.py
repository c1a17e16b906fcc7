"""receipts.jsonl: a second copy of every receipt, in a file that is only appended to.

A line is canonical JSON: a version, the account, the run, the receipt, the keys that it paid for in
the order in which they were sent, and the SHA-256 of all that. The line is on disk before the
database has the receipt. A line may therefore belong to a commit that did not happen; the purchase
is then still open.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from sys import intern
from typing import Any, BinaryIO, Final

from cache.errors import CacheUnavailable
from cache.records.canonical_json import canonical_json, json_sha256
from cache.records.embedding_key import EmbeddingKey, keys_json
from cache.records.purchase_records import Purchase
from cache.records.receipt import Receipt
from cache.storage.atomic_file import open_owner_only, replacing, sync_folder
from cache.storage.folder import RECEIPTS

_VERSION: Final = 1
_END: Final = b',"version":%d}' % _VERSION
_TAIL_BYTES: Final = 65536
_KEY_FIELDS: Final = 5


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
    # The keys are nearly all of it, and each knows its canonical JSON.
    account = canonical_json({"account": purchase.account})
    rest = canonical_json({"receipt": purchase.receipt.entry(), "run": purchase.run})
    start = b'%b,"keys":%b,%b' % (account[:-1], keys_json(purchase.keys), rest[1:-1])
    sha256 = hashlib.sha256(start + _END).hexdigest()
    return b'%b,"sha256":"%b"%b\n' % (start, sha256.encode("ascii"), _END)


def decode_line(line: bytes) -> Purchase:
    """Decode one line. Raises ValueError, with the reason, if any byte has changed."""
    body = _body(line)
    if body.get("version") != _VERSION:
        message = f"it has version {body.get('version')}; this program reads version {_VERSION}"
        raise ValueError(message)
    try:
        return Purchase(
            account=body["account"],
            run=body["run"],
            receipt=Receipt.model_validate(body["receipt"]),
            keys=tuple(map(_key, body["keys"])),
        )
    except (KeyError, TypeError, ValueError) as error:
        message = f"its fields cannot be read ({type(error).__name__})"
        raise ValueError(message) from error


def _key(fields: dict[str, Any]) -> EmbeddingKey:
    # A million keys have a few values between them, apart from their items.
    if len(fields) != _KEY_FIELDS:
        return EmbeddingKey(**fields)
    return EmbeddingKey(
        model_fingerprint=intern(fields["model_fingerprint"]),
        modality=intern(fields["modality"]),  # type: ignore[arg-type]  # the key checks it
        item=fields["item"],
        view=intern(fields["view"]),
        params=intern(fields["params"]),
    )


def _body(line: bytes) -> dict[str, Any]:
    """The fields of a line, which have its SHA-256. Raises ValueError."""
    try:
        body: dict[str, Any] = json.loads(line)
        stated = body.pop("sha256")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = "it is not a line of this file"
        raise ValueError(message) from error
    if not _has_sha256(line, stated) and stated != json_sha256(body):
        message = "its sha256 does not match the rest of the line"
        raise ValueError(message)
    return body


def _has_sha256(line: bytes, stated: object) -> bool:
    """Whether a line as `encode_line` writes it has the SHA-256 that it states.

    False for a line in another form, whose fields must be encoded again to know.
    """
    written = f',"sha256":"{stated}"'.encode(errors="replace") + _END
    start = line.removesuffix(written)
    return start != line and hashlib.sha256(start + _END).hexdigest() == stated


def read_lines(folder: Path) -> Iterator[bytes]:
    """Yield the lines of receipts.jsonl in `folder`, undecoded; none if there is no file.

    Leaves out an incomplete last line: a kill cut it off, or it is being written right now.
    """
    try:
        with (folder / RECEIPTS).open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line[:-1]
                    continue
                if _is_complete(line):
                    yield line
                # What a writer adds by now is the rest of this line.
                return
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unreadable(folder, error) from error


def incomplete_tail(folder: Path) -> int:
    """Return the length in bytes of an incomplete last line of receipts.jsonl; 0 without one."""
    try:
        with (folder / RECEIPTS).open("rb") as file:
            tail = _last_line(file)[0]
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise _unreadable(folder, error) from error
    return 0 if _is_complete(tail) else len(tail)


def _unreadable(folder: Path, error: OSError) -> CacheUnavailable:
    return CacheUnavailable(f"cannot read {folder / RECEIPTS}: {error.strerror}")


def read_purchases(folder: Path) -> Iterator[Purchase | DamagedLine]:
    """Yield what each line of receipts.jsonl in `folder` says, in their order."""
    for number, line in enumerate(read_lines(folder), start=1):
        try:
            yield decode_line(line)
        except ValueError as error:
            yield DamagedLine(number=number, content=line, reason=str(error))


def read_copies(folder: Path) -> ReceiptCopies:
    """Read every purchase of receipts.jsonl in `folder`; none if there is no file."""
    purchases, damaged = {}, []
    for found in read_purchases(folder):
        if isinstance(found, DamagedLine):
            damaged.append(found)
        else:
            purchases[found.name] = found
    return ReceiptCopies(purchases=purchases, damaged=tuple(damaged))


def append(folder: Path, purchases: Iterable[Purchase]) -> None:
    """Append one line for each purchase and sync it. Only one process may do so at a time.

    Removes an incomplete last line first: it belongs to a commit that did not happen. Raises
    OSError if the disk cannot take the lines; at most an incomplete line is then left behind.
    """
    path = folder / RECEIPTS
    is_new = not path.exists()
    with open_owner_only(path, "a+b", buffering=0) as file:
        _complete_last_line(file)
        for purchase in purchases:
            _write_all(file, encode_line(purchase))
        os.fsync(file.fileno())
    if is_new:
        sync_folder(folder)


def rewrite(folder: Path, purchases: Sequence[Purchase]) -> None:
    """Replace receipts.jsonl by a file of exactly these lines, atomically."""
    with replacing(folder / RECEIPTS, owner_only=True) as file:
        file.writelines(encode_line(purchase) for purchase in purchases)


def _complete_last_line(file: BinaryIO) -> None:
    """Cut off an incomplete last line; if it only lacks its line break, add that instead."""
    last, size = _last_line(file)
    if _is_complete(last):
        _write_all(file, b"\n")
    elif last:
        file.truncate(size - len(last))


def _last_line(file: BinaryIO) -> tuple[bytes, int]:
    """What follows the last line break, and the size of the file."""
    size = file.seek(0, os.SEEK_END)
    tail, start = b"", size
    while start and b"\n" not in tail:
        start = max(0, start - _TAIL_BYTES)
        file.seek(start)
        tail = file.read(size - start)
    return tail[tail.rfind(b"\n") + 1 :], size


def _is_complete(line: bytes) -> bool:
    try:
        decode_line(line)
    except ValueError:
        return False
    return True


def _write_all(file: BinaryIO, content: bytes) -> None:
    while content:
        content = content[file.write(content) :]
