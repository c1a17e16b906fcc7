"""The outcomes of verify, repair, merge and audit as JSON values.

Scripts read the keys, so they stay as they are where a field of the class has a newer name.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cache.audit.audit import Audit
    from cache.integrity.repair import Repair
    from cache.integrity.verify import Verification
    from cache.maintenance.merge import Merged


def verification_json(result: Verification) -> dict[str, Any]:
    """Return the keys of `verify --json`; `losses` counts the write-offs."""
    return {"is_sound": result.is_sound, **_with_losses(asdict(result))}


def repair_json(result: Repair) -> dict[str, Any]:
    """Return the keys of `verify --repair --json`."""
    fields = asdict(result)
    fields["verification"] = _with_losses(fields["verification"])
    return {"is_sound": result.verification.is_sound, "changed": result.changed, **fields}


def merge_json(result: Merged) -> dict[str, Any]:
    """Return the keys of `merge --json`; `losses` counts the write-offs."""
    return _with_losses(asdict(result))


def audit_json(result: Audit) -> dict[str, Any]:
    """Return the keys of `audit --json`; `lost` lists the write-offs, then the missing rows."""
    fields = asdict(result)
    missing_rows = fields.pop("missing_rows")
    renamed = {"lost" if name == "write_offs" else name: fields[name] for name in fields}
    renamed["lost"] = [*renamed["lost"], *missing_rows]
    return {"is_balanced": result.is_balanced, **renamed}


def _with_losses(fields: dict[str, Any]) -> dict[str, Any]:
    return {"losses" if name == "write_offs" else name: fields[name] for name in fields}
