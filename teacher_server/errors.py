"""The vendor's errors.

VendorError
├── ModelUnavailable        the weights or the configuration cannot be found
│   ├── NotDownloaded       the weights are on a hub, and nothing may be downloaded
│   └── UnsafeCheckpoint    loading the file could have run code in it
├── SettingsError           an option is not valid
├── LedgerError             the ledger cannot be opened, or refuses a change
│   ├── KeyUnknown          no key has this id
│   ├── KeyRevoked          the key was revoked, so its secret cannot be replaced
│   ├── GrantReused         the id of a top-up was used with another amount
│   ├── ChargeUnknown       no charge has this request id
│   ├── CorrectionReused    the id of a correction was used with other figures
│   ├── CorrectionRefused   the charge has less left to refund, or no reason is given
│   └── ReservationGone     the reservation was voided before it could be charged
├── StorageUnavailable      the database takes no writes: its disk is full, or it is read-only
├── ImageRefused            the bytes are not an image that can be embedded
├── TextRefused             a recording has no answer for the text
├── EncoderFailed           the model failed on this one item
└── EncoderLost             the process of the model ended before it answered
"""

from __future__ import annotations


class VendorError(Exception):
    """Base of all errors; each message is one sentence for the operator."""


class ModelUnavailable(VendorError):
    """The model's weights or configuration cannot be found; no other model is served instead."""


class NotDownloaded(ModelUnavailable):
    """The model is one of a hub, its cache lacks the weights, and nothing may be downloaded."""


class UnsafeCheckpoint(ModelUnavailable):
    """The checkpoint contains more than tensors and was not loaded."""


class SettingsError(VendorError):
    """An option, environment variable or TOML key is not valid."""


class LedgerError(VendorError):
    """The ledger cannot be opened, or refuses a change."""


class KeyUnknown(LedgerError):
    """No key has this id."""


class KeyRevoked(LedgerError):
    """The key was revoked permanently; its secret cannot be replaced."""


class GrantReused(LedgerError):
    """The id of a top-up was used before with another amount; nothing was granted now."""


class ChargeUnknown(LedgerError):
    """No charge in the ledger has this request id."""


class CorrectionReused(LedgerError):
    """The id of a correction was used before with other figures; nothing was refunded now."""


class CorrectionRefused(LedgerError):
    """The correction refunds nothing, or more than is left of the charge, or has no reason."""


class ReservationGone(LedgerError):
    """The reservation was voided, because its lease expired; nothing was charged."""


class StorageUnavailable(VendorError):
    """The database takes no writes, so nothing can be sold; nothing was charged."""


class ImageRefused(VendorError):
    """The bytes are not an image that can be embedded; `code` is the problem code."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class TextRefused(VendorError):
    """A recording has no answer for the text."""


class EncoderFailed(VendorError):
    """The model failed on this one item; the other items of the batch are not affected."""


class EncoderLost(VendorError):
    """The process that runs the model ended before it answered; another one may answer."""
