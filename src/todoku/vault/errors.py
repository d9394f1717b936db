"""Errors of the vault.

VaultError
  ├─ VaultUnavailable  transient: the disk or the object store failed; nothing is under the key
  ├─ VaultFull         transient: no space left; nothing is under the key
  ├─ VaultMissing      permanent: nothing was ever put under this key
  └─ VaultCorrupt      permanent: the bytes under the key are not those that were put
"""

from __future__ import annotations

from todoku.kernel.errors import TodokuError


class VaultError(TodokuError):
    """Root of this room's errors."""


class VaultUnavailable(VaultError):
    """The bytes could not be kept or read now; do not acknowledge the source."""

    transient = True


class VaultFull(VaultError):
    """There is no space left; do not acknowledge the source."""

    transient = True


class VaultMissing(VaultError):
    """The key is unknown."""


class VaultCorrupt(VaultError):
    """The hash of the bytes differs from the key; they were changed on disk."""
