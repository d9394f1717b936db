"""Errors of the sources.

SourceError
  ├─ NotKept       transient: vault or bus could not take the mail; the other side must keep it and hand it over again
  ├─ CannotLook    transient: the source could not be asked what it has; `cause` says what kind of trouble it is
  ├─ CredentialRefused  transient: the server answered and does not take this credential; the next one is tried
  ├─ BadSource      permanent: a source's settings can't be used; it stands still until somebody changes them
  ├─ SourceExists   permanent: the name is taken in this project
  ├─ SourceUnknown  permanent: there is no source of this name in this project
  ├─ CannotFetch   transient: one mail could not be fetched; the next ones are tried
  └─ MailVanished  permanent: the source listed the mail and does not have it any more
"""

from __future__ import annotations

from enum import StrEnum

from todoku.kernel.errors import TodokuError


class SourceError(TodokuError):
    """Root of this room's errors."""


class NotKept(SourceError):
    """The mail is not safely kept here: do not acknowledge it. A later try makes no second reservation."""

    transient = True


class Cause(StrEnum):
    """Why a source could not be asked: whoever is called knows from it where to look."""

    UNREACHABLE = "unreachable"  # nobody answers, or the answer breaks off
    CREDENTIAL = "credential"  # it answers, and does not let us in
    MISSING = "missing"  # it lets us in, and the folder, bucket or mailbox is not there
    PROTOCOL = "protocol"  # it says what its protocol does not know


class CannotLook(SourceError):
    """The source could not be asked; what it has stays there."""

    transient = True

    def __init__(self, cause: Cause, what: str, *, todo: str = "") -> None:
        super().__init__(what, kept="every mail, where it is", todo=todo)
        self.cause = cause


class CredentialRefused(SourceError):
    """The server answered, and does not let us in with this credential. `what` holds its words and no secret."""

    transient = True


class BadSource(SourceError):
    """The settings of a source can't be used: an unknown kind, a missing or an odd value."""


class SourceExists(SourceError):
    """A source of this name is there already: names are for ever, because arrivals carry them."""


class SourceUnknown(SourceError):
    """There is no source of this name in this project."""


class CannotFetch(SourceError):
    """One mail could not be fetched; it stays at its source and is tried at the next look."""

    transient = True


class MailVanished(SourceError):
    """The mail was listed and is gone: somebody removed it before it could be fetched."""
