"""Errors of the credentials room.

CredentialError
  ├─ CredentialUnknown  permanent: there is no credential of this name in this project
  ├─ CredentialExists   permanent: the name is taken
  ├─ BadCredential      permanent: what was given can't be a credential of this kind
  ├─ SecretsLocked      permanent: the key that encrypted a secret is not among the keys of this installation
  └─ RenewalFailed      transient: no new secret was obtained, or it was not accepted; the old one stays in use
"""

from __future__ import annotations

from todoku.kernel.errors import TodokuError


class CredentialError(TodokuError):
    """Root of this room's errors."""


class CredentialUnknown(CredentialError):
    """There is no credential of this name in this project."""


class CredentialExists(CredentialError):
    """A credential of this name is there already."""


class BadCredential(CredentialError):
    """What was given can't be a credential of this kind: a value is missing, odd or can't be read."""


class SecretsLocked(CredentialError):
    """A secret can't be decrypted: its key is not among those of this installation, or the bytes were changed."""


class RenewalFailed(CredentialError):
    """No new secret was obtained, or the server did not accept it."""

    transient = True
