"""Errors of the ledger.

LedgerError
  ├─ ArchiveRefused   permanent: a month's rows and its sums do not agree, or it is still in use; nothing was moved
  ├─ ArchiveDamaged   permanent: an archived file is not what it was
  ├─ ArchiveBusy      transient: another process archives, or writers would not let go
  ├─ NothingKnown     permanent: no side of the books has that run
  └─ NotSettled       permanent: that recipient can't be settled so; says why
"""

from __future__ import annotations

from todoku.delivery.errors import DeliveryError


class LedgerError(DeliveryError):
    """Root of this room's errors."""


class ArchiveRefused(LedgerError):
    """The month was left where it is."""


class ArchiveDamaged(LedgerError):
    """A file of the archive can't be read, or holds something else than it should."""


class ArchiveBusy(LedgerError):
    """Somebody else holds what the archiver needs."""

    transient = True


class NotSettled(LedgerError):
    """There is no such recipient, or several, or the state asked for is none that evidence can prove."""


class NothingKnown(LedgerError):
    """Neither journal nor ledger has anything of that run in that project."""
