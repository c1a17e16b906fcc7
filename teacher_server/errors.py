"""What can stop the vendor, as a small tree.

VendorError
├── ModelUnavailable        the weights or the configuration cannot be had
│   └── UnsafeCheckpoint    loading the file would have run code from it
├── SettingsError           an option does not make sense
├── LedgerError             the books cannot be opened, or refuse a change
│   ├── KeyUnknown          no key has this id
│   ├── KeyRevoked          the key was revoked, and cannot be given a new secret
│   ├── GrantReused         the id of a top-up came before with other units
│   ├── ChargeUnknown       no charge has this request id
│   ├── CorrectionReused    the id of a correction came before with other figures
│   ├── CorrectionRefused   the charge has not that much left to give back
│   └── ReservationGone     the reservation was voided before it could be charged
├── ImageRefused            the bytes are not an image that is sold for
└── EncoderFailed           the model failed on this one item
"""

from __future__ import annotations


class VendorError(Exception):
    """The root: every message is one sentence for the person who runs the vendor."""


class ModelUnavailable(VendorError):
    """The model's weights or configuration cannot be had; nothing else is served in its place."""


class UnsafeCheckpoint(ModelUnavailable):
    """The checkpoint holds more than tensors and was not loaded."""


class SettingsError(VendorError):
    """An option, environment variable or TOML key does not make sense."""


class LedgerError(VendorError):
    """The books cannot be opened, or refuse a change."""


class KeyUnknown(LedgerError):
    """No key has this id."""


class KeyRevoked(LedgerError):
    """The key was revoked for good; it cannot be given a new secret."""


class GrantReused(LedgerError):
    """The id of a top-up came before with another number of units; nothing was granted now."""


class ChargeUnknown(LedgerError):
    """No charge in the ledger has this request id."""


class CorrectionReused(LedgerError):
    """The id of a correction came before with other figures; nothing was given back now."""


class CorrectionRefused(LedgerError):
    """The correction gives back nothing, or more than is left of the charge, or says not why."""


class ReservationGone(LedgerError):
    """The reservation was voided (its lease ran out) before it could be charged; nothing was."""


class ImageRefused(VendorError):
    """The bytes are not an image that is sold for; `code` is the wire code."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class EncoderFailed(VendorError):
    """The model failed on this one item; its neighbours in the batch did not suffer."""
